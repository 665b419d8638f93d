//! `events_lost`.

use schemars::JsonSchema;
use serde::Serialize;

use super::page::Page;
use crate::schema::schema_of;

/// Why events are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossCause {
    /// The ring buffer was full: ringwatch was slower than the writes.
    RingFull,
    /// All string buffers of a CPU were in use.
    ScratchBusy,
    /// The kernel did not run a program, since it was running on that CPU already.
    ProgramSkipped,
    /// A record could not be decoded.
    Malformed,
    /// An output could not be written.
    Output,
}

impl LossCause {
    /// As in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::ScratchBusy => "scratch_busy",
            Self::ProgramSkipped => "program_skipped",
            Self::Malformed => "malformed",
            Self::Output => "output",
        }
    }

    /// In words, with what to do.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match self {
            Self::RingFull => "the ring buffer was full: raise --buffer-size, filter, or write to a faster output",
            Self::ScratchBusy => "all string buffers of a CPU were in use",
            Self::ProgramSkipped => "the kernel skipped a program that was already running on that CPU",
            Self::Malformed => "a record could not be decoded: please report this",
            Self::Output => "an output could not be written",
        }
    }
}

/// Events that are missing from the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EventsLost {
    /// How many.
    pub count: u64,
    /// Why.
    pub cause: LossCause,
}

pub(super) static PAGE: Page = Page {
    name: "events_lost",
    summary: "a gap in the stream",
    description: "Events that could not be reported: how many, and why. Events and losses together account for everything \
that the programs did.",
    dependencies: &[],
    kernels: "all",
    use_cases: &["Know whether the stream is complete; raise --buffer-size or filter when it is not."],
    related: &["io_write"],
    schema: schema_of::<EventsLost>,
    ..Page::REQUEST
};
