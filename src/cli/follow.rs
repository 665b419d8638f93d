//! What `trace` and `stat` have in common: which writes are followed, by which probes, and for how long.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use clap::Args;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::{Exit, Failure, sources};
use crate::enrich::Pressure;
use crate::here::Here;
use crate::kernel::driver::{self, FILTER_MAX, Options};
use crate::kernel::facts::Facts;
use crate::kernel::plan::{Plan, PlanKind, Wanted};
use crate::loss::Losses;
use crate::tracer::{self, Followed, Limits};
use crate::{complain, say};

#[derive(Debug, Args)]
pub(super) struct Follow {
    /// Stop after this time: 500ms, 10s, 5m, 1h. A command behind -- is then asked to end (SIGTERM).
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(super) duration: Option<Duration>,

    /// Only this process, and none that gets its id later. In a container: its id there. May be given several times.
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) pid: Vec<u32>,

    /// Only threads of this name (at most 15 bytes, as in /proc/PID/comm). May be given several times.
    #[arg(long, value_name = "NAME", value_parser = comm)]
    pub(super) comm: Vec<String>,

    /// Only this user's processes, by number or name. May be given several times.
    #[arg(long, value_name = "USER", value_parser = user)]
    pub(super) uid: Vec<u32>,

    /// Only files whose path matches: * and ? match also slashes. May be given several times. What cannot be judged is
    /// shown: paths that are unknown, cut, or of another mount namespace
    #[arg(long, value_name = "GLOB")]
    pub(super) path: Vec<String>,

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

    /// Run this command, and follow it and all processes that it starts, to the end of the last of them. Where standard
    /// output is for data, what the command prints goes to standard error.
    #[arg(last = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

impl Follow {
    /// Paths that are selected; `None`: all.
    pub(super) fn globs(&self) -> Result<Option<GlobSet>, Failure> {
        globs(&self.path)
    }

    /// The probes.
    pub(super) fn plan(&self, wanted: &Wanted) -> Result<Plan, Failure> {
        for (what, n) in [("--pid", self.pid.len()), ("--comm", self.comm.len()), ("--uid", self.uid.len())] {
            if n > FILTER_MAX {
                return Err(Failure::Usage(format!("{what} can be given {FILTER_MAX} times at most, not {n} times")));
            }
        }
        let sources = sources(self.btf.as_deref(), self.probes)?;
        let facts = Facts::collect(&sources);
        let plan = Plan::new(&facts, wanted, self.probes)?;
        Ok(if self.raw_reads { plan.raw("asked for") } else { plan })
    }

    /// What is watched: `of`, and of that what the command does.
    pub(super) fn wanted(&self, of: Wanted) -> Wanted {
        Wanted { tree: !self.command.is_empty(), ..of }
    }

    /// What the kernel side is told, and what ends it.
    pub(super) fn split(self, wanted: Wanted) -> Result<(Options, Limits), Failure> {
        let pids = self.pid.iter().map(|&pid| Here::get().process(pid)).collect::<Result<_, _>>();
        let options = Options {
            buffer_size: self.buffer_size.unwrap_or_else(driver::default_buffer_size),
            pids: pids.map_err(Failure::Usage)?,
            uids: self.uid,
            comms: self.comm,
            btf: self.btf,
            wanted,
            ..Options::default()
        };
        Ok((options, Limits { duration: self.duration, command: self.command, apart: false }))
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
    if followed.left > 0 {
        say!("{} processes of the command still ran, and what they write from here on is not told", followed.left);
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

fn globs(patterns: &[String]) -> Result<Option<GlobSet>, Failure> {
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
    // Longer than there are numbers for is for ever.
    Ok(Duration::try_from_secs_f64(number * scale).unwrap_or(Duration::MAX))
}

/// A number with a unit of powers of 1,024.
fn size(text: &str) -> Option<u32> {
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
