//! Names that lead elsewhere than they say, and names that lead elsewhere while their requests wait.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::os;
use crate::ring::{Ring, Setup};
use crate::sys::{self, OpenHow, Sqe};

const OP_READ: u8 = 22;
const RESOLVE_IN_ROOT: u64 = 0x10;
/// `struct open_how`
const HOW_SIZE: u32 = 24;

#[derive(Debug, clap::Args)]
pub(crate) struct Attack {
    /// An empty directory to work in
    dir: PathBuf,
    /// Only what is done in a root directory of its own
    #[arg(long)]
    chroot: bool,
    /// Only what nothing changes the way of
    #[arg(long)]
    quiet: bool,
}

/// A name in memory that stays, as a request may be looked at for longer than it lasts.
fn name(text: impl AsRef<std::ffi::OsStr>) -> u64 {
    let text = CString::new(text.as_ref().as_bytes()).unwrap_or_default();
    text.into_raw() as u64
}

struct Run {
    ring: Ring,
    at: PathBuf,
    next: u64,
}

/// What the kernel was asked for, and where that led.
struct Truth<'a> {
    event: &'a str,
    case: &'a str,
    /// The program changes the name's way while the request waits.
    races: bool,
    result: i32,
    paths: Value,
}

fn unlink(dirfd: i32, path: impl AsRef<std::ffi::OsStr>) -> Sqe {
    Sqe { opcode: sys::OP_UNLINKAT, fd: dirfd, addr: name(path), ..Sqe::default() }
}

fn mkdir(path: impl AsRef<std::ffi::OsStr>) -> Sqe {
    Sqe { opcode: sys::OP_MKDIRAT, fd: libc::AT_FDCWD, addr: name(path), len: 0o755, ..Sqe::default() }
}

fn two(opcode: u8, old: impl AsRef<std::ffi::OsStr>, new: impl AsRef<std::ffi::OsStr>, flags: i32) -> Sqe {
    Sqe {
        opcode,
        fd: libc::AT_FDCWD,
        addr: name(old),
        len: libc::AT_FDCWD as u32,
        off: name(new),
        rw_flags: flags as u32,
        ..Sqe::default()
    }
}

fn open(path: impl AsRef<std::ffi::OsStr>) -> Sqe {
    Sqe { opcode: sys::OP_OPENAT, fd: libc::AT_FDCWD, addr: name(path), ..Sqe::default() }
}

impl Run {
    /// A directory of its own for a case, with a directory in a directory and files in all three.
    fn begin(&mut self, case: &str) -> Result<PathBuf> {
        let at = self.at.join(case);
        fs::create_dir_all(at.join("d/e"))?;
        for file in ["f", "d/f", "d/e/f"] {
            fs::write(at.join(file), "text")?;
        }
        Ok(at)
    }

    fn tell(&mut self, user_data: u64, truth: &Truth<'_>) {
        let Truth { event, case, races, result, paths } = truth;
        println!(
            "{}",
            json!({"event": event, "case": case, "races": races, "user_data": user_data, "result": result, "paths": paths})
        );
    }

    /// One request, and what came of it.
    fn one(&mut self, mut sqe: Sqe) -> Result<(u64, i32)> {
        self.next += 1;
        sqe.user_data = self.next;
        self.ring.push(&sqe)?;
        self.ring.submit_all()?;
        let cqe = self.ring.wait()?;
        ensure!(cqe.user_data == sqe.user_data, "another completion: {cqe:?}");
        Ok((sqe.user_data, cqe.res))
    }

    fn honest(&mut self, case: &str, event: &str, sqe: Sqe, paths: Value) -> Result<i32> {
        let (user_data, result) = self.one(sqe)?;
        self.tell(user_data, &Truth { event, case, races: false, result, paths });
        Ok(result)
    }

    /// A request that waits behind a read of a pipe, while `change` is done; `back` is done when it has ended.
    fn waiting(
        &mut self,
        case: &str,
        sqe: Sqe,
        path: &Path,
        change: impl FnOnce() -> Result<()>,
        back: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let (reader, writer) = os::pipe(0)?;
        let byte = Box::leak(Box::new(0u8));
        let mut sqe = sqe;
        self.next += 1;
        sqe.user_data = self.next;
        self.ring.push(&Sqe {
            opcode: OP_READ,
            fd: reader.as_raw_fd(),
            addr: std::ptr::from_mut(byte) as u64,
            len: 1,
            flags: sys::SQE_IO_LINK,
            user_data: 1 << 40,
            ..Sqe::default()
        })?;
        self.ring.push(&sqe)?;
        self.ring.submit_all()?;
        change()?;
        os::write_all(&writer, b"x")?;
        let mut result = None;
        while result.is_none() {
            let cqe = self.ring.wait()?;
            result = (cqe.user_data == sqe.user_data).then_some(cqe.res);
        }
        let result = result.unwrap_or_default();
        ensure!(result == 0 && !path.exists(), "{case}: {} is still there: {result}", path.display());
        back()?;
        self.tell(sqe.user_data, &Truth { event: "io_unlinkat", case, races: true, result, paths: json!([path]) });
        Ok(())
    }
}

pub(super) fn run(attack: &Attack) -> Result<()> {
    let at = fs::canonicalize(&attack.dir)?;
    let next = if attack.chroot { 1000 } else { 0 };
    let mut run = Run { ring: Ring::new(Setup::new(8, 0)).context("io_uring_setup")?, at, next };
    if attack.chroot {
        return chroot(&mut run);
    }
    if attack.quiet {
        return quiet(&mut run);
    }
    links(&mut run)?;
    // Only a process without workers gets a user namespace of its own.
    let status = Command::new(std::env::current_exe()?).args(["attack", "names", "--chroot"]).arg(&run.at).status()?;
    ensure!(status.success(), "the child: {status}");
    races(&mut run)?;
    deferred(&mut run)?;
    workers(&mut run)
}

fn links(run: &mut Run) -> Result<()> {
    let at = run.begin("links")?;
    symlink(at.join("d/e"), at.join("absolute"))?;
    symlink("d/e", at.join("relative"))?;
    symlink("relative", at.join("nested"))?;
    symlink("../f", at.join("d/to-file"))?;
    symlink("d/missing", at.join("dangling"))?;
    symlink("d", at.join("replaced"))?;
    let real = |name: &str| at.join(name);
    let unlinked =
        run.honest("dotdot", "io_unlinkat", unlink(libc::AT_FDCWD, real("absolute/../f")), json!([real("d/f")]))?;
    ensure!(unlinked == 0 && !real("d/f").exists() && real("f").exists(), "another file was removed");
    run.honest("nested", "io_mkdirat", mkdir(real("nested/new")), json!([real("d/e/new")]))?;
    ensure!(real("d/e/new").is_dir(), "no directory was made");
    let rename = two(sys::OP_RENAMEAT, real("nested/f"), real("absolute/../moved"), 0);
    run.honest("rename", "io_renameat", rename, json!([real("d/e/f"), real("d/moved")]))?;
    ensure!(real("d/moved").exists(), "nothing was renamed");
    let link = two(sys::OP_LINKAT, real("d/to-file"), real("relative/followed"), libc::AT_SYMLINK_FOLLOW);
    let followed = run.honest("linkat-follow", "io_linkat", link, json!([real("f"), real("d/e/followed")]))?;
    let link = two(sys::OP_LINKAT, real("d/to-file"), real("relative/kept"), 0);
    let kept = run.honest("linkat", "io_linkat", link, json!([real("d/to-file"), real("d/e/kept")]))?;
    ensure!(followed == 0 && kept == 0 && real("d/e/kept").is_symlink(), "links: {followed} {kept}");
    let made = Sqe {
        opcode: sys::OP_SYMLINKAT,
        fd: libc::AT_FDCWD,
        addr: name("x"),
        off: name(real("nested/soft")),
        ..Sqe::default()
    };
    run.honest("symlinkat", "io_symlinkat", made, json!([real("d/e/soft")]))?;
    let attribute = Sqe {
        opcode: sys::OP_SETXATTR,
        addr: name("user.x"),
        off: name("v"),
        len: 1,
        addr3: name(real("absolute/../to-file")),
        ..Sqe::default()
    };
    run.honest("setxattr", "io_setxattr", attribute, json!([real("f")]))?;
    run.honest("open-missing", "io_openat", open(real("nested/../missing")), json!([real("d/missing")]))?;
    run.honest("open-dangling", "io_openat", open(real("dangling")), json!([real("d/missing")]))?;
    let directory = File::open(real("relative"))?;
    run.honest("dirfd", "io_unlinkat", unlink(directory.as_raw_fd(), "../moved"), json!([real("d/moved")]))?;
    ensure!(!real("d/moved").exists(), "nothing was removed");
    fs::write(real("other"), "")?;
    let over = two(sys::OP_RENAMEAT, real("other"), real("replaced"), 0);
    run.honest("rename-over-link", "io_renameat", over, json!([real("other"), real("replaced")]))?;
    ensure!(real("replaced").is_file(), "the link was followed");
    // An absolute name below a directory that stands for the root.
    let d = File::open(real("d"))?;
    let how = Box::leak(Box::new(OpenHow { flags: 0, mode: 0, resolve: RESOLVE_IN_ROOT }));
    let sqe = Sqe {
        opcode: sys::OP_OPENAT2,
        fd: d.as_raw_fd(),
        addr: name("/../e/missing"),
        off: std::ptr::from_mut(how) as u64,
        len: HOW_SIZE,
        ..Sqe::default()
    };
    run.honest("in-root", "io_openat", sqe, json!([real("d/e/missing")]))?;
    Ok(())
}

/// The directory, and a link `way` to it in `links` beside it, were there before.
fn quiet(run: &mut Run) -> Result<()> {
    let at = run.at.clone();
    let beside = at.with_file_name("links").join("way");
    run.honest("quiet", "io_mkdirat", mkdir(at.join("absolute")), json!([at.join("absolute")]))?;
    run.honest("quiet-link", "io_mkdirat", mkdir(beside.join("link")), json!([at.join("link")]))?;
    std::env::set_current_dir(&at)?;
    run.honest("quiet-here", "io_mkdirat", mkdir("here"), json!([at.join("here")]))?;
    Ok(())
}

/// Two directories with a file each, and a third name.
fn pair(run: &mut Run, case: &str) -> Result<(PathBuf, PathBuf, PathBuf)> {
    let at = run.begin(case)?;
    for name in ["one", "two"] {
        fs::create_dir(at.join(name))?;
        fs::write(at.join(name).join("f"), "text")?;
    }
    Ok((at.join("one"), at.join("two"), at))
}

fn races(run: &mut Run) -> Result<()> {
    // The link leads elsewhere while the request waits, and back again.
    let (one, two, at) = pair(run, "link")?;
    let link = at.join("link");
    symlink(&one, &link)?;
    let swap = |to: &Path| {
        let new = at.join("new");
        symlink(to, &new)?;
        Ok(fs::rename(new, &link)?)
    };
    let request = unlink(libc::AT_FDCWD, link.join("f"));
    run.waiting("link", request, &two.join("f"), || swap(&two), || swap(&one))?;

    let (one, two, _) = pair(run, "cwd")?;
    std::env::set_current_dir(&one)?;
    let go = |to: PathBuf| move || Ok(std::env::set_current_dir(to)?);
    run.waiting("cwd", unlink(libc::AT_FDCWD, "f"), &two.join("f"), go(two.clone()), go(one))?;

    let (one, two, _) = pair(run, "dirfd-replaced")?;
    let (first, second) = (File::open(one)?, File::open(&two)?);
    let kept: OwnedFd = first.try_clone()?.into();
    let request = unlink(first.as_raw_fd(), "f");
    let (to, back) = (|| os::replace(&first, &second), || os::replace(&first, &kept));
    run.waiting("dirfd-replaced", request, &two.join("f"), to, back)?;

    // Two directories change places: what is removed was two/g before, and is one/g at the act.
    let (one, two, at) = pair(run, "renamed")?;
    fs::write(two.join("g"), "")?;
    let exchange = || {
        fs::rename(&one, at.join("three"))?;
        fs::rename(&two, &one)?;
        Ok(fs::rename(at.join("three"), &two)?)
    };
    let request = unlink(libc::AT_FDCWD, one.join("g"));
    run.waiting("renamed", request, &one.join("g"), exchange, || {
        exchange()?;
        ensure!(!two.join("g").exists(), "nothing was removed");
        Ok(())
    })
}

/// The completion is told whenever the program likes.
fn deferred(run: &mut Run) -> Result<()> {
    let flags = sys::SETUP_SINGLE_ISSUER | sys::SETUP_DEFER_TASKRUN;
    let Ok(ring) = Ring::new(Setup::new(8, flags)) else { return Ok(()) };
    let ring = std::mem::replace(&mut run.ring, ring);
    let (one, two, _) = pair(run, "deferred")?;
    std::env::set_current_dir(&one)?;
    run.next += 1;
    let user_data = run.next;
    // Nothing runs before the program asks for completions: not even the hand-over to a worker.
    run.ring.push(&Sqe { user_data, ..unlink(libc::AT_FDCWD, "f") })?;
    run.ring.submit_all()?;
    std::env::set_current_dir(&two)?;
    let cqe = run.ring.wait()?;
    std::env::set_current_dir(&one)?;
    let gone = if two.join("f").exists() { one } else { two };
    ensure!(!gone.join("f").exists(), "nothing was removed");
    let paths = json!([gone.join("f")]);
    run.tell(user_data, &Truth { event: "io_unlinkat", case: "deferred", races: true, result: cqe.res, paths });
    run.ring = ring;
    Ok(())
}

/// The worker stays in the directory that the thread leaves.
fn workers(run: &mut Run) -> Result<()> {
    let (one, two, _) = pair(run, "worker")?;
    std::env::set_current_dir(&one)?;
    let (_, made) = run.one(mkdir("by-worker"))?;
    ensure!(made == 0 && one.join("by-worker").is_dir(), "mkdirat gave {made}");
    os::unshare(libc::CLONE_FS)?;
    std::env::set_current_dir(&two)?;
    let (user_data, result) = run.one(unlink(libc::AT_FDCWD, "f"))?;
    let gone = if two.join("f").exists() { one } else { two };
    ensure!(result == 0 && !gone.join("f").exists(), "nothing was removed: {result}");
    let paths = json!([gone.join("f")]);
    run.tell(user_data, &Truth { event: "io_unlinkat", case: "worker", races: true, result, paths });
    Ok(())
}

/// `..` stops at the root, also in a relative name. In a user namespace of its own anybody may do this.
fn chroot(run: &mut Run) -> Result<()> {
    let at = run.begin("chroot")?;
    if os::unshare(libc::CLONE_NEWUSER | libc::CLONE_FS).is_err() {
        return Ok(());
    }
    symlink("/e", at.join("d/to-e"))?;
    std::env::set_current_dir(at.join("d/e"))?;
    let root = CString::new(at.join("d").as_os_str().as_bytes())?;
    // SAFETY: a terminated string.
    if unsafe { libc::chroot(root.as_ptr()) } != 0 {
        return Ok(());
    }
    // A ring of the new credentials, and workers with the new root.
    run.ring = Ring::new(Setup::new(8, 0)).context("io_uring_setup")?;
    run.honest("chroot-relative", "io_mkdirat", mkdir("../../../in-root"), json!([at.join("d/in-root")]))?;
    run.honest("chroot-absolute", "io_mkdirat", mkdir("/../e/in-e"), json!([at.join("d/e/in-e")]))?;
    run.honest("chroot-link", "io_mkdirat", mkdir("/to-e/by-link"), json!([at.join("d/e/by-link")]))?;
    ensure!(Path::new("/in-root").is_dir() && Path::new("/e/in-e").is_dir(), "no directory was made");
    Ok(())
}
