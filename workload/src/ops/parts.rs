//! The parts of a run.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Result, ensure};

use super::place::{NO_FD, NOWHERE, path};
use super::request::{Attribute, From, Op};
use super::{Lane, Place};
use crate::os;
use crate::ring::Setup;
use crate::sys;
use crate::target::Target;

type Part = fn(&Place<'_>) -> Result<()>;

pub(super) const PARTS: &[(&str, Part)] = &[
    ("mkdirat", mkdirat),
    ("unlinkat", unlinkat),
    ("openat", openat),
    ("slots", slots),
    ("renameat", renameat),
    ("linkat", linkat),
    ("symlinkat", symlinkat),
    ("setxattr", setxattr),
    ("lengths", lengths),
    ("fsync", fsync),
    ("splice", splice),
    ("command", command),
    ("links", links),
    ("silent", silent),
    ("sqpoll", sqpoll),
    ("story", story),
];

fn known(place: &Place<'_>, ops: Vec<Op>) -> Vec<Op> {
    ops.into_iter().filter(|op| place.ops.knows(op)).collect()
}

fn mkdirat(place: &Place<'_>) -> Result<()> {
    let cx = place.cx;
    let mut lane = Lane::plain(cx)?;
    lane.each(place.spellings("new").iter().map(|name| cx.mkdirat(name, 0o750)))?;
    lane.each(place.spellings("worker").iter().map(|name| cx.mkdirat(name, 0o700).by_worker()))?;
    lane.each(place.bad_names().iter().map(|(name, errno)| cx.mkdirat(name, 0o755).fails(*errno)))?;
    lane.one(cx.mkdirat(&place.relative("plain"), 0o755).fails(libc::EEXIST))?;
    // By one system call.
    lane.run((0..20).map(|i| cx.mkdirat(&place.here(format!("many-{i}")), 0o711)).collect())?;
    Ok(())
}

fn unlinkat(place: &Place<'_>) -> Result<()> {
    let cx = place.cx;
    let mut lane = Lane::plain(cx)?;
    lane.each(place.files("old")?.iter().map(|name| cx.unlinkat(name, 0)))?;
    let directories = place.spellings("directory");
    directories.iter().try_for_each(|name| anyhow::Ok(fs::create_dir(path(name)?)?))?;
    lane.each(directories.iter().map(|name| cx.unlinkat(name, libc::AT_REMOVEDIR).by_worker()))?;
    lane.each(place.bad_names().iter().map(|(name, errno)| cx.unlinkat(name, 0).fails(*errno)))?;
    fs::write(place.path_of("sub/in"), "")?;
    lane.each([
        cx.unlinkat(&place.here("sub"), libc::AT_REMOVEDIR).fails(libc::ENOTEMPTY),
        cx.unlinkat(&place.here("sub"), 0).fails(libc::EISDIR),
        cx.unlinkat(&place.here("plain"), libc::AT_REMOVEDIR).fails(libc::ENOTDIR),
        cx.unlinkat(&place.here("missing"), 0).fails(libc::ENOENT),
    ])
}

fn openat(place: &Place<'_>) -> Result<()> {
    let cx = place.cx;
    let mut lane = Lane::plain(cx)?;
    let make = libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC;
    lane.each(place.spellings("new").iter().map(|name| cx.openat(name, make, 0o640).creates()))?;
    lane.each(place.spellings("new2").iter().map(|name| cx.openat2(name, make, 0o600, 0).creates().by_worker()))?;
    lane.each(place.files("old")?.iter().map(|name| cx.openat(name, libc::O_RDWR | libc::O_APPEND, 0o777)))?;
    lane.each(place.files("short")?.iter().map(|name| cx.openat(name, make | libc::O_TRUNC, 0o600).truncates()))?;
    lane.each(place.bad_names().iter().map(|(name, errno)| cx.openat(name, libc::O_RDONLY, 0).fails(*errno)))?;
    lane.each(place.bad_names().iter().map(|(name, errno)| cx.openat2(name, libc::O_RDONLY, 0, 0).fails(*errno)))?;
    fs::write(place.path_of("file"), "text")?;
    std::os::unix::fs::symlink("file", place.path_of("link"))?;
    std::os::unix::fs::symlink(place.path.as_os_str(), place.path_of("sub/up"))?;
    let file = place.path_of("file");
    let file = file.as_os_str().as_bytes();
    let here = place.path.as_os_str().as_bytes();
    let no_links = 0x04;
    lane.each([
        cx.openat(&place.relative("link"), libc::O_RDONLY, 0).leads_to(file),
        cx.openat2(&place.here("sub/up/link"), libc::O_RDWR, 0, 0).leads_to(file),
        cx.openat(&place.absolute("sub/up"), libc::O_RDONLY | libc::O_DIRECTORY, 0).leads_to(here),
        cx.openat(&place.here("."), libc::O_RDONLY | libc::O_DIRECTORY, 0),
        cx.openat(&place.here("file"), libc::O_PATH, 0),
        cx.openat2(&place.here("link"), libc::O_RDONLY, 0, no_links).fails(libc::ELOOP),
        cx.openat2(&place.here("sub/in"), make | libc::O_EXCL, 0o600, no_links).creates(),
        cx.openat(&place.here("file"), make | libc::O_EXCL, 0o600).fails(libc::EEXIST),
        cx.openat(&place.here("file"), libc::O_RDONLY | libc::O_DIRECTORY, 0).fails(libc::ENOTDIR),
        cx.openat(&place.here("."), libc::O_TMPFILE | libc::O_RDWR, 0o600)
            .creates()
            .nameless()
            .or_fails(libc::EOPNOTSUPP),
    ])
}

fn slots(place: &Place<'_>) -> Result<()> {
    let cx = place.cx;
    let plain = fs::File::open(place.path_of("plain"))?;
    let mut lane = Lane::with_files(cx, &[plain.as_raw_fd(), -1, -1, -1])?;
    let make = libc::O_CREAT | libc::O_WRONLY;
    lane.one(cx.openat(&place.here("in-slot"), make, 0o600).creates().into_slot(2))?;
    lane.one(cx.openat2(&place.relative("plain"), libc::O_RDONLY, 0, 0).into_slot(1))?;
    lane.one(cx.openat(&place.absolute("in-any"), make, 0o600).creates().into_any_slot())?;
    let target = Target::at(&plain, place.path_of("plain"))?.fixed(0);
    lane.one(cx.fsync(&target, 0, 0, 0))?;
    lane.one(cx.close_slot(2))?;
    Ok(())
}

fn renameat(place: &Place<'_>) -> Result<()> {
    let cx = place.cx;
    let mut lane = Lane::plain(cx)?;
    let pairs: Vec<_> = place.files("old")?.into_iter().zip(place.spellings("new")).collect();
    lane.each(pairs.iter().map(|(old, new)| cx.renameat(old, new, 0)))?;
    lane.each(pairs.iter().map(|(old, new)| cx.renameat(new, old, libc::RENAME_NOREPLACE).by_worker()))?;
    let file = place.here("plain");
    for (name, errno) in place.bad_names() {
        lane.one(cx.renameat(&name, &place.here("target"), 0).fails(errno))?;
    }
    lane.one(cx.renameat(&file, &place.from(NO_FD, "x"), 0).fails(libc::EBADF))?;
    let [(old, _), (other, _), ..] = &pairs[..] else { return Ok(()) };
    lane.each([
        cx.renameat(&file, old, libc::RENAME_NOREPLACE).fails(libc::EEXIST),
        cx.renameat(other, old, libc::RENAME_EXCHANGE).or_fails(libc::EINVAL),
        cx.renameat(&file, old, 0),
    ])
}

fn linkat(place: &Place<'_>) -> Result<()> {
    let cx = place.cx;
    let mut lane = Lane::plain(cx)?;
    let file = place.relative("plain");
    let names = known(place, place.spellings("link").iter().map(|name| cx.linkat(&file, name, 0)).collect());
    lane.each(names)?;
    let bad = place.bad_names();
    let bad = bad.iter().map(|(name, errno)| cx.linkat(name, &place.here("x"), 0).fails(*errno)).collect();
    lane.each(known(place, bad))?;
    let again = vec![cx.linkat(&file, &place.here("sub"), 0).fails(libc::EEXIST)];
    lane.each(known(place, again))
}

fn symlinkat(place: &Place<'_>) -> Result<()> {
    let cx = place.cx;
    let mut lane = Lane::plain(cx)?;
    let names = place.spellings("link");
    lane.each(known(place, names.iter().map(|name| cx.symlinkat(b"../some where/\xff", name)).collect()))?;
    let bad = place.bad_names();
    let bad = bad.iter().map(|(name, errno)| cx.symlinkat(b"x", name).fails(*errno)).collect();
    lane.each(known(place, bad))?;
    lane.each(known(place, vec![cx.symlinkat(b"/etc/passwd", &place.here("plain")).fails(libc::EEXIST)]))
}

fn setxattr(place: &Place<'_>) -> Result<()> {
    let cx = place.cx;
    let mut lane = Lane::plain(cx)?;
    let attribute = Attribute::new(cx, b"user.colour", 7);
    let here: Vec<_> = place.files("old")?.into_iter().filter(|name| name.dirfd == libc::AT_FDCWD).collect();
    let set = here.iter().map(|name| cx.setxattr(name, &attribute).or_fails(libc::EOPNOTSUPP)).collect();
    lane.each(known(place, set))?;
    let (_file, target) = place.open("file", libc::O_RDWR)?;
    let again = Attribute::new(cx, b"user.colour", 3).flags(libc::XATTR_REPLACE);
    let ops = vec![
        cx.fsetxattr(&target, &attribute).or_fails(libc::EOPNOTSUPP),
        cx.fsetxattr(&target, &again).or_fails(libc::EOPNOTSUPP),
        cx.setxattr(&place.here("missing"), &attribute).fails(libc::ENOENT),
        cx.fsetxattr(&target, &Attribute::new(cx, b"user.none", 1).name_at(NOWHERE[0])).refused(libc::EFAULT),
        cx.fsetxattr(&target, &Attribute::new(cx, b"user.none", 1).value_at(NOWHERE[1])).refused(libc::EFAULT),
    ];
    lane.each(known(place, ops))
}

fn lengths(place: &Place<'_>) -> Result<()> {
    let cx = place.cx;
    let (file, target) = place.open("file", libc::O_RDWR)?;
    let (_read_only, closed) = place.read_only("read-only")?;
    let fixed = Target::at(&file, place.path_of("file"))?.fixed(0);
    let mut lane = Lane::with_files(cx, &[file.as_raw_fd()])?;
    let (keep, hole) = (libc::FALLOC_FL_KEEP_SIZE, libc::FALLOC_FL_PUNCH_HOLE);
    lane.each([
        cx.fallocate(&target, 0, 0, 100_000),
        cx.fallocate(&fixed, keep, 4096, 8192).by_worker(),
        cx.fallocate(&target, keep | hole, 4096, 4096).or_fails(libc::EOPNOTSUPP),
        cx.fallocate(&target, 0, -5, 10).fails(libc::EINVAL),
        cx.fallocate(&closed, 0, 0, 10).fails(libc::EBADF),
        cx.fallocate(&Target::nothing(NO_FD), 0, 0, 10).refused(libc::EBADF),
    ])?;
    let ops = vec![
        cx.ftruncate(&target, 1234),
        cx.ftruncate(&fixed, 0).by_worker(),
        cx.ftruncate(&closed, 5).fails(libc::EINVAL),
    ];
    lane.each(known(place, ops))
}

fn fsync(place: &Place<'_>) -> Result<()> {
    let cx = place.cx;
    let (_file, target) = place.open("file", libc::O_RDWR)?;
    let (reader, writer) = os::pipe(0)?;
    let mut lane = Lane::plain(cx)?;
    lane.each([
        cx.fsync(&target, 0, 0, 0),
        cx.fsync(&target, 100, 200, sys::FSYNC_DATASYNC),
        cx.fsync(&target, 0, 0, sys::FSYNC_DATASYNC).by_worker(),
        cx.fsync(&Target::pathless(&writer)?, 0, 0, 0).fails(libc::EINVAL),
    ])?;
    drop(reader);
    Ok(())
}

fn splice(place: &Place<'_>) -> Result<()> {
    let cx = place.cx;
    let (file, target) = place.open("file", libc::O_RDWR)?;
    let (_read_only, source) = place.read_only("source")?;
    let (reader, writer) = os::pipe(0)?;
    let (other_reader, other_writer) = os::pipe(0)?;
    os::write_all(&writer, &[7; 1000])?;
    let (from, to) = (Target::pathless(&reader)?, Target::pathless(&other_writer)?);
    let input = |target, pos, len| From { target, pos, len };
    let fixed = from.clone().fixed(0);
    let mut lane = Lane::with_files(cx, &[reader.as_raw_fd()])?;
    lane.each([
        cx.tee(input(&from, -1, 300), &to, 0),
        cx.splice(input(&from, -1, 400), &target, 50, libc::SPLICE_F_MOVE),
        cx.splice(input(&fixed, -1, 600), &target, -1, 0).by_worker(),
        cx.splice(input(&source, 20, 100), &to, -1, 0),
    ])?;
    drop((file, other_reader));
    Ok(())
}

fn command(place: &Place<'_>) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let stream = TcpStream::connect(listener.local_addr()?)?;
    let target = Target::pathless(&stream)?;
    let op = place.cx.command(&target, 0).gives(0).or_fails(libc::EOPNOTSUPP);
    Lane::plain(place.cx)?.each(known(place, vec![op]))
}

fn links(place: &Place<'_>) -> Result<()> {
    let cx = place.cx;
    let plain = fs::File::open(place.path_of("plain"))?;
    let mut lane = Lane::with_files(cx, &[plain.as_raw_fd(), -1])?;
    let make = libc::O_CREAT | libc::O_WRONLY;
    // The slot is filled by the request before it.
    lane.run(vec![
        cx.mkdirat(&place.here("linked"), 0o755).linked(),
        cx.openat2(&place.here("linked/file"), make, 0o600, 0).creates().into_slot(1).linked(),
        cx.close_slot(1),
    ])?;
    lane.run(vec![
        // Not every operation's failure breaks its link: that of an open does.
        cx.openat(&place.here("missing"), libc::O_RDONLY, 0).linked().fails(libc::ENOENT),
        cx.unlinkat(&place.relative("plain"), 0).linked().cancelled(),
        cx.renameat(&place.here("plain"), &place.here("never"), 0).cancelled(),
    ])?;
    ensure!(place.path_of("plain").exists(), "a cancelled request was carried out");
    Ok(())
}

/// Successes without a CQE.
fn silent(place: &Place<'_>) -> Result<()> {
    let cx = place.cx;
    let mut lane = Lane::plain(cx)?;
    if !lane.ring.has(sys::FEAT_CQE_SKIP) {
        return Ok(());
    }
    lane.run(vec![cx.mkdirat(&place.here("quiet"), 0o755).skips().linked(), cx.nothing()])?;
    ensure!(place.path_of("quiet").exists(), "the directory was not made");
    lane.run(vec![cx.unlinkat(&place.here("quiet"), libc::AT_REMOVEDIR).skips().linked(), cx.nothing()])?;
    ensure!(!place.path_of("quiet").exists(), "the directory was not removed");
    let (_file, target) = place.open("file", libc::O_RDWR)?;
    lane.run(vec![cx.fallocate(&target, 0, 0, 20_000).skips().linked(), cx.nothing()])?;
    Ok(())
}

fn sqpoll(place: &Place<'_>) -> Result<()> {
    let cx = place.cx;
    let mut lane = Lane::new(cx, Setup::new(16, sys::SETUP_SQPOLL))?;
    let names = place.spellings("polled");
    lane.each(names.iter().map(|name| cx.mkdirat(name, 0o755)))?;
    lane.each(names.iter().map(|name| cx.unlinkat(name, libc::AT_REMOVEDIR)))?;
    lane.one(cx.openat(&place.here("file"), libc::O_CREAT | libc::O_RDWR, 0o600).creates())?;
    Ok(())
}

/// A directory, a file in it, its whole life, and nothing left: all by requests.
fn story(place: &Place<'_>) -> Result<()> {
    let cx = place.cx;
    let mut lane = Lane::plain(cx)?;
    let (reader, writer) = os::pipe(0)?;
    let from = Target::pathless(&reader)?;
    let path = |name: &str| place.path_of(name).as_os_str().as_bytes().to_vec();
    lane.one(cx.mkdirat(&place.absolute("d"), 0o755))?;
    let open = cx.openat(&place.absolute("d/a"), libc::O_CREAT | libc::O_RDWR, 0o644).creates();
    let fd = lane.one(open)?;
    let (device, inode) = lane.stat(fd, b"", libc::AT_EMPTY_PATH)?;
    let mut file = Target { path: Some(path("d/a")), ..Target::nothing(fd) };
    (file.device, file.inode) = (Some(device), Some(inode));
    lane.one(cx.put_bytes(&file, 0, 100))?;
    lane.each(known(place, vec![cx.ftruncate(&file, 50)]))?;
    lane.one(cx.put_bytes(&Target::pathless(&writer)?, -1, 10))?;
    lane.one(cx.splice(From { target: &from, pos: -1, len: 10 }, &file, 50, 0))?;
    lane.one(cx.renameat(&place.absolute("d/a"), &place.absolute("d/b"), 0))?;
    lane.each(known(place, vec![cx.linkat(&place.absolute("d/b"), &place.absolute("d/c"), 0)]))?;
    file.path = Some(path("d/b"));
    let attribute = Attribute::new(cx, b"user.end", 2);
    lane.each(known(place, vec![cx.fsetxattr(&file, &attribute).or_fails(libc::EOPNOTSUPP)]))?;
    lane.one(cx.unlinkat(&place.absolute("d/b"), 0))?;
    let linked = place.path_of("d/c").exists();
    file.deleted = !linked;
    lane.one(cx.fsync(&file, 0, 0, 0))?;
    if linked {
        lane.one(cx.unlinkat(&place.absolute("d/c"), 0))?;
    }
    lane.one(cx.unlinkat(&place.absolute("d"), libc::AT_REMOVEDIR))?;
    Ok(())
}
