//! The plan for 5.1 to 5.4, where no such kernel can be had: its programs load against types of that age.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use ringwatch::kernel::driver::{self, Error, Options, Storage};
use ringwatch::kernel::facts::Facts;
use ringwatch::kernel::plan::{PlanKind, plan};
use serde_json::Value;

use crate::support::{Test, directory};

pub(crate) const TESTS: &[Test] = &[("legacy_programs_load_against_types_of_5_4", loads)];

/// Compiled from tests/kernels/types/linux-5.4.c.
const TYPES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/linux-5.4.o"));
const FACTS: &str = include_str!("../kernels/types/5.4.json");

fn loads() -> Result<()> {
    let recorded: Value = serde_json::from_str(FACTS)?;
    let facts: Facts = serde_json::from_value(recorded["facts"].clone())?;
    let mut plan = plan(&facts, None)?;
    ensure!(plan.kind == PlanKind::KprobeLegacy && plan.flags.perf_buffer, "{plan:?}");
    plan.follow_tree();
    let directory = directory()?;
    let btf = directory.path().join("linux-5.4.o");
    fs::write(&btf, TYPES)?;
    let options = Options { buffer_size: 65536, btf: Some(btf), ..Options::default() };
    // Loading comes first, and of all programs: what fails is only that this kernel has no such function to attach to.
    match driver::start(&mut Storage::default(), &plan, &options) {
        Err(Error::Attach { probe, .. }) => ensure!(probe == "__io_submit_sqe", "cannot attach to {probe}"),
        Err(other) => return Err(other).context("the programs do not load"),
        Ok(session) => bail!("attached to functions of 5.4 here: {session:?}"),
    }
    Ok(())
}
