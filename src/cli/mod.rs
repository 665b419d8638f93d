//! The command line: arguments to validated options, errors to exit codes.

mod check;
mod events;
mod filters;
mod follow;
mod look;
mod paths;
mod rings;
mod stat;
mod trace;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::anyhow;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::complain;
use crate::kernel::facts::{self, Sources};
use crate::kernel::plan::PlanKind;

const EXAMPLES: &str = "Examples:
  ringwatch trace                    every io_uring write on this machine, as it completes
  ringwatch stat -- COMMAND          a command's rates, latencies and errors, and what they mean
  ringwatch rings                    every io_uring instance, and the processes that hold it";

const ROOT: &str = "Tracing needs root, or CAP_BPF and CAP_PERFMON.";

/// Report every write made through io_uring: the process, the file, the position, the bytes, the result and the latency.
#[derive(Debug, Parser)]
#[command(name = "ringwatch", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = format!("{EXAMPLES}\n\n{ROOT}"))]
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
            anyhow!(
                "cannot use {} as the kernel's BTF: {why}; it must be a file like /sys/kernel/btf/vmlinux",
                file.display()
            )
        })?;
    }
    let all = matches!(forced, Some(PlanKind::Kprobe | PlanKind::KprobeLegacy));
    Ok(Sources { btf: btf.map(Path::to_owned), all })
}

/// The definition of the command line, of which manuals and completions are made.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    // A limit of a file's size fails the write as a full disk does. A handler, and not to ignore the signal: the command
    // that is traced gets the default back.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    let arguments = Arguments::try_parse().unwrap_or_else(|error| match error.kind() {
        // `ringwatch` alone: what to type, and not all of the help.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = writeln!(
                std::io::stderr(),
                "Usage: ringwatch COMMAND\n\n{EXAMPLES}\n\n{ROOT} `ringwatch --help` lists all commands."
            );
            std::process::exit(2);
        }
        _ => error.exit(),
    });
    let outcome = match arguments.command {
        Command::Trace(arguments) => trace::run(arguments),
        Command::Stat(arguments) => stat::run(arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Rings(arguments) => rings::run(&arguments),
        Command::Events(arguments) => events::run(&arguments),
    };
    match outcome {
        Ok(exit) => exit,
        Err(Failure::Usage(message)) => {
            complain!("{message}");
            Exit::Usage
        }
        Err(Failure::Other(error)) => {
            complain!("{error:#}");
            Exit::Failure
        }
    }
    .into()
}

/// Writes to standard output; a reader that left early is no error.
fn print(text: &str) -> anyhow::Result<()> {
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
    #[test]
    fn the_arguments_are_consistent() {
        super::command().debug_assert();
    }
}
