//! `ringwatch trace`.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use globset::{GlobBuilder, GlobSetBuilder};

use super::{Exit, Failure, sources};
use crate::kernel::driver::{FILTER_MAX, Options};
use crate::kernel::facts::Facts;
use crate::kernel::plan::{PlanKind, plan};
use crate::output::{Sink, Target};
use crate::pipeline::Select;
use crate::tracer::{self, Config, Limits, Outcome};

/// Tell of each write as its outcome becomes known.
///
/// Data goes to standard output, everything else to standard error. With a command behind `--`, only that command
/// and the processes that it starts are followed, and its exit status is ringwatch's.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ringwatch trace -- fio --ioengine=io_uring --name=j --rw=write --size=1M\n  ringwatch trace -o json:/tmp/writes.json -o table --path '/etc/*'\n  ringwatch trace -p 4711 --duration 10s"
)]
pub(super) struct Arguments {
    /// Format, and file: table, json, table:PATH, json:PATH. Several at once are possible.
    #[arg(short, long, value_name = "FORMAT[:PATH]", default_value = "table")]
    output: Vec<Target>,

    /// Stop after this time: 500ms, 10s, 5m, 1h.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,

    /// Stop after this many events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,

    /// Only this process. May be given several times.
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Vec<u32>,

    /// Only threads of this name (at most 15 bytes, as in /proc/PID/comm). May be given several times.
    #[arg(long, value_name = "NAME", value_parser = comm)]
    comm: Vec<String>,

    /// Only this user's processes, by number or name. May be given several times.
    #[arg(long, value_name = "USER", value_parser = user)]
    uid: Vec<u32>,

    /// Only files whose path matches: * and ? match also slashes. May be given several times.
    #[arg(long, value_name = "GLOB")]
    path: Vec<String>,

    /// Bytes of the buffer between kernel and user space, a power of two: 64K, 16M.
    #[arg(long, value_name = "SIZE", default_value = "16M", value_parser = buffer_size)]
    buffer_size: u32,

    /// Use this probe plan instead of the one that the kernel's facts suggest.
    #[arg(long, value_name = "PLAN")]
    probes: Option<PlanKind>,

    /// Take the kernel's type information (BTF) from this file, for kernels that carry none.
    #[arg(long, value_name = "FILE")]
    btf: Option<PathBuf>,

    /// Read kernel memory by helper calls, as on kernels whose verifier knows no typed reads.
    #[arg(long, hide = true)]
    raw_reads: bool,

    /// Run this command, and follow it and all processes that it starts.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(super) fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let select = Select { paths: globs(&arguments.path)?, limit: arguments.limit };
    for (what, n) in [("--pid", arguments.pid.len()), ("--comm", arguments.comm.len()), ("--uid", arguments.uid.len())]
    {
        if n > FILTER_MAX {
            return Err(Failure::Usage(format!("{what} can be given {FILTER_MAX} times at most, not {n} times")));
        }
    }
    if arguments.output.iter().filter(|t| t.path.is_none()).count() > 1 {
        return Err(Failure::Usage("only one --output can go to standard output: give the others a path".to_owned()));
    }

    let sources = sources(arguments.btf.as_deref(), arguments.probes)?;
    let mut plan = plan(&Facts::collect(&sources), arguments.probes)?;
    if arguments.raw_reads {
        plan = plan.raw("asked for");
    }
    let tree = !arguments.command.is_empty();
    if tree {
        plan.follow_tree();
    }
    let sinks = arguments.output.iter().map(open).collect::<anyhow::Result<_>>()?;
    let outcome = tracer::run(Config {
        plan,
        options: Options {
            buffer_size: arguments.buffer_size,
            pids: arguments.pid,
            uids: arguments.uid,
            comms: arguments.comm,
            tree,
            btf: arguments.btf,
            statistics: false,
        },
        select,
        sinks,
        limits: Limits { duration: arguments.duration, command: arguments.command },
    });
    let outcome = match outcome {
        Err(error @ tracer::Error::Command(..)) => {
            // As a shell has it.
            let missing = matches!(&error, tracer::Error::Command(_, e) if e.kind() == std::io::ErrorKind::NotFound);
            eprintln!("ringwatch: {error}");
            return Ok(Exit::Command(if missing { 127 } else { 126 }));
        }
        other => other?,
    };
    summarize(&outcome);
    Ok(outcome.status.map_or(Exit::Success, exit_of))
}

fn open(target: &Target) -> anyhow::Result<Sink> {
    Sink::open(target).with_context(|| {
        let path = target.path.as_ref().map_or_else(String::new, |p| p.display().to_string());
        format!("cannot write to {path}: choose another path for --output")
    })
}

fn summarize(outcome: &Outcome) {
    let summary = &outcome.summary;
    let mut text = format!("{} events", summary.events);
    if summary.filtered > 0 {
        text += &format!(", {} left out by --path", summary.filtered);
    }
    text += &match summary.losses.total() {
        0 => ", none lost".to_owned(),
        n => format!(", {n} lost"),
    };
    eprintln!("ringwatch: {text} (plan: {})", outcome.plan.kind);
    for lost in summary.losses.iter() {
        eprintln!("ringwatch: lost {}: {}", lost.count, lost.cause.explain());
    }
    if outcome.untracked > 0 {
        eprintln!(
            "ringwatch: {} requests were told without their submission: the kernel side had no room to follow them",
            outcome.untracked
        );
    }
    if outcome.unfollowed > 0 {
        eprintln!(
            "ringwatch: {} processes of the command were not followed: more than 65536 at once",
            outcome.unfollowed
        );
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Exit::Command(u8::try_from(code).unwrap_or(1))
}

fn globs(patterns: &[String]) -> Result<Option<globset::GlobSet>, Failure> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern)
            .backslash_escape(true)
            .build()
            .map_err(|e| Failure::Usage(format!("--path {pattern}: {}", e.kind())))?;
        set.add(glob);
    }
    Ok(Some(set.build().map_err(|e| Failure::Usage(format!("--path: {e}")))?))
}

/// A number with a unit; without one, seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: write 500ms, 10s, 5m or 1h");
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let scale = match unit {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(number * scale).map_err(|_| wrong())
}

/// A power of two between a page and 1 GiB.
fn buffer_size(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is no buffer size: give a power of two from 4K to 1G, such as 16M");
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number: u32 = number.parse().map_err(|_| wrong())?;
    let shift = match unit.trim_end_matches("iB").trim_end_matches('B') {
        "" => 0,
        "k" | "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err(wrong()),
    };
    let size = number.checked_mul(1 << shift).ok_or_else(wrong)?;
    if size.is_power_of_two() && (4096..=1 << 30).contains(&size) { Ok(size) } else { Err(wrong()) }
}

fn comm(text: &str) -> Result<String, String> {
    match text.len() {
        1..=15 => Ok(text.to_owned()),
        n => Err(format!("a thread's name has 1 to 15 bytes, not {n}")),
    }
}

fn user(text: &str) -> Result<u32, String> {
    if let Ok(uid) = text.parse() {
        return Ok(uid);
    }
    match nix::unistd::User::from_name(text) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        _ => Err(format!("there is no user `{text}`")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::output::Format;

    #[derive(clap::Parser)]
    struct Trace {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "x", "-1s", "5d", "1e400h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn buffers_are_powers_of_two() {
        assert_eq!(buffer_size("16M"), Ok(16 << 20));
        assert_eq!(buffer_size("4096"), Ok(4096));
        assert_eq!(buffer_size("64KiB"), Ok(65536));
        for wrong in ["0", "3M", "2K", "2G", "16X", "99999999999"] {
            assert!(buffer_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn several_outputs_and_a_command() {
        let trace = Trace::try_parse_from(["trace", "-o", "json:/x", "-o", "table", "--", "sh", "-c", "true"]);
        let arguments = trace.map(|t| t.arguments).ok();
        let formats = arguments.as_ref().map(|a| a.output.iter().map(|t| t.format).collect());
        assert_eq!(formats, Some(vec![Format::Json, Format::Table]));
        assert_eq!(arguments.map(|a| a.command.len()), Some(3));
    }
}
