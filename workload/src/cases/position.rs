//! Where the first byte lands: offsets, file positions, appending, short writes.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Case, case};
use crate::cx::{Buf, Cx};
use crate::loopdev;
use crate::os;
use crate::request::Accept;
use crate::ring::Setup;
use crate::sys;
use crate::target::Target;

pub(super) const CASES: &[Case] = &[
    case("offset", "offsets near and far, also beyond 4 GiB", offset),
    case("current-position", "offset -1: the file's own position moves", current_position),
    case("append", "O_APPEND with offset 0, -1 and beyond the end", append),
    case("rwf-append", "RWF_APPEND on a file without O_APPEND", rwf_append),
    case("rwf-noappend", "RWF_NOAPPEND on a file with O_APPEND: the offset counts", rwf_noappend),
    case("rwf-sync", "RWF_DSYNC and RWF_SYNC", rwf_sync),
    case("zero-length", "writes of nothing: WRITE and WRITEV, offset given and -1", zero_length),
    case("short-rlimit", "short writes by RLIMIT_FSIZE, all opcodes", short_rlimit),
    case("short-full-tmpfs", "short write on a full tmpfs, then ENOSPC", short_full_tmpfs).needs(&["root"]),
    case("short-full-ext4", "writes on a full ext4", short_full_ext4).needs(&["root", "loop", "mke2fs"]),
    case("short-fault", "short write because the buffer's second page is gone", short_fault),
];

/// A file of the given size in the case's directory.
fn file_of(cx: &Cx, name: &str, size: usize, flags: i32) -> Result<(File, Target)> {
    let path = cx.dir.join(name);
    fs::write(&path, vec![b'x'; size])?;
    let file = os::open(&path, flags)?;
    let target = Target::at(&file, &path)?;
    Ok((file, target))
}

fn offset(cx: &Cx) -> Result<()> {
    let (_file, target) = file_of(cx, "sparse", 10, 0)?;
    let offsets = [3, 0, 4097, (1 << 32) - 5, 1 << 40];
    cx.plain_ring()?.run_each(cx, offsets.map(|off| cx.write(&target, off, cx.buf(10))).to_vec())
}

fn current_position(cx: &Cx) -> Result<()> {
    let (mut file, target) = file_of(cx, "file", 5000, 0)?;
    file.seek(SeekFrom::Start(1000))?;
    let mut ring = cx.plain_ring()?;
    ring.run_each(
        cx,
        vec![
            cx.write(&target, -1, cx.buf(10)).pos(1000),
            cx.write(&target, -1, cx.buf(20)).pos(1010),
            cx.write(&target, 0, cx.buf(30)),
            cx.writev(&target, -1, &[cx.buf(5), cx.buf(6)]).pos(1030),
        ],
    )?;
    let (mut direct, target) = file_of(cx, "direct", 16384, libc::O_DIRECT)?;
    direct.sync_all()?;
    direct.seek(SeekFrom::Start(4096))?;
    for _ in 0..2 {
        // The kernel moves f_pos only for writes that did not complete asynchronously.
        let at = i64::try_from(direct.stream_position()?)?;
        ring.run_each(cx, vec![cx.write(&target, -1, cx.pages(4096)).pos(at)])?;
    }
    Ok(())
}

fn append(cx: &Cx) -> Result<()> {
    let (_file, target) = file_of(cx, "log", 77, libc::O_APPEND)?;
    let mut ring = cx.plain_ring()?;
    ring.run_each(
        cx,
        vec![
            cx.write(&target, 0, cx.buf(10)).pos(77),
            cx.write(&target, -1, cx.buf(20)).pos(87),
            cx.write(&target, 1_000_000, cx.buf(30)).pos(107),
            cx.writev(&target, 0, &[cx.buf(1), cx.buf(2)]).pos(137),
        ],
    )
}

fn rwf_append(cx: &Cx) -> Result<()> {
    let (_file, target) = file_of(cx, "file", 1060, 0)?;
    let mut ring = cx.plain_ring()?;
    ring.run_each(
        cx,
        vec![
            cx.write(&target, 0, cx.buf(40)).rw_flags(libc::RWF_APPEND).pos(1060),
            cx.write(&target, 10, cx.buf(5)),
            cx.write(&target, 5, cx.buf(41)).rw_flags(libc::RWF_APPEND).pos(1100),
        ],
    )
}

fn rwf_noappend(cx: &Cx) -> Result<()> {
    const RWF_NOAPPEND: i32 = 0x20;
    let (_file, target) = file_of(cx, "log", 100, libc::O_APPEND)?;
    let request = cx.write(&target, 30, cx.buf(10)).rw_flags(RWF_NOAPPEND);
    // Since 6.9.
    cx.run(vec![request.accept(Accept::Of(vec![10, -libc::EOPNOTSUPP]))])
}

fn rwf_sync(cx: &Cx) -> Result<()> {
    let (_file, target) = file_of(cx, "file", 10, 0)?;
    cx.plain_ring()?.run_each(
        cx,
        vec![
            cx.write(&target, 1, cx.buf(10)).rw_flags(libc::RWF_DSYNC),
            cx.write(&target, 2, cx.buf(11)).rw_flags(libc::RWF_SYNC),
        ],
    )
}

fn zero_length(cx: &Cx) -> Result<()> {
    let (mut file, target) = file_of(cx, "file", 50, 0)?;
    file.seek(SeekFrom::Start(33))?;
    let nothing = Buf { len: 0, ..cx.buf(1) };
    let mut ring = cx.plain_ring()?;
    ring.run_each(
        cx,
        vec![
            cx.write(&target, 12, nothing),
            cx.write(&target, -1, nothing).pos(33),
            cx.writev(&target, 13, &[]),
            cx.writev(&target, 14, &[nothing, nothing]),
        ],
    )?;
    let (_log, log) = file_of(cx, "log", 50, libc::O_APPEND)?;
    let null = os::open("/dev/null", 0)?;
    let null = Target::at(&null, "/dev/null")?;
    ring.run_each(cx, vec![cx.write(&log, 15, nothing), cx.write(&null, 16, nothing)])
}

fn short_rlimit(cx: &Cx) -> Result<()> {
    let (mut file, target) = file_of(cx, "file", 80, 0)?;
    let (mut ring, fixed) = cx.ring_with_buffer(Setup::new(8, 0), 4096)?;
    os::limit_file_size(100)?;
    let mut requests = vec![
        cx.write(&target, 80, cx.buf(50)).result(20),
        cx.writev(&target, 90, &[cx.buf(3), cx.buf(4), cx.buf(5)]).result(10),
        cx.write_fixed(&target, 70, fixed.part(0, 64), 0).result(30),
        cx.write(&target, 99, cx.buf(2)).result(1),
        // At the limit nothing fits.
        cx.write(&target, 100, cx.buf(9)).fails(libc::EFBIG),
    ];
    if ring.ring.supports(sys::OP_WRITEV_FIXED) {
        let segments = [fixed.part(0, 30), fixed.part(100, 30)];
        requests.push(cx.writev_fixed(&target, 60, &segments, 0).result(40));
    }
    // The kernel looks for the end of the file first, but the offset asked for was another.
    let (_log, log) = file_of(cx, "log", 100, libc::O_APPEND)?;
    requests.push(cx.write(&log, 3, cx.buf(7)).fails(libc::EFBIG));
    let run = ring.run_each(cx, requests).and_then(|()| {
        // From the file's position. A write that is cut by a failure leaves it where it was.
        file.seek(SeekFrom::Start(95))?;
        ring.run(cx, vec![cx.write(&target, -1, cx.buf(9)).pos(95).result(5)])?;
        file.seek(SeekFrom::Start(100))?;
        ring.run(cx, vec![cx.write(&target, -1, cx.buf(8)).pos(100).fails(libc::EFBIG)])
    });
    // The truth file is longer than that.
    os::limit_file_size(libc::RLIM_INFINITY)?;
    run
}

fn short_full_tmpfs(cx: &Cx) -> Result<()> {
    os::private_mounts()?;
    let point = cx.dir.join("small");
    fs::create_dir(&point)?;
    os::mount(OsStr::new("tmpfs"), &point, "tmpfs", 0, "size=32768")?;
    let path = point.join("file");
    fs::write(&path, vec![b'x'; 24576])?;
    let file = os::open(&path, 0)?;
    let target = Target::at(&file, &path)?;
    cx.plain_ring()?.run_each(
        cx,
        vec![
            cx.write(&target, 24576, cx.pages(16384)).result(8192),
            cx.write(&target, 32768, cx.pages(4096)).fails(libc::ENOSPC),
        ],
    )
}

/// An ext4 of one megabyte without a journal, mounted in a mount namespace of our own.
fn small_ext4(cx: &Cx) -> Result<(PathBuf, loopdev::LoopDevice)> {
    let image = cx.dir.join("image");
    let backing = File::options().read(true).write(true).create_new(true).open(&image)?;
    backing.set_len(1 << 20)?;
    let made = std::process::Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-O", "^has_journal"])
        .arg(&image)
        .status();
    match made {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(crate::cx::skip(format!("mke2fs: {status}"))),
        Err(error) => return Err(crate::cx::skip(format!("mke2fs: {error}"))),
    }
    let device = loopdev::attach(&backing)?;
    os::private_mounts()?;
    let point = cx.dir.join("small");
    fs::create_dir(&point)?;
    os::mount(device.path.as_os_str(), &point, "ext4", 0, "")?;
    Ok((point, device))
}

fn short_full_ext4(cx: &Cx) -> Result<()> {
    let (point, _device) = small_ext4(cx)?;
    let outcome = fill_ext4(cx, &point);
    os::umount(&point, libc::MNT_DETACH)?;
    outcome
}

/// How much of the write that meets the end fits depends on the allocator: the completion tells.
fn fill_ext4(cx: &Cx, point: &Path) -> Result<()> {
    const CHUNK: u32 = 96 << 10;
    let path = point.join("file");
    let file = os::open(&path, 0)?;
    let target = Target::at(&file, &path)?;
    let mut ring = cx.plain_ring()?;
    for i in 0..16 {
        let request = cx.write(&target, i * i64::from(CHUNK), cx.pages(CHUNK));
        let any = Accept::Between(1, CHUNK as i32);
        ring.run(cx, vec![request.accept(if i < 4 { Accept::One(CHUNK as i32) } else { any })])?;
        if os::fstat(&file)?.st_size < (i + 1) * i64::from(CHUNK) {
            break;
        }
    }
    let request = cx.write(&target, 4 << 20, cx.pages(65536));
    ring.run(cx, vec![request.accept(Accept::Between(-libc::ENOSPC, 65535))])
}

fn short_fault(cx: &Cx) -> Result<()> {
    let (_file, target) = file_of(cx, "file", 10, 0)?;
    let buf = cx.pages(8192);
    let second = (buf.addr + 4096) as *mut libc::c_void;
    // SAFETY: the page belongs to a buffer of the arena that nothing else uses.
    os::cvt(unsafe { libc::mprotect(second, 4096, libc::PROT_NONE) })?;
    cx.run(vec![cx.write(&target, 4096, buf).result(4096)])?;
    let missing = cx.write(&target, 100, buf.part(4096, 10)).fails(libc::EFAULT);
    cx.run(vec![missing])?;
    // The null device never looks.
    let null = os::open("/dev/null", 0)?;
    let null = Target::at(&os::Number(null.as_raw_fd()), "/dev/null")?;
    cx.run(vec![cx.write(&null, 0, buf.part(4096, 10))])
}
