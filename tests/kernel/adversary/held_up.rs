//! Whoever keeps ringwatch waiting: programs whose memory cannot be read, readers that do not read.

use std::io::{BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{COMM, Place, text};
use crate::support::{Test, Tracer, burst, json_lines, named, ringwatch, signal};

pub(crate) const TESTS: &[Test] = &[
    ("adversary::held_up::by_arguments_that_cannot_be_read", arguments),
    ("adversary::held_up::by_an_output_that_nobody_reads", output),
];

/// What takes longer is held up.
const LONG: Duration = Duration::from_secs(30);

/// Does the work; false: only when `rescue` had been called.
fn in_time<T: Send>(work: impl FnOnce() -> T + Send, rescue: impl FnOnce() -> Result<()>) -> Result<(T, bool)> {
    thread::scope(|scope| {
        let (done, wait) = mpsc::channel::<()>();
        let work = scope.spawn(move || {
            let result = work();
            drop(done);
            result
        });
        let in_time = wait.recv_timeout(LONG) == Err(RecvTimeoutError::Disconnected);
        rescue()?;
        let result = work.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        Ok((result, in_time))
    })
}

/// The lock of its mappings is held for ever. As root, since others need fusermount for that.
fn arguments() -> Result<()> {
    const WRITES: usize = 20;
    let place = Place::new()?;
    let (file, events) = (place.work().join("file"), place.directory.path().join("events"));
    let output = format!("json:{}", events.display());
    let tracer = Tracer::start(&["-o", &output, "--comm", COMM])?;
    let mut attack = Command::new(&place.program)
        .args(["attack", "arguments", &text(&place.work()), &WRITES.to_string(), &"x".repeat(3 * 4096)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    BufReader::new(attack.stdout.take().context("no stdout")?).read_line(&mut said)?;
    let server = serde_json::from_str::<Value>(&said)?["server"].as_i64().context("no server")?;
    // With the server the lock is free, and what waits for it can end.
    let rescue = || {
        kill(Pid::from_raw(server.try_into()?), Signal::SIGKILL)?;
        attack.kill()?;
        attack.wait()?;
        Ok(())
    };
    let (ended, in_time) = in_time(|| tracer.stop(), rescue)?;
    ended?.expect_success()?;
    ensure!(in_time, "ringwatch waited for the program that it watches");
    let told = json_lines(&events)?;
    let writes = named(&told, "io_write");
    ensure!(writes.len() == WRITES && told.len() == WRITES, "{told:#?}");
    for write in writes {
        let process = &write["process"];
        ensure!(write["data"]["path"] == text(&file), "{write:#}");
        ensure!(process["command_line"].is_null() && process["command_line_missing"] == "unreadable", "{write:#}");
    }
    Ok(())
}

/// A pipe that takes nothing more: the reader's end and the writer's.
fn full_pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    while nix::unistd::write(&writer, &[b'x'; 4096]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok((reader, writer))
}

/// The first Ctrl-C waits for whoever is to take the output, and says so; the next one does not.
fn output() -> Result<()> {
    for what in [&["trace", "-o", "json"][..], &["stat", "--interval", "100ms", "--json"]] {
        let (_reader, writer) = full_pipe()?;
        let mut child = Command::new(ringwatch())
            .args(what)
            .args(["--comm", "ringwatch-workl"])
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()?;
        let mut said = BufReader::new(child.stderr.take().context("no stderr")?).lines();
        let mut hear =
            |words: &str| said.by_ref().find(|l| l.as_ref().is_ok_and(|l| l.contains(words))).context("no end");
        hear("tracing (plan")??;
        burst(&["--writes", "20000"])?;
        signal(&child, Signal::SIGINT)?;
        hear("the trace does not end")??;
        signal(&child, Signal::SIGINT)?;
        let status = child.wait()?;
        ensure!(status.code() == Some(130), "{what:?}: {status}");
    }
    Ok(())
}
