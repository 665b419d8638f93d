//! Filters that user space decides: a trace with each of them, beside one without, of the same work.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::support::{Test, Tracer, burst, directory, json_lines, ringwatch, run, workload};

pub(crate) const TESTS: &[Test] = &[
    ("filters_leave_out_what_does_not_fit_and_nothing_else", predicates),
    ("a_thread_is_followed_to_its_end", by_thread),
    ("a_trace_ends_with_its_processes", ends_with_processes),
    ("paths_are_resolved_when_a_trace_starts", paths),
    ("what_a_kernel_cannot_report_is_left_out_and_named", patterns),
    ("filters_that_cannot_work_are_refused", refused),
];

fn fits(filter: &str, event: &Value) -> bool {
    let (data, process) = (&event["data"], &event["process"]);
    match filter {
        "--comm" => process["name"] == "sh-two",
        "--not-comm" => process["name"] != "sh-two",
        "--not-uid" => process["uid"] != 65534,
        "--failed" => data["outcome"] == "failure",
        "--min-bytes" => data["result"].as_i64() >= Some(4096),
        "--min-latency" => data["latency_ns"].as_u64() >= Some(20_000),
        "--not-path" => data["path"].as_str().is_some_and(|path| !path.starts_with("/dev/")),
        _ => false,
    }
}

/// What tells an event from others, in each of two traces.
fn key(event: &Value) -> String {
    let (data, process) = (&event["data"], &event["process"]);
    format!("{} {} {} {}", process["host_tid"], data["user_data"], data["result"], data["path"])
}

fn predicates() -> Result<()> {
    let directory = directory()?;
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    let two = directory.path().join("sh-two");
    fs::copy(workload(), &two)?;
    let path = |name: &str| directory.path().join(name).display().to_string();
    for (filter, value) in [
        ("--comm", Some("*-tw[o]")),
        ("--not-comm", Some("sh-*")),
        ("--not-uid", Some("nobody,7")),
        ("--failed", None),
        ("--min-bytes", Some("4K")),
        ("--min-latency", Some("20us")),
        ("--not-path", Some("/dev")),
    ] {
        let (all, some) = (format!("json:{}", path("all")), format!("json:{}", path("some")));
        let whole = Tracer::start(&["-o", &all])?;
        let tracer = Tracer::start(&[&["-o", some.as_str(), filter][..], value.as_slice()].concat())?;
        burst(&["--writes", "20"])?;
        burst(&["--writes", "30", "--size", "8192", "--file", &path("file")])?;
        // A device that is always full: these fail.
        burst(&["--writes", "5", "--file", "/dev/full"])?;
        let mut as_nobody = Command::new(&two);
        as_nobody.args(["burst", "--writes", "10"]).uid(65534).gid(65534).stdout(Stdio::null());
        ensure!(as_nobody.status()?.success(), "the workload as nobody");
        let ended = tracer.stop()?;
        whole.stop()?.expect_success()?;
        ended.expect_success()?;
        let (all, some) = (json_lines(path("all").as_ref())?, json_lines(path("some").as_ref())?);
        let wanted = all.iter().filter(|event| fits(filter, event)).map(key);
        let (mut wanted, mut shown): (Vec<_>, Vec<_>) = (wanted.collect(), some.iter().map(key).collect());
        wanted.sort();
        shown.sort();
        // Each trace measures times itself.
        let right = if filter == "--min-latency" { some.iter().all(|e| fits(filter, e)) } else { wanted == shown };
        ensure!(right && all.len() == 65, "{filter}: {} of {} and not {}", shown.len(), all.len(), wanted.len());
        // On a slow machine every write takes long.
        let left_out = match 65 - some.len() {
            0 => "65 events, none lost".to_owned(),
            n => format!("{} events, {n} left out by {filter}, ", some.len()),
        };
        ensure!(ended.summary()?.starts_with(&left_out), "{filter}: {}", ended.stderr);
        ensure!(filter == "--min-latency" || (1..65).contains(&some.len()), "{filter} decides nothing");
    }
    Ok(())
}

/// A program that writes when its standard input ends.
fn writer(writes: u64) -> Result<std::process::Child> {
    let script = format!("read go; exec \"$0\" burst --writes {writes}");
    let mut writer = Command::new("sh");
    writer.args(["-c", &script]).arg(workload());
    writer.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().context("cannot start sh")
}

fn by_thread() -> Result<()> {
    let directory = directory()?;
    let events = directory.path().join("events");
    let output = format!("json:{}", events.display());
    let mut work = Command::new(workload());
    let work = work.args(["burst", "--rings", "3", "--rate", "3000", "--depth", "1", "--writes", "100000000"]);
    let mut work = Killed(work.stdout(Stdio::null()).spawn()?);
    let pid = work.0.id();
    let threads = || -> Result<Vec<u32>> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))?;
        tasks.map(|task| Ok(task?.file_name().to_string_lossy().parse()?)).collect()
    };
    while threads()?.len() < 3 {
        std::thread::yield_now();
    }
    let tid = threads()?.into_iter().max().context("no thread")?;
    // Its own events, however many the others have.
    let tracer = Tracer::start(&["-t", &tid.to_string(), "--limit", "50", "-o", &output])?;
    let ended = tracer.wait()?;
    ended.expect_success()?;
    let threads_of = |events: &[Value]| -> Vec<Value> {
        events.iter().filter(|e| e["event"] == "io_write").map(|e| e["process"]["host_tid"].clone()).collect()
    };
    let traced = threads_of(&json_lines(&events)?);
    ensure!(traced == vec![Value::from(tid); 50], "{tid}: {traced:?}: {}", ended.stderr);
    ensure!(ended.stderr.contains("left out by --tid"), "{}", ended.stderr);
    // All of the process but those.
    let (pid, not) = (pid.to_string(), tid.to_string());
    let tracer = Tracer::start(&["-p", &pid, "--not-tid", &not, "--limit", "50", "-o", &output])?;
    tracer.wait()?.expect_success()?;
    let traced = threads_of(&json_lines(&events)?);
    ensure!(traced.len() == 50 && !traced.contains(&Value::from(tid)), "{tid} is not left out: {traced:?}");
    // It ends with the thread.
    let tracer = Tracer::start(&["-t", &not, "-o", "json:/dev/null"])?;
    work.0.kill()?;
    let ended = tracer.wait()?;
    ended.expect_success()?;
    ensure!(ended.stderr.contains(&format!("{tid} ended, and the trace with it")), "{}", ended.stderr);
    Ok(())
}

/// A process that does not outlive the test.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ends_with_processes() -> Result<()> {
    let directory = directory()?;
    let events = directory.path().join("events");
    let [mut first, mut second] = [writer(10)?, writer(20)?];
    let ids = format!("{},{}", first.id(), second.id());
    let tracer = Tracer::start(&["-p", &ids, "-o", &format!("json:{}", events.display())])?;
    drop(first.stdin.take());
    first.wait()?;
    drop(second.stdin.take());
    second.wait()?;
    let ended = tracer.wait()?;
    ended.expect_success()?;
    ensure!(json_lines(&events)?.len() == 30, "{}", ended.stderr);
    let said = format!("{} ended, and the trace with them", ids.replace(',', ", "));
    ensure!(ended.stderr.contains(&said), "{}", ended.stderr);
    let ended = run(["stat", "-p", &first.id().to_string()])?;
    ensure!(ended.code() == Some(2) && ended.stderr.contains("there is no process"), "{ended:?}");
    Ok(())
}

fn paths() -> Result<()> {
    let directory = directory()?;
    let dir = directory.path().canonicalize()?;
    let path = |name: &str| dir.join(name).display().to_string();
    fs::create_dir_all(path("real/sub"))?;
    fs::create_dir(path("other"))?;
    symlink("real", path("link"))?;
    let (link, below) = (path("link"), path("link/*.bin"));
    for (pattern, writes) in
        [(link.as_str(), 30), ("link/", 30), (&below, 10), ("./real", 30), ("real/sub/two", 20), ("*/other/*", 3)]
    {
        let output = format!("json:{}", path("events"));
        let mut tracer = Command::new(ringwatch());
        let tracer = tracer.args(["trace", "-o", &output, "--path", pattern]).current_dir(&dir).stdout(Stdio::null());
        let tracer = Tracer::spawn(tracer)?;
        for (file, writes) in [("real/one.bin", "10"), ("real/sub/two", "20"), ("other/three", "3")] {
            burst(&["--writes", writes, "--file", &path(file)])?;
        }
        tracer.stop()?.expect_success()?;
        let events = json_lines(path("events").as_ref())?;
        ensure!(events.len() == writes, "{pattern}: {} events and not {writes}", events.len());
    }
    Ok(())
}

fn patterns() -> Result<()> {
    let alone = run(["trace", "-e", "vfs_write", "--duration", "1ms"])?;
    for all in ["*", "io_write,vfs_write"] {
        let ended = run(["trace", "-e", all, "--duration", "1ms"])?;
        ended.expect_success()?;
        let named = ended.stderr.contains("not traced: ") && ended.stderr.contains("vfs_write");
        ensure!(named != alone.status.success(), "{all}: {}", ended.stderr);
    }
    let ended = run(["trace", "-e", "io_write,events_lost", "--duration", "1ms"])?;
    ended.expect_success()?;
    ensure!(ended.stderr.contains("events_lost comes with every trace"), "{}", ended.stderr);
    Ok(())
}

fn refused() -> Result<()> {
    for (arguments, said) in [
        (&["trace", "--path", "slow*"][..], "write ./slow*"),
        (&["trace", "--path", ""], "an empty path"),
        (&["trace", "--not-path", "/etc/*/"], "--not-path /etc/*/"),
        (&["trace", "-p", "1", "true"], "cannot be combined with a command"),
        (&["trace", "-p", "1,4194305"], "there is no process 4194305"),
        (&["trace", "-t", "4194305"], "there is no thread 4194305"),
        (&["trace", "-u", "0,no-such-user"], "no user `no-such-user`"),
        (&["trace", "--comm", "[a"], "--comm [a"),
        (&["trace", "--min-bytes", "many"], "is not a size"),
        (&["trace", "-e", "io_wirte"], "did you mean `io_write`?"),
        (&["trace", "-e", "events_lost"], "name the events"),
        (&["trace", "-e", "-events_lost"], "cannot be left out"),
        (&["stat", "--failed", "--not-pid", "1"], "stat cannot filter by --not-pid or --failed"),
        (&["stat", "--comm", "kv-*"], "stat cannot filter by --comm"),
    ] {
        let ended = run(arguments)?;
        ensure!(ended.code() == Some(2) && ended.stderr.contains(said), "{arguments:?}: {ended:?}");
    }
    Ok(())
}
