//! Loads a plan, attaches its probes one by one, and reads what they send.

mod config;
mod creators;
pub(super) mod log;
mod object;
mod pins;
mod queues;
mod reader;
mod sums;
mod sweep;

use std::mem::MaybeUninit;
use std::path::PathBuf;

use libbpf_rs::{Link, MapCore as _, MapFlags, MapHandle, OpenObject, ProgramInput};

use self::creators::Creators;
pub use self::log::Verified;
use self::object::{Loaded, Open, cpus};
pub use self::pins::Pins;
use self::queues::Queues;
pub use self::reader::Reader;
pub use self::sums::SumBytes;
use self::sweep::Programs;
pub use self::sweep::Sweeper;
use super::health::{Capability, ProbeHealth, capabilities};
use super::plan::{Choice, Object, Plan, Wanted};
use super::probe::{Probe, Twin};
use crate::here::Asked;
use crate::time::Clock;

/// Values of one kind that the kernel side can hold; `RW_FILTER_MAX`.
pub const FILTER_MAX: usize = 64;

/// Buffers for strings on each CPU; `NEST`.
const NEST: u32 = 4;

/// What is decided before the programs are loaded.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Bytes for writes on their way to user space: a power of two, at least a page. As many more are for strings.
    pub buffer_size: u32,
    /// Only these processes; empty: all.
    pub pids: Vec<Asked>,
    /// Only these users.
    pub uids: Vec<u32>,
    /// Only threads of these names.
    pub comms: Vec<String>,
    /// The kernel's type information, where it is not the kernel's own.
    pub btf: Option<PathBuf>,
    /// What is watched.
    pub wanted: Wanted,
    /// Add writes to sums instead of sending them; the rows of the tables of files and of threads.
    pub rows: Option<u32>,
    /// Keep what the verifier says of each program.
    pub statistics: bool,
}

/// What [`Options::buffer_size`] is where nobody chose it.
#[must_use]
pub fn default_buffer_size() -> u32 {
    queues::default_size(cpus().unwrap_or(1))
}

/// Why tracing could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a program without which nothing works, or all of them.
    #[error("the kernel refused {what}: {cause}{log}")]
    Load {
        /// The program, or the programs.
        what: String,
        /// The error of the load.
        cause: libbpf_rs::Error,
        /// What libbpf and the verifier said.
        log: String,
    },
    /// A probe without which nothing works could not be attached.
    #[error("cannot attach to {probe}: {cause}")]
    Attach {
        /// The tracepoint or function.
        probe: String,
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

/// Plans that are tried in turn: each leaves out one probe more.
const TRIES: usize = 8;

/// Memory for the loaded object: a local of the thread that traces.
#[derive(Debug)]
pub struct Storage([MaybeUninit<OpenObject>; TRIES]);

impl Default for Storage {
    fn default() -> Self {
        Self([const { MaybeUninit::uninit() }; TRIES])
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
    loaded: Loaded<'obj>,
    links: Vec<Link>,
    plan: Plan,
    health: Vec<ProbeHealth>,
    verified: Vec<Verified>,
    epoch: u32,
    round: u32,
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("plan", &self.plan).field("health", &self.health).finish_non_exhaustive()
    }
}

/// A probe that stood in the way, and why.
#[derive(Debug)]
struct Refused {
    choice: Option<Choice>,
    reason: String,
    error: Error,
}

impl Refused {
    fn from_step(step: &'static str) -> impl FnOnce(libbpf_rs::Error) -> Self {
        move |cause| Self { choice: None, reason: String::new(), error: Error::Step { step, cause } }
    }
}

/// Loads and attaches `plan`. Where the kernel refuses a probe, the next try does without it, as [`Plan::without`] says.
///
/// # Errors
/// Nothing is left loaded or attached on error.
pub fn start<'obj>(storage: &'obj mut Storage, plan: &Plan, options: &Options) -> Result<Session<'obj>, Error> {
    log::listen(options.statistics);
    let mut plan = plan.clone();
    let mut broken = vec![];
    let mut last = None;
    for storage in &mut storage.0 {
        let refused = match Session::load(storage, &plan, options) {
            Ok(mut session) => {
                session.health.extend(broken);
                return Ok(session);
            }
            Err(refused) => refused,
        };
        let next = match refused.choice {
            Some(choice) => plan.without(choice).inspect(|_| {
                broken.push(ProbeHealth::broken(choice.probe, refused.reason));
            }),
            // Nobody said which program it was.
            None if plan.is_typed() && matches!(refused.error, Error::Load { .. }) => {
                Some(plan.raw("the kernel refused the typed programs"))
            }
            None => None,
        };
        match next {
            Some(next) => {
                plan = next;
                last = Some(refused.error);
            }
            None => return Err(refused.error),
        }
    }
    Err(last.unwrap_or_else(|| Error::Step {
        step: "load the programs",
        cause: libbpf_rs::Error::from_raw_os_error(libc::EINVAL),
    }))
}

impl<'obj> Session<'obj> {
    fn load(storage: &'obj mut MaybeUninit<OpenObject>, plan: &Plan, options: &Options) -> Result<Self, Refused> {
        let mut open = Open::new(storage, plan.object, options.btf.as_deref())
            .map_err(Refused::from_step("open the BPF object"))?;
        open.prepare(plan, options).map_err(Refused::from_step("configure the programs"))?;
        let loaded = open.load();
        let said = log::take();
        let loaded = loaded.map_err(|cause| {
            let choice = said.refused.as_deref().and_then(|name| object::choice_of(plan.object, name));
            let what = said.refused.map_or_else(|| "the BPF programs".to_owned(), |name| format!("the program {name}"));
            let log = advice(plan, &cause, &said.text).to_owned() + &said.text;
            let reason = format!("the kernel refused {what}: {cause}{log}");
            Refused { choice, reason, error: Error::Load { what, cause, log } }
        })?;
        let mut session = Self {
            loaded,
            links: vec![],
            plan: plan.clone(),
            health: vec![],
            verified: said.verified,
            epoch: 0,
            round: 1 << 31,
        };
        for (probe, reason) in &plan.missing {
            session.health.push(ProbeHealth::unsupported(*probe, reason.clone()));
        }
        for &choice in &plan.probes {
            session.attach(choice)?;
        }
        Ok(session)
    }

    fn attach(&mut self, choice: Choice) -> Result<(), Refused> {
        let probe = || choice.probe.place();
        let Some(program) = self.loaded.program(choice) else {
            let cause = libbpf_rs::Error::from_raw_os_error(libc::ENOENT);
            let reason = "the object has no such program".to_owned();
            return Err(Refused { choice: None, reason, error: Error::Attach { probe: probe(), cause } });
        };
        match program.attach() {
            Ok(link) => {
                self.links.push(link);
                self.health.push(ProbeHealth::attached(choice));
                Ok(())
            }
            Err(cause) => {
                drop(log::take());
                let reason = format!("the kernel refused to attach a program by {}: {cause:#}", choice.twin.name());
                Err(Refused { choice: Some(choice), reason, error: Error::Attach { probe: probe(), cause } })
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

    /// What the plan tells here.
    #[must_use]
    pub fn capabilities(&self) -> Vec<Capability> {
        capabilities(&self.plan, &self.health)
    }

    /// What the verifier did, where statistics were asked for.
    #[must_use]
    pub fn verified(&self) -> &[Verified] {
        &self.verified
    }

    /// Adds a process to the followed tree, by its id in ringwatch's pid namespace.
    ///
    /// # Errors
    /// The kernel refused the map update.
    pub fn follow(&self, tgid: u32) -> Result<(), Error> {
        self.loaded
            .tree()
            .update(&tgid.to_ne_bytes(), &[1], MapFlags::ANY)
            .map_err(step("add a process to the followed tree"))
    }

    /// How many processes of the followed tree there are still.
    ///
    /// # Errors
    /// The kernel refused the map update.
    pub fn followed(&self) -> Result<usize, Error> {
        use nix::errno::Errno;
        let mut processes = 0;
        for key in self.loaded.tree().keys() {
            let pid = key.as_slice().try_into().map_or(0, i32::from_ne_bytes);
            // Where the kernel skipped the program that tells of its end.
            if nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
                self.loaded.tree().delete(&key).or_else(gone).map_err(step("take a process from the followed tree"))?;
            } else {
                processes += 1;
            }
        }
        Ok(processes)
    }

    /// Reads the buffer: `receive` gets each record.
    ///
    /// # Errors
    /// The buffer could not be mapped.
    pub fn reader<'cb, F>(&self, buffer_size: u32, receive: F) -> Result<Reader<'cb>, Error>
    where
        F: FnMut(&[u8]) + 'cb,
    {
        if self.plan.flags.perf_buffer {
            Reader::perf(self.loaded.events(), buffer_size, receive)
        } else {
            Reader::ring(self.loaded.events(), self.queues()?, receive)
        }
    }

    fn queues(&self) -> Result<Option<Queues>, Error> {
        let Some(map) = self.loaded.queues() else { return Ok(None) };
        let cpus = cpus().map_err(step("count the CPUs"))?;
        Queues::map(map, map.max_entries() / cpus.max(1) - 1, cpus).map(Some)
    }

    /// Sums the kernel side's counters over all CPUs.
    ///
    /// # Errors
    /// The map could not be read.
    pub fn counters(&self) -> Result<Counters, Error> {
        Ok(Counters {
            writes: self.counter(0)?,
            ring_full: self.counter(1)?,
            table_full: self.counter(2)?,
            scratch: self.counter(3)?,
            tree_full: self.counter(4)?,
        })
    }

    /// The sum of one counter over all CPUs; see `enum rw_counter`.
    fn counter(&self, index: u32) -> Result<u64, Error> {
        let values = self
            .loaded
            .counters()
            .lookup_percpu(&index.to_ne_bytes(), MapFlags::ANY)
            .map_err(step("read the counters"))?;
        Ok(values
            .into_iter()
            .flatten()
            .filter_map(|v| v.try_into().ok().map(u64::from_ne_bytes))
            .fold(0, u64::wrapping_add))
    }

    /// Times that the kernel did not run a program because it was running on that CPU already, and no other program did
    /// its work.
    ///
    /// # Errors
    /// The map could not be read.
    pub fn missed(&self) -> Result<u64, Error> {
        let hot = |c: &&Choice| c.twin != Twin::Again && Probe::HOT.contains(&c.probe);
        let skipped: u64 = (self.plan.probes.iter().filter(hot))
            .filter_map(|&c| self.loaded.program(c))
            .filter_map(|p| recursion_misses(std::os::fd::AsFd::as_fd(p)))
            .sum();
        Ok(skipped.saturating_sub(self.counter(5)?))
    }

    /// Starts a thread that reports requests that ended without a CQE. `None`: these kernels need none.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn sweeper(&self) -> Result<Option<Sweeper>, Error> {
        let creators = MapHandle::try_from(self.loaded.creators()).map(Creators::new).ok();
        let start = |programs: std::io::Result<Programs>| programs.and_then(|p| Sweeper::start(p, creators));
        self.loaded.sweeping().map(start).transpose().map_err(|e| step("start a thread")(e.into()))
    }

    /// What requests in flight refer to. `None`: they refer to nothing until their end.
    #[must_use]
    pub fn pins(&self) -> Option<Pins> {
        MapHandle::try_from(self.loaded.pending()?).map(Pins::new).ok()
    }

    /// Reports requests that ended without a CQE, at once.
    ///
    /// # Errors
    /// The program could not be run.
    pub fn sweep(&mut self) -> Result<(), Error> {
        self.round = self.round.wrapping_add(1);
        let round = self.round;
        let sweep = |programs: std::io::Result<Programs>| programs.and_then(|p| p.sweep(round));
        self.loaded.sweeping().map_or(Ok(()), sweep).map_err(|e| step("sweep the requests in flight")(e.into()))
    }

    /// How many requests are followed now.
    ///
    /// # Errors
    /// The program could not be run.
    pub fn in_flight(&self) -> Result<usize, Error> {
        let Some(program) = self.loaded.in_flight() else { return Ok(self.loaded.waiting()) };
        let output = program.test_run(ProgramInput::default()).map_err(step("count the writes in flight"))?;
        Ok(output.return_value as usize)
    }

    /// Makes the kernel side send every path and task anew: user space forgot them.
    ///
    /// # Errors
    /// The kernel refused the map update.
    pub fn forget(&mut self) -> Result<(), Error> {
        self.epoch = self.epoch.wrapping_add(1);
        self.loaded.set_epoch(self.epoch).map_err(step("forget what was sent"))
    }

    /// Detaches the probes, then tells of every write that is still in flight: through the buffer, or in what this
    /// returns.
    ///
    /// # Errors
    /// The program could not be run.
    pub fn stop(&mut self) -> Result<Vec<Vec<u8>>, Error> {
        self.links.clear();
        let end = |programs: std::io::Result<Programs>| programs.and_then(|p| p.end());
        self.loaded.sweeping().map_or(Ok(()), end).map_err(|e| step("report the requests in flight")(e.into()))?;
        let Some(held) = self.loaded.held() else { return Ok(vec![]) };
        let mut records = vec![];
        let now = Clock::kernel_monotonic();
        for key in held.keys() {
            let record = held.lookup(&key, MapFlags::ANY).map_err(step("read the requests in flight"))?;
            records.extend(record.and_then(|bytes| crate::kernel::wire::in_flight(&bytes, now)));
        }
        Ok(records)
    }
}

/// It was taken out meanwhile.
fn gone(error: libbpf_rs::Error) -> libbpf_rs::Result<()> {
    if error.kind() == libbpf_rs::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// What may help where the kernel permits no load.
fn advice(plan: &Plan, cause: &libbpf_rs::Error, log: &str) -> &'static str {
    // The verifier says what it did; a limit is met before it.
    let denied = cause.kind() == libbpf_rs::ErrorKind::PermissionDenied && !log.contains("processed ");
    if denied && plan.object == Object::Early && !super::facts::may_exceed_limits() {
        return "; before 5.11 BPF counts as locked memory: grant CAP_SYS_RESOURCE as well";
    }
    ""
}

fn recursion_misses(fd: std::os::fd::BorrowedFd<'_>) -> Option<u64> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&fd))).ok()?;
    super::facts::field(&info, "recursion_misses:")?.parse().ok()
}
