//! What libbpf and the verifier say: kept, instead of printed with misleading advice.

use std::collections::VecDeque;
use std::sync::Mutex;

use libbpf_rs::PrintLevel;
use serde::Serialize;

/// Lines that are kept of what is said.
const LINES: usize = 12;
const BEGIN: &str = "': -- BEGIN PROG LOAD LOG --";
const FAILED: &str = "': BPF program load failed";

/// What the verifier did for one program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The program.
    pub name: String,
    /// Instructions that the verifier went through; it gives up at a million.
    pub instructions: u64,
    /// Microseconds that it took.
    pub verification_us: u64,
}

#[derive(Debug)]
struct Log {
    lines: VecDeque<String>,
    refused: Option<String>,
    verified: Vec<Verified>,
}

static LOG: Mutex<Log> = Mutex::new(Log { lines: VecDeque::new(), refused: None, verified: vec![] });

/// What was said since the last call.
#[derive(Debug, Default)]
pub(in crate::kernel) struct Said {
    /// The last lines, each indented below the message that they explain.
    pub(in crate::kernel) text: String,
    /// The program that the kernel refused.
    pub(in crate::kernel) refused: Option<String>,
    /// Those that it took, where statistics were asked for.
    pub(in crate::kernel) verified: Vec<Verified>,
}

/// Keeps all that libbpf says from now on. `statistics`: also those of programs that are taken.
pub(in crate::kernel) fn listen(statistics: bool) {
    let level = if statistics { PrintLevel::Debug } else { PrintLevel::Warn };
    libbpf_rs::set_print(Some((level, keep)));
}

pub(in crate::kernel) fn take() -> Said {
    let Ok(mut log) = LOG.lock() else { return Said::default() };
    Said {
        text: log.lines.drain(..).fold(String::new(), |all, line| all + "\n  " + &line),
        refused: log.refused.take(),
        verified: std::mem::take(&mut log.verified),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "libbpf-rs gives a String")]
fn keep(level: PrintLevel, message: String) {
    if let Ok(mut log) = LOG.lock() {
        log.keep(level == PrintLevel::Debug, &message);
    }
}

impl Log {
    fn keep(&mut self, debug: bool, message: &str) {
        if debug {
            self.verified.extend(verified(message));
            return;
        }
        if let Some(name) = program(message, FAILED) {
            self.refused = Some(name.to_owned());
        }
        for line in message.lines().filter(|l| says_something(l)) {
            if self.lines.len() == LINES {
                self.lines.pop_front();
            }
            self.lines.push_back(line.trim_end().to_owned());
        }
    }
}

/// Not the frames of a log, nor advice on a limit that has nothing to do with it, nor what follows from the refusal.
fn says_something(line: &str) -> bool {
    let noise = [
        "MEMLOCK",
        "ulimit",
        "PROG LOAD LOG --",
        "BPF program load failed",
        "failed to load: ",
        "failed to load object",
        "failed to load BPF skeleton",
        "failed to auto-attach",
    ];
    !line.trim().is_empty() && !noise.iter().any(|n| line.contains(n))
}

/// `libbpf: prog 'NAME': ...`
fn program<'a>(message: &'a str, what: &str) -> Option<&'a str> {
    let (before, _) = message.split_once(what)?;
    before.rsplit_once("prog '").map(|(_, name)| name)
}

fn verified(message: &str) -> Option<Verified> {
    let name = program(message, BEGIN)?;
    let number = |before: &str| {
        let (_, rest) = message.rsplit_once(before)?;
        rest.split_whitespace().next()?.parse().ok()
    };
    Some(Verified {
        name: name.to_owned(),
        instructions: number("processed ")?,
        verification_us: number("verification time ")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Log {
        Log { lines: VecDeque::new(), refused: None, verified: vec![] }
    }

    #[test]
    fn a_refusal_names_the_program_and_keeps_the_end_of_its_log() {
        let mut log = log();
        log.keep(false, "libbpf: prog 'complete': BPF program load failed: Permission denied\n");
        let verifier: String = (0..50).map(|i| format!("{i}: (85) call bpf_loop\n")).collect();
        log.keep(
            false,
            &format!(
                "libbpf: prog 'complete': -- BEGIN PROG LOAD LOG --\n{verifier}R1 invalid mem access 'scalar'\n-- END PROG LOAD LOG --\n"
            ),
        );
        log.keep(false, "libbpf: Couldn't raise RLIMIT_MEMLOCK: try ulimit -l\n");
        log.keep(false, "libbpf: failed to load object 'typed_bpf'\n");
        assert_eq!(log.refused.as_deref(), Some("complete"));
        assert_eq!(log.lines.len(), LINES);
        assert_eq!(log.lines.back().map(String::as_str), Some("R1 invalid mem access 'scalar'"));
    }

    #[test]
    fn statistics_of_a_program_that_was_taken() {
        let mut log = log();
        log.keep(
            true,
            "libbpf: prog 'create': -- BEGIN PROG LOAD LOG --\nverification time 41 usec\nstack depth 32\nprocessed 53 insns (limit 1000000) max_states_per_insn 0\n-- END PROG LOAD LOG --\n",
        );
        log.keep(true, "libbpf: map 'events': created successfully, fd=4\n");
        let wanted = Verified { name: "create".to_owned(), instructions: 53, verification_us: 41 };
        assert_eq!(log.verified, [wanted]);
        assert!(log.lines.is_empty());
    }
}
