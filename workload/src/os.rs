//! Thin, checked wrappers around the system calls that the cases need.

use std::ffi::{CString, OsStr};
use std::fs::{File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr;

use anyhow::{Context, Result, anyhow, bail, ensure};

/// An error from `errno` when a call returned a negative number.
pub(crate) fn cvt(ret: i32) -> io::Result<i32> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

fn owned(ret: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call that returned `ret` created the descriptor, and nothing else owns it.
    cvt(ret).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn cstr(path: impl AsRef<OsStr>) -> Result<CString> {
    CString::new(path.as_ref().as_bytes()).context("a path with a NUL byte")
}

/// Opens for writing with further flags, creating the file when there is none.
pub(crate) fn open(path: impl AsRef<Path>, flags: i32) -> Result<File> {
    let path = path.as_ref();
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(flags)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

/// `openat` for a name relative to a directory.
pub(crate) fn openat(dir: &impl AsRawFd, name: &[u8], flags: i32) -> Result<OwnedFd> {
    let name = CString::new(name).context("a name with a NUL byte")?;
    // SAFETY: `name` is a terminated string.
    owned(unsafe { libc::openat(dir.as_raw_fd(), name.as_ptr(), flags | libc::O_CLOEXEC, 0o644) }).context("openat")
}

/// The names in a directory.
pub(crate) fn list(dir: &impl AsRawFd, name: &[u8]) -> Result<Vec<Vec<u8>>> {
    let directory = openat(dir, name, libc::O_RDONLY | libc::O_DIRECTORY)?;
    let mut names = vec![];
    // SAFETY: the stream owns the descriptor from here on and is closed below; an entry is used before the next is read.
    unsafe {
        let stream = libc::fdopendir(directory.into_raw_fd());
        if stream.is_null() {
            return Err(io::Error::last_os_error()).context("fdopendir");
        }
        while let Some(entry) = libc::readdir(stream).as_ref() {
            names.push(std::ffi::CStr::from_ptr(entry.d_name.as_ptr()).to_bytes().to_vec());
        }
        libc::closedir(stream);
    }
    Ok(names)
}

/// The id of a cgroup (v2), which is what handles of its directory are made of.
pub(crate) fn cgroup_id(directory: &impl AsRawFd) -> Result<u64> {
    /// `struct file_handle` with room for the longest there is.
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        id: [u8; 128],
    }
    let mut handle = Handle { bytes: 128, kind: 0, id: [0; 128] };
    let mut mount = 0i32;
    // SAFETY: a terminated string, a handle that says how much room it has, and a live integer.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            directory.as_raw_fd(),
            c"".as_ptr(),
            &raw mut handle,
            &raw mut mount,
            libc::AT_EMPTY_PATH,
        )
    };
    cvt(ret as i32).context("name_to_handle_at")?;
    ensure!(handle.bytes == 8, "the handle of a cgroup has {} bytes", handle.bytes);
    Ok(u64::from_ne_bytes(handle.id[..8].try_into()?))
}

pub(crate) fn mkdirat(dir: &impl AsRawFd, name: &[u8]) -> Result<()> {
    let name = CString::new(name).context("a name with a NUL byte")?;
    // SAFETY: `name` is a terminated string.
    cvt(unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), 0o755) }).context("mkdirat")?;
    Ok(())
}

pub(crate) fn fstat(fd: &impl AsRawFd) -> Result<libc::stat> {
    let mut stat = MaybeUninit::uninit();
    // SAFETY: the kernel fills the structure when the call succeeds, and only then is it read.
    unsafe {
        cvt(libc::fstat(fd.as_raw_fd(), stat.as_mut_ptr())).context("fstat")?;
        Ok(stat.assume_init())
    }
}

/// `st_dev` in the kernel's own encoding.
pub(crate) fn kernel_device(stat: &libc::stat) -> u32 {
    (libc::major(stat.st_dev) << 20) | libc::minor(stat.st_dev)
}

pub(crate) fn is_direct(fd: &impl AsRawFd) -> Result<bool> {
    // SAFETY: no pointer is passed.
    let flags = cvt(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) }).context("F_GETFL")?;
    Ok(flags & libc::O_DIRECT != 0)
}

/// A pipe: the end to read from and the end to write to.
pub(crate) fn pipe(flags: i32) -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: the array has room for the two descriptors, which nothing else owns.
    unsafe {
        cvt(libc::pipe2(fds.as_mut_ptr(), flags | libc::O_CLOEXEC)).context("pipe2")?;
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}

/// A pipe of one page whose page is taken, so that the next write blocks.
pub(crate) fn full_pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe(0)?;
    // SAFETY: no pointer is passed.
    let size = cvt(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) }).context("F_SETPIPE_SZ")?;
    write_all(&writer, &vec![b'f'; size as usize])?;
    Ok((reader, writer))
}

pub(crate) fn eventfd() -> Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) }).context("eventfd")
}

pub(crate) fn memfd(name: &str) -> Result<OwnedFd> {
    let name = cstr(name)?;
    // SAFETY: `name` is a terminated string.
    owned(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) }).context("memfd_create")
}

pub(crate) fn mkfifo(path: &Path) -> Result<()> {
    let path = cstr(path)?;
    // SAFETY: `path` is a terminated string.
    cvt(unsafe { libc::mkfifo(path.as_ptr(), 0o644) }).context("mkfifo")?;
    Ok(())
}

/// Plain `write(2)` of everything.
pub(crate) fn write_all(fd: &impl AsRawFd, mut data: &[u8]) -> Result<()> {
    while !data.is_empty() {
        // SAFETY: the kernel reads `data.len()` bytes from a live slice.
        let n = unsafe { libc::write(fd.as_raw_fd(), data.as_ptr().cast(), data.len()) };
        match n {
            0 => bail!("write(2) wrote nothing"),
            n if n > 0 => data = &data[n as usize..],
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error).context("write(2)");
                }
            }
        }
    }
    Ok(())
}

/// Reads exactly `len` bytes.
pub(crate) fn read_exact(fd: &impl AsRawFd, len: usize) -> Result<Vec<u8>> {
    let mut data = vec![0u8; len];
    let mut done = 0;
    while done < len {
        let rest = &mut data[done..];
        // SAFETY: the kernel writes at most `rest.len()` bytes into a live slice.
        let n = unsafe { libc::read(fd.as_raw_fd(), rest.as_mut_ptr().cast(), rest.len()) };
        match n {
            0 => bail!("end of file after {done} of {len} bytes"),
            n if n > 0 => done += n as usize,
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error).context("read(2)");
                }
            }
        }
    }
    Ok(data)
}

pub(crate) fn readlinkat(dir: &impl AsRawFd, name: &str) -> Result<Vec<u8>> {
    let name = cstr(name)?;
    let mut buf = vec![0u8; 4096];
    // SAFETY: `name` is a terminated string, and the kernel writes at most `buf.len()` bytes.
    let n = unsafe { libc::readlinkat(dir.as_raw_fd(), name.as_ptr(), buf.as_mut_ptr().cast(), buf.len()) };
    if n < 0 {
        return Err(io::Error::last_os_error()).context("readlinkat");
    }
    buf.truncate(n as usize);
    Ok(buf)
}

pub(crate) fn mount(source: &OsStr, target: &Path, kind: &str, flags: libc::c_ulong, data: &str) -> Result<()> {
    let (source, path, kind, data) = (cstr(source)?, cstr(target)?, cstr(kind)?, cstr(data)?);
    // SAFETY: four terminated strings.
    let ret = unsafe { libc::mount(source.as_ptr(), path.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) };
    cvt(ret).with_context(|| format!("mount on {}", target.display()))?;
    Ok(())
}

pub(crate) fn umount(target: &Path, flags: i32) -> Result<()> {
    let path = cstr(target)?;
    // SAFETY: a terminated string.
    cvt(unsafe { libc::umount2(path.as_ptr(), flags) }).with_context(|| format!("umount {}", target.display()))?;
    Ok(())
}

pub(crate) fn unshare(flags: i32) -> Result<()> {
    // SAFETY: no pointer is passed; the cases do this in processes of their own.
    cvt(unsafe { libc::unshare(flags) }).context("unshare")?;
    Ok(())
}

/// A mount namespace of the process's own, from which nothing spreads.
pub(crate) fn private_mounts() -> Result<()> {
    unshare(libc::CLONE_NEWNS)?;
    mount(OsStr::new("none"), Path::new("/"), "", libc::MS_REC | libc::MS_PRIVATE, "")
}

/// Files of at most `bytes` from now on; what crosses the limit fails instead of killing.
pub(crate) fn limit_file_size(bytes: u64) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    ignore_signal(libc::SIGXFSZ)?;
    // SAFETY: a live `struct rlimit`.
    cvt(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }).context("setrlimit")?;
    Ok(())
}

pub(crate) fn ignore_signal(signal: i32) -> Result<()> {
    // SAFETY: ignoring a signal installs no handler.
    if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error()).context("signal");
    }
    Ok(())
}

pub(crate) fn ioctl(fd: &impl AsRawFd, request: libc::c_ulong, arg: libc::c_ulong) -> io::Result<i32> {
    // SAFETY: used only with requests whose argument is a number.
    cvt(unsafe { libc::ioctl(fd.as_raw_fd(), request as _, arg) })
}

/// Waits for a process and expects it to exit with status 0.
pub(crate) fn wait_success(pid: i32) -> Result<()> {
    let status = wait(pid)?;
    if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 {
        return Ok(());
    }
    Err(anyhow!("child process ended with status {status:#x}"))
}

pub(crate) fn wait(pid: i32) -> Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: a live integer for the status.
        match cvt(unsafe { libc::waitpid(pid, &raw mut status, 0) }) {
            Ok(_) => return Ok(status),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e).context("waitpid"),
        }
    }
}

pub(crate) fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: no pointer is passed.
    cvt(unsafe { libc::kill(pid, signal) }).context("kill")?;
    Ok(())
}

/// A pipe for processes or threads to wait for each other.
#[derive(Debug)]
pub(crate) struct Gate {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Gate {
    pub(crate) fn new() -> Result<Self> {
        let (reader, writer) = pipe(0)?;
        Ok(Self { reader, writer })
    }

    pub(crate) fn open(&self) -> Result<()> {
        write_all(&self.writer, b"!")
    }

    pub(crate) fn pass(&self) -> Result<()> {
        read_exact(&self.reader, 1).map(drop)
    }
}

/// Makes the descriptor `fd` mean what `by` means.
pub(crate) fn replace(fd: &impl AsRawFd, by: &impl AsRawFd) -> Result<()> {
    // SAFETY: no pointer is passed, and the number stays owned by who owned it.
    cvt(unsafe { libc::dup2(by.as_raw_fd(), fd.as_raw_fd()) }).context("dup2")?;
    Ok(())
}

/// Tells when a file is written to.
#[derive(Debug)]
pub(crate) struct Watch(OwnedFd);

impl Watch {
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let path = cstr(path)?;
        // SAFETY: no pointer is passed to the first call, a terminated string to the second.
        unsafe {
            let fd = owned(libc::inotify_init1(libc::IN_CLOEXEC)).context("inotify_init1")?;
            cvt(libc::inotify_add_watch(fd.as_raw_fd(), path.as_ptr(), libc::IN_MODIFY))
                .context("inotify_add_watch")?;
            Ok(Self(fd))
        }
    }

    /// Waits for a write.
    pub(crate) fn wait(&self) -> Result<()> {
        read_exact(&self.0, size_of::<libc::inotify_event>()).map(drop)
    }
}

/// Ends the process as it is, with everything it has open.
pub(crate) fn exit_now() -> ! {
    // SAFETY: no destructor runs, which is the point.
    unsafe { libc::_exit(0) }
}

/// Anonymous memory, shared with the processes forked later or private to each.
pub(crate) fn map_anonymous(len: usize, shared: bool) -> Result<*mut u8> {
    let kind = if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE | libc::MAP_NORESERVE };
    // SAFETY: a new mapping at an address of the kernel's choice.
    let base = unsafe {
        libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_ANONYMOUS | kind, -1, 0)
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error()).context("mmap");
    }
    Ok(base.cast())
}

/// The descriptor itself, for calls that only borrow it by number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number(pub(crate) RawFd);

impl AsRawFd for Number {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

/// Whether the kernel writes to such a file without blocking, tried with a byte.
pub(crate) fn takes_nowait(file: &impl AsRawFd) -> bool {
    let byte = 0u8;
    let iovec = libc::iovec { iov_base: (&raw const byte).cast_mut().cast(), iov_len: 1 };
    // SAFETY: one segment of one byte, which is only read.
    unsafe { libc::pwritev2(file.as_raw_fd(), &iovec, 1, -1, libc::RWF_NOWAIT) == 1 }
}

/// Whether the kernel writes to pipes without blocking: older ones cannot, and leave them to workers.
pub(crate) fn pipes_take_nowait() -> bool {
    static ANSWER: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *ANSWER.get_or_init(|| pipe(0).is_ok_and(|(_reader, writer)| takes_nowait(&writer)))
}

/// Raises the limit of open files as far as that is needed.
pub(crate) fn may_open(files: u64) -> Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a live `struct rlimit` for the answer.
    cvt(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }).context("getrlimit")?;
    ensure!(limit.rlim_max >= files, "{files} open files are needed, and {} allowed: raise ulimit -Hn", limit.rlim_max);
    limit.rlim_cur = limit.rlim_cur.max(files);
    // SAFETY: a live `struct rlimit`.
    cvt(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).context("setrlimit")?;
    Ok(())
}

/// Units of `/proc` in a second.
pub(crate) fn ticks_per_second() -> i64 {
    // SAFETY: no pointer is passed, and every system knows the answer.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) }
}

/// The calling thread in its own pid namespace.
pub(crate) fn gettid() -> u32 {
    // SAFETY: no pointer is passed.
    unsafe { libc::gettid() as u32 }
}
