//! Columns for people, as wide as the terminal.

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

/// What all columns but the path take, blanks included.
const LEFT: usize = 91;
/// A path gets at least this much, however narrow the terminal.
const PATH_MIN: usize = 20;

/// The table format.
#[derive(Debug)]
pub struct Table {
    style: Style,
    started: bool,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(style: Style) -> Self {
        Self { style, started: false }
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

    fn write(&self, event: &Event, w: &IoWrite) -> String {
        let process = event.process.as_deref();
        let name = process.map_or_else(|| "?".to_owned(), |p| visible(&p.name));
        let path = w.path.as_ref().map_or_else(|| "-".to_owned(), |p| visible(&p.text));
        let mut path = if w.deleted { format!("{path} (deleted)") } else { path };
        if let Some(columns) = self.style.width {
            path = fit(&path, columns.saturating_sub(LEFT).max(PATH_MIN));
        }
        let result = match (w.error, w.result) {
            (Some(error), _) => error.to_owned(),
            (None, Some(written)) => bytes(u64::try_from(written).unwrap_or(0)),
            (None, None) => "?".to_owned(),
        };
        let executor = match w.executor {
            _ if w.completion == Completion::InFlight => "in flight",
            Some(Executor::Submitter) => "inline",
            Some(Executor::IoWq) => "io-wq",
            Some(Executor::Sqpoll) => "sqpoll",
            Some(Executor::Kernel) => "kernel",
            None => "-",
        };
        let tid = match w.submitter {
            Submitter::Thread => w.worker_host_tid.to_string(),
            Submitter::Sqpoll => format!("{}*", w.worker_host_tid),
        };
        format!(
            "{:<15} {:>8} {} {:<12} {:>5} {:>10} {:>13} {:>6} {:<9} {path}",
            time_of_day(event),
            tid,
            pad(&fit(&name, 15), 15),
            w.opcode.name(),
            bytes(w.len.into()),
            result,
            w.pos.map_or_else(|| "-".to_owned(), |p| p.to_string()),
            w.latency_ns.map_or_else(|| "-".to_owned(), nanoseconds),
            executor,
        )
    }
}

/// `format!` pads by characters, not by columns.
fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Local time with microseconds.
fn time_of_day(event: &Event) -> String {
    jiff::Timestamp::from_nanosecond(event.timestamp.0.into())
        .map(|t| t.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S%.6f").to_string())
        .unwrap_or_default()
}

impl Encode for Table {
    fn encode(&mut self, event: &Event, out: &mut Vec<u8>) {
        if !self.started {
            self.started = true;
            let header = format!(
                "{:<15} {:>8} {:<15} {:<12} {:>5} {:>10} {:>13} {:>6} {:<9} PATH",
                "TIME", "TID", "COMM", "OP", "LEN", "RESULT", "POS", "LAT", "BY"
            );
            self.line(BOLD, &header, out);
        }
        match &event.data {
            Data::IoWrite(w) => {
                let colour = match w.outcome {
                    Outcome::Success => "",
                    Outcome::Failure => RED,
                    Outcome::Unknown => YELLOW,
                };
                self.line(colour, &self.write(event, w), out);
            }
            Data::EventsLost(lost) => {
                let text = format!("{} events lost: {}", lost.count, lost.cause.explain());
                self.line(YELLOW, &text, out);
            }
        }
    }
}
