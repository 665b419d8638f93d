//! Running ringwatch and the programs that it watches.

pub(crate) mod pty;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::LazyLock;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringwatch::kernel::facts::{Facts, Sources};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) type Test = (&'static str, fn() -> Result<()>);

pub(crate) fn ringwatch() -> PathBuf {
    std::env::var_os("RINGWATCH_BIN").map_or_else(|| env!("CARGO_BIN_EXE_ringwatch").into(), PathBuf::from)
}

/// Built by `cargo build -p ringwatch-workload`, next to ringwatch.
pub(crate) fn workload() -> PathBuf {
    std::env::var_os("RINGWATCH_WORKLOAD")
        .map_or_else(|| ringwatch().with_file_name("ringwatch-workload"), PathBuf::from)
}

/// A directory on a real file system: the one of the temporary files, or RINGWATCH_TEST_DIR.
pub(crate) fn directory() -> Result<TempDir> {
    let base = std::env::var_os("RINGWATCH_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::Builder::new().prefix("ringwatch-test-").tempdir_in(base).context("cannot make a directory")
}

pub(crate) fn signal(child: &Child, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(child.id().try_into()?), signal).context("cannot signal")
}

/// What a run of ringwatch left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub(crate) fn expect_success(&self) -> Result<()> {
        ensure!(self.status.success(), "{}: {}", self.status, self.stderr);
        Ok(())
    }

    /// The line `ringwatch: N events, ...` at the end.
    pub(crate) fn summary(&self) -> Result<&str> {
        let mut lines = self.stderr.lines().filter_map(|l| l.strip_prefix("ringwatch: "));
        lines.find(|l| l.contains(" events, ")).with_context(|| format!("no summary in {}", self.stderr))
    }
}

/// Seconds after which a run counts as hung.
pub(crate) const PATIENCE: &str = "120";

/// Runs ringwatch to its end.
pub(crate) fn run<I, S>(arguments: I) -> Result<Ended>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let output = Command::new("timeout")
        .args(["-k", "5", PATIENCE])
        .arg(ringwatch())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .context("cannot run ringwatch")?;
    Ok(Ended { status: output.status, stderr: String::from_utf8_lossy(&output.stderr).into_owned() })
}

/// ringwatch at work. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Tracer {
    pub(crate) child: Child,
    stderr: BufReader<ChildStderr>,
    said: String,
}

impl Tracer {
    /// Starts it and waits until it traces.
    pub(crate) fn start<S: AsRef<OsStr>>(arguments: &[S]) -> Result<Self> {
        Self::spawn(Command::new(ringwatch()).arg("trace").args(arguments).stdout(Stdio::null()))
    }

    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let mut child =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().context("cannot start ringwatch")?;
        let stderr = BufReader::new(child.stderr.take().context("no stderr")?);
        let mut tracer = Self { child, stderr, said: String::new() };
        let mut line = String::new();
        while !line.contains("tracing (plan") {
            line.clear();
            if tracer.stderr.read_line(&mut line)? == 0 {
                bail!("ringwatch ended early: {}", tracer.said);
            }
            tracer.said += &line;
        }
        Ok(tracer)
    }

    /// As Ctrl-C does.
    pub(crate) fn stop(self) -> Result<Ended> {
        signal(&self.child, Signal::SIGINT)?;
        self.wait()
    }

    pub(crate) fn wait(mut self) -> Result<Ended> {
        self.stderr.read_to_string(&mut self.said)?;
        let status = self.child.wait()?;
        Ok(Ended { status, stderr: std::mem::take(&mut self.said) })
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that must succeed; what it printed.
pub(crate) fn command<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: &[S]) -> Result<String> {
    let name = program.as_ref().to_string_lossy().into_owned();
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    ensure!(
        output.status.success(),
        "{name}: {}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One JSON object a line.
pub(crate) fn json_lines(path: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines().map(|l| serde_json::from_str(l).with_context(|| format!("no JSON: {l}"))).collect()
}

/// The events of one kind.
pub(crate) fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|e| e["event"] == name).collect()
}

/// Whether programs can be preempted, and others on their CPU are skipped meanwhile.
static PREEMPTIBLE: LazyLock<bool> =
    LazyLock::new(|| Facts::collect(&Sources::default()).btf.is_some_and(|btf| btf.preemptible));

/// Whether what was said at the end tells of no loss, or of one that may be none.
pub(crate) fn none_lost(said: &str) -> bool {
    let mut causes = said.lines().filter(|line| line.starts_with("ringwatch: lost "));
    said.contains(", none lost")
        || (*PREEMPTIBLE && said.contains(" lost (plan: ") && causes.all(|line| line.contains("skipped a program")))
}

/// Whether an event tells of a gap that may be none: where programs can be preempted, what is counted as skipped is an
/// upper bound, also where a second program, or a later look, told all. Whether all was told is for the test to see.
pub(crate) fn may_be_no_gap(event: &Value) -> bool {
    event["event"] == "events_lost" && event["data"]["cause"] == "program_skipped" && *PREEMPTIBLE
}

pub(crate) fn lost(events: &[Value]) -> u64 {
    named(events, "events_lost").iter().filter_map(|e| e["data"]["count"].as_u64()).sum()
}

/// `burst` of the workload: what it says of itself.
pub(crate) fn burst(arguments: &[&str]) -> Result<Value> {
    let mut all = vec!["burst"];
    all.extend(arguments);
    Ok(serde_json::from_str(&command(workload(), &all)?)?)
}
