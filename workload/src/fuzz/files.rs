//! The files of a program: one of each kind.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::Result;

use super::log::Region;
use super::program::FileKind;
use crate::cx::Cx;
use crate::os;
use crate::target::{Kind, Target};

/// Room of each request in a regular file.
pub(crate) const REGION: u64 = 8192;
/// Regions of a file.
const REGIONS: u64 = 1024;

#[derive(Debug)]
pub(crate) struct Files {
    /// By `FileKind::index`.
    targets: Vec<Target>,
    paths: Vec<Option<PathBuf>>,
    /// The pipe that reads and polls wait for.
    pub(crate) source: OwnedFd,
    feed: OwnedFd,
    /// What takes the data of the pipes and the socket.
    sinks: Vec<OwnedFd>,
    /// Nobody has it open any more when the program's rings are gone.
    pub(crate) sentinel: Option<OwnedFd>,
    sentinel_reader: OwnedFd,
    // Only kept open.
    _open: Vec<OwnedFd>,
}

impl Files {
    pub(crate) fn new(cx: &Cx) -> Result<Self> {
        let mut all = Self {
            targets: vec![],
            paths: vec![],
            source: os::pipe(0)?.0,
            feed: os::eventfd()?,
            sinks: vec![],
            sentinel: None,
            sentinel_reader: os::eventfd()?,
            _open: vec![],
        };
        let (source, feed) = os::pipe(0)?;
        (all.source, all.feed) = (source, feed);
        let (reader, writer) = os::pipe(0)?;
        (all.sentinel_reader, all.sentinel) = (reader, Some(writer));
        for kind in FileKind::ALL {
            let (target, path) = all.open(cx, kind)?;
            all.targets.push(target);
            all.paths.push(path);
        }
        Ok(all)
    }

    fn open(&mut self, cx: &Cx, kind: FileKind) -> Result<(Target, Option<PathBuf>)> {
        let (path, flags) = match kind {
            FileKind::Plain => (cx.dir.join("plain"), 0),
            FileKind::Direct => (cx.dir.join("direct"), libc::O_DIRECT),
            FileKind::Tmpfs => (cx.tmpfs.join("plain"), 0),
            FileKind::Null => ("/dev/null".into(), 0),
            FileKind::Full => ("/dev/full".into(), 0),
            FileKind::ReadOnly => {
                let path = cx.dir.join("read-only");
                fs::write(&path, "x")?;
                let file = File::open(&path)?;
                let target = Target::at(&file, &path)?;
                self._open.push(file.into());
                return Ok((target, None));
            }
            FileKind::Bad => return Ok((Target::nothing(-1), None)),
            _ => return Ok((self.pathless(kind)?, None)),
        };
        if kind == FileKind::Direct {
            File::create(&path)?.set_len(REGION * REGIONS)?;
        }
        let file = os::open(&path, flags)?;
        let target = Target::at(&file, &path)?;
        self._open.push(file.into());
        Ok((target, kind.is_regular().then_some(path)))
    }

    fn pathless(&mut self, kind: FileKind) -> Result<Target> {
        let (target, writer) = match kind {
            FileKind::FullSocket => {
                let (ours, theirs) = UnixStream::pair()?;
                ours.set_nonblocking(true)?;
                while std::io::Write::write(&mut &ours, &[b'f'; 1024]).is_ok() {}
                ours.set_nonblocking(false)?;
                self.sinks.push(theirs.into());
                (Target::pathless(&ours)?, OwnedFd::from(ours))
            }
            FileKind::Eventfd => {
                let event = os::eventfd()?;
                (Target::named(&event, "anon_inode:[eventfd]".as_ref())?.kind(Kind::Anon), event)
            }
            _ => {
                let (reader, writer) = if kind == FileKind::FullPipe { os::full_pipe()? } else { os::pipe(0)? };
                if kind != FileKind::BrokenPipe {
                    self.sinks.push(reader);
                }
                (Target::pathless(&writer)?, writer)
            }
        };
        self._open.push(writer);
        Ok(target)
    }

    pub(crate) fn target(&self, kind: FileKind) -> &Target {
        &self.targets[kind.index()]
    }

    /// Descriptors in the order of `FileKind::ALL`, for the tables of rings.
    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        self.targets.iter().map(|target| target.fd).collect()
    }

    /// Lets blocked writers go on.
    pub(crate) fn drain(&self) -> Result<()> {
        for sink in &self.sinks {
            let mut file = File::from(sink.try_clone()?);
            let mut space = [0; 16384];
            while readable(sink, 0)? && file.read(&mut space).is_ok_and(|n| n > 0) {}
        }
        Ok(())
    }

    /// Lets one reader go on.
    pub(crate) fn feed(&self) -> Result<()> {
        os::write_all(&self.feed, b"!")
    }

    /// Makes sure that a reader can go on.
    pub(crate) fn feed_one(&self) -> Result<()> {
        if readable(&self.source, 0)? { Ok(()) } else { self.feed() }
    }

    /// Waits until the rings of the program are gone. False: they are not, after that long.
    pub(crate) fn gone(&mut self, patience_ms: i32) -> Result<bool> {
        self.sentinel = None;
        readable(&self.sentinel_reader, patience_ms)
    }

    /// Whether data is there. What a write leaves is no zeroes.
    pub(crate) fn written(&self, region: &Region) -> Result<bool> {
        let Some(path) = &self.paths[region.file.index()] else {
            return Ok(false);
        };
        let mut data = vec![0; region.len as usize];
        let n = File::open(path)?.read_at(&mut data, region.pos)?;
        Ok(data[..n].iter().any(|&b| b != 0))
    }
}

/// Whether there is something to read, or nothing will ever come.
fn readable(fd: &OwnedFd, patience_ms: i32) -> Result<bool> {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one live `struct pollfd`.
    Ok(os::cvt(unsafe { libc::poll(&raw mut poll, 1, patience_ms) })? > 0)
}
