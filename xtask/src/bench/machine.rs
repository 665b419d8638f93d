//! Facts about the machine that the figures depend on.

use std::fs;
use std::path::Path;
use std::process::Command;

use libbpf_rs::query::{LinkInfoIter, LinkTypeInfo};
use serde::Serialize;

/// `None`: could not be found out.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    pub(super) date: String,
    pub(super) kernel: String,
    pub(super) cpu: Option<String>,
    pub(super) cores: usize,
    pub(super) memory_bytes: Option<u64>,
    pub(super) clock_source: Option<String>,
    /// 1: BPF programs are compiled.
    pub(super) bpf_jit: Option<String>,
    /// 1: the kernel takes the time of each program's run, which costs time.
    pub(super) bpf_stats: Option<String>,
    /// Of the last minute, before the start.
    pub(super) load: Option<f64>,
    pub(super) commit: Option<String>,
    /// Whether files differ from the commit.
    pub(super) modified: Option<bool>,
}

impl Machine {
    pub(super) fn look(root: &Path) -> Self {
        let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
        let cpus = cpuinfo.lines().filter(|l| l.starts_with("processor")).count();
        Self {
            date: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            kernel: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
            cpu: field(&cpuinfo, "model name").map(str::to_owned),
            cores: cpus.max(1),
            memory_bytes: read("/proc/meminfo").and_then(|text| kibibytes(field(&text, "MemTotal")?)),
            clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            bpf_jit: read("/proc/sys/net/core/bpf_jit_enable"),
            bpf_stats: read("/proc/sys/kernel/bpf_stats_enabled"),
            load: read("/proc/loadavg").and_then(|text| text.split(' ').next()?.parse().ok()),
            commit: git(root, &["rev-parse", "HEAD"]),
            modified: git(root, &["status", "--porcelain"]).map(|text| !text.is_empty()),
        }
    }
}

/// How many programs are attached to tracepoints of io_uring: beside this benchmark, each distorts its figures.
pub(super) fn attached_programs() -> usize {
    LinkInfoIter::default()
        .filter(|link| matches!(&link.info, LinkTypeInfo::RawTracepoint(tp) if tp.name.starts_with("io_uring_")))
        .count()
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|s| s.trim().to_owned())
}

/// The value of the first `name : value` in a file of /proc.
pub(super) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|l| Some(l.strip_prefix(name)?.trim_start().strip_prefix(':')?.trim()))
}

/// `16 kB` in bytes.
pub(super) fn kibibytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc() {
        let text = "MemTotal:       24 kB\nmodel name\t: A: fast one\n";
        assert_eq!(field(text, "MemTotal").and_then(kibibytes), Some(24 * 1024));
        assert_eq!(field(text, "model name"), Some("A: fast one"));
        assert_eq!(field(text, "model"), None);
        assert_eq!(kibibytes("many"), None);
    }
}
