//! The pipeline thread: records in, events out to every sink.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, OnceLock};

use crate::complain;
use crate::enrich::{Enricher, Pressure};
use crate::event::{Data, Event, EventsLost, LossCause};
use crate::filter::{Filter, Verdict};
use crate::kernel::driver::Pins;
use crate::loss::Losses;
use crate::output::{Sink, Trouble};
use crate::record::{Batch, decode};
use crate::time::Clock;

/// What the ring thread sends.
#[derive(Debug)]
pub enum Message {
    /// Records, in order.
    Records(Batch),
    /// Losses that the kernel side counted.
    Lost(EventsLost),
    /// The kernel side sends all strings anew, and what it sent before was in the records until now.
    Forgotten,
    /// Nothing more for now: show what there is.
    Flush,
}

/// What the pipeline tells the ring thread.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// Enough: the limit is reached, or nobody reads any more.
    pub stop: Arc<AtomicBool>,
    /// There are too many strings: the kernel side is to send them anew, so that those of before can be forgotten.
    pub forget: Arc<AtomicBool>,
    /// What requests in flight refer to; set once probes are attached.
    pub pins: Arc<OnceLock<Pins>>,
}

/// Which events are shown.
#[derive(Debug, Default)]
pub struct Select {
    /// What must hold of them.
    pub filter: Filter,
    /// At most this many.
    pub limit: Option<u64>,
}

/// What was done in the end.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Events written.
    pub events: u64,
    /// Events that the filter left out.
    pub filtered: u64,
    /// Events that it showed since it could not judge them.
    pub unjudged: u64,
    /// Losses by cause.
    pub losses: Losses,
    /// Outputs whose reader left, and at least how many events each did not get.
    pub unread: BTreeMap<String, u64>,
    /// What the limit of memory has cost.
    pub pressure: Pressure,
}

/// The state of the thread.
#[derive(Debug)]
pub struct Pipeline {
    enricher: Enricher,
    outputs: Outputs,
    signals: Signals,
    /// `forget` was asked for, and is not done yet.
    asked: bool,
    /// Of requests that were in flight when it was asked for. What they refer to and was not sent since stays known: what
    /// later ones refer to was.
    pinned: HashSet<u64>,
}

impl Pipeline {
    /// Ready to run.
    #[must_use]
    pub fn new(enricher: Enricher, sinks: Vec<Sink>, select: Select, signals: Signals) -> Self {
        let stop = Arc::clone(&signals.stop);
        let outputs = Outputs { sinks, select, stop, summary: Summary::default(), complained: vec![] };
        Self { enricher, outputs, signals, asked: false, pinned: HashSet::new() }
    }

    /// Works until the ring thread hangs up. Empty batches go back through `spare`.
    #[must_use]
    pub fn run(mut self, messages: &Receiver<Message>, spare: &SyncSender<Batch>) -> Summary {
        for message in messages {
            match message {
                Message::Records(mut batch) => {
                    self.records(&batch);
                    batch.clear();
                    // What is too many is freed.
                    let _ = spare.try_send(batch);
                }
                Message::Lost(lost) => self.outputs.lost(lost),
                Message::Forgotten => {
                    self.enricher.age(&std::mem::take(&mut self.pinned));
                    self.asked = false;
                }
                Message::Flush => {
                    self.outputs.each(Sink::flush);
                    self.enricher.refresh_clock();
                }
            }
        }
        self.outputs.each(Sink::finish);
        Summary { pressure: self.enricher.pressure(), ..self.outputs.summary }
    }

    fn records(&mut self, batch: &Batch) {
        for bytes in batch.iter() {
            // What comes after the last event that was asked for must not hold up those who send it.
            if self.outputs.is_complete() {
                return;
            }
            match decode(bytes) {
                Ok(record) => self.enricher.take(&record, &mut |event| self.outputs.event(event)),
                Err(_) => self.outputs.lost(EventsLost { count: 1, cause: LossCause::Malformed }),
            }
        }
        if self.enricher.is_full() && !self.asked {
            self.asked = true;
            self.pinned = self.signals.pins.get().map(Pins::ids).unwrap_or_default();
            self.signals.forget.store(true, Ordering::Relaxed);
        }
    }
}

/// Where events go, and how many went.
#[derive(Debug)]
struct Outputs {
    sinks: Vec<Sink>,
    select: Select,
    stop: Arc<AtomicBool>,
    summary: Summary,
    /// Outputs that failed before, so that a full disk is reported once.
    complained: Vec<String>,
}

impl Outputs {
    fn event(&mut self, event: &Event) {
        let verdict = self.select.filter.judge(event);
        if verdict == Verdict::FitsNot {
            self.summary.filtered += 1;
            return;
        }
        if self.is_complete() {
            return;
        }
        self.summary.events += 1;
        self.summary.unjudged += u64::from(verdict == Verdict::Unknown);
        self.put(event);
        if self.select.limit == Some(self.summary.events) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    /// There are as many events as were asked for.
    fn is_complete(&self) -> bool {
        self.select.limit.is_some_and(|limit| self.summary.events >= limit)
    }

    fn lost(&mut self, lost: EventsLost) {
        self.summary.losses.add(lost);
        self.put(&Event { timestamp: Clock::wall(), data: Data::EventsLost(lost), process: None });
    }

    fn put(&mut self, event: &Event) {
        self.each(|sink| sink.put(event));
    }

    fn each(&mut self, mut work: impl FnMut(&mut Sink) -> Result<(), Trouble>) {
        let mut failed = 0;
        for sink in &mut self.sinks {
            match work(sink) {
                Ok(()) => {}
                Err(Trouble::Closed { events }) => {
                    *self.summary.unread.entry(sink.name().to_owned()).or_default() += events;
                    self.stop.store(true, Ordering::Relaxed);
                }
                Err(Trouble::Failed { events, error }) => {
                    failed += events;
                    if !self.complained.iter().any(|name| name == sink.name()) {
                        complain!("cannot write to {}: {error}; tracing goes on", sink.name());
                        self.complained.push(sink.name().to_owned());
                    }
                }
            }
        }
        if failed > 0 {
            self.summary.losses.add(EventsLost { count: failed, cause: LossCause::Output });
        }
    }
}
