//! Runs cases, each in a process of its own so that limits, roots, namespaces and signals stay there.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use crate::cases::{CASES, Case};
use crate::cx::{Cx, Skip, open_truth, skip, write_end};
use crate::os;

/// A case that takes longer hangs: far above what the slowest takes under emulation.
const TIMEOUT_SECONDS: u32 = 180;

#[derive(Debug)]
pub(crate) struct Places<'a> {
    pub(crate) truth: &'a Path,
    pub(crate) dir: &'a Path,
    pub(crate) tmpfs: &'a Path,
}

/// The cases of these names, or all, each with its index in the table.
pub(crate) fn select(names: &[String]) -> Result<Vec<(usize, &'static Case)>> {
    if names.is_empty() {
        return Ok(CASES.iter().enumerate().collect());
    }
    let find = |name: &String| {
        CASES
            .iter()
            .enumerate()
            .find(|(_, case)| case.name == name)
            .ok_or_else(|| anyhow!("no case is called {name:?}; `list` shows them"))
    };
    names.iter().map(find).collect()
}

/// Runs the cases one after the other and says whether all went as foreseen.
pub(crate) fn run(cases: &[(usize, &'static Case)], places: &Places<'_>) -> Result<bool> {
    let mut good = true;
    for &(index, case) in cases {
        good &= run_one(index, case, places)?;
    }
    Ok(good)
}

fn run_one(index: usize, case: &'static Case, places: &Places<'_>) -> Result<bool> {
    // SAFETY: the program has one thread.
    let pid = os::cvt(unsafe { libc::fork() }).context("fork")?;
    if pid == 0 {
        let code = match in_child(index, case, places) {
            Ok(true) => 0,
            Ok(false) => 1,
            Err(error) => {
                eprintln!("{}: {error:#}", case.name);
                2
            }
        };
        // SAFETY: ends the process without running what belongs to the parent.
        unsafe { libc::_exit(code) }
    }
    let status = os::wait(pid)?;
    let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
    if !matches!(code, Some(0 | 1)) {
        // It could not say so itself.
        let error = Err(anyhow!("the case's process ended with status {status:#x}"));
        write_end(&open_truth(places.truth)?, case.name, &error, 0)?;
    }
    Ok(code == Some(0))
}

fn in_child(index: usize, case: &'static Case, places: &Places<'_>) -> Result<bool> {
    // SAFETY: no pointer is passed.
    unsafe { libc::alarm(TIMEOUT_SECONDS) };
    let cx = Cx::new(case.name, index as u64, places.dir, places.tmpfs, places.truth)?;
    // SAFETY: no pointer is passed.
    let outcome = if case.needs.contains(&"root") && unsafe { libc::geteuid() } != 0 {
        Err(skip("needs root"))
    } else {
        (case.run)(&cx)
    };
    cx.end(&outcome)?;
    match &outcome {
        Err(error) if error.downcast_ref::<Skip>().is_none() => {
            eprintln!("{}: {error:#}", case.name);
            Ok(false)
        }
        _ => Ok(true),
    }
}

/// Refuses a table in which two cases share a name.
pub(crate) fn check_table() -> Result<()> {
    for (i, case) in CASES.iter().enumerate() {
        if CASES[..i].iter().any(|other| other.name == case.name) {
            bail!("two cases are called {:?}", case.name);
        }
    }
    Ok(())
}
