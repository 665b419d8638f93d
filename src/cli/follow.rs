//! What `trace` and `stat` have in common: which writes are followed, by which probes, and for how long.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use clap::Args;

use super::filters::{Filtering, Filters};
use super::{Exit, Failure, sources};
use crate::enrich::Pressure;
use crate::kernel::driver::{self, Options};
use crate::kernel::facts::Facts;
use crate::kernel::plan::{Plan, PlanKind, Unable, Wanted};
use crate::loss::Losses;
use crate::tracer::{self, Followed, Limits};
use crate::{complain, say};

#[derive(Debug, Args)]
pub(super) struct Follow {
    /// Stop after this time: 500ms, 10s, 5m, 1h. A traced command goes on running, unless --kill is given.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(super) duration: Option<Duration>,

    /// End the command (SIGTERM) where the trace ends before it does.
    #[arg(long, requires = "command")]
    kill: bool,

    /// Bytes of the buffer between kernel and user space, a power of two that the CPUs share: 64K, 16M. [default: 16M, or
    /// 512K for each CPU where that is more]
    #[arg(long, value_name = "SIZE", value_parser = buffer_size)]
    pub(super) buffer_size: Option<u32>,

    /// Bytes of paths, processes and names that are remembered. When they are used up, the kernel side sends anew what is
    /// still needed: that costs time, and nothing is wrong. 1M to 1G.
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = memory_limit)]
    pub(super) memory_limit: usize,

    /// Use this probe plan instead of the one that the kernel's facts suggest.
    #[arg(long, value_name = "PLAN")]
    pub(super) probes: Option<PlanKind>,

    /// Take the kernel's type information (BTF) from this file, for kernels that carry none.
    #[arg(long, value_name = "FILE")]
    pub(super) btf: Option<PathBuf>,

    /// Read kernel memory by helper calls, as on kernels whose verifier knows no typed reads.
    #[arg(long, hide = true)]
    pub(super) raw_reads: bool,

    #[command(flatten)]
    filters: Filters,

    /// Run this command, and follow it and all processes that it starts, to the end of the last of them. All that stands
    /// behind its name belongs to it. Where standard output is for data, what the command prints goes to standard error.
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

impl Follow {
    /// Which events, by ids and paths as they are now.
    pub(super) fn filtering(&self) -> Result<Filtering, Failure> {
        self.filters.resolve(!self.command.is_empty())
    }

    fn facts(&self) -> Result<Facts, Failure> {
        Ok(Facts::collect(&sources(self.btf.as_deref(), self.probes)?))
    }

    fn read(&self, plan: Plan) -> Plan {
        if self.raw_reads { plan.raw("asked for") } else { plan }
    }

    /// The probes.
    pub(super) fn plan(&self, wanted: &Wanted) -> Result<Plan, Failure> {
        Ok(self.read(Plan::new(&self.facts()?, wanted, self.probes)?))
    }

    /// The probes for as much of it as this kernel can report, that much, and why the rest is left out.
    pub(super) fn plan_most(&self, all: Wanted) -> Result<(Plan, Wanted, Vec<Unable>), Failure> {
        let facts = self.facts()?;
        match Plan::most(&facts, all, self.probes) {
            Ok((plan, less, unable)) if less.life == all.life => Ok((self.read(plan), less, unable)),
            // Steps of requests are asked for, and where nothing is left the reason is what was asked for.
            _ => Ok((self.read(Plan::new(&facts, &all, self.probes)?), all, vec![])),
        }
    }

    /// What is watched: `of`, and of that what the command does.
    pub(super) fn wanted(&self, of: Wanted) -> Wanted {
        Wanted { tree: !self.command.is_empty(), ..of }
    }

    /// What the kernel side is told, and what ends it.
    pub(super) fn split(self, wanted: Wanted, filtering: Filtering) -> (Options, Limits) {
        let options = Options {
            buffer_size: self.buffer_size.unwrap_or_else(driver::default_buffer_size),
            pids: filtering.pids,
            uids: filtering.uids,
            comms: filtering.comms,
            btf: self.btf,
            wanted,
            ..Options::default()
        };
        let Self { duration, command, kill, .. } = self;
        (options, Limits { duration, command, kill, watched: filtering.watched, apart: false })
    }
}

/// The outcome, or the status of a command that cannot be run: as a shell has it.
pub(super) fn started<T>(outcome: Result<T, tracer::Error>) -> Result<Result<T, Exit>, Failure> {
    match outcome {
        Ok(outcome) => Ok(Ok(outcome)),
        Err(error @ tracer::Error::Command(..)) => {
            let missing = matches!(&error, tracer::Error::Command(_, e) if e.kind() == std::io::ErrorKind::NotFound);
            complain!("{error}");
            Ok(Err(Exit::Command(if missing { 127 } else { 126 })))
        }
        Err(other) => Err(other.into()),
    }
}

/// The summary at the end: what was told, and what was not.
pub(super) fn summarize(
    told: &str,
    losses: &Losses,
    unread: &BTreeMap<String, u64>,
    pressure: Pressure,
    followed: &Followed,
) {
    let lost = match losses.total() {
        0 if !unread.is_empty() => "not all read".to_owned(),
        0 => "none lost".to_owned(),
        n => format!("{n} lost"),
    };
    say!("{told}, {lost} (plan: {})", followed.plan.kind);
    for (output, count) in unread {
        complain!("the reader of {output} left and did not get the last {count} of them at least");
    }
    for lost in losses.iter() {
        complain!("lost {}: {}", lost.count, lost.cause.explain());
    }
    if pressure.renewed > 0 {
        say!("--memory-limit was reached {} times: what was remembered had to be sent anew", pressure.renewed);
    }
    if pressure.nameless > 0 {
        say!(
            "{} requests were told without the names that they brought along: more were waiting than --memory-limit holds",
            pressure.nameless
        );
    }
    if followed.untracked > 0 {
        say!(
            "{} requests could not be followed from their submission on, for want of room: they are reported without it, and not at all where they are still in flight",
            followed.untracked
        );
    }
    match (followed.running, followed.left) {
        (Some(pid), _) if followed.killed => {
            say!("the command (process {pid}) has not ended yet: SIGTERM was sent to it");
        }
        (Some(pid), left) => {
            let others = match left.saturating_sub(1) {
                0 => String::new(),
                1 => " with one process that it started".to_owned(),
                n => format!(" with {n} processes that it started"),
            };
            say!(
                "the command (process {pid}) goes on running{others}, no longer traced; with --kill it would be ended"
            );
        }
        (None, 0) => {}
        (None, 1) => say!("one process that the command started goes on running, no longer traced"),
        (None, left) => say!("{left} processes that the command started go on running, no longer traced"),
    }
    if followed.unfollowed > 0 {
        say!("{} processes of the command were not followed: more than 65536 at once", followed.unfollowed);
    }
}

/// The command's status is ringwatch's.
pub(super) fn exit(followed: &Followed) -> Exit {
    followed.status.map_or(Exit::Success, exit_of)
}

fn exit_of(status: ExitStatus) -> Exit {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Exit::Command(u8::try_from(code).unwrap_or(1))
}

/// A number with a unit; without one, seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: write 500ms, 10s, 5m or 1h");
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let scale = match unit {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    // Longer than there are numbers for is for ever.
    Ok(Duration::try_from_secs_f64(number * scale).unwrap_or(Duration::MAX))
}

/// A number with a unit of powers of 1,024.
pub(super) fn size(text: &str) -> Option<u32> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let shift = match unit.trim_end_matches("iB").trim_end_matches('B') {
        "" => 0,
        "k" | "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    number.parse::<u32>().ok()?.checked_mul(1 << shift)
}

/// A power of two between a page and 1 GiB.
fn buffer_size(text: &str) -> Result<u32, String> {
    size(text)
        .filter(|size| size.is_power_of_two() && (4096..=1 << 30).contains(size))
        .ok_or_else(|| format!("`{text}` is no buffer size: give a power of two from 4K to 1G, such as 16M"))
}

fn memory_limit(text: &str) -> Result<usize, String> {
    size(text)
        .filter(|size| (1 << 20..=1 << 30).contains(size))
        .and_then(|size| usize::try_from(size).ok())
        .ok_or_else(|| format!("`{text}` is no limit of memory: give a size from 1M to 1G, such as 64M"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("9223372036854775807s"), Ok(Duration::from_secs(1 << 63)));
        assert_eq!(duration("99999999999999999999999h"), Ok(Duration::MAX));
        for wrong in ["", "x", "-1s", "5d", "1e400h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits_of_memory_are_sizes() {
        assert_eq!(memory_limit("64M"), Ok(64 << 20));
        assert_eq!(memory_limit("3MiB"), Ok(3 << 20));
        for wrong in ["0", "1023K", "2G", "x"] {
            assert!(memory_limit(wrong).is_err(), "{wrong}");
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
}
