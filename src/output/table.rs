//! Columns for people, as wide as the terminal.

use std::cell::RefCell;
use std::io::IsTerminal as _;

use super::Encode;
use super::text::{bytes, fit, nanoseconds, visible, width};
use crate::event::{Completion, Data, Event, Executor, IoWrite, Outcome, Submitter};

/// How a table looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Columns; `None`: as many as needed.
    pub width: Option<usize>,
    /// Colours.
    pub colour: bool,
}

impl Style {
    /// For this terminal, or for a file or pipe.
    #[must_use]
    pub fn detect(terminal: bool) -> Self {
        let width = terminal.then(|| {
            terminal_size::terminal_size().map_or(80, |(terminal_size::Width(columns), _)| usize::from(columns))
        });
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self { width, colour: terminal && !refused && std::io::stdout().is_terminal() }
    }
}

const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// A path gets at least this much, before columns are left out for it.
const PATH_MIN: usize = 18;

/// A column before the path.
struct Column {
    title: &'static str,
    width: usize,
    left: bool,
    /// Lower ones are left out first when the terminal is narrow.
    rank: u8,
    cell: fn(&Event, &IoWrite) -> String,
}

const COLUMNS: [Column; 9] = [
    Column { title: "TIME", width: 12, left: true, rank: 3, cell: |e, _| time_of_day(e) },
    Column { title: "TID", width: 8, left: false, rank: 9, cell: |_, w| tid(w) },
    Column { title: "COMM", width: 15, left: true, rank: 8, cell: |e, _| name(e) },
    Column { title: "OP", width: 12, left: true, rank: 1, cell: |_, w| w.opcode.name().to_owned() },
    Column { title: "LEN", width: 5, left: false, rank: 2, cell: |_, w| bytes(w.len.into()) },
    Column { title: "RESULT", width: 9, left: false, rank: 7, cell: |_, w| result(w) },
    Column { title: "POS", width: 12, left: false, rank: 5, cell: |_, w| known(w.pos) },
    Column { title: "LAT", width: 6, left: false, rank: 6, cell: |_, w| known(w.latency_ns.map(nanoseconds)) },
    Column { title: "BY", width: 6, left: true, rank: 4, cell: |_, w| executor(w).to_owned() },
];

fn known(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| v.to_string())
}

fn name(event: &Event) -> String {
    fit(&event.process.as_deref().map_or_else(|| "?".to_owned(), |p| visible(&p.name)), 15)
}

/// A star: whoever filled the SQPOLL ring, this thread created it.
fn tid(w: &IoWrite) -> String {
    match w.submitter {
        Submitter::Thread => w.worker_host_tid.to_string(),
        Submitter::Sqpoll => format!("{}*", w.worker_host_tid),
    }
}

fn result(w: &IoWrite) -> String {
    match (w.error, w.result) {
        (Some(error), _) => error.to_owned(),
        (None, Some(written)) => bytes(u64::try_from(written).unwrap_or(0)),
        (None, None) => "?".to_owned(),
    }
}

fn executor(w: &IoWrite) -> &'static str {
    match w.executor {
        _ if w.completion == Completion::InFlight => "open",
        Some(Executor::Submitter) => "inline",
        Some(Executor::IoWq) => "io-wq",
        Some(Executor::Sqpoll) => "sqpoll",
        Some(Executor::Kernel) => "kernel",
        None => "-",
    }
}

/// Local time with milliseconds.
fn time_of_day(event: &Event) -> String {
    thread_local! {
        /// The second that was told last: to find the time zone's rule for each event takes longer than all the rest.
        static LAST: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
    }
    const SECOND: i64 = 1_000_000_000;
    let (second, ns) = (event.timestamp.0.div_euclid(SECOND), event.timestamp.0.rem_euclid(SECOND));
    LAST.with_borrow_mut(|(last, text)| {
        if *last != second {
            let zoned = jiff::Timestamp::from_second(second).map(|t| t.to_zoned(jiff::tz::TimeZone::system()));
            *text = zoned.map(|t| t.strftime("%H:%M:%S").to_string()).unwrap_or_default();
            *last = second;
        }
        format!("{text}.{:03}", ns / 1_000_000)
    })
}

/// `format!` pads by characters, not by columns.
pub(super) fn pad(text: &str, columns: usize, left: bool) -> String {
    let mut padded = String::with_capacity(columns.max(text.len()));
    pad_to(&mut padded, text, columns, left);
    padded
}

fn pad_to(out: &mut String, text: &str, columns: usize, left: bool) {
    let blanks = std::iter::repeat_n(' ', columns.saturating_sub(width(text)));
    if left {
        out.push_str(text);
        out.extend(blanks);
    } else {
        out.extend(blanks);
        out.push_str(text);
    }
}

/// The columns that leave enough for a path.
fn columns(terminal: Option<usize>) -> Vec<&'static Column> {
    let mut chosen: Vec<_> = COLUMNS.iter().collect();
    while terminal.is_some_and(|t| chosen.iter().map(|c| c.width + 1).sum::<usize>() + PATH_MIN > t) {
        let Some(least) = chosen.iter().map(|c| c.rank).min() else { break };
        chosen.retain(|c| c.rank != least);
    }
    chosen
}

/// The table format.
#[derive(Debug)]
pub struct Table {
    style: Style,
    columns: Vec<&'static Column>,
    started: bool,
}

impl std::fmt::Debug for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.title)
    }
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(style: Style) -> Self {
        Self { style, columns: columns(style.width), started: false }
    }

    fn line(&self, colour: &str, text: &str, out: &mut Vec<u8>) {
        if self.style.colour && !colour.is_empty() {
            out.extend_from_slice(colour.as_bytes());
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(PLAIN.as_bytes());
        } else {
            out.extend_from_slice(text.as_bytes());
        }
        out.push(b'\n');
    }

    fn row(&self, cell: impl Fn(&Column) -> String, last: &str) -> String {
        let mut row = String::with_capacity(256);
        for column in &self.columns {
            pad_to(&mut row, &cell(column), column.width, column.left);
            row.push(' ');
        }
        let room = self.style.width.map(|columns| columns.saturating_sub(width(&row)).max(1));
        row += &room.map_or_else(|| last.to_owned(), |room| fit(last, room));
        row
    }
}

fn path(w: &IoWrite) -> String {
    let path = w.path.as_ref().map_or_else(|| "-".to_owned(), |p| visible(&p.text));
    if w.deleted { path + " (deleted)" } else { path }
}

impl Encode for Table {
    fn encode(&mut self, event: &Event, out: &mut Vec<u8>) {
        if !self.started {
            self.started = true;
            self.line(BOLD, &self.row(|c| c.title.to_owned(), "PATH"), out);
        }
        match &event.data {
            Data::IoWrite(w) => {
                let colour = match w.outcome {
                    Outcome::Success => "",
                    Outcome::Failure => RED,
                    Outcome::Unknown => YELLOW,
                };
                self.line(colour, &self.row(|c| (c.cell)(event, w), &path(w)), out);
            }
            Data::EventsLost(lost) => {
                let text = format!("{} events lost: {}", lost.count, lost.cause.explain());
                self.line(YELLOW, &text, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_terminal_drops_columns_and_keeps_the_path() {
        let titles = |t| columns(t).iter().map(|c| c.title).collect::<Vec<_>>().join(" ");
        assert_eq!(titles(None), "TIME TID COMM OP LEN RESULT POS LAT BY");
        assert_eq!(titles(Some(120)), "TIME TID COMM OP LEN RESULT POS LAT BY");
        assert_eq!(titles(Some(80)), "TID COMM RESULT POS LAT BY");
        assert_eq!(titles(Some(30)), "TID");
        assert_eq!(titles(Some(5)), "");
    }
}
