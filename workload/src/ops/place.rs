//! A directory for one part of the run, and the ways to name things in it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Ops;
use super::name::{Name, Text};
use crate::cx::Cx;
use crate::os;
use crate::target::Target;

/// Above every limit of open files: names none.
pub(super) const NO_FD: i32 = i32::MAX;

/// Addresses that no program can read.
pub(super) const NOWHERE: [u64; 3] = [0, 16, 0xffff_8000_0000_0000];

const NAME_MAX: usize = 255;
const PATH_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) ops: &'a Ops,
    pub(super) cx: &'a Cx,
    pub(super) path: PathBuf,
    dir: File,
    /// A regular file: no directory.
    plain: File,
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

impl<'a> Place<'a> {
    /// Makes the directory, and stays in it.
    pub(super) fn enter(ops: &'a Ops, name: &str) -> Result<Self> {
        let path = ops.cx.dir.join(name);
        fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
        fs::create_dir(path.join("sub"))?;
        fs::create_dir(path.join(OsStr::from_bytes(b"sub-\xfe")))?;
        fs::write(path.join("plain"), "plain")?;
        std::env::set_current_dir(&path)?;
        let (dir, plain) = (File::open(&path)?, File::open(path.join("plain"))?);
        Ok(Self { ops, cx: &ops.cx, path, dir, plain })
    }

    /// A name from the root.
    pub(super) fn absolute(&self, name: impl AsRef<[u8]>) -> Name {
        let given = [bytes(&self.path), b"/", name.as_ref()].concat();
        Name::new(self.cx, libc::AT_FDCWD, Some(b"/"), &given)
    }

    /// A name from the open directory.
    pub(super) fn relative(&self, name: impl AsRef<[u8]>) -> Name {
        Name::new(self.cx, self.dir.as_raw_fd(), Some(bytes(&self.path)), name.as_ref())
    }

    /// A name from where the thread is.
    pub(super) fn here(&self, name: impl AsRef<[u8]>) -> Name {
        Name::new(self.cx, libc::AT_FDCWD, Some(bytes(&self.path)), name.as_ref())
    }

    /// A name from any descriptor that is no directory.
    pub(super) fn from(&self, fd: i32, name: impl AsRef<[u8]>) -> Name {
        Name::new(self.cx, fd, None, name.as_ref())
    }

    pub(super) fn path_of(&self, name: impl AsRef<[u8]>) -> PathBuf {
        self.path.join(OsStr::from_bytes(name.as_ref()))
    }

    /// All ways to name something in the directory, each time something else.
    pub(super) fn spellings(&self, stem: &str) -> Vec<Name> {
        let with = |prefix: &str, suffix: &[u8]| [prefix.as_bytes(), stem.as_bytes(), b"-", suffix].concat();
        let mut longest = with("", b"longest-name-");
        longest.resize(NAME_MAX, b'n');
        // As long as the kernel takes, without the NUL, and short in truth.
        let end = with("", b"longest-path");
        let mut winding = b"./".repeat((PATH_MAX - 1 - end.len()) / 2);
        winding.resize(PATH_MAX - 1 - end.len(), b'/');
        winding.extend_from_slice(&end);
        let from_root = [b"/..//../", bytes(&self.path), b"//", &*with("", b"root")].concat();
        let ignored = [bytes(&self.path), b"/", &*with("", b"ignored")].concat();
        vec![
            self.absolute(with("", b"absolute")),
            self.relative(with("", b"dirfd")),
            self.here(with("", b"cwd")),
            // An absolute name does not care what the descriptor is.
            self.from(NO_FD, ignored),
            self.relative(with("./sub/..//", b"dots")),
            self.here(with("sub/.././/sub/", b"sub")),
            self.absolute(with("sub/./../sub//", b"dots-absolute")),
            self.here(from_root),
            self.relative(with("", b"latin-\xe9t\xe9")),
            self.absolute(with("sub/", b"\xff\xc0\xaf")),
            self.here([b"sub-\xfe/", &*with("", b"below")].concat()),
            self.here(with("", "日本語-ü-🦀 \"\\\n\t\u{1b}".as_bytes())),
            self.relative(longest),
            self.here(winding),
        ]
    }

    /// The same for files that exist.
    pub(super) fn files(&self, stem: &str) -> Result<Vec<Name>> {
        let names = self.spellings(stem);
        names.iter().try_for_each(|name| fs::write(path(name)?, "some text").context("a file of the part"))?;
        Ok(names)
    }

    /// Names that no operation gets anywhere with, and the error.
    pub(super) fn bad_names(&self) -> Vec<(Name, i32)> {
        let below_file = Name::new(self.cx, self.plain.as_raw_fd(), Some(bytes(&self.path_of("plain"))), b"x");
        let mut names = vec![
            (self.here(b"n".repeat(NAME_MAX + 1)), libc::ENAMETOOLONG),
            (self.absolute([b"sub/".to_vec(), b"n".repeat(NAME_MAX + 1)].concat()), libc::ENAMETOOLONG),
            (self.relative("missing/x"), libc::ENOENT),
            (self.absolute("missing/./x"), libc::ENOENT),
            (self.here("plain/x"), libc::ENOTDIR),
            (below_file, libc::ENOTDIR),
            (self.from(NO_FD, "x"), libc::EBADF),
            (self.from(-1, "x"), libc::EBADF),
            (Name::refused(self.cx, b""), libc::ENOENT),
            (Name::refused(self.cx, &b"./".repeat(PATH_MAX / 2)), libc::ENAMETOOLONG),
            (Name::refused(self.cx, &b"far/".repeat(PATH_MAX)), libc::ENAMETOOLONG),
        ];
        names.extend(NOWHERE.map(|addr| (Name::nowhere(addr), libc::EFAULT)));
        names
    }

    /// A new file with some text, open with further flags for writing.
    pub(super) fn open(&self, name: impl AsRef<[u8]>, flags: i32) -> Result<(File, Target)> {
        let path = self.path_of(name);
        fs::write(&path, vec![b'x'; 10_000])?;
        let file = os::open(&path, flags)?;
        let target = Target::at(&file, &path)?;
        Ok((file, target))
    }

    /// A new file with some text, open for reading.
    pub(super) fn read_only(&self, name: impl AsRef<[u8]>) -> Result<(File, Target)> {
        let path = self.path_of(name);
        fs::write(&path, vec![b'x'; 10_000])?;
        let file = File::open(&path)?;
        let target = Target::at(&file, &path)?;
        Ok((file, target))
    }
}

/// The path of a name that leads somewhere.
pub(super) fn path(name: &Name) -> Result<&Path> {
    match &name.path {
        Text::Known(path) => Ok(Path::new(OsStr::from_bytes(path))),
        Text::Null | Text::Untold => bail!("{name:?} leads nowhere"),
    }
}
