//! Renames at moments that are bad for whoever reads a path, and files that have none.

use std::ffi::{CString, OsStr};
use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use clap::Subcommand;
use serde_json::json;

use super::Writer;
use crate::os;

#[derive(Debug, Subcommand)]
pub(crate) enum Attack {
    /// A file below `evil` and so many directories is written, then `evil` becomes `good`, and it is written again
    Deep { dir: PathBuf, depth: u32, rounds: u64 },
    /// Names of seven bytes that the kernel's own hash of names often takes for one
    Alike { dir: PathBuf, rounds: u64 },
    /// The file's name and then that of the topmost directory change all the time, while it is written
    Torn { dir: PathBuf, depth: u32, writes: u64 },
    /// The file's name is long and short in turn, while it is written
    Lengths { dir: PathBuf, writes: u64 },
    /// Files on mounts that are attached nowhere, in a user namespace of its own
    Detached { dir: PathBuf },
    /// A file that is opened by its handle, and one that never had a name
    Nameless { dir: PathBuf },
    /// So many files below so many directories are written at once
    Many { dir: PathBuf, depth: u32, files: u32 },
}

pub(crate) fn run(attack: &Attack) -> Result<()> {
    match attack {
        Attack::Deep { dir, depth, rounds } => deep(dir, *depth, *rounds),
        Attack::Alike { dir, rounds } => alike(dir, *rounds),
        Attack::Torn { dir, depth, writes } => torn(dir, *depth, *writes),
        Attack::Lengths { dir, writes } => lengths(dir, *writes),
        Attack::Detached { dir } => detached(dir),
        Attack::Nameless { dir } => nameless(dir),
        Attack::Many { dir, depth, files } => many(dir, *depth, *files),
    }
}

fn open_directory(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("open {}", path.display()))
}

/// So many directories `d` below `top` in `dir`; the lowest.
fn descend(dir: &File, top: &[u8], depth: u32) -> Result<OwnedFd> {
    os::mkdirat(dir, top)?;
    let mut at = os::openat(dir, top, libc::O_DIRECTORY)?;
    for _ in 0..depth {
        os::mkdirat(&at, b"d")?;
        at = os::openat(&at, b"d", libc::O_DIRECTORY)?;
    }
    Ok(at)
}

fn rename(dir: &impl AsRawFd, from: &str, to: &str) -> Result<()> {
    let (from, to) = (CString::new(from)?, CString::new(to)?);
    let dir = dir.as_raw_fd();
    // SAFETY: both are terminated strings.
    os::cvt(unsafe { libc::renameat(dir, from.as_ptr(), dir, to.as_ptr()) }).context("renameat")?;
    Ok(())
}

fn deep(dir: &Path, depth: u32, rounds: u64) -> Result<()> {
    let top = open_directory(dir)?;
    let file = os::openat(&descend(&top, b"evil", depth)?, b"f", libc::O_CREAT | libc::O_RDWR)?;
    let mut writer = Writer::new()?;
    for i in 0..rounds {
        writer.write(&file, 2 * i)?;
        rename(&top, "evil", "good")?;
        writer.write(&file, 2 * i + 1)?;
        rename(&top, "good", "evil")?;
    }
    Ok(())
}

/// For some directories in a hundred the kernel's hash of both is the same.
const ALIKE: [[&[u8]; 2]; 4] = [
    [b"4]W7z6t", b"A\x84OD\x95\xc5\xcf"],
    [b"JOeY3gi", b"=(mL\x18\xd8\x0d"],
    [b"vJfYHI<", b"o\x1e\x8f!J\x07\xf2"],
    [b"\xfc\x97~\x87\xf9V\xd5", b"\xe2I\x8em\xc38\x1e"],
];

fn alike(dir: &Path, rounds: u64) -> Result<()> {
    let mut writer = Writer::new()?;
    for i in 0..rounds {
        let [first, second] = ALIKE[i as usize % ALIKE.len()].map(OsStr::from_bytes);
        let below = dir.join(i.to_string());
        fs::create_dir(&below)?;
        let mut file = os::open(below.join(first), 0)?;
        let inode = file.metadata()?.ino();
        writer.write(&file, 2 * i)?;
        if (i / ALIKE.len() as u64).is_multiple_of(2) {
            fs::rename(below.join(first), below.join(second))?;
        } else {
            // The file system may give the same inode again.
            drop(file);
            fs::remove_file(below.join(first))?;
            file = os::open(below.join(second), 0)?;
        }
        let same = file.metadata()?.ino() == inode;
        writer.write(&file, 2 * i + 1)?;
        println!("{}", json!({ "round": i, "second": second.as_bytes(), "same_inode": same }));
    }
    Ok(())
}

fn torn(dir: &Path, depth: u32, writes: u64) -> Result<()> {
    let top = open_directory(dir)?;
    let below = descend(&top, b"T0", depth)?;
    let file = os::openat(&below, b"L0", libc::O_CREAT | libc::O_RDWR)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let renamer = scope.spawn(|| -> Result<()> {
            let mut i = 0u64;
            while !done.load(Ordering::Relaxed) {
                // At all times the leaf's number is the topmost directory's, or one more.
                rename(&below, &format!("L{i}"), &format!("L{}", i + 1))?;
                rename(&top, &format!("T{i}"), &format!("T{}", i + 1))?;
                i += 1;
            }
            Ok(())
        });
        let written = write_often(&file, writes);
        done.store(true, Ordering::Relaxed);
        renamer.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        written
    })
}

fn write_often(file: &impl AsRawFd, writes: u64) -> Result<()> {
    let mut writer = Writer::new()?;
    (0..writes).try_for_each(|i| writer.write(file, i))
}

fn lengths(dir: &Path, writes: u64) -> Result<()> {
    let top = open_directory(dir)?;
    let names: Vec<String> = [1, 250, 7, 100, 38, 255, 39, 40].iter().map(|&n| "n".repeat(n)).collect();
    let file = os::openat(&top, names[0].as_bytes(), libc::O_CREAT | libc::O_RDWR)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let renamer = scope.spawn(|| -> Result<()> {
            for (from, to) in names.iter().zip(names.iter().skip(1).chain(&names[..1])).cycle() {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                rename(&top, from, to)?;
            }
            Ok(())
        });
        let written = write_often(&file, writes);
        done.store(true, Ordering::Relaxed);
        renamer.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        written
    })
}

const OPEN_TREE_CLONE: libc::c_long = 1;
const FSCONFIG_CMD_CREATE: libc::c_long = 6;

fn new_descriptor(ret: libc::c_long, what: &'static str) -> Result<OwnedFd> {
    let fd = os::cvt(i32::try_from(ret)?).context(what)?;
    // SAFETY: the call made it, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn own_namespaces() -> Result<()> {
    // SAFETY: no pointers are passed.
    let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
    os::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    Ok(())
}

fn detached(dir: &Path) -> Result<()> {
    let secret = dir.join("secret");
    let outside = os::open(&secret, 0)?;
    let before = os::open(dir.join("before"), 0)?;
    own_namespaces()?;
    let mut writer = Writer::new()?;
    // The mount namespace that it was opened in is not that of the process any more.
    writer.write(&before, 1)?;
    writer.write(&os::open(&secret, 0)?, 2)?;

    let path = os::cstr(&secret)?;
    // SAFETY: `path` is a terminated string.
    let tree = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), OPEN_TREE_CLONE) };
    let tree = new_descriptor(tree, "open_tree")?;
    writer.write(&os::open(format!("/proc/self/fd/{}", tree.as_raw_fd()), 0)?, 3)?;

    // SAFETY: the name is a terminated string.
    let context = new_descriptor(unsafe { libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 0) }, "fsopen")?;
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: this command takes neither key nor value.
    let made = unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, none, none, 0) };
    os::cvt(i32::try_from(made)?).context("fsconfig")?;
    // SAFETY: no pointers are passed.
    let mount = unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 0, 0) };
    let mount = new_descriptor(mount, "fsmount")?;
    os::mkdirat(&mount, b"etc")?;
    writer.write(&os::openat(&mount, b"etc/shadow", libc::O_CREAT | libc::O_WRONLY)?, 4)?;

    let at = dir.join("at");
    fs::create_dir(&at)?;
    os::mount(OsStr::new("none"), &at, "tmpfs", 0, "")?;
    let lost = os::open(at.join("lost"), 0)?;
    writer.write(&lost, 5)?;
    os::umount(&at, libc::MNT_DETACH)?;
    writer.write(&lost, 6)?;
    drop(outside);
    Ok(())
}

#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    data: [u8; 128],
}

fn nameless(dir: &Path) -> Result<()> {
    let mut writer = Writer::new()?;
    let temporary = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).open(dir)?;
    writer.write(&temporary, 1)?;

    let path = dir.join("handle");
    drop(os::open(&path, 0)?);
    let name = os::cstr(&path)?;
    let mut handle = Handle { bytes: 128, kind: 0, data: [0; 128] };
    let mut mount = 0i32;
    // SAFETY: the name is a terminated string, and the handle has the room that it tells of.
    let named = unsafe {
        libc::syscall(libc::SYS_name_to_handle_at, libc::AT_FDCWD, name.as_ptr(), &raw mut handle, &raw mut mount, 0)
    };
    os::cvt(i32::try_from(named)?).context("name_to_handle_at")?;
    // The kernel is to forget the name.
    fs::write("/proc/sys/vm/drop_caches", "2")?;
    let top = open_directory(dir)?;
    // SAFETY: the handle is one that the kernel made.
    let opened =
        unsafe { libc::syscall(libc::SYS_open_by_handle_at, top.as_raw_fd(), &raw mut handle, libc::O_WRONLY) };
    let opened = new_descriptor(opened, "open_by_handle_at")?;
    let shown = fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd()))?;
    writer.write(&opened, 2)?;
    println!("{}", json!({ "shown": shown }));
    Ok(())
}

fn many(dir: &Path, depth: u32, files: u32) -> Result<()> {
    use crate::ring::{Ring, Setup};
    use crate::sys::{self, Sqe};

    os::may_open(u64::from(files) + 64)?;
    let below = descend(&open_directory(dir)?, b"top", depth)?;
    let files = (0..files)
        .map(|i| os::openat(&below, format!("f{i}").as_bytes(), libc::O_CREAT | libc::O_WRONLY))
        .collect::<Result<Vec<_>>>()?;
    let mut ring = Ring::new(Setup::new(files.len() as u32, 0)).context("io_uring_setup")?;
    for round in 0..2u64 {
        for (i, file) in files.iter().enumerate() {
            let user_data = round * files.len() as u64 + i as u64;
            let (fd, addr) = (file.as_raw_fd(), b"x".as_ptr() as u64);
            ring.push(&Sqe { opcode: sys::OP_WRITE, fd, addr, len: 1, user_data, ..Sqe::default() })?;
        }
        let start = std::time::Instant::now();
        ring.submit_all()?;
        println!("{}", json!({ "round": round, "submit_us": start.elapsed().as_micros() as u64 }));
        for _ in &files {
            ring.wait()?;
        }
    }
    Ok(())
}
