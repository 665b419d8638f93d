//! Which events are asked for: what the kernel side decides, and what is left to predicates.

use std::time::Duration;

use clap::Args;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::Failure;
use super::follow::{duration, size};
use super::paths::{globs, is_plain};
use crate::filter::{Filter, Predicate, Test};
use crate::here::Asked;
use crate::kernel::driver::FILTER_MAX;
use crate::watched::{Watched, identify};

/// Options of one kind are alternatives, those of different kinds must all hold. What an option cannot judge is shown.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters (the same option again: or; different options: and)")]
pub(super) struct Filters {
    /// Only these processes, and none that gets such an id later; the trace ends with the last of them. In a container:
    /// ids there. 1,2 or several times, as with all lists of numbers
    #[arg(short, long, value_name = "PID", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    pid: Vec<u32>,

    /// Only these threads; the trace ends with the last of them
    #[arg(short, long, value_name = "TID", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    tid: Vec<u32>,

    /// Only these users' processes, by number or name
    #[arg(short, long, value_name = "USER", value_delimiter = ',', value_parser = user)]
    uid: Vec<u32>,

    /// Only threads whose name (at most 15 bytes, as in /proc/PID/comm) matches: nginx, 'kv-*'
    #[arg(long, value_name = "GLOB", value_parser = comm)]
    comm: Vec<String>,

    /// Only files whose path matches, or that are below a directory: /etc, './*.log', '*/cache/*'. * and ? match slashes
    /// as well, [ab] and {a,b} are alternatives. Relative paths and links are resolved at the start
    #[arg(long, value_name = "GLOB")]
    path: Vec<String>,

    /// All but these processes
    #[arg(long, value_name = "PID", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    not_pid: Vec<u32>,

    /// All but these threads
    #[arg(long, value_name = "TID", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    not_tid: Vec<u32>,

    /// All but these users' processes
    #[arg(long, value_name = "USER", value_delimiter = ',', value_parser = user)]
    not_uid: Vec<u32>,

    /// All but threads of such names
    #[arg(long, value_name = "GLOB", value_parser = comm)]
    not_comm: Vec<String>,

    /// All but files of such paths. An event with two paths is left out if both match
    #[arg(long, value_name = "GLOB")]
    not_path: Vec<String>,

    /// Only what failed
    #[arg(long)]
    failed: bool,

    /// Only requests that took at least this time: 100us, 1ms, 2s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    min_latency: Option<Duration>,

    /// Only what transferred at least this many bytes: 512, 4K, 1M
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    min_bytes: Option<u32>,
}

/// Where what is decided.
#[derive(Debug)]
pub(super) struct Filtering {
    /// In the kernel: processes, users and names of threads.
    pub(super) pids: Vec<Asked>,
    pub(super) uids: Vec<u32>,
    pub(super) comms: Vec<String>,
    /// By `stat`, and by `trace` as part of the filter.
    pub(super) paths: Option<GlobSet>,
    /// By predicates.
    pub(super) filter: Filter,
    /// The trace ends when all of these have ended.
    pub(super) watched: Vec<Watched>,
}

impl Filters {
    /// Resolves ids and paths: from now on they mean what they mean now.
    pub(super) fn resolve(&self, command: bool) -> Result<Filtering, Failure> {
        for (what, n) in [
            ("--pid", self.pid.len()),
            ("--tid", self.tid.len()),
            ("--comm", self.comm.len()),
            ("--uid", self.uid.len()),
        ] {
            if n > FILTER_MAX {
                return Err(Failure::Usage(format!("{what} takes {FILTER_MAX} values at most, not {n}")));
            }
        }
        if command && !(self.pid.is_empty() && self.tid.is_empty()) {
            return Err(Failure::Usage(
                "--pid and --tid name processes that run already, and cannot be combined with a command: leave one of them out"
                    .to_owned(),
            ));
        }
        self.resolved().map_err(Failure::Usage)
    }

    fn resolved(&self) -> Result<Filtering, String> {
        let (mut watched, mut pids) = (vec![], vec![]);
        for &pid in &self.pid {
            let (process, asked) = Watched::process(pid)?;
            watched.push(process);
            pids.push(asked);
        }
        for &tid in &self.tid {
            let (thread, leader) = Watched::thread(tid)?;
            watched.push(thread);
            // The kernel side knows processes; --pid is stricter.
            if self.pid.is_empty() && !pids.contains(&leader) {
                pids.push(leader);
            }
        }
        let paths = globs("--path", &self.path)?;
        let plain = self.comm.iter().all(|name| is_plain(name));
        let ids = |ids: &[u32]| match ids {
            [] => Ok(None),
            ids => ids.iter().map(|&id| identify(id)).collect::<Result<Vec<_>, _>>().map(Some),
        };
        let users = Some(self.not_uid.clone()).filter(|users| !users.is_empty());
        let latency = self.min_latency.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        let comms = if plain { None } else { names("--comm", &self.comm)? };
        let predicates = [
            ("--tid", false, ids(&self.tid)?.map(Test::Thread)),
            ("--comm", false, comms.map(Test::Name)),
            ("--path", false, paths.clone().map(Test::Path)),
            ("--not-pid", true, ids(&self.not_pid)?.map(Test::Process)),
            ("--not-tid", true, ids(&self.not_tid)?.map(Test::Thread)),
            ("--not-uid", true, users.map(Test::User)),
            ("--not-comm", true, names("--not-comm", &self.not_comm)?.map(Test::Name)),
            ("--not-path", true, globs("--not-path", &self.not_path)?.map(Test::Within)),
            ("--failed", false, self.failed.then_some(Test::Failed)),
            ("--min-latency", false, latency.map(Test::Latency)),
            ("--min-bytes", false, self.min_bytes.map(u64::from).map(Test::Bytes)),
        ];
        let filter = predicates
            .into_iter()
            .filter_map(|(option, not, test)| test.map(|test| Predicate { option, test, not }))
            .collect();
        let comms = if plain { self.comm.clone() } else { vec![] };
        Ok(Filtering { pids, uids: self.uid.clone(), comms, paths, filter: Filter(filter), watched })
    }
}

impl Filtering {
    /// For sums, which the kernel makes.
    pub(super) fn only_sums(&self) -> Result<(), Failure> {
        let others = self.filter.0.iter().filter(|p| p.option != "--path").cloned().collect();
        let others = Filter(others);
        if others.0.is_empty() {
            return Ok(());
        }
        Err(Failure::Usage(format!(
            "stat cannot filter by {}: it adds writes up in the kernel, by process, user, exact thread name and path; use `ringwatch trace`",
            others.options()
        )))
    }
}

fn names(option: &str, patterns: &[String]) -> Result<Option<GlobSet>, String> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).backslash_escape(true).build();
        set.add(glob.map_err(|e| format!("{option} {pattern}: {}", e.kind()))?);
    }
    set.build().map(Some).map_err(|e| format!("{option}: {e}"))
}

fn comm(text: &str) -> Result<String, String> {
    match text.len() {
        1..=15 => Ok(text.to_owned()),
        n if n > 0 && !is_plain(text) => Ok(text.to_owned()),
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

fn bytes(text: &str) -> Result<u32, String> {
    size(text).ok_or_else(|| format!("`{text}` is not a size: write 512, 4K or 1M, less than 4G"))
}
