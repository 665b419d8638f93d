//! The ring thread: loads, attaches, reads the ring buffer, and stops.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use crate::child::Child;
use crate::event::{EventsLost, LossCause};
use crate::kernel::driver::{self, Options, Session, Storage};
use crate::kernel::health::ProbeHealth;
use crate::kernel::plan::Plan;
use crate::loss::Watch;
use crate::output::Sink;
use crate::pipeline::{Message, Pipeline, Select, Signals, Summary};
use crate::record::Batch;

/// What is traced, and for how long.
#[derive(Debug)]
pub struct Config {
    /// The probes.
    pub plan: Plan,
    /// The kernel side's options.
    pub options: Options,
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
    /// Follow this command and stop with it.
    pub command: Vec<std::ffi::OsString>,
}

/// How it ended.
#[derive(Debug)]
pub struct Outcome {
    /// Sums.
    pub summary: Summary,
    /// The plan that ran.
    pub plan: Plan,
    /// The command's status.
    pub status: Option<ExitStatus>,
    /// Requests that were told without what their submission knows, since the table of requests was full.
    pub untracked: u64,
    /// Processes of the tree that could not be followed.
    pub unfollowed: u64,
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
    /// The pipeline thread panicked.
    #[error("the pipeline thread failed: please report this")]
    Pipeline,
}

/// Bytes of records handed on at a time.
const BATCH: usize = 256 * 1024;
/// Batches on their way to the pipeline.
const QUEUE: usize = 16;
/// Waits between two looks into the ring buffer: short while there is traffic, longer when idle.
const WAIT_BUSY: Duration = Duration::from_millis(2);
const WAIT_IDLE: Duration = Duration::from_millis(20);
/// How often the counters are read and pending writes looked after.
const CARE: Duration = Duration::from_millis(50);
/// How long requests of a command that ended may take to end as well.
const GRACE: Duration = Duration::from_secs(2);

/// Traces until the end that `config` names, a signal, or the end of the command.
///
/// # Errors
/// Nothing stays attached.
pub fn run(config: Config) -> Result<Outcome, Error> {
    let mut storage = Storage::default();
    let mut session = driver::start(&mut storage, &config.plan, &config.options)?;
    for complaint in session.health().iter().filter_map(ProbeHealth::complaint) {
        eprintln!("ringwatch: {complaint}");
    }
    if session.plan().can_be_skipped() {
        eprintln!(
            "ringwatch: on this kernel programs that read by helper can be preempted, and are skipped meanwhile: under load some writes are told late or without their submission, and counted as program_skipped"
        );
    }
    let mut wake = Wake::new().map_err(|e| Error::System("catch signals", e))?;
    let signals = Signals::default();

    let (sender, messages) = mpsc::sync_channel(QUEUE);
    let (spare_sender, spare) = mpsc::channel();
    let pipeline = Pipeline::new(config.sinks, config.select, signals.clone());
    let worker = thread::Builder::new()
        .name("pipeline".to_owned())
        .spawn(move || pipeline.run(&messages, &spare_sender))
        .map_err(|e| Error::System("start a thread", e))?;

    let mut feed = Feed { batch: Batch::default(), sender, spare };
    let traced = trace(&mut session, &mut feed, &mut wake, &signals, &config.limits, config.options.buffer_size);
    drop(feed);
    let summary = worker.join().map_err(|_| Error::Pipeline)?;
    let status = traced?;
    let counters = session.counters()?;
    Ok(Outcome {
        summary,
        plan: session.plan().clone(),
        status,
        untracked: counters.table_full,
        unfollowed: counters.tree_full,
    })
}

fn trace(
    session: &mut Session<'_>,
    feed: &mut Feed,
    wake: &mut Wake,
    signals: &Signals,
    limits: &Limits,
    buffer_size: u32,
) -> Result<Option<ExitStatus>, Error> {
    let feed = std::cell::RefCell::new(feed);
    let ring = session.reader(buffer_size, |record| feed.borrow_mut().record(record))?;
    let mut watch = Watch::default();
    let mut child = match &limits.command[..] {
        [] => {
            eprintln!("ringwatch: tracing (plan: {}), Ctrl-C ends it", session.plan().kind);
            None
        }
        command => {
            let failed = |e| Error::Command(command[0].to_string_lossy().into_owned(), e);
            let child = Child::start(command).map_err(failed)?;
            session.follow(child.pid())?;
            Some(child.release().map_err(failed)?)
        }
    };
    let deadline = limits.duration.map(|d| Instant::now() + d);
    let mut cared = Instant::now();
    let mut wait = WAIT_BUSY;
    let mut status = None;
    loop {
        let n = ring.consume()?;
        if cared.elapsed() >= CARE {
            cared = Instant::now();
            care(session, &feed, &mut watch, signals)?;
        }
        if wake.told() || signals.stop.load(Ordering::Relaxed) || deadline.is_some_and(|d| Instant::now() >= d) {
            break;
        }
        if let Some(running) = &mut child {
            status = running.try_wait().map_err(|e| Error::System("wait for the command", e))?;
            if status.is_some() {
                break;
            }
        }
        feed.borrow_mut().hand_on(n == 0);
        wait = if n > 0 { WAIT_BUSY } else { (wait * 2).min(WAIT_IDLE) };
        let until_end = deadline.map_or(wait, |d| d.saturating_duration_since(Instant::now()));
        wake.wait(wait.min(until_end).max(Duration::from_micros(100)));
    }
    let grace = Instant::now() + GRACE;
    if let (Some(running), None) = (&mut child, status) {
        running.terminate();
        let mut ended = None;
        while ended.is_none() && Instant::now() < grace {
            ring.consume()?;
            ended = running.try_wait().map_err(|e| Error::System("wait for the command", e))?;
            wake.wait(WAIT_BUSY);
        }
        // Ended by the limit or the duration, as asked: that is success, whatever the command says of it.
        status = ended.filter(|_| wake.told());
    } else if status.is_some() {
        // The rings of the command's processes end a little after their processes.
        while session.in_flight()? > 0 && Instant::now() < grace && !wake.told() {
            session.sweep()?;
            ring.consume()?;
            wake.wait(WAIT_BUSY);
        }
    }
    let left = session.stop()?;
    while ring.consume()? > 0 {}
    left.iter().for_each(|record| feed.borrow_mut().record(record));
    care(session, &feed, &mut watch, signals)?;
    feed.borrow_mut().hand_on(true);
    Ok(status)
}

/// Losses to the stream, pending writes to the ring, and what the pipeline asks for.
fn care(
    session: &mut Session<'_>,
    feed: &std::cell::RefCell<&mut Feed>,
    watch: &mut Watch,
    signals: &Signals,
) -> Result<(), Error> {
    let counters = session.counters()?;
    let lost: Vec<EventsLost> = watch.since(&counters, session.missed()).collect();
    if !lost.is_empty() {
        let mut feed = feed.borrow_mut();
        feed.hand_on(false);
        for lost in lost {
            feed.send(Message::Lost(lost));
        }
    }
    if session.needs_sweep() {
        session.sweep()?;
    }
    if signals.forget.swap(false, Ordering::Relaxed) {
        session.forget()?;
    }
    Ok(())
}

/// Copies records into batches for the pipeline. Sending blocks: then the ring fills, the only place that loses.
#[derive(Debug)]
struct Feed {
    batch: Batch,
    sender: SyncSender<Message>,
    spare: Receiver<Batch>,
}

impl Feed {
    fn record(&mut self, record: &[u8]) {
        self.batch.push(record);
        if self.batch.size() >= BATCH {
            self.hand_on(false);
        }
    }

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

/// Signals that end the wait.
#[derive(Debug)]
struct Wake {
    end: Arc<AtomicBool>,
    pipe: UnixStream,
}

impl Wake {
    fn new() -> io::Result<Self> {
        let end = Arc::new(AtomicBool::new(false));
        let (pipe, write) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&end))?;
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        signal_hook::low_level::pipe::register(SIGCHLD, write)?;
        Ok(Self { end, pipe })
    }

    fn told(&self) -> bool {
        self.end.load(Ordering::Relaxed)
    }

    /// Until a signal, at most `time`.
    fn wait(&mut self, time: Duration) {
        let mut bytes = [0; 64];
        if self.pipe.set_read_timeout(Some(time)).is_ok() {
            let _ = self.pipe.read(&mut bytes);
        }
    }
}

/// Whether losses include some that a larger buffer would avoid.
#[must_use]
pub fn was_overrun(summary: &Summary) -> bool {
    summary.losses.iter().any(|l| l.cause == LossCause::RingFull)
}
