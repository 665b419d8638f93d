//! Paths across mounts, roots and mount namespaces. All of it happens in a mount namespace of the
//! case's own, from which nothing spreads.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Case, case};
use crate::cx::{Cx, skip};
use crate::os;
use crate::target::Target;

pub(super) const CASES: &[Case] = &[
    case("mount-tmpfs", "a tmpfs mounted in the directory", mount_tmpfs).needs(ROOT),
    case("mount-nested", "mounts within mounts, the innermost twice over", nested).needs(ROOT),
    case("bind-directory", "a directory bound elsewhere: one file, two paths", bind_directory).needs(ROOT),
    case("bind-file", "a single file bound onto another", bind_file).needs(ROOT),
    case("mount-namespace", "a tmpfs hides a directory in this namespace only", namespace).needs(ROOT),
    case("mount-namespace-older-file", "a file opened before the namespace was left", older_file).needs(ROOT),
    case("chroot", "after chroot: the path is the namespace's all the same", chroot).needs(ROOT),
    case("pivot-root", "after pivot_root: the path begins at the new root", pivot_root).needs(ROOT),
    case("overlay", "overlayfs: a lower file is copied up, a new file", overlay).needs(&["root", "overlay"]),
    case("mount-moved", "the mount is moved between writes", moved).needs(ROOT),
    case("mount-detached", "the mount is lazily unmounted while a file is open", detached).needs(ROOT),
];

const ROOT: &[&str] = &["root"];

/// A namespace of our own, or no case.
fn private_mounts() -> Result<()> {
    os::private_mounts().map_err(|error| skip(format!("no mount namespace: {error:#}")))
}

fn directory(path: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
    Ok(path)
}

fn tmpfs(point: &Path) -> Result<()> {
    os::mount(OsStr::new("tmpfs"), point, "tmpfs", 0, "")
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    os::mount(from.as_os_str(), to, "", libc::MS_BIND, "")
}

fn opened(path: &Path) -> Result<(File, Target)> {
    let file = os::open(path, 0)?;
    let target = Target::at(&file, path)?;
    Ok((file, target))
}

/// Two writes to a file that has this path.
fn write_to(cx: &Cx, path: &Path) -> Result<()> {
    let (_file, target) = opened(path)?;
    write_twice(cx, &target)
}

fn write_twice(cx: &Cx, target: &Target) -> Result<()> {
    cx.plain_ring()?.run_each(cx, vec![cx.write(target, 0, cx.buf(10)), cx.write(target, 10, cx.buf(11))])
}

fn mount_tmpfs(cx: &Cx) -> Result<()> {
    private_mounts()?;
    let point = directory(cx.dir.join("mounted"))?;
    tmpfs(&point)?;
    write_to(cx, &point.join("file"))?;
    write_to(cx, &directory(point.join("a/b/c"))?.join("file"))
}

fn nested(cx: &Cx) -> Result<()> {
    private_mounts()?;
    let mut point = cx.dir.clone();
    for level in 0..4 {
        point = directory(point.join(format!("plain-{level}/mount-{level}")))?;
        tmpfs(&point)?;
        write_to(cx, &point.join("file"))?;
    }
    // A mount on the root of a mount.
    tmpfs(&point)?;
    write_to(cx, &point.join("file"))
}

fn bind_directory(cx: &Cx) -> Result<()> {
    private_mounts()?;
    let (from, to) = (directory(cx.dir.join("from/deep"))?, directory(cx.dir.join("to"))?);
    bind(&from, &to)?;
    write_to(cx, &from.join("file"))?;
    write_to(cx, &to.join("file"))?;
    write_to(cx, &directory(to.join("sub"))?.join("file"))
}

fn bind_file(cx: &Cx) -> Result<()> {
    private_mounts()?;
    let (from, to) = (cx.dir.join("from"), cx.dir.join("to"));
    fs::write(&from, "from")?;
    fs::write(&to, "to")?;
    bind(&from, &to)?;
    write_to(cx, &from)?;
    write_to(cx, &to)
}

fn namespace(cx: &Cx) -> Result<()> {
    let point = directory(cx.dir.join("hidden"))?;
    write_to(cx, &point.join("file"))?;
    cx.in_child(|| {
        private_mounts()?;
        tmpfs(&point)?;
        write_to(cx, &point.join("file"))
    })?;
    write_to(cx, &point.join("file"))
}

fn older_file(cx: &Cx) -> Result<()> {
    let directory = directory(cx.dir.join("directory"))?;
    let (_file, target) = opened(&directory.join("file"))?;
    private_mounts()?;
    // In this namespace the path now leads to something else, but the file is where it was.
    tmpfs(&directory)?;
    write_twice(cx, &target)
}

fn chroot(cx: &Cx) -> Result<()> {
    private_mounts()?;
    let root = directory(cx.dir.join("root"))?;
    directory(root.join("etc"))?;
    let c_root = os::cstr(&root)?;
    // SAFETY: a terminated string.
    os::cvt(unsafe { libc::chroot(c_root.as_ptr()) }).context("chroot")?;
    std::env::set_current_dir("/")?;
    let file = os::open("/etc/file", 0)?;
    let target = Target::at(&file, root.join("etc/file"))?;
    write_twice(cx, &target)
}

fn pivot_root(cx: &Cx) -> Result<()> {
    private_mounts()?;
    let root = directory(cx.dir.join("root"))?;
    tmpfs(&root)?;
    std::env::set_current_dir(&root)?;
    // SAFETY: two terminated strings.
    let ret = unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) };
    match os::cvt(ret as i32) {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
            return Err(skip("the initial ramfs is the root: nothing can be pivoted there"));
        }
        other => other.context("pivot_root")?,
    };
    // The old root lies on top of the new one until it is taken away.
    os::umount(Path::new("."), libc::MNT_DETACH)?;
    std::env::set_current_dir("/")?;
    write_to(cx, Path::new("/file"))?;
    write_to(cx, &directory("/a/b".into())?.join("file"))
}

/// All layers on one file system, where overlayfs gives its own device and the layers' inodes.
fn overlay(cx: &Cx) -> Result<()> {
    private_mounts()?;
    let layer = |name| directory(cx.dir.join(name));
    let (lower, upper, work, merged) = (layer("lower")?, layer("upper")?, layer("work")?, layer("merged")?);
    fs::write(lower.join("old"), "from below")?;
    let options = [("lowerdir=", &lower), (",upperdir=", &upper), (",workdir=", &work)]
        .map(|(key, path)| format!("{key}{}", path.display()))
        .concat();
    os::mount(OsStr::new("overlay"), &merged, "overlay", 0, &options)
        .map_err(|error| skip(format!("no overlayfs here: {error:#}")))?;
    write_to(cx, &merged.join("old"))?;
    write_to(cx, &merged.join("new"))?;
    // The copy is in the upper layer now, where it has another path.
    write_to(cx, &upper.join("old"))
}

fn moved(cx: &Cx) -> Result<()> {
    private_mounts()?;
    let (old, new) = (directory(cx.dir.join("old"))?, directory(cx.dir.join("new/place"))?);
    tmpfs(&old)?;
    let (_file, target) = opened(&directory(old.join("sub"))?.join("file"))?;
    let mut ring = cx.plain_ring()?;
    ring.run(cx, vec![cx.write(&target, 0, cx.buf(10))])?;
    os::mount(old.as_os_str(), &new, "", libc::MS_MOVE, "")?;
    let target = target.moved_to(new.join("sub/file"));
    ring.run(cx, vec![cx.write(&target, 10, cx.buf(11))])
}

/// A detached mount hangs nowhere, so its paths begin at its own root; `/proc` shows them so, and
/// what it shows is taken for the truth.
fn detached(cx: &Cx) -> Result<()> {
    private_mounts()?;
    let point = directory(cx.dir.join("point"))?;
    tmpfs(&point)?;
    let (file, target) = opened(&directory(point.join("sub"))?.join("file"))?;
    cx.run(vec![cx.write(&target, 0, cx.buf(10))])?;
    os::umount(&point, libc::MNT_DETACH)?;
    let shown = os::readlinkat(cx.proc(), &format!("thread-self/fd/{}", target.fd))?;
    if shown.starts_with(point.as_os_str().as_bytes()) {
        bail!("the mount is still in its place");
    }
    let target = target.moved_to(PathBuf::from(OsString::from(OsStr::from_bytes(&shown))));
    write_twice(cx, &target)?;
    drop(file);
    Ok(())
}
