//! Columns for people, as wide as the terminal.

mod columns;
mod row;
mod shown;
#[cfg(test)]
mod tests;
mod times;

use std::io::IsTerminal as _;

use clap::ColorChoice;

use super::Encode;
use super::text::{cut, nanoseconds, width};
use crate::event::{Data, Event, Outcome, Stage, Step};
pub use columns::{Choice, about_columns};
use columns::{Column, Layout};
use row::{Row, executor, row};
use times::Times;

/// The room that a table has.
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
        Self::new(terminal, ColorChoice::Auto)
    }

    fn new(terminal: bool, colour: ColorChoice) -> Self {
        let width = terminal.then(|| {
            terminal_size::terminal_size().map_or(80, |(terminal_size::Width(columns), _)| usize::from(columns))
        });
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        let colour = match colour {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !refused && std::io::stdout().is_terminal(),
        };
        Self { width, colour }
    }
}

/// How a table is to look.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// Colours; by default on a terminal, unless NO_COLOR is set.
    pub colour: ColorChoice,
    /// Times in UTC, and not in the local time zone.
    pub utc: bool,
    /// With the date.
    pub date: bool,
    /// Without the line of titles.
    pub no_header: bool,
    /// These columns; `None`: those that fit.
    pub columns: Option<Vec<Choice>>,
}

impl Look {
    /// The room on this terminal, or in a file or pipe.
    #[must_use]
    pub fn style(&self, terminal: bool) -> Style {
        Style::new(terminal, self.colour)
    }
}

const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// `submitted, punted after 3us, completed (io-wq) after 40us`
fn story(steps: &[Step], by: &str) -> String {
    let mut told = String::new();
    for (i, step) in steps.iter().enumerate() {
        let by = if step.stage == Stage::Completed { format!(" ({by})") } else { String::new() };
        let name = step.stage.name().replace('_', "-") + &by;
        let times = step.times.map_or_else(String::new, |n| format!(" ({n} times)"));
        let after = if i == 0 { String::new() } else { format!(" after {}", nanoseconds(step.after_ns)) };
        let comma = if i == 0 { "" } else { ", " };
        told += &format!("{comma}{name}{times}{after}");
    }
    told
}

/// `format!` pads by characters, not by columns.
pub(crate) fn pad(text: &str, columns: usize, left: bool) -> String {
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

/// The table format.
#[derive(Debug)]
pub struct Table {
    style: Style,
    layout: Layout,
    header: bool,
    times: Times,
    /// The time zone that the header above names.
    titled: Option<String>,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(style: Style, look: &Look) -> Self {
        Self {
            style,
            layout: Layout::new(style.width, look.date, look.columns.as_deref()),
            header: !look.no_header,
            times: Times::new(look.utc, look.date),
            titled: None,
        }
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

    /// `last` fills the room that is left for the path; `None`: as much as there is.
    fn row(&self, cell: impl Fn(&Column) -> String, last: impl FnOnce(Option<usize>) -> String) -> String {
        let mut row = String::with_capacity(256);
        let (mut end, mut used) = (0, 0);
        for &(column, columns) in &self.layout.columns {
            let text = cell(column);
            // What was wider than its column is made up for by the blanks of the next ones.
            let room = (end + columns).saturating_sub(used);
            pad_to(&mut row, &text, room, column.left);
            row.push(' ');
            end += columns + 1;
            used += room.max(width(&text)) + 1;
        }
        if self.layout.path {
            row += &last(self.style.width.map(|columns| columns.saturating_sub(used)));
        }
        row.truncate(row.trim_end().len());
        // Numbers may be wider than their columns.
        if let Some(columns) = self.style.width { cut(&row, columns) } else { row }
    }

    /// The titles stand above the first row, and anew where the clock is set to summer or winter time.
    fn titles(&mut self, out: &mut Vec<u8>) {
        if !self.header || self.titled.as_deref() == Some(self.times.zone()) {
            return;
        }
        let zone = self.times.zone().to_owned();
        let title = |c: &Column| if c.title == "TIME" { format!("TIME {zone}") } else { c.title.to_owned() };
        let titles = self.row(title, |_| "PATH".to_owned());
        self.line(BOLD, &titles, out);
        self.titled = Some(zone);
    }

    fn event(&self, event: &Event, row: &Row<'_>, time: &str, out: &mut Vec<u8>) {
        let colour = match row.of.outcome {
            Outcome::Success => "",
            Outcome::Failure => RED,
            Outcome::Unknown => YELLOW,
        };
        let cell = |c: &Column| if c.title == "TIME" { time.to_owned() } else { (c.cell)(event, row) };
        self.line(colour, &self.row(cell, |room| row.shown.fit(room)), out);
        if let Some(steps) = row.of.life {
            let story = format!("  {}", story(steps, executor(row)));
            let text = self.style.width.map_or_else(|| story.clone(), |columns| cut(&story, columns));
            self.line("", &text, out);
        }
    }
}

impl Encode for Table {
    fn encode(&mut self, event: &Event, out: &mut Vec<u8>) {
        let time = self.times.show(event.timestamp);
        self.titles(out);
        if let Data::EventsLost(lost) = &event.data {
            let text = format!("{} events lost: {}", lost.count, lost.cause.explain());
            self.line(YELLOW, &text, out);
        }
        if let Some(row) = row(&event.data) {
            self.event(event, &row, &time, out);
        }
    }
}
