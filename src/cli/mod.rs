//! The command line: arguments to validated options, errors to exit codes.

mod check;
mod events;
mod filters;
mod follow;
mod paths;
mod rings;
mod stat;
mod trace;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::anyhow;
use clap::{Parser, Subcommand};

use crate::kernel::facts::{self, Sources};
use crate::kernel::plan::PlanKind;
use crate::say;

/// See every write made through io_uring: who asked for it, which file, where, how many bytes, what came of it,
/// how long it took.
#[derive(Debug, Parser)]
#[command(name = "ringwatch", version, propagate_version = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Trace(trace::Arguments),
    Stat(stat::Arguments),
    Check(check::Arguments),
    Rings(rings::Arguments),
    Events(events::Arguments),
}

/// What the shell sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Success,
    /// It failed: the reason is on standard error.
    Failure,
    /// The arguments are wrong.
    Usage,
    /// The status of the traced command.
    Command(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Success => Self::SUCCESS,
            Exit::Failure => Self::from(1),
            Exit::Usage => Self::from(2),
            Exit::Command(status) => Self::from(status),
        }
    }
}

/// Why a subcommand did not do its work.
#[derive(Debug)]
enum Failure {
    /// The arguments contradict each other or the machine.
    Usage(String),
    /// Anything else.
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// Where facts are looked for.
fn sources(btf: Option<&Path>, forced: Option<PlanKind>) -> Result<Sources, Failure> {
    if let Some(file) = btf {
        facts::check_btf(file).map_err(|why| {
            anyhow!("{} is no BTF of a kernel: {why}; give a file such as /sys/kernel/btf/vmlinux is", file.display())
        })?;
    }
    let all = matches!(forced, Some(PlanKind::Kprobe | PlanKind::KprobeLegacy));
    Ok(Sources { btf: btf.map(Path::to_owned), all })
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    // A limit of a file's size fails the write as a full disk does. A handler, and not to ignore the signal: the command
    // that is traced gets the default back.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    let outcome = match Arguments::parse().command {
        Command::Trace(arguments) => trace::run(arguments),
        Command::Stat(arguments) => stat::run(arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Rings(arguments) => rings::run(&arguments),
        Command::Events(arguments) => events::run(&arguments),
    };
    match outcome {
        Ok(exit) => exit,
        Err(Failure::Usage(message)) => {
            say!("{message}");
            Exit::Usage
        }
        Err(Failure::Other(error)) => {
            say!("{error:#}");
            Exit::Failure
        }
    }
    .into()
}

/// Writes to standard output; a reader that left early is no error.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(e).context("cannot write to standard output"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_consistent() {
        super::Arguments::command().debug_assert();
    }
}
