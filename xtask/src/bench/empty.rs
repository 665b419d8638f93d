//! The empty programs, attached by this process.

use std::mem::MaybeUninit;

use anyhow::{Context as _, Result};
use libbpf_rs::skel::{OpenSkel as _, SkelBuilder as _};
use libbpf_rs::{Link, OpenObject};
use ringwatch::kernel::plan::Probe;

#[allow(clippy::all, clippy::pedantic, missing_debug_implementations, unreachable_pub)]
#[allow(clippy::undocumented_unsafe_blocks, unused_qualifications, unused_imports)]
#[allow(clippy::unwrap_used, clippy::uninlined_format_args, clippy::map_unwrap_or)]
#[allow(clippy::semicolon_if_nothing_returned, clippy::needless_pass_by_value)]
#[allow(clippy::redundant_closure_for_method_calls, unsafe_op_in_unsafe_fn, dead_code)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/empty.skel.rs"));
}

/// Runs `body` with the programs attached; `submit` is the probe of submissions that this kernel has.
pub(super) fn with_empty<T>(submit: Probe, body: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut storage = MaybeUninit::uninit();
    let _links = attach(&mut storage, submit).context("cannot attach the empty programs")?;
    body()
}

/// The links keep the programs in the kernel; the object that they came from may go.
fn attach(storage: &mut MaybeUninit<OpenObject>, submit: Probe) -> Result<[Link; 2]> {
    let old = submit == Probe::IoUringSubmitSqe;
    let mut open = skel::EmptySkelBuilder::default().open(storage)?;
    open.progs.empty_submit_req.set_autoload(!old);
    open.progs.empty_submit_sqe.set_autoload(old);
    let loaded = open.load()?;
    let submit = if old { &loaded.progs.empty_submit_sqe } else { &loaded.progs.empty_submit_req };
    Ok([loaded.progs.empty_complete.attach()?, submit.attach()?])
}
