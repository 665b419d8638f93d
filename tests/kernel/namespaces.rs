//! ringwatch in namespaces of its own, as in a container: of process ids, and of time.

use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::support::{Test, command, directory, json_lines, ringwatch, workload};

pub(crate) const TESTS: &[Test] = &[
    ("namespaces::a_command_and_its_sums", a_command),
    ("namespaces::a_process_by_its_id_there", by_id),
    ("namespaces::check_says_where_it_runs", check),
    ("namespaces::times_are_those_of_the_host", times),
];

const PIDS: &[&str] = &["--pid", "--fork", "--mount-proc"];
const TIMES: &[&str] = &["--time", "--boottime", "500000", "--monotonic", "300000", "--fork"];

/// False, and said: there is no such tool or namespace here.
fn possible(namespace: &[&str]) -> bool {
    let possible = Command::new("unshare").args(namespace).arg("true").status().is_ok_and(|status| status.success());
    if !possible {
        eprintln!("corpus case namespaces skipped: unshare cannot make this namespace: {namespace:?}");
    }
    possible
}

fn inside(namespace: &[&str], script: &str, arguments: &[&str]) -> Result<String> {
    let (ringwatch, workload) = (ringwatch().display().to_string(), workload().display().to_string());
    command("unshare", &[namespace, &["sh", "-c", script, &ringwatch, &workload], arguments].concat())
}

fn a_command() -> Result<()> {
    if !possible(PIDS) {
        return Ok(());
    }
    let directory = directory()?;
    let file = directory.path().join("events").display().to_string();
    // The second in a namespace below.
    let script = "\"$0\" trace -o \"json:$2\" -- sh -c '\"$0\" burst --writes 5; unshare --pid --fork \"$0\" burst --writes 6' \"$1\"";
    inside(PIDS, script, &[&file])?;
    let events = json_lines(file.as_ref())?;
    ensure!(events.len() == 11, "{} events", events.len());
    for event in &events {
        let process = &event["process"];
        ensure!(process["pid"] != process["host_pid"] && process["pid"].as_u64() < Some(100), "{event}");
    }
    ensure!(events.iter().filter(|e| e["process"]["pid"] == 1).count() == 6, "{events:#?}");
    let sums: Value = serde_json::from_str(&inside(PIDS, "\"$0\" stat --json -- \"$1\" burst --writes 7", &[])?)?;
    ensure!(sums["totals"]["writes"] == 7, "{sums}");
    Ok(())
}

/// A process that waits for a byte, ringwatch that follows it, and the byte.
const BY_ID: &str = "cd \"$2\"; mkfifo go said; exec 8<>said 9<>go
(read x <&9; exec \"$1\" burst --writes 11 >/dev/null) & P=$!
\"$0\" trace -p $P -o json:events --limit 11 2>&8 & R=$!
read line <&8; \"$1\" burst --writes 3 >/dev/null; echo go >&9; wait $R; echo $P";

fn by_id() -> Result<()> {
    if !possible(PIDS) {
        return Ok(());
    }
    let directory = directory()?;
    let path = directory.path().display().to_string();
    let id: u64 = inside(PIDS, BY_ID, &[&path])?.trim().parse()?;
    let events = json_lines(&directory.path().join("events"))?;
    ensure!(events.len() == 11, "{} events", events.len());
    ensure!(events.iter().all(|e| e["process"]["pid"] == id && e["process"]["host_pid"] != id), "{events:#?}");
    // An id of the host's is nobody's there.
    let own = std::process::id().to_string();
    let refused = inside(PIDS, "\"$0\" trace -p \"$2\" --duration 1ms 2>&1; test $? = 2", &[&own])?;
    ensure!(refused.contains("there is no process"), "{refused}");
    Ok(())
}

fn check() -> Result<()> {
    let report = |namespace: &[&str]| -> Result<Value> {
        let script = "\"$0\" check --json";
        let text = if namespace.is_empty() {
            command(ringwatch(), &["check", "--json"])
        } else {
            inside(namespace, script, &[])
        };
        Ok(serde_json::from_str(&text?)?)
    };
    let here = report(&[])?;
    ensure!(here["here"]["boottime_offset_ns"] == 0, "{}", here["here"]);
    if possible(PIDS) {
        let there = report(PIDS)?;
        let notes = there["notes"].to_string();
        ensure!(
            there["here"]["is_host_pid_namespace"] == false && notes.contains("pid namespace of its own"),
            "{there}"
        );
    }
    if possible(TIMES) {
        ensure!(report(TIMES)?["here"]["boottime_offset_ns"] == 500_000_000_000_000_u64, "no offset");
    }
    Ok(())
}

fn times() -> Result<()> {
    if !possible(TIMES) {
        return Ok(());
    }
    let directory = directory()?;
    let file = directory.path().join("events").display().to_string();
    // Started in ticks of the host's clock, by id: the offset must not make it another process.
    let started = SystemTime::now();
    inside(TIMES, "\"$0\" trace -o \"json:$2\" -- \"$1\" burst --writes 1", &[&file])?;
    let event = json_lines(file.as_ref())?.into_iter().next().context("no event")?;
    let range = around(started)?;
    for time in [&event["timestamp"], &event["process"]["start_time"]] {
        let time = time.as_str().context("no time")?;
        ensure!(range.0.as_str() <= time && time <= range.1.as_str(), "{time} is not in {range:?}");
    }
    inside(TIMES, BY_ID, &[&directory.path().display().to_string()])?;
    ensure!(json_lines(&directory.path().join("events"))?.len() == 11, "not by its id");
    Ok(())
}

/// From a second before `start` to now, as in JSON.
fn around(start: SystemTime) -> Result<(String, String)> {
    use ringwatch::event::Timestamp;
    let ns = |time: SystemTime| -> Result<i64> {
        Ok(i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH)?.as_nanos())?)
    };
    let first = Timestamp(ns(start)? - 1_000_000_000);
    Ok((first.to_string(), Timestamp(ns(SystemTime::now())? + 1_000_000_000).to_string()))
}
