//! Loads a plan, attaches its probes one by one, and reads what they send.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::sync::Mutex;

use libbpf_rs::skel::{OpenSkel as _, SkelBuilder as _};
use libbpf_rs::{Link, MapCore as _, MapFlags, OpenObject, PrintLevel, ProgramInput, RingBuffer, RingBufferBuilder};

use super::health::{ProbeHealth, Verdict};
use super::plan::{Choice, Plan, Probe, Twin};
use super::skel::{OpenRingwatchSkel, RingwatchSkel, RingwatchSkelBuilder, types};

/// Values of one kind that the kernel side can hold; `RW_FILTER_MAX`.
pub const FILTER_MAX: usize = 64;

/// Buffers for strings on each CPU; `NEST`.
const NEST: u32 = 4;

/// What is decided before the programs are loaded.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Bytes of the ring buffer: a power of two, at least a page.
    pub buffer_size: u32,
    /// Only these processes (tgid); empty: all.
    pub pids: Vec<u32>,
    /// Only these users.
    pub uids: Vec<u32>,
    /// Only threads of these names.
    pub comms: Vec<String>,
    /// Only the tree of the processes given to [`Session::follow`].
    pub tree: bool,
}

/// Why tracing could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused the programs.
    #[error("the kernel refused the BPF programs: {cause}{log}")]
    Load {
        /// The error of the load.
        cause: libbpf_rs::Error,
        /// What libbpf and the verifier said.
        log: String,
    },
    /// A probe without which nothing works could not be attached.
    #[error("cannot attach to {probe}: {cause}")]
    Attach {
        /// The tracepoint.
        probe: &'static str,
        /// The error.
        cause: libbpf_rs::Error,
    },
    /// Any other step.
    #[error("cannot {step}: {cause}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// The error.
        cause: libbpf_rs::Error,
    },
}

fn step(step: &'static str) -> impl FnOnce(libbpf_rs::Error) -> Error {
    move |cause| Error::Step { step, cause }
}

/// Memory for the loaded object: a local of the thread that traces. One for each plan that is tried in turn.
#[derive(Debug)]
pub struct Storage([MaybeUninit<OpenObject>; 3]);

impl Default for Storage {
    fn default() -> Self {
        Self([const { MaybeUninit::uninit() }; 3])
    }
}

/// Counters of the kernel side; see `enum rw_counter`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Writes put into the ring buffer.
    pub writes: u64,
    /// Writes that found the ring buffer full.
    pub ring_full: u64,
    /// Requests not followed from their submission on.
    pub table_full: u64,
    /// Strings dropped for want of a scratch buffer.
    pub scratch: u64,
    /// Processes not followed.
    pub tree_full: u64,
}

/// Loaded and attached programs. Dropping it detaches them.
pub struct Session<'obj> {
    skel: RingwatchSkel<'obj>,
    links: Vec<Link>,
    plan: Plan,
    health: Vec<ProbeHealth>,
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("plan", &self.plan).field("health", &self.health).finish_non_exhaustive()
    }
}

/// The last warnings of libbpf and the verifier, which otherwise would go to stderr with misleading advice.
static LOG: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());
const LOG_LINES: usize = 24;

#[expect(clippy::needless_pass_by_value, reason = "libbpf-rs gives a String")]
fn keep_log(_: PrintLevel, message: String) {
    if let Ok(mut log) = LOG.lock() {
        for line in message.lines() {
            if log.len() == LOG_LINES {
                log.pop_front();
            }
            log.push_back(line.to_owned());
        }
    }
}

fn take_log() -> String {
    let Ok(mut log) = LOG.lock() else { return String::new() };
    log.drain(..).filter(|l| !l.contains("RLIMIT_MEMLOCK")).fold(String::new(), |all, line| all + "\n  " + &line)
}

/// Loads and attaches `plan`. Where the kernel refuses it: without the probes of functions, then with raw twins.
///
/// # Errors
/// Nothing is left loaded or attached on error.
pub fn start<'obj>(storage: &'obj mut Storage, plan: &Plan, options: &Options) -> Result<Session<'obj>, Error> {
    libbpf_rs::set_print(Some((PrintLevel::Warn, keep_log)));
    let [first, second, third] = &mut storage.0;
    let refused = match Session::load(first, plan, options) {
        Err(error @ Error::Load { .. }) => error,
        other => return other,
    };
    let mut plan = plan.clone();
    let mut broken = vec![];
    if let Some((less, removed)) = plan.without_functions() {
        broken = removed;
        plan = less;
        match Session::load(second, &plan, options) {
            Err(Error::Load { .. }) => {}
            other => return other.map(|s| s.broken(&broken, &refused)),
        }
    }
    if !plan.is_typed() {
        return Err(refused);
    }
    let plan = plan.raw("the verifier refused the typed programs");
    Session::load(third, &plan, options).map(|s| s.broken(&broken, &refused))
}

impl<'obj> Session<'obj> {
    fn load(storage: &'obj mut MaybeUninit<OpenObject>, plan: &Plan, options: &Options) -> Result<Self, Error> {
        let mut open = RingwatchSkelBuilder::default().open(storage).map_err(step("open the BPF object"))?;
        select(&mut open, plan);
        configure(&mut open, plan, options)?;
        let skel = open.load().map_err(|cause| Error::Load { cause, log: take_log() })?;
        let mut session = Self { skel, links: vec![], plan: plan.clone(), health: vec![] };
        for (probe, reason) in &plan.missing {
            session.health.push(ProbeHealth::unsupported(*probe, reason.clone()));
        }
        for &choice in &plan.probes {
            session.attach(choice)?;
        }
        if let Some((less, _)) = plan.without_functions()
            && session.health.iter().any(|h| matches!(h.verdict, Verdict::Broken { .. }) && h.probe.is_function())
        {
            session.plan = less;
        }
        Ok(session)
    }

    fn broken(mut self, probes: &[Probe], why: &Error) -> Self {
        let reason = match why {
            Error::Load { cause, .. } => format!("{cause:#}"),
            other => other.to_string(),
        };
        self.health.extend(probes.iter().map(|&p| ProbeHealth::broken(p, reason.clone())));
        self
    }

    fn attach(&mut self, choice: Choice) -> Result<(), Error> {
        let Choice { probe, twin } = choice;
        let progs = &self.skel.progs;
        let program = match (probe, twin) {
            (Probe::IoUringSubmitReq, Twin::Typed) => &progs.submit_req_typed,
            (Probe::IoUringSubmitReq, Twin::Raw) => &progs.submit_req_raw,
            (Probe::IoUringSubmitSqe, Twin::Typed) => &progs.submit_sqe_typed,
            (Probe::IoUringSubmitSqe, Twin::Raw) => &progs.submit_sqe_raw,
            (Probe::IoUringReqFailed, Twin::Typed) => &progs.req_failed_typed,
            (Probe::IoUringReqFailed, Twin::Raw) => &progs.req_failed_raw,
            (Probe::IoUringQueueAsyncWork, Twin::Typed) => &progs.queue_async_work_typed,
            (Probe::IoUringQueueAsyncWork, Twin::Raw) => &progs.queue_async_work_raw,
            (Probe::IoUringComplete, Twin::Typed) => &progs.complete_typed,
            (Probe::IoUringComplete, Twin::Raw) => &progs.complete_raw,
            (Probe::IoUringCqeOverflow, _) => &progs.cqe_overflow,
            (Probe::IoUringFailLink, _) => &progs.fail_link,
            (Probe::IoUringCreate, _) => &progs.create,
            (Probe::IoWriteExit, _) => &progs.io_write_exit,
            (Probe::IoWriteEntry, _) => &progs.io_write_entry,
            (Probe::IoWriteReturn, _) => &progs.io_write_return,
            (Probe::SchedProcessFork, _) => &progs.process_fork,
            (Probe::SchedProcessExit, _) => &progs.process_exit,
        };
        match program.attach() {
            Ok(link) => {
                self.links.push(link);
                self.health.push(ProbeHealth::attached(choice));
                Ok(())
            }
            Err(cause) if probe.without().is_none() => Err(Error::Attach { probe: probe.name(), cause }),
            Err(cause) => {
                self.health.push(ProbeHealth::broken(probe, format!("{cause:#}")));
                Ok(())
            }
        }
    }

    /// The plan that was loaded in the end.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Each probe's verdict.
    #[must_use]
    pub fn health(&self) -> &[ProbeHealth] {
        &self.health
    }

    /// Adds a process to the followed tree.
    ///
    /// # Errors
    /// The kernel refused the map update.
    pub fn follow(&self, tgid: u32) -> Result<(), Error> {
        self.skel
            .maps
            .tree
            .update(&tgid.to_ne_bytes(), &[1], MapFlags::ANY)
            .map_err(step("add a process to the followed tree"))
    }

    /// Reads the ring buffer: `receive` gets each record.
    ///
    /// # Errors
    /// The buffer could not be mapped.
    pub fn ring<'cb, F>(&self, mut receive: F) -> Result<Ring<'cb>, Error>
    where
        F: FnMut(&[u8]) + 'cb,
    {
        let mut builder = RingBufferBuilder::new();
        builder
            .add(&self.skel.maps.events, move |record| {
                receive(record);
                0
            })
            .map_err(step("add the ring buffer"))?;
        Ok(Ring(builder.build().map_err(step("map the ring buffer"))?))
    }

    /// Sums the kernel side's counters over all CPUs.
    ///
    /// # Errors
    /// The map could not be read.
    pub fn counters(&self) -> Result<Counters, Error> {
        let sum = |index: u32| -> Result<u64, Error> {
            let values = self
                .skel
                .maps
                .counters
                .lookup_percpu(&index.to_ne_bytes(), MapFlags::ANY)
                .map_err(step("read the counters"))?;
            Ok(values
                .into_iter()
                .flatten()
                .filter_map(|v| v.try_into().ok().map(u64::from_ne_bytes))
                .fold(0, u64::wrapping_add))
        };
        Ok(Counters { writes: sum(0)?, ring_full: sum(1)?, table_full: sum(2)?, scratch: sum(3)?, tree_full: sum(4)? })
    }

    /// Times that the kernel did not run a program because it was running on that CPU already.
    #[must_use]
    pub fn missed(&self) -> u64 {
        let progs = &self.skel.progs;
        [&progs.submit_req_typed, &progs.submit_req_raw, &progs.complete_typed, &progs.complete_raw]
            .into_iter()
            .filter_map(|p| recursion_misses(std::os::fd::AsFd::as_fd(p)))
            .sum()
    }

    /// Whether writes are pending that completion will not tell.
    #[must_use]
    pub fn needs_sweep(&self) -> bool {
        self.skel.maps.bss_data.as_ref().is_some_and(|bss| {
            // SAFETY: the kernel side writes this mapped word at any time; an aligned 8-byte read sees one of its values.
            unsafe { (&raw const bss.pending_count).read_volatile() != 0 }
        })
    }

    /// Tells of writes that ended without a completion.
    ///
    /// # Errors
    /// The program could not be run.
    pub fn sweep(&self) -> Result<(), Error> {
        self.skel.progs.sweep.test_run(ProgramInput::default()).map(drop).map_err(step("sweep the pending writes"))
    }

    /// How many requests are followed now.
    ///
    /// # Errors
    /// The program could not be run.
    pub fn in_flight(&self) -> Result<u32, Error> {
        let output =
            self.skel.progs.in_flight.test_run(ProgramInput::default()).map_err(step("count the writes in flight"))?;
        Ok(output.return_value)
    }

    /// Makes the kernel side send every path and task anew: user space forgot them.
    pub fn forget(&mut self) {
        if let Some(bss) = self.skel.maps.bss_data.as_mut() {
            bss.epoch = bss.epoch.wrapping_add(1);
        }
    }

    /// Detaches the probes, then tells of every write that is still in flight.
    ///
    /// # Errors
    /// The program could not be run.
    pub fn stop(&mut self) -> Result<(), Error> {
        self.links.clear();
        self.skel.progs.sweep_all.test_run(ProgramInput::default()).map(drop).map_err(step("end the pending writes"))
    }
}

fn recursion_misses(fd: std::os::fd::BorrowedFd<'_>) -> Option<u64> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&fd))).ok()?;
    info.lines().find_map(|l| l.strip_prefix("recursion_misses:")).and_then(|v| v.trim().parse().ok())
}

/// Records that are read before anything else gets its turn.
const AT_ONCE: usize = 65_536;

/// The reading end of the ring buffer.
#[derive(Debug)]
pub struct Ring<'cb>(RingBuffer<'cb>);

impl Ring<'_> {
    /// Takes what is there, but not for ever from a program that writes faster; the number of records.
    ///
    /// # Errors
    /// libbpf could not read the buffer.
    pub fn consume(&self) -> Result<usize, Error> {
        let n = self.0.consume_raw_n(AT_ONCE);
        usize::try_from(n)
            .map_err(|_| Error::Step { step: "read the ring buffer", cause: libbpf_rs::Error::from_raw_os_error(-n) })
    }
}

/// Loads only the programs of the plan.
fn select(open: &mut OpenRingwatchSkel<'_>, plan: &Plan) {
    let wants = |probe, twin| plan.probes.contains(&Choice { probe, twin });
    let progs = &mut open.progs;
    progs.submit_req_typed.set_autoload(wants(Probe::IoUringSubmitReq, Twin::Typed));
    progs.submit_req_raw.set_autoload(wants(Probe::IoUringSubmitReq, Twin::Raw));
    progs.submit_sqe_typed.set_autoload(wants(Probe::IoUringSubmitSqe, Twin::Typed));
    progs.submit_sqe_raw.set_autoload(wants(Probe::IoUringSubmitSqe, Twin::Raw));
    progs.req_failed_typed.set_autoload(wants(Probe::IoUringReqFailed, Twin::Typed));
    progs.req_failed_raw.set_autoload(wants(Probe::IoUringReqFailed, Twin::Raw));
    progs.queue_async_work_typed.set_autoload(wants(Probe::IoUringQueueAsyncWork, Twin::Typed));
    progs.queue_async_work_raw.set_autoload(wants(Probe::IoUringQueueAsyncWork, Twin::Raw));
    progs.complete_typed.set_autoload(wants(Probe::IoUringComplete, Twin::Typed));
    progs.complete_raw.set_autoload(wants(Probe::IoUringComplete, Twin::Raw));
    progs.cqe_overflow.set_autoload(wants(Probe::IoUringCqeOverflow, Twin::Raw));
    progs.fail_link.set_autoload(wants(Probe::IoUringFailLink, Twin::Raw));
    progs.create.set_autoload(wants(Probe::IoUringCreate, Twin::Raw));
    progs.io_write_exit.set_autoload(wants(Probe::IoWriteExit, Twin::Raw));
    progs.io_write_entry.set_autoload(wants(Probe::IoWriteEntry, Twin::Raw));
    progs.io_write_return.set_autoload(wants(Probe::IoWriteReturn, Twin::Raw));
    progs.process_fork.set_autoload(wants(Probe::SchedProcessFork, Twin::Raw));
    progs.process_exit.set_autoload(wants(Probe::SchedProcessExit, Twin::Raw));
}

fn configure(open: &mut OpenRingwatchSkel<'_>, plan: &Plan, options: &Options) -> Result<(), Error> {
    let cpus = libbpf_rs::num_possible_cpus().map_err(step("count the CPUs"))?;
    let cpus = u32::try_from(cpus).unwrap_or(u32::MAX / NEST);
    open.maps.events.set_max_entries(options.buffer_size).map_err(step("size the ring buffer"))?;
    open.maps.scratches.set_max_entries(cpus * NEST).map_err(step("size the scratch buffers"))?;
    let Some(rodata) = open.maps.rodata_data.as_mut() else {
        return Err(Error::Step {
            step: "configure the programs",
            cause: libbpf_rs::Error::from_raw_os_error(libc::ENOENT),
        });
    };
    fill(&mut rodata.cfg, plan, options);
    Ok(())
}

fn fill(cfg: &mut types::rw_config, plan: &Plan, options: &Options) {
    cfg.key = random_key();
    cfg.req_fixed_file = plan.flags.fixed_file;
    cfg.req_cqe_skip = plan.flags.cqe_skip;
    cfg.req_fail = plan.flags.fail;
    cfg.req_async_data = plan.flags.async_data;
    cfg.req_skip_link_cqes = plan.flags.skip_link_cqes;
    cfg.tree = options.tree.into();
    let fill = |from: &[u32], to: &mut [u32; FILTER_MAX]| -> u32 {
        let n = from.len().min(FILTER_MAX);
        to[..n].copy_from_slice(&from[..n]);
        u32::try_from(n).unwrap_or(0)
    };
    cfg.nr_pids = fill(&options.pids, &mut cfg.pids);
    cfg.nr_uids = fill(&options.uids, &mut cfg.uids);
    for (name, slot) in options.comms.iter().zip(&mut cfg.comms) {
        let mut bytes = [0u8; 16];
        let n = name.len().min(bytes.len() - 1);
        bytes[..n].copy_from_slice(&name.as_bytes()[..n]);
        let (low, high) = bytes.split_at(8);
        for (word, part) in slot.iter_mut().zip([low, high]) {
            *word = part.iter().rev().fold(0, |w, &b| w << 8 | u64::from(b));
        }
        cfg.nr_comms += 1;
    }
}

/// A key that no traced program can guess.
fn random_key() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(std::process::id())
}
