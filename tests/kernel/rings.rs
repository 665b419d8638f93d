//! The inventory of rings against rings that know what they are.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::hard::{NOBODY, Place, needed, skip, with_capabilities, without_btf};
use crate::support::{PATIENCE, Test, command, ringwatch, signal, workload};

pub(crate) const TESTS: &[Test] = &[
    ("rings::each_field_is_what_the_program_made", || whole("each_field_is_what_the_program_made", each_field)),
    ("rings::proc_agrees_with_the_iterators", proc_agrees),
    ("rings::in_another_pid_namespace", || whole("in_another_pid_namespace", other_pid_namespace)),
    ("rings::anyone_sees_his_own", || whole("anyone_sees_his_own", unprivileged)),
    ("rings::two_capabilities_show_all", || whole("two_capabilities_show_all", two_capabilities)),
    ("rings::without_btf_proc_serves", no_btf),
    ("rings::none_is_no_error", || whole("none_is_no_error", none)),
    ("rings::watch_goes_on_until_it_is_interrupted", watch),
];

/// Where the kernel lacks an iterator, ringwatch says which rings are not seen: those tests know all of them.
fn whole(name: &str, test: fn() -> Result<()>) -> Result<()> {
    let told = look("bpf", std::process::id())?;
    match told.stderr.lines().find(|line| line.contains("are not seen")) {
        Some(why) => skip(&format!("rings::{name}"), why),
        None => test(),
    }
}

/// A program with rings. It ends with its standard input.
struct Holder {
    child: Child,
    truths: Vec<Value>,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Holder {
    fn start(program: &mut Command) -> Result<Self> {
        let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start")?;
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut holder = Self { child, truths: vec![], stdout };
        let mut line = String::new();
        loop {
            line.clear();
            ensure!(holder.stdout.read_line(&mut line)? > 0, "the workload ended early");
            if line.trim() == "ready" {
                ensure!(!holder.truths.is_empty(), "the workload has no rings");
                return Ok(holder);
            }
            holder.truths.push(serde_json::from_str(&line)?);
        }
    }

    fn new() -> Result<Self> {
        Self::start(Command::new(workload()).arg("rings"))
    }

    /// The process, as the host numbers it.
    fn pid(&self) -> Result<u32> {
        let pid = self.truths[0]["processes"][0]["host_pid"].as_u64().context("no host_pid")?;
        Ok(pid.try_into()?)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

struct Told {
    rings: Vec<Value>,
    stderr: String,
}

fn run(command: &mut Command) -> Result<Told> {
    let output = command.stdin(Stdio::null()).output().context("cannot run ringwatch")?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{}: {stderr}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let rings = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok(Told { rings, stderr })
}

fn inventory(program: &Path, arguments: &[&str], pid: u32) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "5", PATIENCE]).arg(program).args(["rings", "--json", "--pid", &pid.to_string()]);
    command.args(arguments);
    command
}

fn look(source: &str, pid: u32) -> Result<Told> {
    run(&mut inventory(&ringwatch(), &["--from", source], pid))
}

/// Everything that `truth` says is in `told`, and lists have nothing else.
fn same(truth: &Value, told: &Value, at: &str) -> Result<()> {
    match (truth, told) {
        (Value::Object(fields), Value::Object(_)) => {
            fields.iter().try_for_each(|(name, value)| same(value, &told[name], &format!("{at}.{name}")))
        }
        (Value::Array(all), Value::Array(others)) => {
            ensure!(all.len() == others.len(), "{at}: {truth} is told as {told}");
            all.iter().zip(others).enumerate().try_for_each(|(i, (a, b))| same(a, b, &format!("{at}[{i}]")))
        }
        _ => {
            ensure!(truth == told, "{at}: {truth} is told as {told}");
            Ok(())
        }
    }
}

/// Process ids may begin anew between a parent and its child.
fn sorted(truth: &Value) -> Value {
    let mut truth = truth.clone();
    for (list, keys) in [("processes", ["host_pid", "host_pid"]), ("threads", ["host_pid", "host_tid"])] {
        if let Some(list) = truth[list].as_array_mut() {
            list.sort_by_key(|v| keys.map(|k| v[k].as_u64()));
        }
    }
    truth
}

/// The workload's rings differ in their size.
fn of<'a>(truth: &Value, rings: &'a [Value]) -> Result<&'a Value> {
    let all: Vec<_> = rings.iter().filter(|r| r["sq_entries"] == truth["sq_entries"]).collect();
    ensure!(all.len() == 1, "{} rings for {truth} in {rings:#?}", all.len());
    Ok(all[0])
}

/// What this kernel cannot show is null, and said on standard error.
fn known_here(truth: &Value, told: &Told) -> Value {
    let mut truth = sorted(truth);
    for (name, said) in [("registered", "registered with a thread"), ("mapped", "are mapped")] {
        if told.stderr.contains(said) {
            truth["processes"].as_array_mut().into_iter().flatten().for_each(|p| p[name] = Value::Null);
        }
    }
    truth
}

fn cpu_time_ms(pid: u32, tid: &Value) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat"))?;
    let (_, rest) = text.rsplit_once(')').context("no name")?;
    let ticks: Vec<u64> = rest.split_whitespace().skip(11).take(2).filter_map(|n| n.parse().ok()).collect();
    Ok(ticks.iter().sum::<u64>() * 10)
}

fn now_ns() -> Result<i128> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos().cast_signed())
}

fn each_field() -> Result<()> {
    // The kernel's coarse clock is a tick behind.
    let before = now_ns()? - 20_000_000;
    let holder = Holder::new()?;
    let after = now_ns()?;
    let pid = holder.pid()?;
    let told = look("bpf", pid)?;
    ensure!(told.rings.len() == holder.truths.len(), "{} rings: {:#?}", told.rings.len(), told.rings);
    let executable = workload().canonicalize()?;
    let schema: Value = serde_json::from_str(&command(ringwatch(), &["rings", "--schema"])?)?;
    let schema = jsonschema::validator_for(&schema)?;
    for truth in &holder.truths {
        let ring = of(truth, &told.rings)?;
        same(&known_here(truth, &told), ring, "ring")?;
        ensure!(ring["source"] == "bpf", "{ring}");
        if let Err(error) = schema.validate(ring) {
            anyhow::bail!("{error}: {ring}");
        }
        let process = ring["processes"].as_array().into_iter().flatten().find(|p| p["host_pid"] == pid);
        let process = process.context("no process")?;
        ensure!(process["name"] == "ringwatch-workl" && process["uid"] == 0, "{process}");
        ensure!(process["executable"] == executable.to_string_lossy().as_ref(), "{process}");
        ensure!(process["command_line"].as_str().is_some_and(|l| l.ends_with(" rings")), "{process}");
        if ring["inode"].is_null() {
            ensure!(ring["created"].is_null(), "{ring}");
        } else {
            let created = ring["created"].as_str().context("no time of creation")?;
            let created = created.parse::<jiff::Timestamp>()?.as_nanosecond();
            ensure!((before..=after).contains(&created), "{created} is not in {before}..={after}");
        }
        let threads = process["io_wq_workers"].as_array().into_iter().flatten().chain([&ring["sqpoll"]]);
        for thread in threads.filter(|t| t["host_tid"].is_u64()) {
            let told = thread["cpu_time_ms"].as_u64().with_context(|| format!("no CPU time: {thread}"))?;
            let now = cpu_time_ms(pid, &thread["host_tid"])?;
            ensure!(told <= now, "{told} ms of CPU time are told, and {now} ms are used");
        }
    }
    Ok(())
}

/// Everything that /proc knows is the same.
fn agree(proc: &Value, bpf: &Value, at: &str) -> Result<()> {
    match (proc, bpf) {
        (Value::Null, _) => Ok(()),
        (Value::Object(fields), Value::Object(_)) => {
            let moving = ["timestamp", "source", "cpu", "cpu_time_ms"];
            let mut fields = fields.iter().filter(|(name, _)| !moving.contains(&name.as_str()));
            fields.try_for_each(|(name, value)| agree(value, &bpf[name], &format!("{at}.{name}")))
        }
        (Value::Array(all), Value::Array(others)) => {
            ensure!(all.len() == others.len(), "{at}: {proc} and {bpf}");
            all.iter().zip(others).try_for_each(|(a, b)| agree(a, b, at))
        }
        _ => {
            ensure!(proc == bpf, "{at}: {proc} in /proc, and {bpf} in the kernel");
            Ok(())
        }
    }
}

fn proc_agrees() -> Result<()> {
    let holder = Holder::new()?;
    let pid = holder.pid()?;
    let (proc, bpf) = (look("proc", pid)?, look("bpf", pid)?);
    let has_fd = |ring: &Value| ring["processes"][0]["fds"].as_array().is_some_and(|f| !f.is_empty());
    let fds = |ring: &Value| (ring["processes"][0]["host_pid"].clone(), ring["processes"][0]["fds"].clone());
    let with_fd: Vec<_> = bpf.rings.iter().filter(|r| has_fd(r)).collect();
    let proc_with_fd: Vec<_> = proc.rings.iter().filter(|r| has_fd(r)).collect();
    ensure!(with_fd.len() == proc_with_fd.len() && with_fd.len() > 3, "{:#?}", proc.rings);
    for (ring, other) in proc_with_fd.iter().zip(with_fd) {
        ensure!(ring["source"] == "proc" && ring["flags"].is_null() && fds(ring) == fds(other), "{ring} {other}");
        agree(ring, other, "ring")?;
        ensure!(ring["registered_files"].is_u64() && ring["registered_buffers"].is_u64(), "{ring}");
    }
    // Where rings have inodes, those that are only mapped are seen as well.
    let inodes = |rings: &[Value]| -> Vec<u64> {
        let unmapped = |r: &&Value| !has_fd(r) && r["processes"][0]["mapped"] == true;
        let mut all: Vec<_> = rings.iter().filter(unmapped).filter_map(|r| r["inode"].as_u64()).collect();
        all.sort_unstable();
        all
    };
    if !inodes(&bpf.rings).is_empty() {
        ensure!(inodes(&bpf.rings) == inodes(&proc.rings), "{:#?}", proc.rings);
    }
    Ok(())
}

fn other_pid_namespace() -> Result<()> {
    let mut shell = Command::new("sh");
    // It must start a process, which is the first of the namespace, and not become the workload.
    shell.args(["-c", "\"$0\" rings; exit $?"]).arg(workload());
    let unshare = || nix::errno::Errno::result(unshare_pid()).map(drop).map_err(Into::into);
    // SAFETY: it only makes a system call.
    unsafe { shell.pre_exec(unshare) };
    let holder = Holder::start(&mut shell)?;
    let pid = holder.pid()?;
    ensure!(holder.truths[0]["processes"][0]["pid"] == 1, "{}", holder.truths[0]);
    for source in ["bpf", "proc"] {
        let told = look(source, pid)?;
        let ring = of(&holder.truths[0], &told.rings)?;
        let wanted = &sorted(&holder.truths[0])["processes"];
        let told = ring["processes"].as_array().context("no processes")?;
        ensure!(told.len() == 2, "{ring}");
        for (process, wanted) in told.iter().zip(wanted.as_array().into_iter().flatten()) {
            for field in ["host_pid", "pid", "fds"] {
                ensure!(process[field] == wanted[field], "{source}: {field}: {process} {wanted}");
            }
            ensure!(process["name"] == "ringwatch-workl", "{process}");
        }
    }
    Ok(())
}

fn unshare_pid() -> libc::c_int {
    // SAFETY: no pointer is passed.
    unsafe { libc::unshare(libc::CLONE_NEWPID) }
}

/// Both programs as a user without any right.
fn of_nobody(place: &Place) -> Result<Holder> {
    Holder::start(Command::new(&place.workload).arg("rings").uid(NOBODY).gid(NOBODY))
}

fn unprivileged() -> Result<()> {
    let place = Place::new()?;
    let (own, roots) = (of_nobody(&place)?, Holder::new()?);
    let told = run(inventory(&place.ringwatch, &[], own.pid()?).uid(NOBODY).gid(NOBODY))?;
    ensure!(told.stderr.contains("run as root or grant CAP_BPF and CAP_PERFMON"), "{}", told.stderr);
    ensure!(told.stderr.contains("processes may not be looked into"), "{}", told.stderr);
    ensure!(told.rings.iter().all(|r| r["source"] == "proc" && r["processes"][0]["uid"] == NOBODY), "{:?}", told.rings);
    let fd = |r: &Value| r["processes"][0]["fds"][0].is_u64();
    let (seen, made) = (told.rings.iter().filter(|r| fd(r)).count(), own.truths.iter().filter(|r| fd(r)).count());
    ensure!(seen == made, "{seen} rings of {made} are told");
    let told = run(inventory(&place.ringwatch, &[], roots.pid()?).uid(NOBODY).gid(NOBODY))?;
    ensure!(told.rings.is_empty(), "{:?}", told.rings);
    Ok(())
}

fn two_capabilities() -> Result<()> {
    let place = Place::new()?;
    let holder = Holder::new()?;
    let mut ringwatch = inventory(&place.ringwatch, &["--from", "bpf"], holder.pid()?);
    with_capabilities(&mut ringwatch, NOBODY, needed()?);
    let told = run(&mut ringwatch)?;
    ensure!(told.rings.len() == holder.truths.len(), "{:#?}", told.rings);
    for truth in &holder.truths {
        let (mut truth, ring) = (known_here(truth, &told), of(truth, &told.rings)?);
        // Their names are readable for everyone, and the program's file is not.
        ensure!(ring["processes"][0]["executable"].is_null(), "{ring}");
        if let Some(sqpoll) = truth["sqpoll"].as_object_mut() {
            sqpoll.remove("host_tid");
        }
        same(&truth, ring, "ring")?;
    }
    Ok(())
}

fn no_btf() -> Result<()> {
    let holder = Holder::new()?;
    let mut ringwatch = inventory(&ringwatch(), &[], holder.pid()?);
    without_btf(&mut ringwatch);
    let told = run(&mut ringwatch)?;
    ensure!(told.stderr.contains("/sys/kernel/btf/vmlinux"), "{}", told.stderr);
    ensure!(!told.rings.is_empty() && told.rings.iter().all(|r| r["source"] == "proc"), "{:?}", told.rings);
    Ok(())
}

fn none() -> Result<()> {
    for source in ["bpf", "proc"] {
        // The test itself has no rings.
        let told = look(source, std::process::id())?;
        ensure!(
            told.rings.is_empty() && told.stderr.is_empty() || source == "proc",
            "{:?} {}",
            told.rings,
            told.stderr
        );
    }
    Ok(())
}

fn watch() -> Result<()> {
    let holder = Holder::new()?;
    let (count, pid) = (holder.truths.len(), holder.pid()?.to_string());
    let mut child = Command::new(ringwatch())
        .args(["rings", "--json", "--pid", &pid, "--watch", "50ms"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start ringwatch")?;
    let lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    let mut rings = vec![];
    for line in lines.take(3 * count) {
        rings.push(serde_json::from_str::<Value>(&line?)?);
    }
    ensure!(rings.len() == 3 * count, "{} lines", rings.len());
    for at in 0..count {
        ensure!(rings[at]["timestamp"] != rings[at + count]["timestamp"], "two looks at one time");
        ensure!(rings[at]["inode"] == rings[at + count]["inode"], "another order");
    }
    signal(&child, Signal::SIGINT)?;
    let status = child.wait()?;
    ensure!(status.success(), "{status}");
    Ok(())
}
