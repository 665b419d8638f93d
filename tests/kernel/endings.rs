//! Starts that cannot be, and all ways to end.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use libbpf_rs::query::ProgInfoIter;
use nix::sys::signal::Signal;

use crate::support::{Test, Tracer, burst, command, directory, none_lost, ringwatch, run, signal, workload};

pub(crate) const TESTS: &[Test] = &[
    ("killed_it_leaves_nothing_attached", killed),
    ("ctrl_c_ends_with_the_summary", interrupted),
    ("a_closed_standard_output_is_a_clean_end", closed_stdout),
    ("the_commands_status_is_the_exit_status", status),
    ("without_privileges_it_says_what_to_do", unprivileged),
    ("wrong_usage_is_told", usage),
    ("an_unwritable_output_is_told_before_anything_starts", unwritable),
    ("a_command_that_cannot_run_is_told", no_command),
];

/// Ids of the programs that a process holds.
fn programs_of(process: u32) -> Result<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{process}/fdinfo"))? {
        let info = fs::read_to_string(entry?.path()).unwrap_or_default();
        ids.extend(info.lines().find_map(|l| l.strip_prefix("prog_id:")).and_then(|id| id.trim().parse::<u32>().ok()));
    }
    Ok(ids)
}

fn loaded() -> BTreeSet<u32> {
    ProgInfoIter::default().map(|p| p.id).collect()
}

fn killed() -> Result<()> {
    let mut tracer = Tracer::start::<&str>(&[])?;
    let held = programs_of(tracer.child.id())?;
    ensure!(held.len() >= 8 && held.is_subset(&loaded()), "{held:?}");
    signal(&tracer.child, Signal::SIGKILL)?;
    tracer.child.wait()?;
    // The kernel frees programs after a grace period of its own: new ones pass while the workload runs.
    for _ in 0..1000 {
        if held.is_disjoint(&loaded()) {
            return Ok(());
        }
        burst(&["--writes", "1"])?;
    }
    anyhow::bail!("still loaded: {:?}", held.intersection(&loaded()))
}

/// The plan that ringwatch chooses here.
fn plan() -> Result<String> {
    let report: serde_json::Value = serde_json::from_str(&command(ringwatch(), &["check", "--json"])?)?;
    report["plan"]["kind"].as_str().map(str::to_owned).context("no plan")
}

fn interrupted() -> Result<()> {
    let plan = plan()?;
    for how in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let tracer = Tracer::start(&["--comm", "ringwatch-workl"])?;
        burst(&["--writes", "100"])?;
        signal(&tracer.child, how)?;
        let ended = tracer.wait()?;
        ended.expect_success()?;
        let summary = ended.summary()?;
        let right = summary.starts_with("100 events, ") && summary.ends_with(&format!(" lost (plan: {plan})"));
        ensure!(right && none_lost(&ended.stderr), "{}", ended.stderr);
    }
    Ok(())
}

fn closed_stdout() -> Result<()> {
    let mut child = Command::new(ringwatch())
        .args(["trace", "-o", "json", "--kill", "--"])
        .arg(workload())
        .args(["burst", "--writes", "1000000000"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut first = String::new();
    BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut first)?;
    ensure!(first.starts_with("{\"timestamp\""), "{first}");
    let mut stderr = String::new();
    child.stderr.take().context("no stderr")?.read_to_string(&mut stderr)?;
    child.wait()?;
    ensure!(!stderr.contains("annot") && stderr.contains(" events, "), "{stderr}");
    Ok(())
}

fn status() -> Result<()> {
    for (script, code) in [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 137)] {
        let ended = run(["trace", "--", "sh", "-c", script])?;
        ensure!(ended.code() == Some(code), "{script}: {:?}", ended.status);
    }
    Ok(())
}

fn unprivileged() -> Result<()> {
    const NOBODY: u32 = 65534;
    let directory = directory()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    let program = directory.path().join("ringwatch");
    fs::copy(ringwatch(), &program)?;
    for arguments in [&["trace"][..], &["check"]] {
        let output = Command::new(&program).args(arguments).uid(NOBODY).gid(NOBODY).output()?;
        let all = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&all);
        ensure!(output.status.code() == Some(1), "{:?}: {text}", output.status);
        ensure!(text.contains("run as root or grant CAP_BPF and CAP_PERFMON"), "{text}");
    }
    Ok(())
}

fn usage() -> Result<()> {
    for (arguments, said) in [
        (&["trace", "-o", "xml"][..], "unknown format `xml`"),
        (&["trace", "--duration", "soon"], "`soon` is no time"),
        (&["trace", "--buffer-size", "3M"], "power of two"),
        (&["trace", "--limit", "0"], "0 is not in"),
        (&["trace", "--pid", "x"], "invalid"),
        (&["trace", "--path", "[a"], "--path [a"),
        (&["trace", "--uid", "no-such-user"], "no user `no-such-user`"),
        (&["trace", "--comm", "a-name-of-sixteen"], "1 to 15 bytes"),
        (&["trace", "-o", "json", "-o", "table"], "only one --output"),
        (&["events", "io_nothing"], "there is no event `io_nothing`"),
        (&[], "ringwatch trace "),
        (&["nonsense"], "unrecognized subcommand"),
    ] {
        let ended = run(arguments)?;
        ensure!(ended.code() == Some(2), "{arguments:?}: {:?}", ended.status);
        ensure!(ended.stderr.contains(said), "{arguments:?}: {}", ended.stderr);
    }
    Ok(())
}

fn unwritable() -> Result<()> {
    let ended = run(["trace", "-o", "json:/nonexistent/directory/file", "--", "echo", "started"])?;
    ensure!(ended.code() == Some(1), "{:?}", ended.status);
    ensure!(ended.stderr.contains("cannot write to /nonexistent/directory/file"), "{}", ended.stderr);
    ensure!(ended.stderr.lines().count() == 1, "{}", ended.stderr);
    Ok(())
}

fn no_command() -> Result<()> {
    let ended = run(["trace", "--", "/nonexistent/program"])?;
    ensure!(ended.code() == Some(127), "{:?}: {}", ended.status, ended.stderr);
    ensure!(ended.stderr.contains("cannot run /nonexistent/program"), "{}", ended.stderr);
    Ok(())
}
