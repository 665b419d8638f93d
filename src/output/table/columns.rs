//! The columns of a table, and which of them a terminal has room for.

use super::row::{Row, executor, result, tid};
use crate::event::{Event, Process};
use crate::output::text::{bytes, cut, fit, nanoseconds, visible};

/// A path gets at least this much, before columns are left out for it.
const PATH_MIN: usize = 24;
/// And this much, before the columns are left out that say what happened.
const PATH_LEAST: usize = 12;

/// A column before the path.
pub(super) struct Column {
    pub(super) title: &'static str,
    about: &'static str,
    width: usize,
    pub(super) left: bool,
    /// Whether it stands there without being asked for; lower ones are left out first when the terminal is narrow.
    rank: Option<u8>,
    pub(super) cell: fn(&Event, &Row<'_>) -> String,
}

impl std::fmt::Debug for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.title)
    }
}

/// From here on a column says what happened.
const NEEDED: u8 = 10;
const WITH_DATE: usize = 23;

static COLUMNS: [Column; 15] = [
    // The table itself writes times, since it knows the time zone.
    Column {
        title: "TIME",
        about: "when it ended, by the clock whose offset from UTC the title names",
        width: 12,
        left: true,
        rank: Some(NEEDED),
        cell: |_, _| String::new(),
    },
    Column { title: "EVENT", about: "the event", width: 18, left: true, rank: None, cell: |_, r| r.event.to_owned() },
    Column { title: "PID", about: "process", width: 8, left: false, rank: None, cell: |e, _| of(e, |p| p.host_pid) },
    Column {
        title: "TID",
        about: "thread that submitted the request; with a star: that created the SQPOLL ring",
        width: 8,
        left: false,
        rank: Some(5),
        cell: |_, r| tid(r),
    },
    Column {
        title: "PPID",
        about: "the process's parent",
        width: 8,
        left: false,
        rank: None,
        cell: |e, _| of(e, |p| p.ppid),
    },
    Column { title: "UID", about: "user", width: 6, left: false, rank: None, cell: |e, _| of(e, |p| p.uid) },
    Column {
        title: "COMM",
        about: "name of the thread",
        width: 15,
        left: true,
        rank: Some(6),
        cell: |e, _| cut(&of(e, |p| visible(&p.name.text())), 15),
    },
    Column {
        title: "EXE",
        about: "executable of the process",
        width: 24,
        left: true,
        rank: None,
        cell: |e, _| fit(&of(e, |p| p.executable.as_ref().map_or_else(|| "-".to_owned(), |t| visible(&t.text()))), 24),
    },
    Column {
        title: "OP",
        about: "opcode, or the system call in small letters",
        width: 12,
        left: true,
        rank: Some(NEEDED + 2),
        cell: |_, r| r.of.op.to_string(),
    },
    Column {
        title: "LEN",
        about: "bytes asked for",
        width: 5,
        left: false,
        rank: Some(3),
        cell: |_, r| known(r.of.len.map(bytes)),
    },
    Column {
        title: "RESULT",
        about: "bytes of a transfer, `fd 3` for a descriptor, `slot 3` for a registered file, else the number or the error",
        width: 9,
        left: false,
        rank: Some(NEEDED + 1),
        cell: |_, r| result(r),
    },
    Column {
        title: "POS",
        about: "position in the file",
        width: 12,
        left: false,
        rank: Some(1),
        cell: |_, r| known(r.of.pos),
    },
    Column {
        title: "LAT",
        about: "time from submission to completion",
        width: 6,
        left: false,
        rank: Some(4),
        cell: |_, r| known(r.of.latency_ns.map(nanoseconds)),
    },
    Column {
        title: "BY",
        about: "who carried it out: inline (the submitter), io-wq, sqpoll or kernel; open: still in flight",
        width: 6,
        left: true,
        rank: Some(2),
        cell: |_, r| executor(r).to_owned(),
    },
    Column {
        title: PATH,
        about: "paths, and what the operation says beside; always the last column",
        width: 0,
        left: true,
        rank: None,
        cell: |_, r| r.shown.fit(None),
    },
];

const PATH: &str = "PATH";

/// A column that was asked for by name.
#[derive(Debug, Clone, Copy)]
pub struct Choice(&'static Column);

impl std::str::FromStr for Choice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        COLUMNS.iter().find(|c| c.title.eq_ignore_ascii_case(name)).map(Self).ok_or_else(|| {
            let known: Vec<_> = COLUMNS.iter().map(|c| c.title).collect();
            format!("there is no column `{name}`: the columns are {}", known.join(", "))
        })
    }
}

/// A line for each column.
#[must_use]
pub fn about_columns() -> String {
    COLUMNS.iter().map(|c| format!("  {:<7} {}\n", c.title, c.about)).collect()
}

fn known(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| v.to_string())
}

fn of<T: ToString>(event: &Event, value: impl FnOnce(&Process) -> T) -> String {
    event.process.as_deref().map_or_else(|| "?".to_owned(), |p| value(p).to_string())
}

/// The columns of a table, each with its width.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) columns: Vec<(&'static Column, usize)>,
    /// Whether the path stands behind them.
    pub(super) path: bool,
}

impl Layout {
    pub(super) fn new(terminal: Option<usize>, date: bool, chosen: Option<&[Choice]>) -> Self {
        let width = |c: &Column| if date && c.title == "TIME" { WITH_DATE } else { c.width };
        let sized = |c: &'static Column| (c, width(c));
        let Some(chosen) = chosen else { return Self { columns: fitting(terminal, sized), path: true } };
        let mut columns: Vec<(&'static Column, usize)> = vec![];
        for Choice(column) in chosen.iter().filter(|c| c.0.title != PATH) {
            if columns.iter().all(|(c, _)| c.title != column.title) {
                columns.push(sized(column));
            }
        }
        Self { columns, path: chosen.iter().any(|c| c.0.title == PATH) }
    }
}

/// The columns that leave enough for a path.
fn fitting(
    terminal: Option<usize>,
    sized: impl Fn(&'static Column) -> (&'static Column, usize),
) -> Vec<(&'static Column, usize)> {
    let mut fitting: Vec<_> = COLUMNS.iter().filter(|c| c.rank.is_some()).map(sized).collect();
    while let Some(least) = fitting.iter().filter_map(|(c, _)| c.rank).min() {
        let path = if least < NEEDED { PATH_MIN } else { PATH_LEAST };
        if terminal.is_none_or(|t| fitting.iter().map(|(_, width)| width + 1).sum::<usize>() + path <= t) {
            break;
        }
        fitting.retain(|(c, _)| c.rank != Some(least));
    }
    fitting
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(terminal: Option<usize>, date: bool) -> String {
        let layout = Layout::new(terminal, date, None);
        assert!(layout.path);
        layout.columns.iter().map(|(c, _)| c.title).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_narrow_terminal_keeps_what_happened() {
        let all = "TIME TID COMM OP LEN RESULT POS LAT BY";
        assert_eq!([None, Some(200), Some(120)].map(|t| titles(t, false)), [all; 3]);
        assert_eq!(titles(Some(100), false), "TIME TID COMM OP LEN RESULT LAT");
        assert_eq!(titles(Some(80), false), "TIME COMM OP RESULT");
        assert_eq!(titles(Some(60), false), "TIME OP RESULT");
        assert_eq!(titles(Some(80), true), "TIME OP RESULT");
        assert_eq!(titles(Some(40), false), "OP RESULT");
        assert_eq!(titles(Some(5), false), "");
    }

    #[test]
    fn columns_are_asked_for_by_name() {
        let chosen: Vec<Choice> = ["op", "PATH", "Exe", "OP"].map(|name| name.parse().unwrap()).to_vec();
        let layout = Layout::new(Some(20), false, Some(&chosen));
        assert_eq!(layout.columns.iter().map(|(c, _)| c.title).collect::<Vec<_>>(), ["OP", "EXE"]);
        assert!(layout.path && !Layout::new(None, false, Some(&chosen[..1])).path);
        assert!("SIZE".parse::<Choice>().is_err_and(|e| e.contains("`SIZE`") && e.contains("TIME, EVENT, PID")));
        assert!(about_columns().lines().all(|line| line.len() < 120));
    }
}
