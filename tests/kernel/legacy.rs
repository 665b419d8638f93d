//! The plan for 5.1 to 5.4, where no such kernel can be had: its programs load against types of that age.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use ringwatch::kernel::driver::{self, Error, Options, Storage};
use ringwatch::kernel::facts::{Facts, Sources};
use ringwatch::kernel::plan::{Plan, PlanKind, Wanted};
use serde_json::Value;

use crate::support::{Test, directory};

pub(crate) const TESTS: &[Test] = &[
    ("legacy_programs_load_against_types_of_5_4", loads),
    ("a_verifier_is_asked_where_the_kernel_has_no_btf_of_its_own", asked),
    ("a_refused_program_is_named_with_the_end_of_the_verifiers_log", refused),
];

/// Compiled from tests/kernels/types/linux-5.4.c.
const TYPES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/linux-5.4.o"));
const BROKEN_TYPES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/linux-5.4-broken.o"));
const FACTS: &str = include_str!("../kernels/types/5.4.json");

/// Starts the plan of 5.4 with `types`, which cannot end well on any other kernel.
fn start(types: &[u8]) -> Result<Error> {
    let recorded: Value = serde_json::from_str(FACTS)?;
    let facts: Facts = serde_json::from_value(recorded["facts"].clone())?;
    let wanted = Wanted { tree: true, ..Wanted::default() };
    let plan = Plan::new(&facts, &wanted, None)?;
    ensure!(plan.kind == PlanKind::KprobeLegacy && plan.flags.perf_buffer, "{plan:?}");
    let directory = directory()?;
    let btf = directory.path().join("types.o");
    fs::write(&btf, types)?;
    let options = Options { buffer_size: 65536, btf: Some(btf), wanted, ..Options::default() };
    match driver::start(&mut Storage::default(), &plan, &options) {
        Err(error) => Ok(error),
        Ok(session) => bail!("attached to functions of 5.4 here: {session:?}"),
    }
}

fn loads() -> Result<()> {
    // Loading comes first, and of all programs: what fails is only that this kernel has no such function to attach to,
    // or no kprobes at all.
    match start(TYPES)? {
        Error::Attach { probe, .. } => {
            ensure!(["io_complete_rw", "__io_submit_sqe"].contains(&&*probe), "cannot attach to {probe}");
        }
        other => return Err(other).context("the programs do not load"),
    }
    Ok(())
}

/// 5.1 and 5.2 say no, and are refused by name; see src/kernel/plan/tests.rs.
fn asked() -> Result<()> {
    let directory = directory()?;
    let btf = directory.path().join("types.o");
    fs::write(&btf, TYPES)?;
    let facts = Facts::collect(&Sources { btf: Some(btf), ..Sources::default() });
    ensure!((facts.globals, facts.loops) == (Some(true), Some(true)), "{facts:?}");
    let facts = Facts::collect(&Sources::default());
    ensure!((facts.globals, facts.loops) == (None, None), "asked for nothing: {facts:?}");
    Ok(())
}

fn refused() -> Result<()> {
    let error = start(BROKEN_TYPES)?.to_string();
    ensure!(error.starts_with("the kernel refused the program legacy_"), "{error}");
    ensure!(error.contains("io_rings") && error.contains("processed "), "{error}");
    for advice in ["MEMLOCK", "ulimit", "libbpf: failed to load object"] {
        ensure!(!error.contains(advice), "{error}");
    }
    Ok(())
}
