//! What a program shows before it is followed: which registers are read later, since what nothing reads need not be told
//! apart, and where ways meet.

use std::collections::BTreeSet;

use super::helpers;
use super::object::Instruction;

/// For each instruction, a bit for each register that is read at or behind it in its function.
pub(super) fn registers(instructions: &[Instruction]) -> Vec<u16> {
    let mut live = vec![0u16; instructions.len() + 2];
    loop {
        let mut changed = false;
        for at in (0..instructions.len()).rev() {
            let (reads, writes) = touched(instructions[at]);
            let after = next(instructions, at)
                .into_iter()
                .flatten()
                .fold(0, |all, to| all | live.get(to).copied().unwrap_or(0));
            let now = after & !writes | reads;
            changed |= live[at] != now;
            live[at] = now;
        }
        if !changed {
            return live;
        }
    }
}

/// Where ways may meet.
pub(super) fn targets(instructions: &[Instruction]) -> BTreeSet<usize> {
    let jumps = (0..instructions.len())
        .filter(|&at| matches!(instructions[at].code & 7, 5 | 6) && !matches!(instructions[at].code, 0x85 | 0x95));
    jumps.filter_map(|at| usize::try_from(at as i64 + 1 + i64::from(instructions[at].offset)).ok()).collect()
}

fn next(instructions: &[Instruction], at: usize) -> [Option<usize>; 2] {
    let i = instructions[at];
    let jump = usize::try_from(at as i64 + 1 + i64::from(i.offset)).ok();
    match (i.code, i.code & 7) {
        (0x95, _) => [None, None],
        (0x05, _) => [jump, None],
        (0x85, _) => [Some(at + 1), None],
        (_, 5 | 6) => [Some(at + 1), jump],
        (0x18, _) => [Some(at + 2), None],
        _ => [Some(at + 1), None],
    }
}

/// What an instruction reads and writes.
fn touched(i: Instruction) -> (u16, u16) {
    let (source, destination) = (1 << i.source, 1 << i.destination);
    match i.code & 7 {
        0 => (0, destination),
        1 => (source, destination),
        2 => (destination, 0),
        3 => (source | destination, 0),
        4 | 7 => {
            let by = if i.code & 8 != 0 && i.code & 0xf0 != 0xd0 { source } else { 0 };
            let own = if i.code & 0xf0 == 0xb0 { 0 } else { destination };
            (by | own, destination)
        }
        _ => match i.code {
            0x95 => (1, 0),
            0x05 => (0, 0),
            0x85 => {
                let arguments =
                    if i.source == 0 { helpers::get(i.immediate).map_or(5, |h| h.arguments.len()) } else { 5 };
                (((1 << arguments) - 1) << 1, 0x3f)
            }
            code => (destination | if code & 8 != 0 { source } else { 0 }, 0),
        },
    }
}
