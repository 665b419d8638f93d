//! One case for each kind of file.

use std::ffi::OsStr;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};

use super::{Case, case};
use crate::cx::Cx;
use crate::os;
use crate::request::Accept;
use crate::target::{Kind, Target};

pub(super) const CASES: &[Case] = &[
    case("buffered", "buffered writes to a regular file", buffered),
    case("direct-overwrite", "O_DIRECT over blocks that exist", direct_overwrite),
    case("direct-extend", "O_DIRECT beyond the end of the file", direct_extend),
    case("tmpfs", "a file on tmpfs", tmpfs),
    case("dev-null", "the null device, with and without an offset", dev_null),
    case("dev-full", "the full device: ENOSPC", dev_full),
    case("pipe", "a pipe without a name", pipe),
    case("fifo", "a named pipe", fifo),
    case("unix-socket", "a UNIX socket pair", unix_socket),
    case("tcp-socket", "a TCP connection on loopback", tcp_socket),
    case("eventfd", "an eventfd", eventfd),
    case("memfd", "a memory file", memfd),
    case("deleted", "a file that was unlinked while open", deleted),
    case("unlinked-name", "the name used is unlinked, a hard link remains", unlinked_name),
    case("tmpfile", "O_TMPFILE: a file that never had a name", tmpfile),
    case("block-device", "a loop device: buffered, O_DIRECT, across its end", block_device).needs(&["root", "loop"]),
];

fn buffered(cx: &Cx) -> Result<()> {
    let path = cx.dir.join("file");
    let file = os::open(&path, 0)?;
    let file = &Target::at(&file, &path)?;
    let mut ring = cx.plain_ring()?;
    let requests = [(0, 100), (100, 50), (1 << 20, 4096), (37, 1)];
    ring.run_each(cx, requests.map(|(off, len)| cx.write(file, off, cx.buf(len))).to_vec())
}

fn direct_overwrite(cx: &Cx) -> Result<()> {
    let path = cx.dir.join("file");
    fs::write(&path, vec![b'x'; 1 << 16])?;
    let file = os::open(&path, libc::O_DIRECT).context("O_DIRECT")?;
    // Blocks must be allocated, not delayed, to be overwritten in place.
    file.sync_all()?;
    let file = &Target::at(&file, &path)?;
    let mut ring = cx.plain_ring()?;
    ring.run(cx, (0..4).map(|i| cx.write(file, i * 8192, cx.pages(4096))).collect())?;
    ring.run(cx, vec![cx.write(file, 16384, cx.pages(32768))])
}

fn direct_extend(cx: &Cx) -> Result<()> {
    let path = cx.dir.join("file");
    let file = os::open(&path, libc::O_DIRECT).context("O_DIRECT")?;
    let file = &Target::at(&file, &path)?;
    let mut ring = cx.plain_ring()?;
    ring.run_each(cx, (0..3).map(|i| cx.write(file, i * 8192, cx.pages(8192))).collect())
}

fn tmpfs(cx: &Cx) -> Result<()> {
    let path = cx.tmpfs.join("file");
    let file = os::open(&path, 0)?;
    let file = &Target::at(&file, &path)?;
    cx.run(vec![cx.write(file, 0, cx.buf(10)), cx.write(file, 5000, cx.buf(20_000))])
}

fn dev_null(cx: &Cx) -> Result<()> {
    let file = os::open("/dev/null", 0)?;
    let file = &Target::at(&file, "/dev/null")?;
    let offsets = [0, 1234, -1, i64::from(u32::MAX)];
    cx.run(offsets.map(|off| cx.write(file, off, cx.buf(77))).to_vec())
}

fn dev_full(cx: &Cx) -> Result<()> {
    let file = os::open("/dev/full", 0)?;
    let file = &Target::at(&file, "/dev/full")?;
    let write = |off| cx.write(file, off, cx.buf(5)).fails(libc::ENOSPC);
    cx.run(vec![write(0), write(99), write(-1)])
}

fn pipe(cx: &Cx) -> Result<()> {
    let (reader, writer) = os::pipe(0)?;
    let writer = &Target::pathless(&writer)?;
    let requests = [0, -1, 7].map(|off| cx.write(writer, off, cx.buf(9)));
    cx.plain_ring()?.run_each(cx, requests.to_vec())?;
    os::read_exact(&reader, 27).map(drop)
}

fn fifo(cx: &Cx) -> Result<()> {
    let path = cx.dir.join("fifo");
    os::mkfifo(&path)?;
    // Read and write at once, or the open waits for the other end.
    let both = fs::File::options().read(true).write(true).open(&path)?;
    let target = &Target::at(&both, &path)?;
    cx.run(vec![cx.write(target, -1, cx.buf(11)), cx.write(target, 0, cx.buf(12))])?;
    os::read_exact(&both, 23).map(drop)
}

fn unix_socket(cx: &Cx) -> Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    let target = &Target::pathless(&ours)?;
    cx.run(vec![cx.write(target, -1, cx.buf(13)), cx.writev(target, 0, &[cx.buf(3), cx.buf(4)])])?;
    os::read_exact(&theirs, 20).map(drop)
}

fn tcp_socket(cx: &Cx) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    let (theirs, _) = listener.accept()?;
    let target = &Target::pathless(&ours)?;
    cx.run(vec![cx.write(target, -1, cx.buf(1000)), cx.write(target, 0, cx.buf(24))])?;
    os::read_exact(&theirs, 1024).map(drop)
}

fn eventfd(cx: &Cx) -> Result<()> {
    let event = os::eventfd()?;
    let target = &Target::named(&event, OsStr::new("anon_inode:[eventfd]"))?.kind(Kind::Anon);
    let one = cx.keep(&[1u64]);
    cx.run(vec![cx.write(target, -1, one), cx.write(target, 0, one)])?;
    // Fewer than eight bytes are not a number.
    cx.run(vec![cx.write(target, -1, one.part(0, 4)).fails(libc::EINVAL)])
}

fn memfd(cx: &Cx) -> Result<()> {
    let file = os::memfd("ringwatch test")?;
    let target = &Target::named(&file, OsStr::new("memfd:ringwatch test"))?;
    cx.run(vec![cx.write(target, 0, cx.buf(21)), cx.write(target, 4096, cx.buf(22))])
}

fn deleted(cx: &Cx) -> Result<()> {
    let path = cx.dir.join("gone");
    let file = os::open(&path, 0)?;
    let target = Target::at(&file, &path)?;
    cx.run(vec![cx.write(&target, 0, cx.buf(8))])?;
    fs::remove_file(&path)?;
    let target = target.deleted();
    cx.run(vec![cx.write(&target, 8, cx.buf(8)), cx.write(&target, 16, cx.buf(9))])
}

/// The path is the name that was opened, and that name is gone: `/proc` says "(deleted)" too,
/// although the inode lives on.
fn unlinked_name(cx: &Cx) -> Result<()> {
    let path = cx.dir.join("first");
    let file = os::open(&path, 0)?;
    fs::hard_link(&path, cx.dir.join("second"))?;
    fs::remove_file(&path)?;
    // It lives on under the other name.
    let target = Target::at(&file, &path)?;
    let second = os::open(cx.dir.join("second"), 0)?;
    let second = Target::at(&second, cx.dir.join("second"))?;
    cx.run(vec![cx.write(&target, 0, cx.buf(8)), cx.write(&second, 8, cx.buf(8))])
}

fn tmpfile(cx: &Cx) -> Result<()> {
    // Not through `os::open`: O_CREAT and O_TMPFILE exclude each other.
    let dir = fs::File::open(&cx.dir)?;
    let file = os::openat(&dir, b".", libc::O_TMPFILE | libc::O_WRONLY)?;
    let inode = os::fstat(&file)?.st_ino;
    let target = &Target::at(&file, cx.dir.join(format!("#{inode}")))?.deleted();
    cx.run(vec![cx.write(target, 0, cx.buf(31)), cx.write(target, 31, cx.buf(32))])
}

fn block_device(cx: &Cx) -> Result<()> {
    const SIZE: u64 = 1 << 20;
    let image = cx.dir.join("image");
    let backing = fs::File::options().read(true).write(true).create_new(true).open(&image)?;
    backing.set_len(SIZE)?;
    let device = crate::loopdev::attach(&backing)?;
    let end = SIZE as i64;
    let file = os::open(&device.path, 0)?;
    let target = &Target::at(&file, &device.path)?;
    let mut ring = cx.plain_ring()?;
    ring.run_each(
        cx,
        vec![
            cx.write(target, 4096, cx.pages(4096)),
            cx.write(target, 0, cx.buf(10)),
            // Cut at the end of the device, and nothing beyond it.
            cx.write(target, end - 512, cx.buf(1024)).result(512),
            cx.write(target, end, cx.buf(512)).fails(libc::ENOSPC),
        ],
    )?;
    let file = os::open(&device.path, libc::O_DIRECT)?;
    let target = &Target::at(&file, &device.path)?;
    ring.run(cx, vec![cx.write(target, 8192, cx.pages(4096)), cx.write(target, 65536, cx.pages(8192))])?;
    let beyond = cx.write(target, end, cx.pages(4096)).accept(Accept::Of(vec![-libc::ENOSPC, -libc::EINVAL]));
    ring.run(cx, vec![beyond])
}
