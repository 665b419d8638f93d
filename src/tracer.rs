//! The ring thread: loads, attaches, reads the ring buffer, and stops.

use std::cell::RefCell;
use std::io;
use std::process::ExitStatus;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use crate::child::{Child, Running};
use crate::enrich::Enricher;
use crate::event::EventsLost;
use crate::kernel::driver::{self, Options, Reader, Session, Storage, Sweeper};
use crate::kernel::health::ProbeHealth;
use crate::kernel::plan::Plan;
use crate::loss::Watch;
use crate::output::{Sink, are_standard_streams_one};
use crate::pipeline::{Message, Pipeline, Select, Signals, Summary};
use crate::record::{Batch, Malformed};
use crate::wake::Wake;
use crate::watched::Watched;
use crate::{complain, detail, say};

/// What is traced, and for how long.
#[derive(Debug)]
pub struct Config {
    /// The probes.
    pub plan: Plan,
    /// The kernel side's options.
    pub options: Options,
    /// Joins what the kernel side tells.
    pub enricher: Enricher,
    /// Which events are shown.
    pub select: Select,
    /// Where they go.
    pub sinks: Vec<Sink>,
    /// For how long.
    pub limits: Limits,
}

/// What ends a trace.
#[derive(Debug, Default)]
pub struct Limits {
    /// Stop after this time.
    pub duration: Option<Duration>,
    /// Follow this command and stop with it, and with what it started.
    pub command: Vec<std::ffi::OsString>,
    /// What the command prints goes to standard error, since standard output is for data.
    pub apart: bool,
    /// The command is ended with the trace.
    pub kill: bool,
    /// Stop when all of these have ended.
    pub watched: Vec<Watched>,
}

/// How a trace ended.
#[derive(Debug)]
pub struct Outcome {
    /// Sums.
    pub summary: Summary,
    /// What was followed.
    pub followed: Followed,
}

/// Why tracing failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel side.
    #[error(transparent)]
    Driver(#[from] driver::Error),
    /// Signals or threads.
    #[error("cannot {0}: {1}")]
    System(&'static str, io::Error),
    /// The command could not be started.
    #[error("cannot run {0}: {1}")]
    Command(String, io::Error),
    /// The maps of the kernel side are not what they should be.
    #[error("cannot read the kernel side's sums: {0}; please report this")]
    Sums(#[from] Malformed),
    /// Standard output.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// The pipeline thread panicked.
    #[error("the pipeline thread failed: please report this")]
    Pipeline,
}

/// Bytes of records handed on at a time.
const BATCH: usize = 256 * 1024;
/// Batches on their way to the pipeline.
const QUEUE: usize = 32;
/// Batches that are kept to be filled again.
const SPARE: usize = 8;
/// Waits between two looks into the ring buffer: short while there is traffic, longer when idle.
const WAIT_BUSY: Duration = Duration::from_millis(2);
const WAIT_IDLE: Duration = Duration::from_millis(20);
/// Records of a look after which the next follows at once: a timer's delay would be long in comparison.
const FLOOD: usize = 4096;
/// How often the counters are read.
const CARE: Duration = Duration::from_millis(50);
/// A request that ended without a CQE is found by the third look at the latest: one sees it, one its end, and one tells.
const LAST_LOOKS: u32 = 3;
/// How long requests of a command that ended may take to end as well.
const GRACE: Duration = Duration::from_secs(2);

/// Gets what the loop reads.
pub trait Consumer {
    /// A record.
    fn record(&mut self, record: &[u8]);

    /// Writes that were lost.
    fn lost(&mut self, lost: Vec<EventsLost>);

    /// The buffer was read; `idle`: nothing was there.
    ///
    /// # Errors
    /// Ends the loop.
    fn pass(&mut self, idle: bool) -> Result<(), Error>;

    /// Called every 50 ms.
    ///
    /// # Errors
    /// Ends the loop.
    fn care(&mut self, session: &Session<'_>) -> Result<(), Error>;

    /// After the last record and the last loss; the probes are detached.
    ///
    /// # Errors
    /// What was seen cannot be told.
    fn end(&mut self, session: &Session<'_>) -> Result<(), Error>;

    /// Whether it wants no more.
    fn enough(&self) -> bool;

    /// Whether it wants to forget strings, and needs them anew.
    fn would_forget(&mut self) -> bool;

    /// The kernel side sends all strings anew, and every record from before was given: those that refer to older strings
    /// need none but those of this time and the time before.
    fn forget(&mut self);
}

/// What is followed, and how it ended.
#[derive(Debug)]
pub struct Followed {
    /// The plan that ran.
    pub plan: Plan,
    /// The command's status.
    pub status: Option<ExitStatus>,
    /// Requests that were not followed from their submission on, since the table of requests was full.
    pub untracked: u64,
    /// Processes of the tree that could not be followed.
    pub unfollowed: u64,
    /// Processes of the tree that were there at the end.
    pub left: usize,
    /// The command itself is one of them.
    pub running: Option<u32>,
    /// It was asked to end.
    pub killed: bool,
}

/// Traces until the end that `config` names, a signal, or the end of the command.
///
/// # Errors
/// Nothing stays attached.
pub fn run(config: Config) -> Result<Outcome, Error> {
    let signals = Signals::default();
    let mut wake = Wake::new().map_err(|e| Error::System("catch signals", e))?;
    let (sender, messages) = mpsc::sync_channel(QUEUE);
    let (spare_sender, spare) = mpsc::sync_channel(SPARE);
    let pipeline = Pipeline::new(config.enricher, config.sinks, config.select, signals.clone());
    let worker = thread::Builder::new()
        .name("pipeline".to_owned())
        .spawn(move || pipeline.run(&messages, &spare_sender))
        .map_err(|e| Error::System("start a thread", e))?;
    let mut feed = Feed { batch: Batch::default(), sender, spare, signals };
    let followed = follow(&config.plan, &config.options, &config.limits, &mut feed, &mut wake);
    drop(feed);
    let summary = worker.join().map_err(|_| Error::Pipeline)?;
    Ok(Outcome { summary, followed: followed? })
}

/// Loads and attaches `plan`, and feeds `consumer` until the end that `limits` name, a signal, or the end of the
/// command. `wake` lives until everything was written.
///
/// # Errors
/// Nothing stays attached.
pub fn follow<C: Consumer>(
    plan: &Plan,
    options: &Options,
    limits: &Limits,
    consumer: &mut C,
    wake: &mut Wake,
) -> Result<Followed, Error> {
    let mut storage = Storage::default();
    let mut session = driver::start(&mut storage, plan, options)?;
    for complaint in session.health().iter().filter_map(ProbeHealth::complaint) {
        complain!("{complaint}");
    }
    if session.plan().can_be_skipped() {
        say!(
            "on this kernel programs that read by helper can be preempted, and are skipped meanwhile: under load some writes are told late or without their submission, and counted as program_skipped"
        );
    }
    describe(&session);
    let (status, left, running) = trace(&mut session, consumer, wake, limits, options.buffer_size)?;
    let counters = session.counters()?;
    Ok(Followed {
        plan: session.plan().clone(),
        status,
        untracked: counters.table_full,
        unfollowed: counters.tree_full,
        left,
        running,
        killed: limits.kill,
    })
}

/// How it is traced.
fn describe(session: &Session<'_>) {
    let plan = session.plan();
    detail!("plan {}: {}", plan.kind, plan.why);
    for health in session.health() {
        detail!("probe {}: {}", health.probe.place(), health.outcome());
    }
    for capability in session.capabilities() {
        detail!("reports {}: {} ({})", capability.name, if capability.yes { "yes" } else { "no" }, capability.how);
    }
}

fn trace<C: Consumer>(
    session: &mut Session<'_>,
    consumer: &mut C,
    wake: &mut Wake,
    limits: &Limits,
    buffer_size: u32,
) -> Result<(Option<ExitStatus>, usize, Option<u32>), Error> {
    let consumer = RefCell::new(consumer);
    let ring = session.reader(buffer_size, |record| consumer.borrow_mut().record(record))?;
    let sweeper = session.sweeper()?;
    let mut watch = Watch::default();
    let mut child = match &limits.command[..] {
        [] => {
            say!("tracing (plan: {}), Ctrl-C ends it", session.plan().kind);
            None
        }
        command => {
            let failed = |e| Error::Command(command[0].to_string_lossy().into_owned(), e);
            if limits.apart {
                apart();
            }
            let child = Child::start(command, limits.apart).map_err(failed)?;
            session.follow(child.pid())?;
            // Ctrl-C may come as soon as the command runs.
            wake.guest.set(true);
            Some(child.release().map_err(failed)?)
        }
    };
    let deadline = limits.duration.and_then(|d| Instant::now().checked_add(d));
    let mut cared = Instant::now();
    let mut wait = WAIT_BUSY;
    let mut status = None;
    let mut ended_at: Option<Instant> = None;
    let mut gone = false;
    loop {
        let n = ring.consume()?;
        forget(session, &ring, &consumer)?;
        if cared.elapsed() >= CARE {
            cared = Instant::now();
            care(session, &consumer, &mut watch)?;
            if !limits.watched.is_empty() && limits.watched.iter().all(Watched::has_ended) {
                let ids: Vec<_> = limits.watched.iter().map(|watched| watched.id.to_string()).collect();
                say!("{} ended, and the trace with {}", ids.join(", "), if ids.len() > 1 { "them" } else { "it" });
                gone = true;
                break;
            }
        }
        if wake.told() || consumer.borrow().enough() || deadline.is_some_and(|d| Instant::now() >= d) {
            break;
        }
        if let Some(running) = &mut child {
            if status.is_none() {
                status = running.try_wait().map_err(|e| Error::System("wait for the command", e))?;
                wake.guest.set(status.is_none());
                if wake.guest.was_interrupted() && status.is_none() {
                    say!("the command got Ctrl-C as well, and is traced until it ends: Ctrl-C again ends the trace");
                }
            }
            // As strace -f: to the end of the last process.
            if status.is_some() && ended_at.is_none_or(|at| at.elapsed() >= CARE) {
                let left = session.followed()?;
                if left == 0 {
                    break;
                }
                if ended_at.is_none() {
                    say!(
                        "the command ended, and {left} processes that it started go on and are followed: Ctrl-C ends that"
                    );
                }
                ended_at = Some(Instant::now());
            }
        }
        consumer.borrow_mut().pass(n == 0)?;
        if n >= FLOOD {
            continue;
        }
        wait = if n > 0 { WAIT_BUSY } else { (wait * 2).min(WAIT_IDLE) };
        let until_end = deadline.map_or(wait, |d| d.saturating_duration_since(Instant::now()));
        wake.wait(wait.min(until_end).max(Duration::from_micros(100)));
    }
    // Events that nobody wants any more are not missed, however long it takes to end.
    let enough = consumer.borrow().enough();
    if enough {
        care(session, &consumer, &mut watch)?;
    }
    sweeper.map_or(Ok(()), Sweeper::stop).map_err(|e| Error::System("look after requests without a CQE", e))?;
    let grace = Instant::now() + GRACE;
    if let (Some(command), None) = (&mut child, status) {
        status = command.try_wait().map_err(|e| Error::System("wait for the command", e))?;
    }
    let mut running = child.as_ref().filter(|_| status.is_none()).map(Running::id);
    if let (Some(command), Some(_), true) = (&mut child, running, limits.kill) {
        command.terminate();
        while running.is_some() && Instant::now() < grace {
            ring.consume()?;
            let ended = command.try_wait().map_err(|e| Error::System("wait for the command", e))?;
            running = running.filter(|_| ended.is_none());
            wake.wait(WAIT_BUSY);
        }
    } else if status.is_some() || gone {
        // The rings of the processes end a little after their processes.
        while session.in_flight()? > 0 && Instant::now() < grace && !wake.told() {
            session.sweep()?;
            ring.consume()?;
            wake.wait(WAIT_BUSY);
        }
    }
    let processes = if child.is_some() { session.followed()? } else { 0 };
    // What ended without a CQE just before is no request in flight.
    for _ in 0..LAST_LOOKS {
        session.sweep()?;
        ring.consume()?;
    }
    let left = session.stop()?;
    while ring.consume()? > 0 {}
    left.iter().for_each(|record| consumer.borrow_mut().record(record));
    if !enough {
        care(session, &consumer, &mut watch)?;
    }
    consumer.borrow_mut().end(session)?;
    Ok((status, processes, running))
}

/// Says where the output of a command goes, unless all of it is on a terminal.
fn apart() {
    use std::io::IsTerminal as _;
    if io::stdout().is_terminal() && io::stderr().is_terminal() {
        return;
    }
    let same = if are_standard_streams_one() { ", which is the same file: lines of both may mix" } else { "" };
    say!("standard output is for data: what the command prints there goes to standard error{same}");
}

/// Losses.
fn care<C: Consumer>(session: &mut Session<'_>, consumer: &RefCell<&mut C>, watch: &mut Watch) -> Result<(), Error> {
    let counters = session.counters()?;
    let lost: Vec<EventsLost> = watch.since(&counters, session.missed()?).collect();
    let mut consumer = consumer.borrow_mut();
    if !lost.is_empty() {
        consumer.lost(lost);
    }
    consumer.care(session)?;
    Ok(())
}

/// Makes room for strings where the consumer wants it. What the kernel side sent before it knew is read first.
fn forget<C: Consumer>(session: &mut Session<'_>, ring: &Reader<'_>, consumer: &RefCell<&mut C>) -> Result<(), Error> {
    if !consumer.borrow_mut().would_forget() {
        return Ok(());
    }
    session.forget()?;
    ring.consume()?;
    consumer.borrow_mut().forget();
    Ok(())
}

/// Copies records into batches for the pipeline. Sending blocks: then the ring fills, the only place that loses.
#[derive(Debug)]
struct Feed {
    batch: Batch,
    sender: SyncSender<Message>,
    spare: Receiver<Batch>,
    signals: Signals,
}

impl Consumer for Feed {
    fn record(&mut self, record: &[u8]) {
        self.batch.push(record);
        if self.batch.size() >= BATCH {
            self.hand_on(false);
        }
    }

    fn lost(&mut self, lost: Vec<EventsLost>) {
        self.hand_on(false);
        for lost in lost {
            self.send(Message::Lost(lost));
        }
    }

    fn pass(&mut self, idle: bool) -> Result<(), Error> {
        self.hand_on(idle);
        Ok(())
    }

    fn care(&mut self, session: &Session<'_>) -> Result<(), Error> {
        if self.signals.pins.get().is_none()
            && let Some(pins) = session.pins()
        {
            // Nobody else sets it.
            let _ = self.signals.pins.set(pins);
        }
        Ok(())
    }

    fn end(&mut self, _: &Session<'_>) -> Result<(), Error> {
        self.hand_on(true);
        Ok(())
    }

    fn enough(&self) -> bool {
        self.signals.stop.load(Ordering::Relaxed)
    }

    fn would_forget(&mut self) -> bool {
        self.signals.forget.swap(false, Ordering::Relaxed)
    }

    fn forget(&mut self) {
        self.hand_on(false);
        self.send(Message::Forgotten);
    }
}

impl Feed {
    fn hand_on(&mut self, flush: bool) {
        if !self.batch.is_empty() {
            let next = self.spare.try_recv().unwrap_or_default();
            let full = std::mem::replace(&mut self.batch, next);
            self.send(Message::Records(full));
        }
        if flush {
            self.send(Message::Flush);
        }
    }

    fn send(&self, message: Message) {
        // The pipeline lives as long as this end; only its panic closes the channel, and that is told at join.
        let _ = self.sender.send(message);
    }
}
