//! What the verifiers of 5.4 to 5.9 would say of the programs for such kernels, which cannot be had here.
//!
//! libbpf relocates the object against types of 5.4 and of 5.6 and gives the instructions that it would load. Those are
//! followed as these verifiers do, by rules that are known from their sources and from what they said of earlier forms of
//! these programs on kernels that were built:
//!
//! - a number that is spilled to the stack has no bounds when it comes back, unless it is a constant (before 5.11);
//! - a comparison tells of the register that was compared, and of no copy (before 5.10);
//! - bounds of 32 bits tell nothing of a register that has more (before 5.7);
//! - pointers on the stack, typed ones among them, are no data for a helper: no key of a map (before 5.12);
//! - an atomic instruction adds and gives nothing back (before 5.12);
//! - there are no other helpers, and no functions of the kernel to call;
//! - what a pointer is moved by has bounds, and what is read or written is within its map's value, or the stack;
//! - sizes that are given to helpers have bounds;
//! - what is reached has no relocation that failed;
//! - a program and the functions that it calls have 512 bytes of stack, and eight frames.
//!
//! Where ways through a program meet, what is known of them is joined, which these verifiers do not: this check refuses
//! some that they take, and none of its own rules is weaker. What it does not know: their limit of a million followed
//! instructions, which the kernel that runs the tests counts as they do, and what differs between kernels in which helper
//! a kind of program may call.

mod call;
mod check;
mod compare;
mod helpers;
mod live;
mod object;
mod state;
mod value;

use std::fs;

use anyhow::{Result, ensure};

use crate::support::{Test, directory};

pub(crate) const TESTS: &[Test] = &[
    ("the_verifier_of_5_4_would_take_the_early_programs", || early(TYPES_5_4, is_of_5_4)),
    ("the_verifier_of_5_6_would_take_the_early_programs", || early(TYPES_5_6, |name| !name.starts_with("legacy_"))),
    ("every_form_of_what_moved_between_them_is_taken", forms),
    ("what_old_verifiers_refuse_is_refused", refused),
];

const EARLY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/early.bpf.o"));
/// Compiled from tests/kernels/types/refused.bpf.c.
const FIXTURES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/refused.bpf.o"));
const TYPES_5_4: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/linux-5.4.o"));
const TYPES_5_6: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/linux-5.6.o"));

/// Those of the plan kprobe-legacy, and of files by kprobe.
fn is_of_5_4(name: &str) -> bool {
    let by_fentry =
        name.ends_with("_fentry") || ["vfs_write_exit", "vfs_writev_exit", "file_open_exit"].contains(&name);
    ["legacy_", "process_", "vfs_", "file_"].iter().any(|kind| name.starts_with(kind)) && !by_fentry
}

fn verdicts(object: &[u8], types: &[u8], which: impl Fn(&str) -> bool) -> Result<Vec<(String, Result<(), String>)>> {
    let directory = directory()?;
    let file = directory.path().join("types.o");
    fs::write(&file, types)?;
    object::with(object, Some(&file), |programs, maps| {
        let chosen = programs.iter().filter(|program| which(&program.name));
        chosen.map(|program| (program.name.clone(), check::check(program, maps))).collect()
    })
}

fn early(types: &[u8], which: impl Fn(&str) -> bool) -> Result<()> {
    let verdicts = verdicts(EARLY, types, which)?;
    ensure!(!verdicts.is_empty(), "no program was looked at");
    let refused: Vec<_> = verdicts.iter().filter_map(|(_, verdict)| verdict.as_ref().err()).collect();
    ensure!(refused.is_empty(), "of {} programs refused: {refused:#?}", verdicts.len());
    Ok(())
}

/// Where a ring's files are, and whether a process's memory names its owner.
fn forms() -> Result<()> {
    macro_rules! types {
        ($name:literal) => {
            include_bytes!(concat!(env!("OUT_DIR"), "/linux-", $name, ".o"))
        };
    }
    early(types!("5.4-without-memcg"), |name| name == "legacy_submit")?;
    let forms: [&[u8]; 4] =
        [types!("5.6-without-memcg"), types!("5.5-files"), types!("5.12-files"), types!("5.13-files")];
    for types in forms {
        early(types, |name| name == "io_write_attempt_kprobe")?;
    }
    Ok(())
}

/// Each fixture breaks one rule, and its twin keeps it.
fn refused() -> Result<()> {
    let rules = [
        ("spilled", "unbounded min value"),
        ("copied", "unbounded min value"),
        ("sized", "unbounded memory access"),
        ("typed_key", "invalid indirect read from stack"),
        ("fetched", "BPF_STX uses reserved fields"),
        ("helper", "invalid func unknown#130"),
        ("relocated", "a relocation that failed"),
        ("beyond", "invalid access to map value"),
        ("unchecked", "map_value_or_null"),
        ("deep", "combined stack size"),
    ];
    let verdicts = verdicts(FIXTURES, TYPES_5_6, |_| true)?;
    ensure!(verdicts.len() == 2 * rules.len(), "{verdicts:#?}");
    for (rule, reason) in rules {
        let of = |name: String| verdicts.iter().find(|(n, _)| *n == name).map(|(_, verdict)| verdict);
        let broken = of(format!("{rule}_refused"));
        ensure!(matches!(broken, Some(Err(said)) if said.contains(reason)), "{rule}: {broken:?}");
        ensure!(of(format!("{rule}_taken")) == Some(&Ok(())), "{rule}: {:?}", of(format!("{rule}_taken")));
    }
    Ok(())
}
