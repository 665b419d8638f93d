//! ringwatch tells of every write made through io_uring.
//!
//! Data flows one way. The kernel side (`bpf/`) sends records through a ring buffer; [`tracer`] reads them on its
//! own thread and hands them in batches to [`pipeline`], which decodes ([`record`]), joins ([`enrich`]), selects,
//! and writes ([`output`]). What a record means stops at [`enrich`]; sinks know only [`event`]. What was not seen
//! is in [`loss`]. The inventory of rings ([`rings`]) is asked for, and needs none of this. Only [`kernel`] knows libbpf, and nothing above it knows which probe produced an event.

pub mod child;
pub mod cli;
pub mod enrich;
pub mod event;
pub mod filter;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod here;
mod interrupt;
pub mod json;
pub mod kernel;
pub mod loss;
pub mod manual;
pub mod opcode;
pub mod output;
pub mod pipeline;
pub mod record;
pub mod rings;
pub mod say;
pub mod selection;
pub mod stat;
pub mod tracer;
pub mod watched;
