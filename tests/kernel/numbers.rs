//! Numbers are the kernel's own, also where it keeps them in odd ways.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::support::{Test, Tracer, burst, directory, json_lines, named, run, workload};

pub(crate) const TESTS: &[Test] = &[
    ("numbers::handlers_that_leave_the_offset", handlers),
    ("numbers::a_name_that_is_gone_and_a_file_that_is_gone", names),
    ("numbers::an_opcode_that_the_kernel_does_not_know", unknown_opcode),
];

/// `/proc/self/comm` takes a write and leaves its offset where it was.
fn handlers() -> Result<()> {
    let directory = directory()?;
    let events = directory.path().join("events");
    let workload = workload().display().to_string();
    let arguments = [
        "trace",
        "-o",
        &format!("json:{}", events.display()),
        "--",
        &workload,
        "burst",
        "--file",
        "/proc/self/comm",
        "--size",
        "5",
        "--writes",
        "3",
        "--depth",
        "1",
    ];
    run(arguments)?.expect_success()?;
    let events = json_lines(&events)?;
    let writes = named(&events, "io_write");
    ensure!(writes.len() == 3, "{} writes", writes.len());
    for write in writes {
        ensure!(write["data"]["pos"] == 0 && write["data"]["result"] == 5, "{write}");
    }
    Ok(())
}

/// What one write to an open file is told as.
fn told_of(directory: &Path, file: File) -> Result<Value> {
    let events = directory.join("events");
    let tracer = Tracer::start(&["-o", &format!("json:{}", events.display()), "--comm", "ringwatch-workl"])?;
    let burst = ["burst", "--file", "/proc/self/fd/0", "--size", "5", "--writes", "1"];
    let status = Command::new(workload()).args(burst).stdin(file).stdout(Stdio::null()).status()?;
    ensure!(status.success(), "{status}");
    tracer.stop()?.expect_success()?;
    let events = json_lines(&events)?;
    let writes = named(&events, "io_write");
    ensure!(writes.len() == 1, "{} writes", writes.len());
    Ok(writes[0]["data"].clone())
}

fn names() -> Result<()> {
    let directory = directory()?;
    let at = |name: &str| directory.path().join(name);
    let make = |name: &str| File::create(at(name));

    let plain = told_of(directory.path(), make("plain")?)?;
    ensure!(plain["deleted"] == false && plain["path_stale"].is_null(), "{plain}");

    let file = make("gone")?;
    fs::remove_file(at("gone"))?;
    let gone = told_of(directory.path(), file)?;
    ensure!(gone["deleted"] == true && gone["path_stale"].is_null(), "{gone}");

    let file = make("old")?;
    fs::hard_link(at("old"), at("new"))?;
    fs::remove_file(at("old"))?;
    let stale = told_of(directory.path(), file)?;
    ensure!(stale["deleted"] == false && stale["path_stale"] == true, "{stale}");
    ensure!(stale["path"] == at("old").display().to_string(), "{stale}");

    let mut unnamed = fs::OpenOptions::new();
    unnamed.write(true).custom_flags(libc::O_TMPFILE);
    let unnamed = told_of(directory.path(), unnamed.open(directory.path())?)?;
    ensure!(unnamed["deleted"] == true && unnamed["path_stale"].is_null(), "{unnamed}");
    Ok(())
}

fn unknown_opcode() -> Result<()> {
    let directory = directory()?;
    let events = directory.path().join("events");
    let output = format!("json:{}", events.display());
    let tracer = match Tracer::start(&["-e", "io_issue_sqe", "-o", &output, "--comm", "ringwatch-workl"]) {
        Err(error) if format!("{error:#}").contains("before 5.18") => {
            eprintln!("corpus case unknown opcodes skipped: {error:#}");
            return Ok(());
        }
        started => started?,
    };
    burst(&["--op", "unknown", "--writes", "4", "--depth", "1"])?;
    tracer.stop()?.expect_success()?;
    let events = json_lines(&events)?;
    let told = named(&events, "io_issue_sqe");
    ensure!(told.len() == 4, "{} events", told.len());
    for event in told {
        let data = &event["data"];
        ensure!(data["opcode"].is_null() && data["opcode_number"] == 200 && data["error"] == "EINVAL", "{event}");
    }
    Ok(())
}
