//! Rings of all kinds that stand still and know what they are: printed one JSON object a line, then `ready`; they last
//! until the standard input ends.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::sync::mpsc;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::os::{self, Number};
use crate::ring::{Ring, Setup};
use crate::sys::{self, Params, Sqe};

/// A ring with what it is. The rings differ in their number of entries.
struct Known {
    truth: Value,
    /// Kept until the end.
    _ring: Option<Ring>,
}

#[derive(Clone, Copy)]
struct Ids {
    /// As /proc has them: the host's.
    host_pid: u32,
    host_tid: u32,
}

fn ids() -> Result<Ids> {
    let link = fs::read_link("/proc/thread-self").context("/proc/thread-self")?;
    let numbers: Vec<u32> = link.iter().filter_map(|part| part.to_str()?.parse().ok()).collect();
    let [host_pid, host_tid] = numbers[..] else { anyhow::bail!("/proc/thread-self is {}", link.display()) };
    Ok(Ids { host_pid, host_tid })
}

/// The inode of a ring, where it has one of its own.
fn inode(fd: RawFd) -> Result<Option<u64>> {
    let shared = os::fstat(&os::eventfd()?)?.st_ino;
    Ok(Some(os::fstat(&Number(fd))?.st_ino).filter(|&own| own != shared))
}

/// `None`: the kernel has no such rings.
fn setup(setup: Setup) -> Result<Option<Ring>> {
    match Ring::new(setup) {
        Ok(ring) => Ok(Some(ring)),
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
            eprintln!("no ring with flags {:#x} here", setup.flags);
            Ok(None)
        }
        Err(e) => Err(e).context("io_uring_setup"),
    }
}

/// What is true of a ring that nothing was done with.
fn idle(entries: u32, flags: &[&str], ids: Ids, fds: &[RawFd], inode: Option<u64>) -> Value {
    json!({
        "inode": inode,
        "flags": flags,
        "sq_entries": entries,
        "sq_used": 0,
        "cq_entries": entries * 2,
        "cq_used": 0,
        "cq_overflowed": false,
        "sqpoll": null,
        "registered_files": 0,
        "registered_buffers": 0,
        "personality_count": 0,
        "personalities": [],
        "threads": [{"host_pid": ids.host_pid, "host_tid": ids.host_tid}],
        "processes": [{
            "host_pid": ids.host_pid,
            "pid": std::process::id(),
            "fds": fds,
            "registered": [],
            "mapped": true,
        }],
    })
}

fn known(ring: Ring, entries: u32, flags: &[&str], ids: Ids) -> Result<Known> {
    let fd = ring.fd();
    Ok(Known { truth: idle(entries, flags, ids, &[fd], inode(fd)?), _ring: Some(ring) })
}

fn nops(ring: &mut Ring, count: u32, flags: u8) -> Result<()> {
    for _ in 0..count {
        ring.push(&Sqe { opcode: sys::OP_NOP, flags, ..Sqe::default() })?;
    }
    ring.submit_all()?;
    Ok(())
}

/// Three completions wait, and two requests that the kernel was not told of; a worker did something.
fn queues(ids: Ids) -> Result<Option<Known>> {
    let Some(mut ring) = setup(Setup::new(4, 0))? else { return Ok(None) };
    nops(&mut ring, 3, sys::SQE_ASYNC)?;
    ring.enter(0, 3, sys::ENTER_GETEVENTS)?;
    ring.advance(2);
    let mut known = known(ring, 4, &[], ids)?;
    known.truth["cq_used"] = 3.into();
    known.truth["sq_used"] = 2.into();
    Ok(Some(known))
}

fn flags(ids: Ids) -> Result<Vec<Known>> {
    let mut all = vec![];
    let sized = Setup {
        cq_entries: 64,
        ..Setup::new(16, sys::SETUP_CQSIZE | sys::SETUP_CLAMP | sys::SETUP_SUBMIT_ALL | sys::SETUP_COOP_TASKRUN)
    };
    if let Some(ring) = setup(sized)? {
        let mut sized = known(ring, 16, &["CQSIZE", "CLAMP", "SUBMIT_ALL", "COOP_TASKRUN"], ids)?;
        sized.truth["cq_entries"] = 64.into();
        all.push(sized);
    }
    let deferred = sys::SETUP_SINGLE_ISSUER | sys::SETUP_DEFER_TASKRUN | sys::SETUP_R_DISABLED;
    if let Some(ring) = setup(Setup::new(32, deferred))? {
        all.push(known(ring, 32, &["R_DISABLED", "SINGLE_ISSUER", "DEFER_TASKRUN"], ids)?);
    }
    if let Some(ring) = setup(Setup::new(512, sys::SETUP_IOPOLL | sys::SETUP_SQE128 | sys::SETUP_CQE32))? {
        all.push(known(ring, 512, &["IOPOLL", "SQE128", "CQE32"], ids)?);
    }
    Ok(all)
}

/// Two rings with one poll thread.
fn polled(ids: Ids) -> Result<Vec<Known>> {
    let Some(mut ring) = setup(Setup { idle_ms: 10, ..Setup::new(8, sys::SETUP_SQPOLL) })? else { return Ok(vec![]) };
    nops(&mut ring, 2, 0)?;
    ring.wait_consumed();
    ring.enter(0, 2, sys::ENTER_GETEVENTS)?;
    let attach = sys::SETUP_SQPOLL | sys::SETUP_ATTACH_WQ;
    let second = setup(Setup { wq_fd: ring.fd(), idle_ms: 10, ..Setup::new(2, attach) })?;
    let thread = threads_named("iou-sqp-")?.first().map(|t| t.0);
    let mut all = vec![known(ring, 8, &["SQPOLL"], ids)?];
    all[0].truth["cq_used"] = 2.into();
    if let Some(ring) = second {
        all.push(known(ring, 2, &["SQPOLL", "ATTACH_WQ"], ids)?);
    }
    for known in &mut all {
        known.truth["sqpoll"] = json!({ "host_tid": thread });
    }
    Ok(all)
}

/// More completions than there is room for.
fn overflow(ids: Ids) -> Result<Option<Known>> {
    let Some(mut ring) = setup(Setup::new(1, 0))? else { return Ok(None) };
    for _ in 0..4 {
        nops(&mut ring, 1, 0)?;
    }
    ensure!(ring.overflowed(), "the queue did not overflow");
    let mut known = known(ring, 1, &[], ids)?;
    known.truth["cq_used"] = 2.into();
    known.truth["cq_overflowed"] = true.into();
    Ok(Some(known))
}

fn credentials(id: i32) -> Result<Value> {
    let status = fs::read_to_string("/proc/thread-self/status")?;
    let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    let numbers = |name: &str| field(name).split_whitespace().map(|n| n.parse().unwrap_or(0)).collect::<Vec<u32>>();
    let (uid, gid) = (numbers("Uid:"), numbers("Gid:"));
    Ok(json!({
        "id": id, "uid": uid[0], "euid": uid[1], "fsuid": uid[3], "gid": gid[0], "egid": gid[1], "fsgid": gid[3],
        "cap_effective": field("CapEff:"),
    }))
}

fn personality(ring: &Ring) -> Result<Value> {
    // SAFETY: this operation takes no argument.
    let id = unsafe { sys::register(ring.fd(), sys::REGISTER_PERSONALITY, std::ptr::null_mut(), 0) };
    credentials(id.context("IORING_REGISTER_PERSONALITY")?)
}

/// Files, buffers and credentials are registered; a second descriptor and a second process hold it too.
fn shared(ids: Ids) -> Result<Option<(Known, OwnedFd)>> {
    let Some(mut ring) = setup(Setup::new(128, 0))? else { return Ok(None) };
    let null = os::open("/dev/null", 0)?;
    ring.register_files(&[null.as_raw_fd(), -1, null.as_raw_fd()])?;
    let memory = os::map_anonymous(8192, false)?;
    let buffer = |at: usize| libc::iovec { iov_base: memory.wrapping_add(at).cast(), iov_len: 4096 };
    // SAFETY: the memory is never unmapped.
    unsafe { ring.register_buffers(&[buffer(0), buffer(4096)]) }?;
    let mut personalities = vec![personality(&ring)?];
    // SAFETY: no pointer is passed, and this process has one thread of its own.
    if unsafe { libc::geteuid() } == 0 {
        // SAFETY: as above.
        os::cvt(unsafe { libc::setegid(2345) | libc::seteuid(1234) }).context("seteuid")?;
        personalities.push(personality(&ring)?);
        // SAFETY: as above.
        os::cvt(unsafe { libc::seteuid(0) | libc::setegid(0) }).context("seteuid")?;
    }
    // SAFETY: no pointer is passed.
    let second = os::cvt(unsafe { libc::dup(ring.fd()) }).context("dup")?;
    let ((until, end), (told, tell)) = (os::pipe(0)?, os::pipe(0)?);
    // SAFETY: this process has one thread of its own.
    if os::cvt(unsafe { libc::fork() }).context("fork")? == 0 {
        drop((end, told));
        // Entering the ring makes this a thread of the ring.
        let entered = nops(&mut ring, 1, 0).and_then(|()| ids_line());
        let _ = os::write_all(&tell, entered.unwrap_or_default().as_bytes());
        drop(tell);
        let _ = os::read_exact(&until, 1);
        os::exit_now();
    }
    drop((until, tell));
    let mut line = String::new();
    fs::File::from(told).read_to_string(&mut line)?;
    let child: Vec<u32> = line.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let [host_pid, host_tid, pid] = child[..] else { anyhow::bail!("the child said {line:?}") };
    let mut known = known(ring, 128, &[], ids)?;
    let truth = &mut known.truth;
    let mut fds = vec![truth["processes"][0]["fds"][0].clone(), second.into()];
    fds.sort_by_key(Value::as_u64);
    truth["processes"][0]["fds"] = fds.clone().into();
    if let Some(processes) = truth["processes"].as_array_mut() {
        processes.push(json!({"host_pid": host_pid, "pid": pid, "fds": fds, "registered": [], "mapped": true}));
    }
    if let Some(threads) = truth["threads"].as_array_mut() {
        threads.push(json!({"host_pid": host_pid, "host_tid": host_tid}));
    }
    truth["cq_used"] = 1.into();
    truth["registered_files"] = 3.into();
    truth["registered_buffers"] = 2.into();
    truth["personality_count"] = personalities.len().into();
    truth["personalities"] = personalities.into();
    Ok(Some((known, end)))
}

fn ids_line() -> Result<String> {
    let ids = ids()?;
    Ok(format!("{} {} {}", ids.host_pid, ids.host_tid, std::process::id()))
}

/// Only a thread's table holds it, and its mapping.
fn registered(ids: Ids) -> Result<Option<Known>> {
    let Some(mut ring) = setup(Setup::new(256, 0))? else { return Ok(None) };
    if ring.register_ring_fd().is_err() {
        return Ok(None);
    }
    let mut known = Known { truth: idle(256, &[], ids, &[], inode(ring.fd())?), _ring: None };
    known.truth["processes"][0]["registered"] = json!([{"host_tid": ids.host_tid, "index": 0}]);
    abandon(ring);
    Ok(Some(known))
}

/// Closes the descriptor and leaves the rest as it is.
fn abandon(ring: Ring) {
    // SAFETY: the ring is never dropped, so that its number is not closed again.
    unsafe { libc::close(ring.fd()) };
    std::mem::forget(ring);
}

/// It never had a descriptor, and its memory is the program's own.
fn only_registered(ids: Ids) -> Result<Option<Known>> {
    let memory = os::map_anonymous(8192, false)?;
    let mut params = Params { flags: sys::SETUP_NO_MMAP | sys::SETUP_REGISTERED_FD_ONLY, ..Params::default() };
    params.sq_off.user_addr = memory as u64;
    params.cq_off.user_addr = memory as u64 + 4096;
    let Ok(index) = sys::setup(64, &mut params) else { return Ok(None) };
    let mut truth = idle(64, &["NO_MMAP", "REGISTERED_FD_ONLY"], ids, &[], None);
    truth["processes"][0]["registered"] = json!([{"host_tid": ids.host_tid, "index": index}]);
    truth["processes"][0]["mapped"] = false.into();
    // Nothing that the program has leads to the inode.
    truth.as_object_mut().map(|t| t.remove("inode"));
    Ok(Some(Known { truth, _ring: None }))
}

/// Only its memory is left.
fn mapped(ids: Ids) -> Result<Option<Known>> {
    let Some(ring) = setup(Setup::new(1024, 0))? else { return Ok(None) };
    let known = Known { truth: idle(1024, &[], ids, &[], inode(ring.fd())?), _ring: None };
    abandon(ring);
    Ok(Some(known))
}

/// A second thread registered it. The sender keeps that thread.
fn of_two_threads(ids: Ids) -> Result<Option<(Known, mpsc::Sender<()>)>> {
    let Some(mut ring) = setup(Setup::new(2048, 0))? else { return Ok(None) };
    let (hold, held) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let fd = ring.fd();
    let inode = inode(fd)?;
    std::thread::spawn(move || {
        let registered = ring.register_ring_fd();
        let _ = tell.send(registered.map(|()| self::ids()));
        let _ = held.recv();
        // Its mapping stays as well.
        std::mem::forget(ring);
    });
    let Ok(Ok(thread)) = told.recv() else { return Ok(None) };
    let thread = thread?;
    let mut known = Known { truth: idle(2048, &[], ids, &[fd], inode), _ring: None };
    known.truth["processes"][0]["registered"] = json!([{"host_tid": thread.host_tid, "index": 0}]);
    known.truth["threads"] = json!([
        {"host_pid": ids.host_pid, "host_tid": ids.host_tid},
        {"host_pid": thread.host_pid, "host_tid": thread.host_tid},
    ]);
    Ok(Some((known, hold)))
}

/// Threads of this process whose names begin so, with the number behind.
fn threads_named(prefix: &str) -> Result<Vec<(u32, u32)>> {
    let mut all = vec![];
    for entry in fs::read_dir("/proc/self/task")? {
        let entry = entry?;
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if let Some(number) = name.trim().strip_prefix(prefix) {
            let tid = entry.file_name().to_string_lossy().parse().context("no thread id")?;
            all.push((tid, number.parse().context("no number in the name")?));
        }
    }
    all.sort_unstable();
    Ok(all)
}

pub(crate) fn run() -> Result<()> {
    let ids = ids()?;
    // The child must not inherit the others.
    let (shared, _end) = shared(ids)?.unzip();
    let mut all: Vec<_> = shared.into_iter().collect();
    all.extend(queues(ids)?);
    all.extend(flags(ids)?);
    all.extend(polled(ids)?);
    all.extend(overflow(ids)?);
    all.extend(registered(ids)?);
    all.extend(only_registered(ids)?);
    all.extend(mapped(ids)?);
    let (threaded, _thread) = of_two_threads(ids)?.unzip();
    all.extend(threaded);
    let workers: Vec<_> = threads_named("iou-wrk-")?
        .into_iter()
        .map(|(tid, submitter)| json!({"host_tid": tid, "submitter_host_tid": submitter}))
        .collect();
    let mut out = io::stdout().lock();
    for mut known in all.iter().map(|k| k.truth.clone()) {
        known["processes"][0]["io_wq_workers"] = workers.clone().into();
        writeln!(out, "{known}")?;
    }
    writeln!(out, "ready")?;
    out.flush()?;
    let mut rest = String::new();
    io::stdin().read_to_string(&mut rest)?;
    Ok(())
}
