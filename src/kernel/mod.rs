//! The only place that knows libbpf: what the running kernel offers ([`facts`]), which probes follow from it
//! ([`plan`], pure), loading and attaching them ([`driver`]), and how each fared ([`health`]).

pub mod driver;
pub mod facts;
pub mod health;
pub mod plan;

#[allow(clippy::all, clippy::pedantic, missing_debug_implementations, unreachable_pub)]
#[allow(clippy::undocumented_unsafe_blocks, unused_qualifications, unused_imports)]
#[allow(clippy::unwrap_used, clippy::uninlined_format_args, clippy::map_unwrap_or)]
#[allow(clippy::semicolon_if_nothing_returned, clippy::needless_pass_by_value)]
#[allow(clippy::redundant_closure_for_method_calls, unsafe_op_in_unsafe_fn)]
pub(crate) mod skel {
    include!(concat!(env!("OUT_DIR"), "/ringwatch.skel.rs"));
}

/// The records as the kernel side writes them; see `bpf/record.h`.
pub(crate) use skel::types::{rw_path, rw_task, rw_write};
