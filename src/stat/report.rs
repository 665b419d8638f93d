//! What is told of the sums: names joined, rows of one name merged. Pure; the JSON Schema describes it.

use std::collections::HashMap;
use std::sync::Arc;

use globset::GlobSet;
use schemars::JsonSchema;
use serde::Serialize;

use super::buckets::{Histogram, Range};
use super::findings::{self, Finding};
use super::join::{error_name, failures, files, processes};
use super::model::{self, Sums};
use crate::event::{Base64, EventsLost, Executor, PathUnknown, Process, Rendered, Text, Timestamp};

/// What a line covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Span {
    /// The time since the line before.
    Interval,
    /// All the time.
    Total,
}

/// Sums of writes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Totals {
    /// Writes that ended, or were in flight when counting stopped.
    pub writes: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Of the time covered.
    pub writes_per_second: f64,
    /// Of the time covered.
    pub bytes_per_second: f64,
    /// Writes that failed.
    pub failed: u64,
    /// Writes whose outcome the kernel did not report, or that were in flight when counting stopped.
    pub unknown: u64,
    /// Writes of fewer bytes than were asked for.
    pub short: u64,
    /// Writes that were handed to io-wq.
    pub punted: u64,
    /// Bytes asked for. Null with --path.
    pub asked: Option<u64>,
}

/// How the ends of writes became known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Completions {
    /// A CQE was posted.
    pub cqe: u64,
    /// The CQE found the CQ ring full and went to the overflow list.
    pub overflow: u64,
    /// Succeeded without a CQE (IOSQE_CQE_SKIP_SUCCESS).
    pub skipped: u64,
    /// Cancelled without a CQE.
    pub link: u64,
    /// The kernel did not report it.
    pub unseen: u64,
    /// Still in flight when counting stopped.
    pub in_flight: u64,
    /// Not followed for want of room, and without a CQE.
    pub untracked: u64,
}

/// A distribution in buckets of at most 3.2 % width: each value has an error of at most 1.6 %.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Distribution {
    /// Values.
    pub count: u64,
    /// Their exact sum.
    pub sum: u64,
    /// Half of the values do not exceed this.
    pub p50: Option<u64>,
    /// 90 % of the values do not exceed this.
    pub p90: Option<u64>,
    /// 99 % of the values do not exceed this.
    pub p99: Option<u64>,
    /// The greatest.
    pub max: Option<u64>,
    /// The buckets that hold something.
    pub buckets: Vec<Bucket>,
    /// The same by powers of two, for the bars.
    #[serde(skip)]
    pub octaves: Vec<Range>,
}

/// Values in a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Bucket {
    /// The least that is counted here.
    pub from: u64,
    /// The greatest.
    pub to: u64,
    /// How many.
    pub count: u64,
}

impl Distribution {
    fn new<const BITS: u32>(histogram: &Histogram<BITS>, sum: u64) -> Self {
        Self {
            count: histogram.count(),
            sum,
            p50: histogram.percentile(50),
            p90: histogram.percentile(90),
            p99: histogram.percentile(99),
            max: histogram.max(),
            buckets: histogram.buckets().map(|b| Bucket { from: b.from, to: b.to, count: b.count }).collect(),
            octaves: histogram.octaves(),
        }
    }
}

/// The share of one executor.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ByExecutor {
    /// Who carried the writes out. Null: nothing did, or it is unknown.
    pub executor: Option<Executor>,
    /// Writes.
    pub writes: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Writes that failed.
    pub failed: u64,
    /// Writes of fewer bytes than were asked for.
    pub short: u64,
    /// Nanoseconds from submission to completion, where both were seen.
    pub latency_ns: Distribution,
    /// Bytes asked for.
    pub size: Distribution,
}

/// Failed writes of one errno.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ByError {
    /// Its name; UNKNOWN: all that have none.
    pub error: String,
    /// Writes.
    pub count: u64,
}

/// Sums of a file, of a process, or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Row {
    /// Writes.
    pub writes: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Sum of the latencies that are known.
    pub latency_ns: u64,
    /// Writes whose latency is known.
    pub timed: u64,
    /// Writes that failed.
    pub failed: u64,
    /// Writes whose outcome the kernel did not report.
    pub unknown: u64,
    /// Writes of fewer bytes than were asked for.
    pub short: u64,
    /// Writes of fewer than 512 bytes.
    pub tiny: u64,
    /// Writes whose CQE found the CQ ring full.
    pub overflows: u64,
    /// Writes that were handed to io-wq.
    pub punted: u64,
    /// Mean latency of those that were handed to io-wq.
    pub punted_mean_ns: Option<u64>,
    /// Mean latency of the others.
    pub inline_mean_ns: Option<u64>,
}

impl From<&model::Row> for Row {
    fn from(row: &model::Row) -> Self {
        let means = row.means();
        Self {
            writes: row.writes,
            bytes: row.bytes,
            latency_ns: row.latency_ns,
            timed: row.writes.saturating_sub(row.untimed),
            failed: row.failed,
            unknown: row.unknown,
            short: row.short,
            tiny: row.tiny,
            overflows: row.overflows,
            punted: row.punted,
            punted_mean_ns: means.punted,
            inline_mean_ns: means.inline,
        }
    }
}

/// What kind of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A block device.
    Block,
    /// A character device.
    Character,
    /// A pipe.
    Pipe,
    /// A socket.
    Socket,
    /// Another, such as an eventfd.
    Other,
    /// The requests named no open file.
    None,
}

impl FileKind {
    pub(super) fn of(key: &model::FileKey) -> Self {
        match key.kind {
            _ if key.path_id == 0 => Self::None,
            0o100_000 => Self::Regular,
            0o060_000 => Self::Block,
            0o020_000 => Self::Character,
            0o010_000 => Self::Pipe,
            0o140_000 => Self::Socket,
            _ => Self::Other,
        }
    }
}

/// Writes to one path, opened in one way.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct File {
    /// As in the events.
    pub path: Option<String>,
    /// The path's exact bytes in base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub path_bytes: Option<Base64>,
    /// Why path is null. Forgotten: more paths were to be kept than --memory-limit holds. --path shows each such row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_unknown: Option<PathUnknown>,
    /// What it is.
    pub kind: FileKind,
    /// Opened with O_DIRECT.
    pub direct: bool,
    /// Its sums.
    #[serde(flatten)]
    pub row: Row,
}

/// Writes of one process, under one name.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ByProcess {
    /// Process id in the host's pid namespace.
    pub host_pid: u32,
    /// Name of the threads.
    pub name: String,
    /// Its exact bytes in base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub name_bytes: Option<Base64>,
    /// Real user id.
    pub uid: u32,
    /// Path of the executable.
    pub executable: Option<String>,
    /// Its exact bytes in base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub executable_bytes: Option<Base64>,
    /// Its sums.
    #[serde(flatten)]
    pub row: Row,
}

/// Failures of one process with one errno.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Failures {
    /// Process id in the host's pid namespace.
    pub host_pid: u32,
    /// Name of the thread.
    pub name: String,
    /// Its exact bytes in base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub name_bytes: Option<Base64>,
    /// The errno.
    pub error: String,
    /// Writes.
    pub count: u64,
    /// Of these, how many were submitted after the first had failed.
    pub later: u64,
}

/// The polling thread of an SQPOLL ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Poller {
    /// Process id in the host's pid namespace.
    pub host_pid: u32,
    /// The polling thread.
    pub host_tid: u32,
    /// The time that it was watched.
    pub watched_ns: u64,
    /// CPU time that it used of that.
    pub cpu_ns: u64,
    /// CPU time in which it found work. Null where the kernel does not report it (before 6.9).
    pub work_ns: Option<u64>,
    /// Writes of its process meanwhile, of whatever ring.
    pub writes: u64,
}

/// Sums of io_uring writes: one line of `ringwatch stat --json`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// The end of the time covered.
    #[schemars(with = "String")]
    pub timestamp: Timestamp,
    /// What is covered.
    pub span: Span,
    /// How long that is.
    pub seconds: f64,
    /// All writes; with --path those to the files that match.
    pub totals: Totals,
    /// By errno, the most frequent first. Null with --path.
    pub errors: Option<Vec<ByError>>,
    /// Null with --path.
    pub completions: Option<Completions>,
    /// By who carried them out. Null with --path.
    pub executors: Option<Vec<ByExecutor>>,
    /// Nanoseconds from submission to completion, of all writes of which both were seen. Null with --path.
    pub latency_ns: Option<Distribution>,
    /// Bytes asked for by each write. Null with --path.
    pub size: Option<Distribution>,
    /// By file, most bytes first.
    pub files: Vec<File>,
    /// Writes to files that found no room in the kernel side's table, exactly. --path cannot select among them.
    pub files_other: Row,
    /// By process, most bytes first. Null with --path.
    pub processes: Option<Vec<ByProcess>>,
    /// Writes of threads that found no room in the kernel side's table, exactly. Null with --path.
    pub processes_other: Option<Row>,
    /// Failures by process and errno. Null with --path.
    pub failures: Option<Vec<Failures>>,
    /// Polling threads of SQPOLL rings that wrote.
    pub pollers: Vec<Poller>,
    /// What the numbers say.
    pub findings: Vec<Finding>,
    /// Writes that are in none of these sums.
    pub losses: Vec<EventsLost>,
}

/// What ids stand for.
#[derive(Debug)]
pub struct Names {
    /// Paths.
    pub paths: HashMap<u64, Text>,
    /// Threads.
    pub tasks: HashMap<u64, Arc<Rendered<Process>>>,
    /// Bytes that may still be added.
    pub room: usize,
}

impl Default for Names {
    fn default() -> Self {
        Self { paths: HashMap::new(), tasks: HashMap::new(), room: usize::MAX }
    }
}

/// What a report covers besides the sums.
#[derive(Debug)]
pub struct Covered<'a> {
    /// The end of the time.
    pub timestamp: Timestamp,
    /// What time.
    pub span: Span,
    /// How long it is.
    pub seconds: f64,
    /// Only files of these paths.
    pub paths: Option<&'a GlobSet>,
    /// SQPOLL threads; their processes' writes are filled in.
    pub pollers: Vec<Poller>,
    /// What was lost.
    pub losses: Vec<EventsLost>,
}

const EXECUTORS: [Option<Executor>; model::CLASSES] =
    [Some(Executor::Submitter), Some(Executor::IoWq), Some(Executor::Sqpoll), Some(Executor::Kernel), None];

impl Report {
    /// Joins the sums with names.
    #[must_use]
    pub fn new(sums: &Sums, names: &Names, covered: Covered<'_>) -> Self {
        let (files, selected) = files(sums, names, covered.paths);
        let mut report = Self {
            timestamp: covered.timestamp,
            span: covered.span,
            seconds: covered.seconds,
            totals: Totals::default(),
            errors: None,
            completions: None,
            executors: None,
            latency_ns: None,
            size: None,
            files,
            files_other: (&sums.other_files).into(),
            processes: None,
            processes_other: None,
            failures: None,
            pollers: vec![],
            findings: vec![],
            losses: covered.losses,
        };
        if covered.paths.is_none() {
            report.all(sums);
            let processes = processes(sums, names);
            report.pollers = covered.pollers;
            for poller in &mut report.pollers {
                let of_process = processes.iter().filter(|p| p.host_pid == poller.host_pid);
                poller.writes = of_process.map(|p| p.row.writes).sum();
            }
            report.processes = Some(processes);
            report.processes_other = Some((&sums.other_tasks).into());
            report.failures = Some(failures(sums, names));
        } else {
            report.totals = Totals {
                writes: selected.writes,
                bytes: selected.bytes,
                failed: selected.failed,
                unknown: selected.unknown,
                short: selected.short,
                punted: selected.punted,
                ..Totals::default()
            };
        }
        let rate = |n: u64| if covered.seconds > 0.0 { n as f64 / covered.seconds } else { 0.0 };
        report.totals.writes_per_second = rate(report.totals.writes);
        report.totals.bytes_per_second = rate(report.totals.bytes);
        report.findings = findings::of(&report);
        report
    }

    /// What is not known by file.
    fn all(&mut self, sums: &Sums) {
        let mut all = model::Class::default();
        let mut executors = vec![];
        for (class, executor) in sums.classes.iter().zip(EXECUTORS) {
            all.merge(class);
            if class.writes() > 0 {
                executors.push(ByExecutor {
                    executor,
                    writes: class.writes(),
                    bytes: class.bytes,
                    failed: class.errors.0.iter().sum(),
                    short: class.short,
                    latency_ns: Distribution::new(&class.latency, class.latency_ns),
                    size: Distribution::new(&class.sizes, class.asked),
                });
            }
        }
        let [cqe, overflow, skipped, link, unseen, in_flight, untracked] = all.ends;
        self.totals = Totals {
            writes: all.writes(),
            bytes: all.bytes,
            failed: all.errors.0.iter().sum(),
            unknown: unseen + in_flight + untracked,
            short: all.short,
            punted: all.punted,
            asked: Some(all.asked),
            ..Totals::default()
        };
        let counted = all.errors.0.iter().enumerate().filter(|&(_, &count)| count > 0);
        let mut errors: Vec<_> =
            counted.map(|(errno, &count)| ByError { error: error_name(errno as u32), count }).collect();
        errors.sort_by_key(|e| std::cmp::Reverse(e.count));
        self.errors = Some(errors);
        self.completions = Some(Completions { cqe, overflow, skipped, link, unseen, in_flight, untracked });
        self.executors = Some(executors);
        self.latency_ns = Some(Distribution::new(&all.latency, all.latency_ns));
        self.size = Some(Distribution::new(&all.sizes, all.asked));
    }
}
