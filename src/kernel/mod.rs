//! The only place that knows libbpf: what the running kernel offers ([`facts`]), which probes follow from it
//! ([`plan`] and [`probe`], pure), loading and attaching them ([`driver`]), and how each fared ([`health`]), and what crosses as bytes (`wire`).

pub mod driver;
pub mod facts;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod health;
pub mod plan;
pub mod probe;
pub mod rings;
mod trial;
pub(crate) mod wire;

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
