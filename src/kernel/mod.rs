//! The only place that knows libbpf: what the running kernel offers ([`facts`]), which probes follow from it
//! ([`plan`] and [`probe`], pure), loading and attaching them ([`driver`]), and how each fared ([`health`]).

pub mod driver;
pub mod facts;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod health;
pub mod plan;
pub mod probe;
pub mod rings;
mod trial;

#[allow(clippy::all, clippy::pedantic, missing_debug_implementations, unreachable_pub)]
#[allow(clippy::undocumented_unsafe_blocks, unused_qualifications, unused_imports)]
#[allow(clippy::unwrap_used, clippy::uninlined_format_args, clippy::map_unwrap_or)]
#[allow(clippy::semicolon_if_nothing_returned, clippy::needless_pass_by_value)]
#[allow(clippy::redundant_closure_for_method_calls, unsafe_op_in_unsafe_fn)]
pub(crate) mod skel {
    //! One skeleton for each object; see `build.rs`.
    pub(crate) mod typed {
        include!(concat!(env!("OUT_DIR"), "/typed.skel.rs"));
    }
    pub(crate) mod raw {
        include!(concat!(env!("OUT_DIR"), "/raw.skel.rs"));
    }
    pub(crate) mod early {
        include!(concat!(env!("OUT_DIR"), "/early.skel.rs"));
    }
    pub(crate) mod rings {
        include!(concat!(env!("OUT_DIR"), "/rings.skel.rs"));
    }
}

/// The records as the kernel side writes them; see `bpf/record.h`.
pub(crate) use skel::rings::types::rw_ring;
pub(crate) use skel::typed::types::{
    rw_created, rw_directory, rw_names, rw_path, rw_queue, rw_request, rw_task, rw_write,
};

/// The sums as the kernel side holds them; see `bpf/sums.h`.
pub(crate) use skel::typed::types::{rw_class, rw_failure, rw_failure_key, rw_file_key, rw_row};
