//! ringwatch reports every write made through io_uring.
//!
//! The rooms, from the ground up; `tests/layers.rs` holds that each knows only those below it:
//!
//! - [`opcode`], `names`, `proc`, [`json`], [`schema`], [`here`]: names of numbers, text, and where ringwatch runs
//! - [`time`], [`mod@say`], [`child`], `interrupt`, [`wake`]: clocks, messages, the traced command, signals
//! - [`event`] and [`manual`]: the public events and what is said of them
//! - [`kernel`]: the only one that knows libbpf; `kernel::wire` is what crosses as bytes
//! - [`record`]: bytes to records; [`selection`] and [`filter`]: which events; [`loss`]: what was not seen
//! - [`enrich`]: records to events; [`output`]: events to text and files; [`watched`]: processes whose end ends a trace
//! - [`rings`]: the inventory, which needs none of the above but the kernel and text
//! - [`pipeline`]: decode, enrich, select, output, on a thread of its own
//! - [`tracer`]: loads the kernel side, reads its buffers and hands records on
//! - [`stat`]: sums instead of events
//! - [`cli`]: one file for each subcommand
//!
//! Data flows one way: kernel record, decode, enrich, match, output. Writes come through a queue for each CPU, strings and
//! all else through a ring buffer. Nothing above [`enrich`] knows which probe an event came from.

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
mod names;
pub mod opcode;
pub mod output;
pub mod pipeline;
mod proc;
pub mod record;
pub mod rings;
pub mod say;
pub mod schema;
pub mod selection;
pub mod stat;
pub mod time;
pub mod tracer;
pub mod wake;
pub mod watched;
