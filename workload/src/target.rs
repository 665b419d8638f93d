//! What a request writes to, with what the tracer should say about it.

use std::ffi::OsStr;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::os;

/// How a file treats offsets, and who tends to carry out its writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Regular file or block device through the page cache, and devices that cannot say that they
    /// would wait: a worker's business.
    Buffered,
    /// The same with `O_DIRECT`.
    Direct,
    /// The null device: takes an offset and ignores it, and never waits.
    Null,
    /// Pipe or socket: no position.
    Stream,
    /// Anonymous inode: no position, and no non-blocking write.
    Anon,
}

#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) fd: i32,
    pub(crate) fixed: bool,
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) deleted: bool,
    pub(crate) device: Option<u32>,
    pub(crate) inode: Option<u64>,
    pub(crate) kind: Kind,
}

impl Target {
    /// An open descriptor that has the given path.
    pub(crate) fn at(file: &impl AsRawFd, path: impl AsRef<Path>) -> Result<Self> {
        Self::named(file, path.as_ref().as_os_str())
    }

    /// An open descriptor without a place in the file system, named as `/proc` does.
    pub(crate) fn pathless(file: &impl AsRawFd) -> Result<Self> {
        let stat = os::fstat(file)?;
        let name = match stat.st_mode & libc::S_IFMT {
            libc::S_IFIFO => format!("pipe:[{}]", stat.st_ino),
            _ => format!("socket:[{}]", stat.st_ino),
        };
        Self::named(file, OsStr::new(&name))
    }

    /// An open descriptor under any name.
    pub(crate) fn named(file: &impl AsRawFd, name: &OsStr) -> Result<Self> {
        let stat = os::fstat(file)?;
        let kind = match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG | libc::S_IFBLK if os::is_direct(file)? => Kind::Direct,
            libc::S_IFREG | libc::S_IFBLK => Kind::Buffered,
            libc::S_IFCHR if stat.st_rdev == libc::makedev(1, 3) => Kind::Null,
            libc::S_IFCHR => Kind::Buffered,
            _ => Kind::Stream,
        };
        Ok(Self {
            fd: file.as_raw_fd(),
            fixed: false,
            path: Some(name.as_bytes().to_vec()),
            deleted: false,
            device: Some(os::kernel_device(&stat)),
            inode: Some(stat.st_ino),
            kind,
        })
    }

    /// A descriptor that leads nowhere.
    pub(crate) fn nothing(fd: i32) -> Self {
        Self { fd, fixed: false, path: None, deleted: false, device: None, inode: None, kind: Kind::Buffered }
    }

    /// The same file through the ring's table of registered files.
    pub(crate) fn fixed(mut self, index: i32) -> Self {
        self.fd = index;
        self.fixed = true;
        self
    }

    pub(crate) fn deleted(mut self) -> Self {
        self.deleted = true;
        self
    }

    pub(crate) fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The same file after a rename.
    pub(crate) fn moved_to(mut self, path: impl AsRef<Path>) -> Self {
        self.path = Some(path.as_ref().as_os_str().as_bytes().to_vec());
        self
    }

    /// The path as text, and its bytes in base64 when text cannot hold them.
    pub(crate) fn path_text(&self) -> (Option<String>, Option<String>) {
        match self.path.as_deref().map(text) {
            Some((text, bytes)) => (Some(text), bytes),
            None => (None, None),
        }
    }
}

/// Bytes as text, and in base64 when text cannot hold them.
pub(crate) fn text(bytes: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (String::from_utf8_lossy(bytes).into_owned(), Some(STANDARD.encode(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_only_where_text_loses_them() {
        let plain = Target::nothing(3).moved_to("/a/ü");
        assert_eq!(plain.path_text(), (Some("/a/ü".to_owned()), None));
        let odd = Target::nothing(3).moved_to(Path::new(OsStr::from_bytes(b"/a/\xff")));
        assert_eq!(odd.path_text(), (Some("/a/\u{fffd}".to_owned()), Some("L2Ev/w==".to_owned())));
        assert_eq!(Target::nothing(3).path_text(), (None, None));
    }
}
