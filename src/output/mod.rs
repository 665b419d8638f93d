//! Sinks: where events go, one file for each format.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod json;
mod lines;
mod table;
pub(crate) mod text;

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;

use crate::event::{Data, Event, EventsLost, LossCause};
use crate::time::Clock;
pub use json::Json;
use lines::Lines;
pub(crate) use table::pad;
pub use table::{Choice, Look, Style, Table, about_columns};
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
    Closed {
        /// How many events it did not get.
        events: u64,
    },
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
    lines: Lines<File>,
    name: String,
    place: Place,
    /// It was opened by a path.
    own: bool,
    /// Events that this output missed and was not told of.
    owed: u64,
    /// Of these, how many a line that waits to be written tells of.
    telling: Option<u64>,
    /// The reader is gone.
    closed: bool,
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
    pub fn open(target: &Target, look: &Look) -> io::Result<Self> {
        let terminal = target.path.is_none() && io::stdout().is_terminal();
        let file = match &target.path {
            Some(path) => File::options().write(true).create(true).truncate(false).open(path)?,
            // Not through the buffer of io::stdout(), which holds back what is no whole line.
            None => File::from(io::stdout().as_fd().try_clone_to_owned()?),
        };
        let place = Place::of(&file)?;
        let name = named(target);
        let encode: Box<dyn Encode> = match target.format {
            Format::Json => Box::new(Json::default()),
            Format::Table => Box::new(Table::new(look.style(terminal), look)),
        };
        let own = target.path.is_some();
        Ok(Self { encode, lines: Lines::new(file), name, owed: 0, telling: None, closed: false, place, own })
    }

    /// Opens all outputs, each a file of its own, and then empties those that were given by path.
    ///
    /// # Errors
    /// A file cannot be made, or two outputs would overwrite each other.
    pub fn open_all(targets: &[Target], look: &Look) -> Result<Vec<Self>, Unfit> {
        let open = |target: &Target| Self::open(target, look).map_err(|e| Unfit::Open(named(target), e));
        let sinks: Vec<Self> = targets.iter().map(open).collect::<Result<_, _>>()?;
        for (i, sink) in sinks.iter().enumerate() {
            if let Some(other) = sinks[..i].iter().find(|other| other.place.would_mix(&sink.place)) {
                return Err(Unfit::Same(other.name.clone(), sink.name.clone()));
            }
            // Of two descriptors each writes where it stands itself.
            let messages = Place::of_descriptor(io::stderr().as_fd()).ok();
            if sink.own && sink.place.regular && messages.is_some_and(|place| place.would_mix(&sink.place)) {
                return Err(Unfit::Same(sink.name.clone(), "standard error".to_owned()));
            }
        }
        for sink in sinks.iter().filter(|sink| sink.own && sink.place.regular) {
            sink.lines.writer().set_len(0).map_err(|e| Unfit::Open(sink.name.clone(), e))?;
        }
        Ok(sinks)
    }

    /// Whether it goes where standard output goes.
    #[must_use]
    pub fn is_on_standard_output(&self) -> bool {
        !self.own || Place::of_descriptor(io::stdout().as_fd()).is_ok_and(|place| place.would_mix(&self.place))
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
        if self.closed {
            return Err(Trouble::Closed { events: u64::from(!matches!(event.data, Data::EventsLost(_))) });
        }
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
        if self.closed {
            return Ok(());
        }
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
            Err(Trouble::Closed { .. }) => self.closed = true,
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
        if self.owed > 0 && self.telling.is_none() && !self.closed {
            self.telling = Some(self.owed);
            let lost = EventsLost { count: self.owed, cause: LossCause::Output };
            let event = Event { timestamp: Clock::wall(), data: Data::EventsLost(lost), process: None };
            self.encode.encode(&event, self.lines.buffer());
            self.lines.added(false);
        }
    }
}

fn named(target: &Target) -> String {
    target.path.as_ref().map_or_else(|| "standard output".to_owned(), |p| visible(&p.to_string_lossy()))
}

/// Why outputs cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// A file cannot be made.
    #[error("cannot write to {0}: {1}: choose another path for --output")]
    Open(String, io::Error),
    /// By the same name, a link, or another name of the device.
    #[error("{0} and {1} are the same file: give each output a file of its own")]
    Same(String, String),
}

/// Which file it is, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    device: u64,
    inode: u64,
    regular: bool,
    /// /dev/null takes any number of outputs.
    null: bool,
}

impl Place {
    fn of(file: &File) -> io::Result<Self> {
        use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
        const NULL: u64 = libc::makedev(1, 3);
        let data = file.metadata()?;
        let null = data.file_type().is_char_device() && data.rdev() == NULL;
        Ok(Self { device: data.dev(), inode: data.ino(), regular: data.is_file(), null })
    }

    fn of_descriptor(descriptor: BorrowedFd<'_>) -> io::Result<Self> {
        Self::of(&File::from(descriptor.try_clone_to_owned()?))
    }

    fn would_mix(&self, other: &Self) -> bool {
        !self.null && self == other
    }
}

/// Whether what is written to standard error comes out where standard output does.
#[must_use]
pub fn are_standard_streams_one() -> bool {
    let place = |descriptor| Place::of_descriptor(descriptor).ok();
    place(io::stdout().as_fd()).zip(place(io::stderr().as_fd())).is_some_and(|(out, err)| out.would_mix(&err))
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
