//! Reports for people.

use std::fmt::Write as _;

use super::buckets::Range;
use super::report::{Distribution, Report, Row, Span};
use crate::event::{Executor, PathUnknown};
use crate::output::text::{bytes, fit, grouped, nanoseconds, quoted, visible, width};

/// Columns where the output is no terminal.
const WIDTH: usize = 100;
/// Columns of the longest bar.
const BAR: usize = 40;

/// Rows and columns.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Columns of the terminal.
    pub width: Option<usize>,
    /// Files and processes: those with the most bytes, and those with the most time.
    pub top: usize,
}

impl Layout {
    fn width(self) -> usize {
        self.width.unwrap_or(WIDTH).max(40)
    }
}

/// A report as text, for a terminal of this layout: nothing of it is obeyed by a terminal.
#[must_use]
pub fn text(report: &Report, layout: Layout) -> String {
    let mut out = String::new();
    totals(&mut out, report);
    executors(&mut out, report);
    for (title, distribution, unit) in [
        ("latency", &report.latency_ns, nanoseconds as fn(u64) -> String),
        ("bytes asked for", &report.size, |n| bytes(n)),
    ] {
        if let Some(distribution) = distribution.as_ref().filter(|d| d.count > 0) {
            histogram(&mut out, title, distribution, unit, layout);
        }
    }
    let files = report.files.iter().map(|f| {
        let unknown = || f.path_unknown.map_or("(no file)", PathUnknown::shown).to_owned();
        let path = f.path.as_deref().map_or_else(unknown, quoted);
        (&f.row, if f.direct { path + " (O_DIRECT)" } else { path })
    });
    rows(&mut out, "files", &files.collect::<Vec<_>>(), &report.files_other, layout);
    if let (Some(processes), Some(other)) = (&report.processes, &report.processes_other) {
        let processes = processes.iter().map(|p| (&p.row, format!("{} ({})", visible(&p.name), p.host_pid)));
        rows(&mut out, "processes", &processes.collect::<Vec<_>>(), other, layout);
    }
    if !report.findings.is_empty() {
        out += "\nfindings\n";
        report.findings.iter().for_each(|f| paragraph(&mut out, &visible(&f.text), layout.width()));
    }
    for lost in &report.losses {
        let _ = writeln!(out, "\n{} writes are in none of these sums: {}", grouped(lost.count), lost.cause.explain());
    }
    out.push('\n');
    out
}

fn totals(out: &mut String, report: &Report) {
    let totals = &report.totals;
    let what = match report.span {
        Span::Interval => "in this interval of",
        Span::Total => "in",
    };
    let _ = writeln!(out, "{} io_uring writes {what} {:.3} s\n", grouped(totals.writes), report.seconds);
    let mut line = |value: String, what: &str, note: String| {
        let text = format!("{value:>16} {what:<22} {note}");
        out.push_str(text.trim_end());
        out.push('\n');
    };
    let share = |n: u64| percent(n, totals.writes);
    line(grouped(totals.writes), "writes", format!("{}/s", grouped(totals.writes_per_second.round() as u64)));
    line(grouped(totals.bytes), "bytes written", format!("{}/s", bytes(totals.bytes_per_second.round() as u64)));
    if totals.failed > 0 {
        let errors = report.errors.iter().flatten().map(|e| format!("{} {}", e.error, grouped(e.count)));
        line(grouped(totals.failed), "failed", errors.collect::<Vec<_>>().join(", "));
    }
    for (n, what) in [
        (totals.short, "short"),
        (totals.punted, "punted to io-wq"),
        (report.completions.map_or(0, |c| c.overflow), "found the CQ ring full"),
        (totals.unknown, "of unknown outcome"),
    ] {
        if n > 0 {
            line(grouped(n), what, share(n));
        }
    }
}

fn percent(part: u64, of: u64) -> String {
    format!("{:.1} %", part as f64 * 100.0 / of.max(1) as f64)
}

fn executors(out: &mut String, report: &Report) {
    let Some(executors) = report.executors.as_ref().filter(|e| !e.is_empty()) else { return };
    let _ = writeln!(
        out,
        "\n{:<14} {:>12} {:>8} {:>5} {:>7} {:>7} {:>7} {:>7}",
        "carried out by", "writes", "share", "bytes", "p50", "p90", "p99", "max"
    );
    for e in executors {
        let name = match e.executor {
            Some(Executor::Submitter) => "submitter",
            Some(Executor::IoWq) => "io-wq workers",
            Some(Executor::Sqpoll) => "SQPOLL thread",
            Some(Executor::Kernel) => "kernel thread",
            None => "not known",
        };
        let latency = |ns: Option<u64>| ns.map_or_else(|| "-".to_owned(), nanoseconds);
        let _ = writeln!(
            out,
            "{name:<14} {:>12} {:>8} {:>5} {:>7} {:>7} {:>7} {:>7}",
            grouped(e.writes),
            percent(e.writes, report.totals.writes),
            bytes(e.bytes),
            latency(e.latency_ns.p50),
            latency(e.latency_ns.p90),
            latency(e.latency_ns.p99),
            latency(e.latency_ns.max),
        );
    }
}

fn histogram(out: &mut String, title: &str, distribution: &Distribution, unit: fn(u64) -> String, layout: Layout) {
    let told =
        [("p50", distribution.p50), ("p90", distribution.p90), ("p99", distribution.p99), ("max", distribution.max)];
    let told = told.iter().filter_map(|(name, value)| value.map(|value| format!("  {name} {}", unit(value))));
    let _ = writeln!(out, "\n{title:<16} {:>14}{}", "writes", told.collect::<String>());
    let octaves = &distribution.octaves;
    let most = octaves.iter().map(|o| o.count).max().unwrap_or(0);
    let room = BAR.min(layout.width() - 32);
    for &Range { from, to, count } in octaves {
        let range = format!("{}..{}", unit(from), unit(to.saturating_add(1)));
        let bar = "#".repeat((count as f64 * room as f64 / most.max(1) as f64).ceil() as usize);
        let line = format!("{range:<16} {:>14} {bar}", grouped(count));
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// Those with the most bytes and those with the most time, most bytes first, and the sum of all others.
fn rows(out: &mut String, title: &str, all: &[(&Row, String)], beyond: &Row, layout: Layout) {
    if all.is_empty() && beyond.writes == 0 {
        return;
    }
    let mut by_time: Vec<usize> = (0..all.len()).collect();
    by_time.sort_by_key(|&i| std::cmp::Reverse(all[i].0.latency_ns));
    by_time.truncate(layout.top);
    let shown = |i: usize| i < layout.top || by_time.contains(&i);
    let _ = writeln!(
        out,
        "\n{:>11} {:>5} {:>6} {:>6} {:>9} {:>8}  {title}",
        "writes", "bytes", "time", "mean", "punted", "failed"
    );
    let mut row = |row: &Row, name: &str| {
        let mean = row.latency_ns.checked_div(row.timed).map_or_else(|| "-".to_owned(), nanoseconds);
        let line = format!(
            "{:>11} {:>5} {:>6} {mean:>6} {:>9} {:>8}  ",
            grouped(row.writes),
            bytes(row.bytes),
            nanoseconds(row.latency_ns),
            grouped(row.punted),
            grouped(row.failed)
        );
        let room = layout.width.map_or(usize::MAX, |columns| columns.saturating_sub(width(&line)).max(12));
        out.push_str(&line);
        out.push_str(&fit(name, room));
        out.push('\n');
    };
    let hidden = all.iter().enumerate().filter(|&(i, _)| !shown(i)).count();
    let mut rest = Row::default();
    for (i, (sums, name)) in all.iter().enumerate() {
        // A sum of one would take as much room.
        if hidden == 1 || shown(i) {
            row(sums, name);
        } else {
            add(&mut rest, sums);
        }
    }
    if hidden > 1 {
        row(&rest, &format!("{} other {title}", grouped(hidden as u64)));
    }
    if beyond.writes > 0 {
        row(beyond, "(others: table full, see --rows)");
    }
}

fn add(sum: &mut Row, row: &Row) {
    sum.writes += row.writes;
    sum.bytes += row.bytes;
    sum.latency_ns += row.latency_ns;
    sum.timed += row.timed;
    sum.punted += row.punted;
    sum.failed += row.failed;
}

/// A list's item, wrapped.
fn paragraph(out: &mut String, text: &str, columns: usize) {
    let mut line = "- ".to_owned();
    for word in text.split(' ') {
        if line.len() > 2 && width(&line) + width(word) > columns {
            out.push_str(line.trim_end());
            out.push('\n');
            line = "  ".to_owned();
        }
        line += word;
        line.push(' ');
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::model::{FileKey, Row, Sums};
    use super::super::report::{Covered, Names};
    use super::*;
    use crate::event::{EventsLost, LossCause, Text, Timestamp};

    fn report() -> Report {
        let mut sums = Sums::default();
        let mut names = Names::default();
        for id in 1..=9u64 {
            let row = Row { writes: 1, bytes: id * 1000, latency_ns: 10_000 / id, ..Row::default() };
            sums.files.insert(FileKey { path_id: id, kind: 0o100_000, direct: id == 9 }, row);
            let path = format!("/a\x1b[31m/{id}");
            names.paths.insert(id, Text::new(path.as_bytes(), false));
            sums.classes[0].latency.add(10_000 / id);
            sums.classes[0].sizes.add(id * 1000);
            sums.classes[0].ends[0] += 1;
        }
        sums.other_files = Row { writes: 7, ..Row::default() };
        let covered = Covered {
            timestamp: Timestamp(0),
            span: Span::Total,
            seconds: 2.0,
            paths: None,
            pollers: vec![],
            losses: vec![EventsLost { count: 3, cause: LossCause::RingFull }],
        };
        Report::new(&sums, &names, covered)
    }

    #[test]
    fn no_file_name_commands_the_terminal_and_no_line_is_too_long() {
        let text = text(&report(), Layout { width: Some(80), top: 2 });
        assert!(!text.contains('\x1b') && text.contains("/a\\u{1b}[31m/9"), "{text}");
        let long = text.lines().filter(|l| width(l) > 80 && !l.contains("none of these sums")).collect::<Vec<_>>();
        assert!(long.is_empty(), "{long:?}");
    }

    #[test]
    fn the_most_bytes_and_the_most_time_are_shown_and_the_rest_is_summed_up() {
        let text = text(&report(), Layout { width: None, top: 2 });
        for shown in ["/9 (O_DIRECT)", "/8", "/2", "/1"] {
            assert!(text.contains(shown), "{shown}: {text}");
        }
        assert!(!text.contains("31m/5"), "{text}");
        assert!(text.contains("  5 other files") || text.contains(" 5 other files"), "{text}");
        assert!(text.contains("table full, see --rows)") && text.contains("3 writes are in none"), "{text}");
    }
}
