//! What the numbers say, in words: pure rules. Each speaks only when the data carries it, with its numbers and what
//! could be done.

use schemars::JsonSchema;
use serde::Serialize;

use super::model::TINY;
use super::report::{ByExecutor, Failures, File, FileKind, Poller, Report};
use crate::event::Executor;
use crate::output::text::{grouped, nanoseconds};

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Buffered writes that io-wq workers had to carry out.
    PuntedBuffered,
    /// O_DIRECT writes that io-wq workers had to carry out.
    PuntedDirect,
    /// Writes of a few bytes each.
    Tiny,
    /// Writes of fewer bytes than were asked for.
    Short,
    /// Completions that found the CQ ring full.
    CqOverflow,
    /// The program goes on in spite of errors.
    IgnoredErrors,
    /// An SQPOLL thread polls for little work.
    SqpollIdle,
    /// An SQPOLL thread always has work.
    SqpollSaturated,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// What it is about.
    pub kind: Kind,
    /// How many writes; for SQPOLL threads the nanoseconds of work or polling.
    pub count: u64,
    /// Of how many.
    pub of: u64,
    /// In words.
    pub text: String,
}

/// Shares of fewer writes say nothing.
const FEW: u64 = 64;
/// Files that one rule speaks of.
const MOST: usize = 3;
/// Failures after the first of their kind.
const IGNORED: u64 = 16;
/// An SQPOLL thread that was watched for less says nothing.
const WATCHED_NS: u64 = 500_000_000;
/// Writes a second that are worth a polling thread, where the kernel does not tell the time of its work.
const WORTH_POLLING: u64 = 1000;

/// All of a report.
#[must_use]
pub fn of(report: &Report) -> Vec<Finding> {
    let mut all = vec![];
    all.extend(top(report, |f| f.row.punted).filter_map(|f| punted(report, f)).take(MOST));
    all.extend(top(report, |f| f.row.tiny).filter_map(tiny).take(MOST));
    all.extend(top(report, |f| f.row.short).filter_map(short).take(MOST));
    all.extend(overflow(report));
    all.extend(report.failures.iter().flatten().filter_map(ignored).take(MOST));
    all.extend(report.pollers.iter().filter_map(|p| poller(p, report.seconds)).take(MOST));
    all
}

/// Files by a number, the greatest first.
fn top(report: &Report, number: impl Fn(&File) -> u64) -> impl Iterator<Item = &File> {
    let mut files: Vec<_> = report.files.iter().collect();
    files.sort_by_key(|f| std::cmp::Reverse(number(f)));
    files.into_iter()
}

fn is_stored(file: &File) -> bool {
    matches!(file.kind, FileKind::Regular | FileKind::Block)
}

fn name(file: &File) -> &str {
    file.path.as_deref().unwrap_or("a file without a name")
}

fn percent(part: u64, of: u64) -> u64 {
    u64::try_from(u128::from(part) * 100 / u128::from(of.max(1))).unwrap_or(100)
}

fn punted(report: &Report, file: &File) -> Option<Finding> {
    let row = &file.row;
    if !is_stored(file) || row.writes < FEW || row.punted * 2 < row.writes {
        return None;
    }
    let (kind, how, advice) = if file.direct {
        let why = "they allocate or extend the file, the device's queue is full, or the program sets IOSQE_ASYNC; \
                   preallocate with fallocate(2)";
        (Kind::PuntedDirect, "O_DIRECT", why)
    } else {
        let why = "this file system does not do such buffered writes without blocking, or the program sets \
                   IOSQE_ASYNC; use O_DIRECT or preallocate";
        (Kind::PuntedBuffered, "buffered", why)
    };
    let others = row.writes - row.punted;
    let took = typical(report, Executor::IoWq, row.punted, row.punted_mean_ns);
    let inline = typical(report, Executor::Submitter, others, row.inline_mean_ns);
    let took = match (took, inline) {
        (Some(took), Some(inline)) => format!(" ({took} against {inline} inline)"),
        (Some(took), None) => format!(" ({took})"),
        _ => String::new(),
    };
    let text = format!(
        "{} % of {} {how} writes to {} were punted to io-wq{took}: {advice}",
        percent(row.punted, row.writes),
        grouped(row.writes),
        name(file)
    );
    Some(Finding { kind, count: row.punted, of: row.writes, text })
}

/// The median of the executor's writes where nearly all of them are these, otherwise the mean of these.
fn typical(report: &Report, executor: Executor, writes: u64, mean: Option<u64>) -> Option<String> {
    let all = report.executors.iter().flatten().find(|e: &&ByExecutor| e.executor == Some(executor));
    match all.filter(|all| writes * 10 >= all.writes * 9 && all.writes * 10 >= writes * 9) {
        Some(ByExecutor { latency_ns, .. }) if writes > 0 && latency_ns.p50.is_some() => {
            latency_ns.p50.map(|p50| format!("median {}", nanoseconds(p50)))
        }
        _ => mean.map(|mean| format!("mean {}", nanoseconds(mean))),
    }
}

fn tiny(file: &File) -> Option<Finding> {
    let row = &file.row;
    if !is_stored(file) || row.writes < 4 * FEW || row.tiny * 10 < row.writes * 9 {
        return None;
    }
    let written = row.writes.saturating_sub(row.failed + row.unknown);
    let text = format!(
        "{} % of {} writes to {} had fewer than {TINY} bytes (mean {}): each pays for a whole request; gather them in \
         one buffer, or in one WRITEV",
        percent(row.tiny, row.writes),
        grouped(row.writes),
        name(file),
        row.bytes.checked_div(written)?
    );
    Some(Finding { kind: Kind::Tiny, count: row.tiny, of: row.writes, text })
}

fn short(file: &File) -> Option<Finding> {
    let row = &file.row;
    if row.short == 0 {
        return None;
    }
    let why = match file.kind {
        FileKind::Pipe | FileKind::Socket => "its buffer was full",
        _ => "the disk was nearly full, a limit was reached, or part of the memory could not be read",
    };
    let text = format!(
        "{} of {} writes to {} were short: {why}; the program must write the rest itself",
        grouped(row.short),
        grouped(row.writes),
        name(file)
    );
    Some(Finding { kind: Kind::Short, count: row.short, of: row.writes, text })
}

fn overflow(report: &Report) -> Option<Finding> {
    let count = match &report.completions {
        Some(completions) => completions.overflow,
        None => report.files.iter().map(|f| f.row.overflows).sum(),
    };
    if count == 0 {
        return None;
    }
    let most = report.processes.iter().flatten().max_by_key(|p| p.row.overflows).filter(|p| p.row.overflows > 0);
    let most = most
        .map_or_else(String::new, |p| format!(", {} of them of {} ({})", grouped(p.row.overflows), p.name, p.host_pid));
    let of = report.totals.writes;
    let text = format!(
        "{} of {} completions found the CQ ring full and went to the overflow list{most}: reap completions more often, \
         or make the ring larger with IORING_SETUP_CQSIZE",
        grouped(count),
        grouped(of)
    );
    Some(Finding { kind: Kind::CqOverflow, count, of, text })
}

fn ignored(failures: &Failures) -> Option<Finding> {
    // Programs go on after these on purpose.
    let expected = matches!(failures.error.as_str(), "EAGAIN" | "EINTR" | "ECANCELED");
    if expected || failures.later < IGNORED {
        return None;
    }
    let text = format!(
        "{} writes of {} ({}) failed with {}, {} of them submitted after the first had failed: the program may be \
         ignoring the error",
        grouped(failures.count),
        failures.name,
        failures.host_pid,
        failures.error,
        grouped(failures.later)
    );
    Some(Finding { kind: Kind::IgnoredErrors, count: failures.later, of: failures.count, text })
}

/// The writes are those of `seconds`, of which the thread was watched for a part.
fn poller(poller: &Poller, seconds: f64) -> Option<Finding> {
    let watched = poller.watched_ns;
    if watched < WATCHED_NS {
        return None;
    }
    let cpu = percent(poller.cpu_ns, watched);
    let rate = (poller.writes as f64 / seconds.max(0.001)).round() as u64;
    let work = poller.work_ns.map(|work| percent(work, watched));
    let thread = format!("the SQPOLL thread {} of process {}", poller.host_tid, poller.host_pid);
    if work.is_some_and(|work| work >= 90) {
        let text = format!(
            "{thread} had work for {} % of the time, at {} writes/s: it is the limit of its rings; give it a CPU of its \
             own (IORING_SETUP_SQ_AFF), or share the writes among more rings with a thread each",
            work.unwrap_or(0),
            grouped(rate)
        );
        return Some(Finding { kind: Kind::SqpollSaturated, count: poller.work_ns.unwrap_or(0), of: watched, text });
    }
    if cpu >= 50 && work.map_or(rate < WORTH_POLLING, |work| work * 5 < cpu) {
        let worked = work.map_or_else(String::new, |work| format!(" and had work for {work} % of the time"));
        let text = format!(
            "{thread} used {cpu} % of a CPU{worked}, for {} writes/s of that process: lower sq_thread_idle, or submit with \
             io_uring_enter",
            grouped(rate)
        );
        let idle = poller.cpu_ns.saturating_sub(poller.work_ns.unwrap_or(0));
        return Some(Finding { kind: Kind::SqpollIdle, count: idle, of: watched, text });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::model::{Class, FileKey, Row, Sums};
    use super::super::report::{Covered, Names, Span};
    use super::*;
    use crate::event::{Text, Timestamp};

    /// A report of one regular file.
    fn one(row: Row, direct: bool) -> Report {
        let mut sums = Sums::default();
        sums.files.insert(FileKey { path_id: 1, kind: 0o100_000, direct }, row);
        whole(&sums, vec![])
    }

    fn whole(sums: &Sums, pollers: Vec<Poller>) -> Report {
        let mut names = Names::default();
        names.paths.insert(1, Text::new(b"/data/x", false));
        let (timestamp, span) = (Timestamp(0), Span::Total);
        Report::new(sums, &names, Covered { timestamp, span, seconds: 1.0, paths: None, pollers, losses: vec![] })
    }

    fn kinds(report: &Report) -> Vec<Kind> {
        report.findings.iter().map(|f| f.kind).collect()
    }

    fn punted(writes: u64, punted: u64) -> Row {
        let (latency_ns, punted_ns) = (punted * 41_000 + (writes - punted) * 3_000, punted * 41_000);
        Row { writes, bytes: writes * 4096, latency_ns, punted, punted_ns, ..Row::default() }
    }

    #[test]
    fn nothing_is_said_without_cause() {
        assert!(kinds(&whole(&Sums::default(), vec![])).is_empty());
        // Few writes, few of them punted or tiny.
        assert!(kinds(&one(punted(63, 63), false)).is_empty());
        assert!(kinds(&one(punted(4096, 2047), false)).is_empty());
        assert!(kinds(&one(Row { writes: 1000, tiny: 899, ..Row::default() }, false)).is_empty());
        assert!(kinds(&one(Row { writes: 200, tiny: 200, ..Row::default() }, false)).is_empty());
        // Not a file that is stored.
        let mut sums = Sums::default();
        let row = Row { tiny: 4096, ..punted(4096, 4096) };
        sums.files.insert(FileKey { path_id: 1, kind: 0o010_000, direct: false }, row);
        assert!(kinds(&whole(&sums, vec![])).is_empty());
    }

    #[test]
    fn punted_buffered_writes() {
        let report = one(punted(4096, 3810), false);
        let start =
            "93 % of 4,096 buffered writes to /data/x were punted to io-wq (mean 41us against mean 3.0us inline)";
        assert!(report.findings[0].text.starts_with(start), "{:?}", report.findings);
        assert_eq!((report.findings[0].count, report.findings[0].of), (3810, 4096));
        assert_eq!(kinds(&one(punted(4096, 3810), true)), [Kind::PuntedDirect]);
    }

    #[test]
    fn medians_where_the_executors_are_of_one_file() {
        let mut sums = Sums::default();
        sums.files.insert(FileKey { path_id: 1, kind: 0o100_000, direct: false }, punted(100, 90));
        for (class, n, ns) in [(1, 90, 20_000), (0, 10, 2_100)] {
            sums.classes[class].ends[0] = n;
            (0..n).for_each(|_| sums.classes[class].latency.add(ns));
        }
        let text = &whole(&sums, vec![]).findings[0].text;
        assert!(text.contains("(median 20us against median 2.1us inline)"), "{text}");
        // Another file's writes are among them.
        sums.classes[1].ends[0] = 1000;
        assert!(whole(&sums, vec![]).findings[0].text.contains("(mean 41us against median"));
    }

    #[test]
    fn tiny_and_short_writes() {
        let report = one(Row { writes: 1000, tiny: 980, bytes: 64_000, short: 3, ..Row::default() }, false);
        assert_eq!(kinds(&report), [Kind::Tiny, Kind::Short]);
        assert!(
            report.findings[0].text.starts_with("98 % of 1,000 writes to /data/x had fewer than 512 bytes (mean 64)")
        );
        assert!(report.findings[1].text.starts_with("3 of 1,000 writes to /data/x were short"));
    }

    #[test]
    fn an_overflowing_cq() {
        let mut sums = Sums::default();
        sums.classes[0] = Class { ends: [5, 2, 0, 0, 0, 0, 0], ..Class::default() };
        let report = whole(&sums, vec![]);
        assert_eq!(kinds(&report), [Kind::CqOverflow]);
        assert!(report.findings[0].text.starts_with("2 of 7 completions found the CQ ring full"));
    }

    #[test]
    fn errors_in_spite_of_which_the_program_goes_on() {
        use super::super::model::Failure;
        let said = |error, count, later| {
            let mut sums = Sums::default();
            sums.failures.insert((1, error), Failure { count, first_ns: 1, later });
            kinds(&whole(&sums, vec![]))
        };
        assert_eq!(said(28, 500, 400), [Kind::IgnoredErrors]);
        // All were submitted before the first had failed; it is tried again on purpose.
        assert!(said(28, 500, 15).is_empty());
        assert!(said(11, 500, 400).is_empty());
    }

    #[test]
    fn polling_threads() {
        let said = |seconds: u64, cpu: u64, work: Option<u64>| {
            let ns = |percent: u64| seconds * 10_000_000 * percent;
            let (watched_ns, cpu_ns, work_ns) = (ns(100), ns(cpu), work.map(ns));
            let poller = Poller { host_pid: 1, host_tid: 2, watched_ns, cpu_ns, work_ns, writes: 0 };
            kinds(&whole(&Sums::default(), vec![poller]))
        };
        assert_eq!(said(1, 98, Some(2)), [Kind::SqpollIdle]);
        assert_eq!(said(1, 98, None), [Kind::SqpollIdle]);
        assert_eq!(said(1, 99, Some(95)), [Kind::SqpollSaturated]);
        assert!(said(1, 98, Some(60)).is_empty() && said(1, 5, Some(1)).is_empty() && said(0, 0, None).is_empty());
    }
}
