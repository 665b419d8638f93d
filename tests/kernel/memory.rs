//! Memory is bounded, and what is remembered is right whatever the number of files.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::stepped::Stepped;
use crate::support::{Test, Tracer, burst, directory, json_lines, lost, named, signal};

pub(crate) const TESTS: &[Test] = &[
    ("memory::the_default_buffer_holds_the_paths_of_60000_files", distinct_files),
    ("memory::beyond_its_limit_nothing_is_wrong", beyond_the_limit),
    ("memory::a_write_that_waits_keeps_its_path", waiting),
];

/// Files of one process: more may not be open.
const EACH: u32 = 10_000;

/// Nodes of /dev/null: a write to them costs as little, and they have paths of their own.
fn make_files(directory: &Path, processes: u32) -> Result<()> {
    for process in 0..processes {
        for i in 0..EACH {
            let path = directory.join(format!("file.{process}.{i}"));
            let path = CString::new(path.as_os_str().as_bytes())?;
            // SAFETY: a string that ends with a NUL, which the call only reads.
            let made = unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(1, 3)) };
            ensure!(made == 0, "cannot make a file: {}", std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Each path has so many writes, each with its process.
fn each_path_has(events: &[Value], files: u32, writes: usize) -> Result<()> {
    let mut paths: HashMap<&str, usize> = HashMap::new();
    for event in named(events, "io_write") {
        ensure!(event["process"]["name"] == "ringwatch-workl", "no process: {event}");
        *paths.entry(event["data"]["path"].as_str().context("no path")?).or_default() += 1;
    }
    ensure!(paths.len() == files as usize, "{} paths", paths.len());
    ensure!(paths.values().all(|&n| n == writes), "{:?}", paths.iter().find(|p| *p.1 != writes));
    Ok(())
}

/// Nobody reads while all are written: strings and writes wait in the buffer.
fn distinct_files() -> Result<()> {
    let directory = directory()?;
    make_files(directory.path(), 6)?;
    let events = directory.path().join("events");
    let tracer = Tracer::start(&["-o", &format!("json:{}", events.display()), "--comm", "ringwatch-workl"])?;
    signal(&tracer.child, Signal::SIGSTOP)?;
    let file = directory.path().join("file").display().to_string();
    let done = burst(&["--file", &file, "--files", "10000", "--processes", "6", "--writes", "60000"]);
    signal(&tracer.child, Signal::SIGCONT)?;
    ensure!(done?["writes"] == 60_000);
    let ended = tracer.stop()?;
    ensure!(ended.summary()?.starts_with("60000 events, none lost"), "{}", ended.stderr);
    each_path_has(&json_lines(&events)?, 60_000, 1)
}

/// Its path was sent at its submission, and nobody can send it again.
fn waiting() -> Result<()> {
    let directory = directory()?;
    make_files(directory.path(), 2)?;
    let events = directory.path().join("events");
    let output = format!("json:{}", events.display());
    let work = directory.path().join("work");
    std::fs::create_dir(&work)?;
    let mut process = Stepped::start("silent-behind", &work)?;
    let tracer = Tracer::start(&["-o", &output, "--comm", "ringwatch-workl", "--memory-limit", "1M"])?;
    process.go()?;
    process.reach("waiting")?;
    let file = directory.path().join("file").display().to_string();
    let many = ["--file", &file, "--files", "10000", "--processes", "2", "--writes", "60000", "--rate", "10000"];
    ensure!(burst(&many)?["writes"] == 60_000);
    process.go()?;
    process.reach("written")?;
    let truths = process.end()?;
    let ended = tracer.stop()?;
    ensure!(ended.stderr.contains("--memory-limit was reached"), "{}", ended.stderr);
    let events = json_lines(&events)?;
    ensure!(lost(&events) == 0);
    let silent = truths.iter().find(|truth| truth["cqe"] == "skipped").context("no write without a CQE")?;
    let told: Vec<_> = named(&events, "io_write")
        .into_iter()
        .filter(|event| event["data"]["user_data"] == silent["user_data"])
        .collect();
    ensure!(told.len() == 1, "{told:?}");
    for field in ["path", "device", "inode", "result"] {
        ensure!(told[0]["data"][field] == silent[field], "{field}: {silent} {}", told[0]);
    }
    Ok(())
}

fn beyond_the_limit() -> Result<()> {
    let directory = directory()?;
    make_files(directory.path(), 2)?;
    let events = directory.path().join("events");
    let output = format!("json:{}", events.display());
    let tracer = Tracer::start(&["-o", &output, "--comm", "ringwatch-workl", "--memory-limit", "1M"])?;
    let file = directory.path().join("file").display().to_string();
    let work = ["--file", &file, "--files", "10000", "--processes", "2", "--writes", "60000", "--rate", "10000"];
    ensure!(burst(&work)?["writes"] == 60_000);
    let ended = tracer.stop()?;
    ensure!(ended.summary()?.starts_with("60000 events, none lost"), "{}", ended.stderr);
    ensure!(ended.stderr.contains("--memory-limit was reached"), "{}", ended.stderr);
    let events = json_lines(&events)?;
    ensure!(lost(&events) == 0);
    each_path_has(&events, 20_000, 3)
}
