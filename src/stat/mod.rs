//! `ringwatch stat`: sums that the kernel side keeps ([`model`]), joined with names ([`report`]), in words
//! ([`findings`]), and as text ([`render`]).

pub mod buckets;
pub mod findings;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod join;
pub mod manual;
pub mod model;
mod pollers;
pub mod render;
pub mod report;

use std::collections::{HashMap, HashSet};
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use globset::GlobSet;

use self::model::Sums;
use self::pollers::Pollers;
use self::render::Layout;
use self::report::{Covered, Names, Report, Span};
use crate::enrich::{ENTRY, Enricher, Pressure, Weigh};
use crate::event::{EventsLost, LossCause, Timestamp};
use crate::here::Here;
use crate::json;
use crate::kernel::driver::{Options, Session};
use crate::kernel::plan::Plan;
use crate::loss::Losses;
use crate::record::{Record, decode, flag};
use crate::time::Clock;
use crate::tracer::{self, Consumer, Error, Followed, Limits};
use crate::wake::Wake;

/// What is counted, and how it is told.
#[derive(Debug)]
pub struct Config {
    /// The probes.
    pub plan: Plan,
    /// The kernel side's options.
    pub options: Options,
    /// For how long.
    pub limits: Limits,
    /// Only files of these paths.
    pub paths: Option<GlobSet>,
    /// Tell so often.
    pub interval: Option<Duration>,
    /// Bytes of strings that are kept.
    pub memory_limit: usize,
    /// As text; `None`: as JSON, one object a line.
    pub layout: Option<Layout>,
}

/// How it ended.
#[derive(Debug)]
pub struct Outcome {
    /// What was followed.
    pub followed: Followed,
    /// Writes that were told.
    pub writes: u64,
    /// What was lost.
    pub losses: Losses,
    /// Of the writes that were told, those in reports whose reader had left.
    pub unread: u64,
    /// What the limit of memory has cost.
    pub pressure: Pressure,
}

/// Counts until the end that `config` names, a signal, or the end of the command.
///
/// # Errors
/// Nothing stays attached.
pub fn run(config: Config) -> Result<Outcome, Error> {
    let mut counter = Counter {
        paths: config.paths,
        interval: config.interval,
        layout: config.layout,
        // Names of rows have the other half.
        enricher: Enricher::default().with_limit(config.memory_limit / 2),
        names: Names { room: config.memory_limit / 2, ..Names::default() },
        late: Sums::default(),
        before: Sums::default(),
        pollers: Pollers::default(),
        losses: Losses::default(),
        lost_before: Losses::default(),
        clock: None,
        taken: None,
        full: false,
        closed: false,
        writes: 0,
        unread: 0,
    };
    let mut wake = Wake::new().map_err(|e| Error::System("catch signals", e))?;
    let followed = tracer::follow(&config.plan, &config.options, &config.limits, &mut counter, &mut wake)?;
    Ok(Outcome {
        followed,
        writes: counter.writes,
        pressure: counter.enricher.pressure(),
        losses: counter.losses,
        unread: counter.unread,
    })
}

/// Times of the first and the last look at the sums.
#[derive(Debug, Clone, Copy)]
struct Times {
    started: Instant,
    last: Instant,
    next: Option<Instant>,
}

/// Sums at a moment.
#[derive(Debug)]
struct Taken {
    sums: Sums,
    at: Instant,
    timestamp: Timestamp,
}

/// Keeps names, and tells of the sums.
#[derive(Debug)]
struct Counter {
    paths: Option<GlobSet>,
    interval: Option<Duration>,
    layout: Option<Layout>,
    enricher: Enricher,
    names: Names,
    /// Writes that the kernel side did not add: those in flight at the end, on early kernels.
    late: Sums,
    before: Sums,
    pollers: Pollers,
    losses: Losses,
    lost_before: Losses,
    clock: Option<Times>,
    /// Waits for the strings that were sent before it.
    taken: Option<Taken>,
    /// So much is remembered that some of it is to be forgotten.
    full: bool,
    closed: bool,
    writes: u64,
    unread: u64,
}

impl Consumer for Counter {
    fn record(&mut self, record: &[u8]) {
        match decode(record) {
            Ok(Record::Write(write)) => self.late.add(&write),
            Ok(record) => {
                if let Record::Task(task) = &record
                    && task.flags & flag::SQPOLL != 0
                {
                    let here = Here::get().id_of(task.tgid, task.pid_ns, task.ns_tgid);
                    here.into_iter().for_each(|pid| self.pollers.watch(pid));
                }
                self.enricher.take(&record, &mut |_| {});
            }
            Err(_) => self.losses.add(EventsLost { count: 1, cause: LossCause::Malformed }),
        }
    }

    fn lost(&mut self, lost: Vec<EventsLost>) {
        lost.into_iter().for_each(|lost| self.losses.add(lost));
    }

    fn pass(&mut self, _: bool) -> Result<(), Error> {
        if self.clock.is_none() {
            let now = Instant::now();
            self.clock = Some(Times { started: now, last: now, next: self.interval.and_then(|i| now.checked_add(i)) });
        }
        self.taken.take().map_or(Ok(()), |taken| self.tell_interval(&taken))
    }

    fn care(&mut self, session: &Session<'_>) -> Result<(), Error> {
        self.pollers.look();
        let due = self.clock.and_then(|c| c.next).is_some_and(|next| Instant::now() >= next);
        if due {
            self.taken = Some(take(session)?);
        }
        // Rows outlive what the enricher remembers.
        if self.enricher.is_full() {
            let sums = Sums::decode(&session.sums()?)?;
            self.name(&sums);
            self.full = true;
        }
        Ok(())
    }

    fn end(&mut self, session: &Session<'_>) -> Result<(), Error> {
        let mut taken = take(session)?;
        taken.sums.merge(&self.late);
        if self.interval.is_some() {
            self.tell_interval(&taken)?;
        }
        self.name(&taken.sums);
        let started = self.clock.map_or(taken.at, |c| c.started);
        let covered = Covered {
            timestamp: taken.timestamp,
            span: Span::Total,
            seconds: (taken.at - started).as_secs_f64(),
            paths: self.paths.as_ref(),
            pollers: self.pollers.total(),
            losses: self.losses.iter().collect(),
        };
        let report = Report::new(&taken.sums, &self.names, covered);
        self.writes = report.totals.writes;
        self.put(&report)
    }

    fn enough(&self) -> bool {
        self.closed
    }

    fn would_forget(&mut self) -> bool {
        std::mem::take(&mut self.full)
    }

    fn forget(&mut self) {
        self.enricher.age(&HashSet::new());
    }
}

fn take(session: &Session<'_>) -> Result<Taken, Error> {
    Ok(Taken { sums: Sums::decode(&session.sums()?)?, at: Instant::now(), timestamp: Clock::wall() })
}

impl Counter {
    /// Keeps the names of all rows.
    fn name(&mut self, sums: &Sums) {
        fn keep<V: Clone + Weigh>(held: &mut HashMap<u64, V>, room: &mut usize, id: u64, of: Option<&V>) {
            let Some(name) = of.filter(|_| !held.contains_key(&id)) else { return };
            if let Some(left) = room.checked_sub(ENTRY + name.weight()) {
                *room = left;
                held.insert(id, name.clone());
            }
        }
        let Names { paths, tasks, room } = &mut self.names;
        for key in sums.files.keys() {
            keep(paths, room, key.path_id, self.enricher.path(key.path_id));
        }
        for &id in sums.tasks.keys() {
            keep(tasks, room, id, self.enricher.task(id));
        }
    }

    fn tell_interval(&mut self, taken: &Taken) -> Result<(), Error> {
        self.name(&taken.sums);
        let Some(clock) = &mut self.clock else { return Ok(()) };
        let seconds = (taken.at - clock.last).as_secs_f64();
        clock.last = taken.at;
        // Those that were missed are not made up for.
        clock.next = self
            .interval
            .zip(clock.next)
            .and_then(|(i, next)| next.max(taken.at.checked_sub(i).unwrap_or(next)).checked_add(i));
        let losses = self.losses.since(&self.lost_before);
        self.lost_before = self.losses.clone();
        let covered = Covered {
            timestamp: taken.timestamp,
            span: Span::Interval,
            seconds,
            paths: self.paths.as_ref(),
            pollers: self.pollers.interval(),
            losses: losses.iter().collect(),
        };
        let report = Report::new(&taken.sums.since(&self.before), &self.names, covered);
        self.before = taken.sums.clone();
        self.put(&report)
    }

    fn put(&mut self, report: &Report) -> Result<(), Error> {
        let text = match self.layout {
            Some(layout) => render::text(report, layout),
            None => json::to_string(report).map_err(|e| Error::Output(e.into()))? + "\n",
        };
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                self.unread = report.totals.writes;
            }
            Err(e) => return Err(Error::Output(e)),
            Ok(()) => {}
        }
        Ok(())
    }
}
