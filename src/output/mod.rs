//! Sinks: where events go, one file for each format.

mod json;
mod lines;
mod rings;
mod table;
pub(crate) mod text;

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use crate::enrich::Clock;
use crate::event::{Data, Event, EventsLost, LossCause};
pub use json::Json;
use lines::Lines;
pub use rings::table as rings_table;
pub use table::{Style, Table};
pub use text::visible;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns for people.
    Table,
    /// One JSON object a line.
    Json,
}

/// A format and where it goes; no path: standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The format.
    pub format: Format,
    /// The file.
    pub path: Option<PathBuf>,
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        use clap::ValueEnum as _;
        let (format, path) = match s.split_once(':') {
            Some((_, "")) => return Err(format!("no path behind the colon: write {s}PATH, or leave the colon out")),
            Some((format, path)) => (format, Some(PathBuf::from(path))),
            None => (s, None),
        };
        let format = Format::from_str(format, false)
            .map_err(|_| format!("unknown format `{format}`: use table, json, table:PATH or json:PATH"))?;
        Ok(Self { format, path })
    }
}

/// What became of a write to a sink.
#[derive(Debug)]
pub enum Trouble {
    /// The reader is gone: a clean end.
    Closed,
    /// Events could not be written.
    Failed {
        /// How many.
        events: u64,
        /// Why.
        error: io::Error,
    },
}

/// A format at work.
trait Encode: Send {
    /// Appends one event's text.
    fn encode(&mut self, event: &Event, out: &mut Vec<u8>);
}

/// An output.
pub struct Sink {
    encode: Box<dyn Encode>,
    lines: Lines<Box<dyn Write + Send>>,
    name: String,
    /// Events that this output missed and was not told of.
    owed: u64,
    /// Of these, how many a line that waits to be written tells of.
    telling: Option<u64>,
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Sink {
    /// Opens an output.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn open(target: &Target) -> io::Result<Self> {
        let (writer, terminal): (Box<dyn Write + Send>, bool) = match &target.path {
            Some(path) => (Box::new(create(path)?), false),
            // Not through the buffer of io::stdout(), which holds back what is no whole line.
            None => (Box::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)), io::stdout().is_terminal()),
        };
        let name = target.path.as_ref().map_or_else(|| "standard output".to_owned(), |p| visible(&p.to_string_lossy()));
        let encode: Box<dyn Encode> = match target.format {
            Format::Json => Box::new(Json::default()),
            Format::Table => Box::new(Table::new(Style::detect(terminal))),
        };
        Ok(Self { encode, lines: Lines::new(writer), name, owed: 0, telling: None })
    }

    /// Where it goes, fit for a message.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes one event; it is written with others.
    ///
    /// # Errors
    /// The output is closed or cannot be written.
    pub fn put(&mut self, event: &Event) -> Result<(), Trouble> {
        self.tell();
        self.encode.encode(event, self.lines.buffer());
        if self.lines.added(!matches!(event.data, Data::EventsLost(_))) {
            let outcome = self.lines.spill();
            self.settle(outcome)
        } else {
            Ok(())
        }
    }

    /// Writes what was taken.
    ///
    /// # Errors
    /// The output is closed or cannot be written.
    pub fn flush(&mut self) -> Result<(), Trouble> {
        let outcome = self.lines.flush();
        self.settle(outcome)
    }

    fn settle(&mut self, outcome: Result<(), Trouble>) -> Result<(), Trouble> {
        match &outcome {
            Ok(()) => self.owed = self.telling.take().map_or(self.owed, |told| self.owed - told),
            Err(Trouble::Failed { events, .. }) => {
                self.owed += events;
                self.telling = None;
            }
            Err(Trouble::Closed) => {}
        }
        outcome
    }

    /// The last flush, with word of what this output missed.
    ///
    /// # Errors
    /// The output is closed or cannot be written.
    pub fn finish(&mut self) -> Result<(), Trouble> {
        self.flush()?;
        self.tell();
        self.flush()
    }

    /// An output that works again begins with what it missed.
    fn tell(&mut self) {
        if self.owed > 0 && self.telling.is_none() {
            self.telling = Some(self.owed);
            let lost = EventsLost { count: self.owed, cause: LossCause::Output };
            let event = Event { timestamp: Clock::wall(), data: Data::EventsLost(lost), process: None };
            self.encode.encode(&event, self.lines.buffer());
            self.lines.added(false);
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    File::options().write(true).create(true).truncate(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_a_format_and_a_path() {
        assert_eq!("json".parse(), Ok(Target { format: Format::Json, path: None }));
        assert_eq!("table:/a:b".parse(), Ok(Target { format: Format::Table, path: Some("/a:b".into()) }));
        assert!("xml".parse::<Target>().is_err_and(|e| e.contains("unknown format `xml`")));
        assert!("json:".parse::<Target>().is_err_and(|e| e.contains("no path")));
    }
}
