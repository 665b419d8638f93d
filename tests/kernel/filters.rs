//! Filters: what was asked for, all of it, and nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::support::{Test, Tracer, directory, json_lines, named, none_lost, run, workload};

pub(crate) const TESTS: &[Test] = &[
    ("filter_by_comm", by_comm),
    ("filter_by_pid", by_pid),
    ("filter_by_uid", by_uid),
    ("filter_by_path", by_path),
    ("a_command_is_followed_with_all_its_descendants", by_tree),
    ("limit_ends_the_trace", limit),
    ("duration_ends_the_trace", duration),
];

/// The workload under another name, where any user can run it.
fn named_workload(directory: &Path, name: &str) -> Result<PathBuf> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    let path = directory.join(name);
    fs::copy(workload(), &path)?;
    Ok(path)
}

fn burst_of(program: &Path, writes: u64) -> Command {
    let mut command = Command::new(program);
    command.args(["burst", "--writes", &writes.to_string()]).stdout(Stdio::null());
    command
}

fn done(mut child: Child) -> Result<()> {
    let status = child.wait()?;
    ensure!(status.success(), "the workload: {status}");
    Ok(())
}

/// Traces with `filter` while `work` runs; the writes.
fn trace(filter: &[&str], directory: &Path, work: impl FnOnce() -> Result<()>) -> Result<Vec<Value>> {
    let file = directory.join("events");
    let output = format!("json:{}", file.display());
    let mut arguments = vec!["-o", &output];
    arguments.extend(filter);
    let tracer = Tracer::start(&arguments)?;
    work()?;
    tracer.stop()?.expect_success()?;
    let events = json_lines(&file)?;
    ensure!(named(&events, "io_write").len() == events.len(), "events were lost");
    Ok(events)
}

fn by_comm() -> Result<()> {
    let directory = directory()?;
    let (one, two, three) = (
        named_workload(directory.path(), "writer-one")?,
        named_workload(directory.path(), "writer-two")?,
        named_workload(directory.path(), "writer-of-a-long-name")?,
    );
    // The kernel keeps 15 bytes of a name.
    let events = trace(&["--comm", "writer-one", "--comm", "writer-of-a-lon"], directory.path(), || {
        done(burst_of(&one, 100).spawn()?)?;
        done(burst_of(&two, 10).spawn()?)?;
        done(burst_of(&three, 1000).spawn()?)
    })?;
    ensure!(events.len() == 1100, "{} events", events.len());
    ensure!(!events.iter().any(|e| e["process"]["name"] == "writer-two"));
    Ok(())
}

fn by_pid() -> Result<()> {
    let directory = directory()?;
    // Held by its standard input until the tracer knows its process id.
    let mut held = Command::new("sh")
        .args(["-c", "read go; exec \"$0\" burst --writes 100"])
        .arg(workload())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let go = held.stdin.take().context("no stdin")?;
    let pid = held.id();
    let events = trace(&["--pid", &pid.to_string()], directory.path(), || {
        done(burst_of(&workload(), 10).spawn()?)?;
        drop(go);
        done(held)
    })?;
    ensure!(events.len() == 100, "{} events", events.len());
    ensure!(events.iter().all(|e| e["process"]["host_pid"] == pid));
    Ok(())
}

fn by_uid() -> Result<()> {
    const NOBODY: u32 = 65534;
    let directory = directory()?;
    let program = named_workload(directory.path(), "writer")?;
    for user in ["65534", "nobody"] {
        let events = trace(&["--uid", user], directory.path(), || {
            done(burst_of(&program, 10).spawn()?)?;
            done(burst_of(&program, 100).uid(NOBODY).gid(NOBODY).spawn()?)
        })?;
        ensure!(events.len() == 100, "{} events", events.len());
        ensure!(events.iter().all(|e| e["process"]["uid"] == NOBODY));
    }
    Ok(())
}

fn by_path() -> Result<()> {
    let directory = directory()?;
    let name = |n: &str| directory.path().join(n).to_string_lossy().into_owned();
    for file in ["one.log", "two.txt", "three.log"] {
        fs::write(name(file), b"")?;
    }
    let glob = format!("{}/*.log", directory.path().display());
    let events = trace(&["--path", &glob], directory.path(), || {
        for (file, writes) in [("one.log", 20), ("two.txt", 30), ("three.log", 40)] {
            done(burst_of(&workload(), writes).args(["--file", &name(file)]).spawn()?)?;
        }
        Ok(())
    })?;
    ensure!(events.len() == 60, "{} events", events.len());
    Ok(())
}

fn by_tree() -> Result<()> {
    let directory = directory()?;
    let file = directory.path().join("events");
    let stranger = burst_of(&workload(), 200_000).args(["--rate", "100000"]).spawn()?;
    // A child of the shell, a grandchild in the background, and one that was forked later.
    let script = "\"$0\" burst --writes 100 & (\"$0\" burst --writes 20 & wait); wait; sh -c '\"$0\" burst --writes 3' \"$0\"; exit 7";
    let ended = run([
        "trace".as_ref(),
        "-o".as_ref(),
        format!("json:{}", file.display()).as_ref(),
        "--".as_ref(),
        "sh".as_ref(),
        "-c".as_ref(),
        script.as_ref(),
        workload().as_os_str(),
    ])?;
    done(stranger)?;
    ensure!(ended.code() == Some(7), "{:?}: {}", ended.status, ended.stderr);
    let events = json_lines(&file)?;
    ensure!(events.len() == 123, "{} events", events.len());
    let mut processes: Vec<_> = events.iter().filter_map(|e| e["process"]["host_pid"].as_u64()).collect();
    processes.sort_unstable();
    processes.dedup();
    ensure!(processes.len() == 3, "{processes:?}");
    Ok(())
}

fn limit() -> Result<()> {
    let directory = directory()?;
    let file = directory.path().join("events");
    let ended = run([
        "trace".as_ref(),
        "--kill".as_ref(),
        "--limit".as_ref(),
        "5".as_ref(),
        "-o".as_ref(),
        format!("json:{}", file.display()).as_ref(),
        "--".as_ref(),
        workload().as_os_str(),
        "burst".as_ref(),
        "--writes".as_ref(),
        "1000000000".as_ref(),
    ])?;
    ended.expect_success()?;
    // A flood may be faster than the output before it is known to be enough.
    ensure!(named(&json_lines(&file)?, "io_write").len() == 5, "{}", ended.stderr);
    ensure!(ended.summary()?.starts_with("5 events"), "{}", ended.stderr);
    Ok(())
}

fn duration() -> Result<()> {
    let ended = run(["trace", "--duration", "100ms", "--comm", "nobody-has-this"])?;
    ended.expect_success()?;
    ensure!(ended.summary()?.starts_with("0 events, ") && none_lost(&ended.stderr), "{}", ended.stderr);
    Ok(())
}
