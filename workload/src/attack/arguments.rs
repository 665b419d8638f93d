//! Arguments that keep whoever reads them waiting: the lock of this program's mappings is held by a thread that waits for
//! a page of a file, whose file system is another process of this program, and does not answer.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::json;

use super::Writer;
use crate::os;

#[derive(Debug, Args)]
pub(crate) struct Attack {
    work: PathBuf,
    writes: u64,
    /// Some pages of it
    padding: String,
}

const PAGE: usize = 4096;

/// Writes, and holds whoever reads its arguments until the server is killed, of which it tells.
pub(crate) fn run(attack: &Attack) -> Result<()> {
    // The main thread's stack begins in the page where the arguments do: so this thread does not wake up again.
    thread::scope(|scope| {
        scope.spawn(|| {
            let status = match work(attack) {
                Ok(()) => 0,
                Err(error) => {
                    eprintln!("{error:#}");
                    1
                }
            };
            std::process::exit(status)
        });
    });
    Ok(())
}

fn work(attack: &Attack) -> Result<()> {
    let path = attack.work.join("file");
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    let mut writer = Writer::new()?;
    let writes = attack.writes;
    let server = hold(&attack.work.join("fuse"))?;
    for i in 0..writes {
        writer.write(&file, i)?;
    }
    println!("{}", json!({ "server": server.id() }));
    std::io::stdin().read_to_end(&mut vec![])?;
    Ok(())
}

/// Puts pages of the file in the place of the arguments, and takes the lock.
fn hold(directory: &Path) -> Result<Child> {
    let (file, mut server) = silent_file(directory)?;
    let mut waiting = server.stdout.take().context("the server says nothing")?;
    let (address, arguments) = mpsc::channel::<usize>();
    // A look at memory from outside holds the lock until the page is there.
    thread::spawn(move || -> Result<()> {
        let first = arguments.recv()?;
        File::open("/proc/self/mem")?.read_at(&mut [0], first as u64)?;
        Ok(())
    });
    // Whoever wants to change the mappings waits for that, and all others for him.
    let (name, named) = mpsc::channel();
    thread::spawn(move || -> Result<()> {
        name.send(os::gettid())?;
        waiting.read_exact(&mut [0])?;
        // SAFETY: a new mapping at an address of the kernel's choice; nothing existing is replaced.
        unsafe { libc::mmap(std::ptr::null_mut(), PAGE, libc::PROT_READ, ANONYMOUS, -1, 0) };
        Ok(())
    });
    let changer = format!("/proc/self/task/{}/stat", named.recv()?);

    let stat = fs::read_to_string("/proc/self/stat")?;
    let number = |nth: usize| field(&stat, nth).and_then(|word| word.parse::<usize>().ok()).context("no arguments");
    let (first, end) = (number(48)? / PAGE * PAGE, number(49)? / PAGE * PAGE);
    // SAFETY: these pages hold arguments, which were read before, and the stack of a thread that does not run again.
    let mapped = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
        libc::mmap(first as *mut _, end - first, libc::PROT_READ, flags, file.as_raw_fd(), 0)
    };
    anyhow::ensure!(mapped as usize == first, "mmap: {}", std::io::Error::last_os_error());
    address.send(first)?;
    while field(&fs::read_to_string(&changer)?, 3) != Some("D") {
        thread::yield_now();
    }
    Ok(server)
}

const ANONYMOUS: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

/// Of `stat` in /proc: the state is the third, where the arguments begin and end the 48th and 49th.
fn field(stat: &str, nth: usize) -> Option<&str> {
    stat.rsplit(')').next()?.split_whitespace().nth(nth - 3)
}

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;
/// The inode of the file system's root, and that of its only file.
const ROOT: u64 = 1;
const FILE: u64 = 2;

/// A file of a file system that answers to everything but reads, and who answers. Nobody else has the file system's
/// descriptor, so its end is the end of all that wait.
fn silent_file(at: &Path) -> Result<(File, Child)> {
    fs::create_dir(at)?;
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").context("open /dev/fuse")?;
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
    os::mount("fuse".as_ref(), at, "fuse", 0, &options)?;
    let mut server = Command::new("/proc/self/exe");
    let server = server.args(["attack", "fuse"]).stdin(device).stdout(Stdio::piped()).spawn().context("the server")?;
    let file = File::open(at.join("file")).context("open the file")?;
    os::umount(at, libc::MNT_DETACH)?;
    Ok((file, server))
}

/// `struct fuse_attr`.
fn attributes(inode: u64) -> Vec<u8> {
    let mode: u32 = if inode == ROOT { libc::S_IFDIR | 0o755 } else { libc::S_IFREG | 0o644 };
    let long = [inode, 1 << 20, 0, 0, 0, 0];
    let short = [0, 0, 0, mode, 1, 0, 0, 0, PAGE as u32, 0];
    long.iter().flat_map(|n| n.to_ne_bytes()).chain(short.iter().flat_map(|n: &u32| n.to_ne_bytes())).collect()
}

/// Answers what comes on standard input, and writes a byte when somebody waits for a page; for a minute at most.
pub(crate) fn serve() -> Result<()> {
    // SAFETY: no pointer is passed.
    unsafe { libc::alarm(60) };
    let mut device = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut request = vec![0; 1 << 17];
    while let Ok(len @ 40..) = device.read(&mut request) {
        let word = |at: usize| request[..len][at..at + 8].try_into().map_or(0, u64::from_ne_bytes);
        let (opcode, unique, node) = ((word(0) >> 32) as u32, word(8), word(16));
        let longs = |longs: &[u64]| longs.iter().flat_map(|n| n.to_ne_bytes()).collect::<Vec<u8>>();
        let answer = match opcode {
            // Version 7.31, no flags, no read-ahead, writes of a page.
            INIT => [longs(&[31 << 32 | 7, 0, (PAGE as u64) << 32]), vec![0; 40]].concat(),
            LOOKUP => [longs(&[FILE, 0, 3600, 3600, 0]), attributes(FILE)].concat(),
            GETATTR => [longs(&[3600, 0]), attributes(node)].concat(),
            OPEN => longs(&[1, 0]),
            READ => {
                std::io::stdout().write_all(b"!")?;
                std::io::stdout().flush()?;
                continue;
            }
            FORGET | BATCH_FORGET | INTERRUPT => continue,
            _ => vec![],
        };
        let error = if answer.is_empty() { -libc::ENOSYS } else { 0 };
        let len = 16 + answer.len() as u32;
        let head = [&len.to_ne_bytes()[..], &error.to_ne_bytes(), &unique.to_ne_bytes()].concat();
        device.write_all(&[head, answer].concat())?;
    }
    Ok(())
}
