//! Whether what ringwatch told is what the workload did, to the unit.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Events of a file of JSON lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Lines {
    /// Writes of the workload.
    pub(super) own: u64,
    /// Writes of other processes.
    pub(super) others: u64,
}

/// Counts the writes in `path`, those of process `pid` apart, or with `children` those that it started.
pub(super) fn count_lines(path: &Path, pid: u32, children: bool) -> Result<Lines> {
    let read = || -> std::io::Result<Lines> {
        let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
        let mut lines = Lines::default();
        // Quotes within strings are escaped, so that no name or path looks like this.
        let own = format!("\"{}pid\":{pid},", if children { "p" } else { "" });
        let mut line = String::new();
        while file.read_line(&mut line)? > 0 {
            if line.contains("\"event\":\"io_write\"") {
                *(if line.contains(&own) { &mut lines.own } else { &mut lines.others }) += 1;
            }
            line.clear();
        }
        Ok(lines)
    };
    read().with_context(|| format!("cannot read the events in {}", path.display()))
}

/// What ringwatch says at its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Said {
    pub(super) events: u64,
    pub(super) lost: u64,
    pub(super) plan: String,
    /// Count and cause of each loss.
    pub(super) losses: Vec<(u64, String)>,
}

impl Said {
    /// Reads ringwatch's standard error; `None`: there is no summary in it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let lines = || text.lines().filter_map(|l| l.strip_prefix("ringwatch: "));
        let mut said = lines().find_map(summary)?;
        said.losses = lines().filter_map(loss).collect();
        Some(said)
    }
}

/// `12 events, 3 left out by --path, 4 lost (plan: tracepoint)`; `stat` speaks of writes.
fn summary(line: &str) -> Option<Said> {
    let (events, rest) = line.split_once(" events, ").or_else(|| line.split_once(" writes, "))?;
    let (parts, plan) = rest.split_once(" (plan: ")?;
    let lost = parts.rsplit(", ").next()?.strip_suffix(" lost")?;
    Some(Said {
        events: events.parse().ok()?,
        lost: if lost == "none" { 0 } else { lost.parse().ok()? },
        plan: plan.strip_suffix(')')?.to_owned(),
        losses: vec![],
    })
}

/// `lost 4: the buffer was full`.
fn loss(line: &str) -> Option<(u64, String)> {
    let (count, cause) = line.strip_prefix("lost ")?.split_once(": ")?;
    Some((count.parse().ok()?, cause.to_owned()))
}

/// What does not add up, if anything. `lines` is `None` where the events do not go to a file, `expected` how many
/// writes ringwatch had to tell of.
pub(super) fn inconsistency(expected: u64, said: &Said, lines: Option<Lines>) -> Option<String> {
    let Said { events, lost, .. } = *said;
    let by_cause: u64 = said.losses.iter().map(|(count, _)| count).sum();
    if by_cause != lost {
        return Some(format!("{lost} losses, but {by_cause} by cause"));
    }
    let Lines { own, others } = lines.unwrap_or(Lines { own: events, others: 0 });
    if own + others != events {
        return Some(format!("{events} events in the summary, but {} in the file", own + others));
    }
    let missing = match expected.checked_sub(own) {
        Some(missing) => missing,
        None if expected == 0 => {
            return Some(format!("{own} writes of the workload were told of, which are not to be"));
        }
        None => return Some(format!("{own} writes were told of, but the workload made {expected}")),
    };
    // Without other writers, each loss is a write of the workload. With them, nobody knows whose it was.
    let explained = if others == 0 && expected > 0 { missing == lost } else { missing <= lost };
    (!explained).then(|| {
        format!(
            "{own} events and {lost} losses for {expected} writes: {} are not accounted for",
            missing.abs_diff(lost)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(events: u64, lost: u64) -> Said {
        let losses = if lost > 0 { vec![(lost, "why".to_owned())] } else { vec![] };
        Said { events, lost, plan: "tracepoint".to_owned(), losses }
    }

    #[test]
    fn a_summary_without_losses() {
        let text = "ringwatch: tracing (plan: tracepoint), Ctrl-C ends it\nringwatch: 12 events, none lost (plan: tracepoint)\n";
        assert_eq!(Said::parse(text), Some(said(12, 0)));
    }

    #[test]
    fn a_summary_with_losses_and_a_selection() {
        let text = "ringwatch: 12 events, 3 left out by --path, 7 lost (plan: tracepoint)\n\
                    ringwatch: lost 5: the buffer was full: enlarge it\nringwatch: lost 2: skipped\n";
        let losses = vec![(5, "the buffer was full: enlarge it".to_owned()), (2, "skipped".to_owned())];
        assert_eq!(Said::parse(text), Some(Said { losses, ..said(12, 7) }));
    }

    #[test]
    fn an_error_is_no_summary() {
        assert_eq!(Said::parse("ringwatch: the kernel refused the BPF programs\n"), None);
        assert_eq!(Said::parse("ringwatch: many events, none lost (plan: tracepoint)\n"), None);
        assert_eq!(Said::parse(""), None);
    }

    #[test]
    fn events_and_losses_are_what_was_written() {
        let own = |own| Some(Lines { own, others: 0 });
        assert_eq!(inconsistency(10, &said(10, 0), own(10)), None);
        assert_eq!(inconsistency(10, &said(8, 2), own(8)), None);
        assert_eq!(inconsistency(10, &said(8, 2), None), None);
        assert_eq!(inconsistency(0, &said(0, 0), own(0)), None);
        assert!(inconsistency(10, &said(9, 0), own(9)).is_some(), "one is missing");
        assert!(inconsistency(10, &said(11, 0), own(11)).is_some(), "one too many");
        assert!(inconsistency(10, &said(10, 1), own(10)).is_some(), "told and lost");
        assert!(inconsistency(10, &said(10, 0), own(9)).is_some(), "told, but not in the file");
        assert!(inconsistency(0, &said(1, 0), own(1)).is_some(), "not filtered");
        assert!(inconsistency(10, &Said { lost: 2, ..said(9, 1) }, own(9)).is_some(), "a loss without a cause");
    }

    #[test]
    fn losses_may_be_those_of_other_writers() {
        let lines = |own, others| Some(Lines { own, others });
        assert_eq!(inconsistency(10, &said(13, 0), lines(10, 3)), None);
        assert_eq!(inconsistency(10, &said(13, 5), lines(10, 3)), None);
        assert!(inconsistency(10, &said(12, 0), lines(9, 3)).is_some());
    }
}
