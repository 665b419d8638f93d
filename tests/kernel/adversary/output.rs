//! What is written where: names that a terminal would obey, commands that print into the data, outputs that overwrite each
//! other, outputs and readers that fail, processes that outlive a command, ids that are used again.

use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::NOBODY;
use crate::support::{Ended, Test, Tracer, command, directory, json_lines, lost, named, ringwatch, run, workload};

pub(crate) const TESTS: &[Test] = &[
    ("adversary::output::no_line_of_json_obeys_a_name", names_in_json),
    ("adversary::output::no_two_names_look_the_same", names_in_the_table),
    ("adversary::output::a_command_prints_beside_the_data", printing_command),
    ("adversary::output::two_outputs_are_two_files", same_file),
    ("adversary::output::a_limit_of_file_size_is_a_full_disk", file_size),
    ("adversary::output::nobody_need_hear_what_is_said", standard_error),
    ("adversary::output::a_reader_that_left_is_told_of", reader_that_left),
    ("adversary::output::no_time_is_too_long", durations),
    ("adversary::output::what_a_command_leaves_is_followed", daemon),
    ("adversary::output::an_id_is_one_process", ids),
];

/// All that a terminal, a pager or an editor may obey, and what is no trick.
const HOSTILE: &str =
    "a\u{7f}\u{80}\u{9b}31m\u{9f}\u{200e}\u{200f}\u{61c}\u{202a}\u{202e}\u{2066}\u{2069}\u{2028}\u{2029}\u{1b}[31m ü日";

/// As a program's name, which the kernel cuts at 15 bytes.
const PROGRAM: &str = "\u{9b}31m\u{202e}x";

fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A directory where anybody may write.
fn open_directory() -> Result<tempfile::TempDir> {
    let directory = directory()?;
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777))?;
    Ok(directory)
}

/// Writes to `file`, as nobody, by a program of a hostile name.
fn write_as_nobody(directory: &Path, file: &Path, writes: &str) -> Result<()> {
    let program = directory.join(PROGRAM);
    if !program.exists() {
        fs::copy(workload(), &program)?;
    }
    let mut burst = Command::new(&program);
    burst.args(["burst", "--writes", writes, "--file"]).arg(file).uid(NOBODY).gid(NOBODY).stdout(Stdio::null());
    ensure!(burst.status()?.success(), "the workload");
    Ok(())
}

fn names_in_json() -> Result<()> {
    let directory = open_directory()?;
    let path = directory.path().canonicalize()?.join(HOSTILE);
    let events = directory.path().join("events");
    let output = format!("json:{}", events.display());
    // The encoder of io_write, that of all others, and the long form of io_write.
    for more in [&[][..], &["-e", "io_uring,io_issue_sqe"], &["--requests"]] {
        let tracer = Tracer::start(&[&["-o", &output, "--uid", "65534"], more].concat())?;
        write_as_nobody(directory.path(), &path, "3")?;
        tracer.stop()?.expect_success()?;
        let text = fs::read_to_string(&events)?;
        for line in text.lines() {
            ensure!(!line.contains(hidden), "{line:?}");
        }
        ensure!(text.lines().count() >= 3 && text.contains("\\u009b") && text.contains("ü日"), "{text}");
        let events = json_lines(&events)?;
        let named = events.iter().filter(|e| e["data"]["path"] == path.to_string_lossy().as_ref()).count();
        ensure!(named >= 3, "{events:#?}");
    }
    let mut stat = Command::new(ringwatch());
    stat.args(["stat", "--json", "--"]).arg(workload()).args(["burst", "--writes", "3", "--file"]).arg(&path);
    let text = String::from_utf8(stat.stdin(Stdio::null()).stderr(Stdio::null()).output()?.stdout)?;
    ensure!(text.contains("\\u009b") && !text.trim_end().contains(hidden), "{text:?}");
    let rings = held_ring(directory.path())?;
    ensure!(rings.contains("\\u009b") && !rings.replace('\n', "").contains(hidden), "{rings:?}");
    Ok(())
}

/// `rings --json` while a program of a hostile name holds rings.
fn held_ring(directory: &Path) -> Result<String> {
    let program = directory.join(PROGRAM);
    let mut holder = Command::new(program).arg("rings").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(holder.stdout.take().context("no stdout")?).lines();
    lines.find(|line| line.as_ref().is_ok_and(|l| l == "ready")).context("the workload is not ready")??;
    let rings = command(ringwatch(), &["rings", "--json", "-p", &holder.id().to_string()]);
    drop(holder.stdin.take());
    holder.wait()?;
    rings
}

fn names_in_the_table() -> Result<()> {
    let directory = open_directory()?;
    let table = directory.path().join("table");
    let tracer = Tracer::start(&["-o", &format!("table:{}", table.display()), "--uid", "65534"])?;
    for name in ["tab\tx", "tab\\tx", "x (deleted)", "x\\\" (deleted)", "y -> z"] {
        write_as_nobody(directory.path(), &directory.path().join(name), "1")?;
    }
    tracer.stop()?.expect_success()?;
    let table = fs::read_to_string(table)?;
    let shown: Vec<_> =
        table.lines().skip(1).filter_map(|l| l.split_once(&*directory.path().to_string_lossy())).collect();
    let shown: Vec<_> = shown.iter().map(|(_, name)| *name).collect();
    let wanted = ["/tab\\tx", "/tab\\\\tx", "/x (deleted)\"", "/x\\\\\\\" (deleted)\"", "/y -> z\""];
    ensure!(shown == wanted, "{shown:?}");
    Ok(())
}

/// Runs ringwatch; what came on its standard output.
fn output_of(arguments: &[&str]) -> Result<(String, Ended)> {
    let output = Command::new(ringwatch()).args(arguments).stdin(Stdio::null()).output()?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((String::from_utf8(output.stdout)?, Ended { status: output.status, stderr }))
}

fn printing_command() -> Result<()> {
    let program = workload().display().to_string();
    let script = "for i in 1 2 3 4; do \"$0\" burst --writes 400 >/dev/null; echo '# printed'; done";
    for data in ["json", "json:/dev/stdout"] {
        let (out, ended) = output_of(&["trace", "-o", data, "--", "sh", "-c", script, &program])?;
        ended.expect_success()?;
        for line in out.lines() {
            ensure!(serde_json::from_str::<Value>(line).is_ok(), "{data}: no JSON: {line:?}");
        }
        ensure!(out.lines().count() == 1600, "{} lines", out.lines().count());
        ensure!(ended.stderr.matches("# printed\n").count() == 4, "{}", ended.stderr);
        ensure!(ended.stderr.contains("goes to standard error"), "{}", ended.stderr);
    }
    let (out, ended) = output_of(&["stat", "--json", "--", "sh", "-c", script, &program])?;
    ensure!(serde_json::from_str::<Value>(&out).is_ok() && ended.stderr.contains("# printed\n"), "{out} {ended:?}");
    // Where the data goes elsewhere, the command keeps its own.
    let (out, _) = output_of(&["trace", "-o", "json:/dev/null", "--", "echo", "own"])?;
    ensure!(out == "own\n", "{out:?}");
    Ok(())
}

fn same_file() -> Result<()> {
    let directory = directory()?;
    let path = |name: &str| directory.path().join(name);
    fs::write(path("f"), "kept")?;
    symlink(path("f"), path("link"))?;
    fs::hard_link(path("f"), path("hard"))?;
    for other in ["f", "./f", "link", "hard"] {
        let (a, b) = (format!("json:{}", path("f").display()), format!("table:{}/{other}", directory.path().display()));
        let ended = run(["trace", "-o", &a, "-o", &b, "--", "true"])?;
        ensure!(ended.code() == Some(2) && ended.stderr.contains("are the same file"), "{other}: {ended:?}");
        ensure!(fs::read_to_string(path("f"))? == "kept", "{other}: emptied");
    }
    let mut onto = Command::new(ringwatch());
    onto.args(["trace", "-o", "json", "-o", "table:/dev/stdout", "--", "true"]);
    let output = onto.stdin(Stdio::null()).stdout(File::create(path("out"))?).output()?;
    ensure!(output.status.code() == Some(2), "{output:?}");
    // What is said would overwrite the data.
    let said = File::create(path("said"))?;
    let mut onto = Command::new(ringwatch());
    onto.arg("trace").arg("-o").arg(format!("json:{}", path("said").display())).args(["--", "true"]).stderr(said);
    ensure!(onto.stdin(Stdio::null()).status()?.code() == Some(2), "data over messages");
    run(["trace", "-o", "json:/dev/null", "-o", "table:/dev/null", "--", "true"])?.expect_success()
}

fn file_size() -> Result<()> {
    let directory = directory()?;
    let file = directory.path().join("events");
    let script = "ulimit -f 8; exec \"$0\" trace -o \"json:$1\" -- \"$2\" burst --writes 500";
    let output = Command::new("sh")
        .args(["-c", script])
        .args([ringwatch().as_os_str(), file.as_os_str(), workload().as_os_str()])
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(0), "{}: {said}", output.status);
    let whole = fs::read_to_string(&file)?.lines().filter(|l| serde_json::from_str::<Value>(l).is_ok()).count();
    ensure!(whole < 500 && said.contains(&format!("{} lost", 500 - whole)), "{whole} whole lines: {said}");
    Ok(())
}

fn standard_error() -> Result<()> {
    let directory = directory()?;
    let file = directory.path().join("events");
    let traced = |stderr: Stdio| -> Result<()> {
        let mut trace = Command::new(ringwatch());
        trace.arg("trace").arg("-o").arg(format!("json:{}", file.display())).arg("--").arg(workload());
        let status = trace
            .args(["burst", "--writes", "50"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .status()?;
        ensure!(status.code() == Some(0) && json_lines(&file)?.len() == 50, "{status}");
        // An error that nobody hears is one all the same.
        Ok(())
    };
    traced(File::options().write(true).open("/dev/full")?.into())?;
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    traced(writer.into())?;
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    let status = Command::new(ringwatch()).args(["trace", "-p", "4194305"]).stderr(writer).status()?;
    ensure!(status.code() == Some(2), "{status}");
    Ok(())
}

fn reader_that_left() -> Result<()> {
    for what in [&["trace", "-o", "json"][..], &["stat", "--interval", "100ms", "--json"]] {
        let mut child = Command::new(ringwatch())
            .args(what)
            .args(["--kill", "--"])
            .arg(workload())
            .args(["burst", "--writes", "1000000000"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut String::new())?;
        let mut said = String::new();
        child.stderr.take().context("no stderr")?.read_to_string(&mut said)?;
        child.wait()?;
        // A flood may have filled the buffer before that.
        let complete = said.contains("none lost") || !(said.contains("not all read") || said.contains(" lost (plan"));
        ensure!(!complete, "{what:?}: {said}");
        let told = said.lines().find(|l| l.contains("the reader of standard output left and did not get"));
        let count = told.and_then(|l| l.split_whitespace().find_map(|w| w.parse::<u64>().ok()));
        ensure!(count.is_some_and(|n| n > 0), "{what:?}: {said}");
    }
    Ok(())
}

fn durations() -> Result<()> {
    for time in ["9223372036854775807s", "18446744073709551616h", "99999999999999999999999999999999s"] {
        run(["trace", "--duration", time, "--", "true"])?.expect_success()?;
        run(["stat", "--duration", time, "--interval", time, "--", "true"])?.expect_success()?;
    }
    Ok(())
}

/// A command that ends before what it started, which waits for a byte in the fifo `go`.
const DAEMON: &str = "(read x <\"$1\"; \"$0\" burst --writes 5) >/dev/null 2>&1 & exit 3";

fn daemon() -> Result<()> {
    let directory = directory()?;
    let (go, events) = (directory.path().join("go"), directory.path().join("events"));
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU)?;
    let start = |more: &[&str]| {
        let mut trace = Command::new(ringwatch());
        trace.arg("trace").args(more).arg("-o").arg(format!("json:{}", events.display()));
        trace.args(["--", "sh", "-c", DAEMON]).arg(workload()).arg(&go).stdin(Stdio::null()).stderr(Stdio::piped());
        trace.spawn()
    };
    let mut child = start(&[])?;
    let mut said = BufReader::new(child.stderr.take().context("no stderr")?);
    let mut line = String::new();
    while !line.contains("go on and are followed") {
        line.clear();
        ensure!(said.read_line(&mut line)? > 0, "ringwatch ended with the command");
    }
    ensure!(line.contains("the command ended, and 1 processes"), "{line}");
    File::options().write(true).open(&go)?.write_all(b"\n")?;
    ensure!(child.wait()?.code() == Some(3), "not the command's status");
    ensure!(named(&json_lines(&events)?, "io_write").len() == 5, "not all was told");

    let mut child = start(&["--duration", "500ms"])?;
    let mut said = String::new();
    child.stderr.take().context("no stderr")?.read_to_string(&mut said)?;
    ensure!(
        child.wait()?.code() == Some(3) && said.contains("one process that the command started goes on running"),
        "{said}"
    );
    // It ends as well.
    File::options().write(true).open(&go)?.write_all(b"\n")?;
    Ok(())
}

/// A process with this id, while no other one has it: runs `burst --writes 9` and waits for its end.
fn burst_with_id(id: u32) -> Result<()> {
    use std::os::unix::ffi::OsStringExt as _;
    let program = std::ffi::CString::new(workload().into_os_string().into_vec())?;
    let arguments = [program.as_ptr(), c"burst".as_ptr(), c"--writes".as_ptr(), c"9".as_ptr(), std::ptr::null()];
    let ids = [libc::pid_t::try_from(id)?];
    // SAFETY: it has nothing but numbers.
    let mut clone: libc::clone_args = unsafe { std::mem::zeroed() };
    clone.exit_signal = libc::SIGCHLD as u64;
    clone.set_tid = ids.as_ptr() as u64;
    clone.set_tid_size = 1;
    // SAFETY: without a stack and CLONE_VM it is a fork; the child calls nothing but exec and _exit, with strings that were
    // made before.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut clone, size_of::<libc::clone_args>()) };
    if pid == 0 {
        // SAFETY: the strings end with a NUL, the array with a null.
        unsafe {
            libc::execv(program.as_ptr(), arguments.as_ptr());
            libc::_exit(127);
        }
    }
    ensure!(pid == i64::from(id), "clone3: {}", std::io::Error::last_os_error());
    let status = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(id.try_into()?), None)?;
    ensure!(matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0)), "{status:?}");
    Ok(())
}

fn ids() -> Result<()> {
    let ended = run(["trace", "-p", "4194305"])?;
    ensure!(ended.code() == Some(2) && ended.stderr.contains("there is no process 4194305"), "{ended:?}");
    let thread = nix::unistd::gettid().to_string();
    if thread != std::process::id().to_string() {
        let ended = run(["trace", "-p", &thread])?;
        ensure!(ended.code() == Some(2) && ended.stderr.contains("is a thread of process"), "{ended:?}");
    }
    let directory = directory()?;
    let events = directory.path().join("events");
    let held = Command::new("cat").stdin(Stdio::piped()).spawn()?;
    let id = held.id();
    // The trace goes on with this process.
    let both = format!("{id},{}", std::process::id());
    let tracer = Tracer::start(&["-p", &both, "-o", &format!("json:{}", events.display())])?;
    // Its standard input ends, and it with that.
    held.wait_with_output()?;
    burst_with_id(id)?;
    tracer.stop()?.expect_success()?;
    let events = json_lines(&events)?;
    ensure!(lost(&events) == 0 && events.is_empty(), "{} events of a later process", events.len());
    Ok(())
}
