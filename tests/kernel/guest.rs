//! The traced command is a guest: what reaches it, and what becomes of it when the trace ends first.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::pty::Terminal;
use crate::support::{Test, directory, ringwatch, run, signal, workload};

pub(crate) const TESTS: &[Test] = &[
    ("ctrl_c_reaches_the_command_once_and_is_its_affair", ctrl_c),
    ("a_second_ctrl_c_ends_the_trace_and_leaves_the_command", second_ctrl_c),
    ("what_outlives_the_command_is_followed_until_ctrl_c", daemons),
    ("a_trace_that_ends_first_leaves_the_command_running", left),
    ("kill_ends_the_command_with_the_trace", killed),
    ("a_command_needs_no_dashes", no_dashes),
];

fn traced(script: &str) -> Vec<String> {
    let arguments = ["trace", "-o", "json:/dev/null", "sh", "-c", script].map(str::to_owned);
    let (program, workload) = (ringwatch().display().to_string(), workload().display().to_string());
    [vec![program], arguments.to_vec(), vec![workload]].concat()
}

fn ctrl_c() -> Result<()> {
    let script = "trap 'echo got INT; end=1' INT; trap 'echo got TERM' TERM; echo ready
        while [ -z \"$end\" ]; do read line; done; \"$0\" burst --writes 7; exit 9";
    let mut terminal = Terminal::run(&traced(script))?;
    terminal.wait_for("ready")?;
    // A shell that was about to read when the signal came reads on.
    terminal.type_in("\x03\n")?;
    terminal.wait_for("got INT")?;
    ensure!(terminal.wait_for("status ")? == "9", "{}", terminal.shown);
    let shown = &terminal.shown;
    ensure!(shown.matches("got INT").count() == 1 && !shown.contains("got TERM"), "{shown}");
    ensure!(shown.contains("ringwatch: 7 events, "), "{shown}");
    // Who does not handle it ends by it.
    let mut terminal = Terminal::run(&traced("echo ready; read line"))?;
    terminal.wait_for("ready")?;
    terminal.type_in("\x03")?;
    ensure!(terminal.wait_for("status ")? == "130", "{}", terminal.shown);
    Ok(())
}

fn second_ctrl_c() -> Result<()> {
    let script = "trap 'echo got INT' INT; echo \"pid $$.\"; while :; do read line; done";
    let mut terminal = Terminal::run(&traced(script))?;
    let pid = Pid::from_raw(terminal.wait_for("pid ")?.trim_end_matches('.').parse()?);
    terminal.type_in("\x03")?;
    // Before that, a second one would be the same signal for ringwatch.
    terminal.wait_for("Ctrl-C again ends the trace")?;
    terminal.type_in("\x03")?;
    terminal.wait_for(&format!("(process {pid}) goes on running"))?;
    ensure!(terminal.wait_for("status ")? == "0", "{}", terminal.shown);
    ensure!(kill(pid, None) == Ok(()), "the command ended:\n{}", terminal.shown);
    kill(pid, Signal::SIGKILL)?;
    Ok(())
}

fn daemons() -> Result<()> {
    let directory = directory()?;
    let fifo = directory.path().join("fifo").display().to_string();
    // It ignores Ctrl-C, and waits for a line that never comes.
    let script = format!(
        "mkfifo {fifo}; (trap '' INT; echo \"pid $(exec sh -c 'echo $PPID').\"; exec 3<>{fifo}; read line <&3) & read line; exit 3"
    );
    let mut terminal = Terminal::run(&traced(&script))?;
    let pid = Pid::from_raw(terminal.wait_for("pid ")?.trim_end_matches('.').parse()?);
    terminal.type_in("\n")?;
    terminal.wait_for("the command ended, and 1 processes")?;
    terminal.type_in("\x03")?;
    terminal.wait_for("one process that the command started goes on running")?;
    ensure!(terminal.wait_for("status ")? == "3", "{}", terminal.shown);
    ensure!(kill(pid, None) == Ok(()), "the process ended:\n{}", terminal.shown);
    kill(pid, Signal::SIGKILL)?;
    Ok(())
}

/// ringwatch, and what its command prints.
fn held(arguments: &[&str], script: &str) -> Result<(Child, BufReader<ChildStdout>)> {
    let mut child = Command::new(ringwatch())
        .arg("trace")
        .args(arguments)
        .args(["-o", "json:/dev/null", "sh", "-c", script])
        .arg(workload())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdout = BufReader::new(child.stdout.take().context("no stdout")?);
    let mut line = String::new();
    stdout.read_line(&mut line)?;
    ensure!(line == "ready\n", "{line}");
    Ok((child, stdout))
}

fn left() -> Result<()> {
    let script = "trap 'echo got INT' INT; trap 'echo got TERM' TERM; echo ready; \"$0\" burst --writes 9 >/dev/null
        read line; echo \"done $line\"; exit 5";
    for (arguments, how) in [
        (&["--limit", "3"][..], None),
        (&["--duration", "300ms"], None),
        (&[], Some(Signal::SIGTERM)),
        (&[], Some(Signal::SIGINT)),
        (&[], Some(Signal::SIGHUP)),
    ] {
        let (mut child, mut stdout) = held(arguments, script)?;
        let mut stdin = child.stdin.take().context("no stdin")?;
        if let Some(how) = how {
            signal(&child, how)?;
        }
        let status = child.wait()?;
        let mut said = String::new();
        // The command has it as well, so not to its end.
        let mut lines = BufReader::new(child.stderr.take().context("no stderr")?);
        while !said.contains("goes on running") {
            ensure!(lines.read_line(&mut said)? > 0, "{arguments:?} {how:?}: {said}");
        }
        ensure!(status.code() == Some(0), "{arguments:?} {how:?}: {status}: {said}");
        stdin.write_all(b"well\n")?;
        let mut rest = String::new();
        stdout.read_to_string(&mut rest)?;
        ensure!(rest == "done well\n", "{arguments:?} {how:?}: {rest}");
    }
    Ok(())
}

fn killed() -> Result<()> {
    let script = "trap 'echo got TERM; exit 3' TERM; echo ready; \"$0\" burst --writes 9 >/dev/null; while :; do read line; done";
    for (arguments, how) in [
        (&["--kill", "--limit", "3"][..], None),
        (&["--kill", "--duration", "300ms"], None),
        (&["--kill"], Some(Signal::SIGTERM)),
    ] {
        let (mut child, mut stdout) = held(arguments, script)?;
        let _stdin = child.stdin.take();
        if let Some(how) = how {
            signal(&child, how)?;
        }
        let mut rest = String::new();
        stdout.read_to_string(&mut rest)?;
        let status = child.wait()?;
        ensure!(rest == "got TERM\n" && status.code() == Some(0), "{arguments:?}: {status}: {rest}");
    }
    let ended = run(["trace", "--kill", "--duration", "1ms"])?;
    ensure!(ended.code() == Some(2), "--kill without a command: {ended:?}");
    Ok(())
}

fn no_dashes() -> Result<()> {
    let workload = workload().display().to_string();
    for between in [&[][..], &["--"]] {
        let command = [workload.as_str(), "burst", "--writes", "4", "--size", "10"];
        let ended = run([&["trace", "-o", "json:/dev/null"], between, &command].concat())?;
        ended.expect_success()?;
        ensure!(ended.summary()?.starts_with("4 events"), "{}", ended.stderr);
    }
    // Options behind it are its own, also those that ringwatch has.
    let ended = run(["trace", "-o", "json:/dev/null", "sh", "-c", "exit $#", "-p", "--", "--limit", "x"])?;
    ensure!(ended.code() == Some(3), "{ended:?}");
    let ended = run(["trace", "--no-such-option", "true"])?;
    ensure!(ended.code() == Some(2) && ended.stderr.contains("--no-such-option"), "{ended:?}");
    Ok(())
}
