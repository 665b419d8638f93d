//! Programs that meet the tracer half way.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::support::{Test, Tracer, directory, json_lines, named, workload};

pub(crate) const TESTS: &[Test] = &[
    ("a_ring_older_than_the_tracer_is_attributed", older_ring),
    ("a_request_older_than_the_tracer_is_told", older_request),
    ("a_request_that_outlives_the_tracer_is_told_as_in_flight", outlives),
    ("a_process_that_ended_early_is_still_known", ended_early),
];

pub(crate) struct Stepped {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    truth: PathBuf,
}

impl Stepped {
    pub(crate) fn start(case: &str, directory: &Path) -> Result<Self> {
        let truth = directory.join("truth");
        let mut child = Command::new(workload())
            .args(["stepped", case, "--truth"])
            .arg(&truth)
            .arg("--dir")
            .arg(directory.join("work"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the workload")?;
        let stdin = child.stdin.take().context("no stdin")?;
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut stepped = Self { child, stdin, stdout, truth };
        stepped.reach("ready")?;
        Ok(stepped)
    }

    pub(crate) fn reach(&mut self, step: &str) -> Result<()> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        ensure!(line.trim() == step, "the workload said {line:?} and not {step:?}");
        Ok(())
    }

    pub(crate) fn go(&mut self) -> Result<()> {
        Ok(writeln!(self.stdin)?)
    }

    pub(crate) fn end(mut self) -> Result<Vec<Value>> {
        drop(self.stdin);
        let status = self.child.wait()?;
        ensure!(status.success(), "the workload: {status}");
        let truths = json_lines(&self.truth)?;
        Ok(truths.into_iter().filter(|t| t["user_data"].is_u64()).collect())
    }
}

fn tracer(events: &Path, process: &Stepped) -> Result<Tracer> {
    let output = format!("json:{}", events.display());
    Tracer::start(&["-o", &output, "--pid", &process.child.id().to_string()])
}

/// Fields that do not depend on the submission.
fn same(truths: &[Value], events: &[Value], fields: &[&str]) -> Result<()> {
    let events = named(events, "io_write");
    ensure!(events.len() == truths.len(), "{} events for {} requests: {events:?}", events.len(), truths.len());
    for truth in truths {
        let event = events
            .iter()
            .find(|e| e["data"]["user_data"] == truth["user_data"])
            .with_context(|| format!("no event for {truth}"))?;
        ensure!(event["data"]["worker_host_tid"] == truth["host_tid"], "{truth} {event}");
        ensure!(event["process"]["host_pid"] == truth["host_pid"], "{truth} {event}");
        for &field in fields {
            ensure!(event["data"][field] == truth[field], "{field}: {truth} {event}");
        }
    }
    Ok(())
}

const FILE: [&str; 7] = ["path", "device", "inode", "deleted", "pos", "opcode", "result"];

fn older_ring() -> Result<()> {
    let directory = directory()?;
    let events = directory.path().join("events");
    let mut process = Stepped::start("before", directory.path())?;
    let tracer = tracer(&events, &process)?;
    process.go()?;
    process.reach("written")?;
    let truths = process.end()?;
    tracer.stop()?.expect_success()?;
    ensure!(truths.len() == 3, "{truths:?}");
    let events = json_lines(&events)?;
    // Which thread made the ring that polls is a guess, and said to be one.
    for event in named(&events, "io_write") {
        let guessed = event["process"]["thread_from_name"] == true;
        ensure!(guessed == (event["data"]["submitter"] == "sqpoll"), "{event}");
    }
    same(&truths, &events, &FILE)?;
    same(&truths, &events, &["fd", "len", "iov_count", "rw_flags", "submitter"])
}

fn older_request() -> Result<()> {
    let directory = directory()?;
    let events = directory.path().join("events");
    let mut process = Stepped::start("before-inflight", directory.path())?;
    let tracer = tracer(&events, &process)?;
    process.go()?;
    process.reach("written")?;
    let truths = process.end()?;
    tracer.stop()?.expect_success()?;
    let events = json_lines(&events)?;
    ensure!(truths.len() == 1, "{truths:?}");
    same(&truths, &events, &FILE)?;
    // What only the submission tells is not made up.
    let data = &named(&events, "io_write")[0]["data"];
    ensure!(data["latency_ns"].is_null() && data["fd"].is_null(), "{data}");
    Ok(())
}

fn outlives() -> Result<()> {
    let directory = directory()?;
    let events = directory.path().join("events");
    let mut process = Stepped::start("outlive", directory.path())?;
    let tracer = tracer(&events, &process)?;
    process.go()?;
    process.reach("in-flight")?;
    tracer.stop()?.expect_success()?;
    process.go()?;
    process.reach("written")?;
    let truths = process.end()?;
    let events = json_lines(&events)?;
    same(&truths, &events, &["path", "device", "inode", "fd", "len"])?;
    let data = &named(&events, "io_write")[0]["data"];
    ensure!(data["outcome"] == "unknown" && data["completion"] == "in_flight" && data["result"].is_null(), "{data}");
    Ok(())
}

fn ended_early() -> Result<()> {
    let directory = directory()?;
    let events = directory.path().join("events");
    let mut process = Stepped::start("exit-before", directory.path())?;
    let tracer = tracer(&events, &process)?;
    process.go()?;
    let truths = process.end()?;
    tracer.stop()?.expect_success()?;
    let events = json_lines(&events)?;
    same(&truths, &events, &FILE)?;
    let process = &named(&events, "io_write")[0]["process"];
    let exe = workload().canonicalize()?;
    ensure!(process["executable"] == exe.to_string_lossy().as_ref(), "{process}");
    let line = process["command_line"].as_str().unwrap_or_default();
    ensure!(line.contains(" stepped exit-before --truth "), "{process}");
    ensure!(process["ppid"] == std::process::id() && process["uid"] == 0, "{process}");
    Ok(())
}
