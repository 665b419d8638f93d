//! The files of ringwatch's own mount namespace, looked at without opening one.
//!
//! Nothing here may wait for somebody: file systems that a program or another machine answers for (FUSE, NFS) are not
//! asked, no link of /proc is followed, and no automount is set off.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::lookup::{Answer, Facts, Found, Kind, Question, Tree, look_up};
use crate::time::Clock;

/// File systems of the machine itself, which set a directory's time of change themselves. Not overlayfs: what lies below
/// may be another one.
const HONEST: [&str; 11] =
    ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "bcachefs", "tmpfs", "devtmpfs", "ramfs", "rootfs"];
/// Bytes of the table of mounts that are read: more means that somebody fills it.
const MOUNTS: u64 = 4 << 20;
/// The kernel stamps a change with the time of the last tick, which comes at least 100 times a second.
const TICK_NS: i64 = 20_000_000;
/// Where a file system keeps no parts of a second.
const SECOND_NS: i64 = 1_000_000_000;

/// Looks names up.
#[derive(Debug)]
pub(super) struct System {
    root: OwnedFd,
    /// The mount namespace.
    namespace: u32,
    mounts: Mounts,
    clocks: Clocks,
}

/// The mount namespace's mounts, and when they changed.
#[derive(Debug)]
struct Mounts {
    table: File,
    all: Honesty,
    changed_ns: i64,
}

/// Whether each mount is honest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Honesty {
    /// By id.
    pub(super) ids: HashMap<u64, bool>,
    /// By the path that they are at; several may be there.
    pub(super) points: HashMap<Vec<u8>, bool>,
}

/// The wall clock may be set: then it does not tell what came first.
#[derive(Debug)]
struct Clocks {
    offset_ns: i64,
    set_ns: i64,
}

fn monotonic() -> i64 {
    i64::try_from(Clock::kernel_monotonic()).unwrap_or(i64::MAX)
}

fn offset() -> i64 {
    Clock::now().from_monotonic(0).0
}

/// A look that opens nothing.
fn how(resolve: ResolveFlag) -> OpenHow {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    OpenHow::new().flags(flags).resolve(resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS)
}

impl System {
    /// `None`: there is no /proc. Whether its own root is that of the mount namespace, each look-up finds out by the
    /// kernel's word on the directories that it begins with.
    pub(super) fn new() -> Option<Self> {
        let root = File::options().read(true).open("/").ok()?;
        let namespace = namespace("/proc/self/ns/mnt")?;
        let table = File::open("/proc/self/mountinfo").ok()?;
        let mut mounts = Mounts { table, all: Honesty::default(), changed_ns: monotonic() };
        mounts.read().ok()?;
        let clocks = Clocks { offset_ns: offset(), set_ns: monotonic() };
        Some(Self { root: root.into(), namespace, mounts, clocks })
    }

    /// The mount namespace whose names it knows.
    pub(super) fn namespace(&self) -> u32 {
        self.namespace
    }

    /// Where a name of a request that was submitted at `submit_ns` leads. What happened before this was made is not known.
    pub(super) fn look_up(&mut self, question: &Question, submit_ns: i64) -> Option<Answer> {
        let clocks = self.clocks.look();
        let mounts = self.mounts.look();
        let found = look_up(self, question, submit_ns.checked_add(self.clocks.offset_ns)?);
        // Once more, as a mount may have come and gone in between.
        let since = self.clocks.set_ns.max(self.mounts.changed_ns);
        let sure = clocks && mounts && self.mounts.look() && self.clocks.look() && since < submit_ns;
        found.map(|answer| Answer { sure: answer.sure && sure, ..answer })
    }
}

fn namespace(path: &str) -> Option<u32> {
    u32::try_from(fs::metadata(path).ok()?.ino()).ok()
}

impl Clocks {
    /// False: it was set since the last look.
    fn look(&mut self) -> bool {
        let offset = offset();
        let same = (offset - self.offset_ns).abs() < TICK_NS / 4;
        if !same {
            self.set_ns = monotonic();
        }
        self.offset_ns = offset;
        same
    }
}

impl Mounts {
    /// False: they changed since the last look.
    fn look(&mut self) -> bool {
        let mut event = [PollFd::new(self.table.as_fd(), PollFlags::POLLPRI)];
        let quiet = poll(&mut event, PollTimeout::ZERO).is_ok()
            && event[0].revents().is_some_and(|e| !e.intersects(PollFlags::POLLPRI | PollFlags::POLLERR));
        if !quiet {
            self.changed_ns = monotonic();
            if self.read().is_err() {
                self.all = Honesty::default();
            }
        }
        quiet
    }

    fn read(&mut self) -> io::Result<()> {
        self.all = Honesty::default();
        self.table.rewind()?;
        let mut text = vec![];
        if (&self.table).take(MOUNTS).read_to_end(&mut text)? as u64 == MOUNTS {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.all = Honesty::of(&text);
        Ok(())
    }
}

impl Honesty {
    /// From the text of /proc/PID/mountinfo.
    pub(super) fn of(text: &[u8]) -> Self {
        let mut all = Self::default();
        for line in text.split(|&b| b == b'\n') {
            let mut words = line.split(|&b| b == b' ');
            let id = words.next().and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
            let (Some(id), Some(point)) = (id, words.nth(3)) else { continue };
            let kind = words.skip_while(|word| *word != b"-").nth(1);
            let honest = kind.is_some_and(|kind| HONEST.iter().any(|honest| honest.as_bytes() == kind));
            all.ids.insert(id, honest);
            all.points.entry(unescaped(point)).and_modify(|all| *all &= honest).or_insert(honest);
        }
        all
    }
}

/// Blanks and the like stand as three octal digits behind a backslash.
fn unescaped(word: &[u8]) -> Vec<u8> {
    let mut plain = vec![];
    let mut rest = word;
    while let [first, behind @ ..] = rest {
        let code = behind
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        plain.push(code.unwrap_or(*first));
        rest = if code.is_some() { &behind[3..] } else { behind };
    }
    plain
}

impl System {
    /// Whether what is mounted under the name is honest. Already the way to its root may ask a server (NFS), so the
    /// table of mounts must know.
    fn is_honest_mount(&self, directory: &OwnedFd, name: &[u8]) -> bool {
        let Ok(path) = fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())) else { return false };
        let path = path.as_os_str().as_bytes();
        let point = [path.strip_suffix(b"/").unwrap_or(path), b"/", name].concat();
        self.mounts.all.points.get(&point).copied().unwrap_or(false)
    }

    fn facts(&self, file: &OwnedFd) -> Option<Facts> {
        let mut answer = MaybeUninit::<libc::statx>::zeroed();
        let flags = libc::AT_EMPTY_PATH | libc::AT_NO_AUTOMOUNT | libc::AT_STATX_DONT_SYNC;
        let mask = libc::STATX_TYPE | libc::STATX_INO | libc::STATX_CTIME | libc::STATX_MNT_ID;
        // SAFETY: the name is a terminated string, and the answer has room for what the kernel writes.
        let done = unsafe { libc::statx(file.as_raw_fd(), c"".as_ptr(), flags, mask, answer.as_mut_ptr()) };
        // SAFETY: zeroes are valid, and so is what the kernel wrote.
        let stat = unsafe { answer.assume_init() };
        if done != 0 || stat.stx_mask & mask != mask {
            return None;
        }
        let kind = match u32::from(stat.stx_mode) & libc::S_IFMT {
            libc::S_IFDIR => Kind::Directory,
            libc::S_IFLNK => Kind::Link,
            _ => Kind::Other,
        };
        let nanoseconds = i64::from(stat.stx_ctime.tv_nsec);
        let grain = if nanoseconds == 0 { SECOND_NS } else { TICK_NS };
        let changed_ns = stat.stx_ctime.tv_sec.saturating_mul(SECOND_NS).saturating_add(nanoseconds + grain);
        let honest = self.mounts.all.ids.get(&stat.stx_mnt_id).copied().unwrap_or(false);
        Some(Facts { kind, inode: stat.stx_ino, mount: stat.stx_mnt_id, changed_ns, honest })
    }
}

impl Tree for System {
    type File = OwnedFd;

    fn root(&self) -> Option<(OwnedFd, Facts)> {
        let root = self.root.try_clone().ok()?;
        let facts = self.facts(&root)?;
        Some((root, facts))
    }

    fn child(&self, directory: &OwnedFd, name: &[u8]) -> Found<OwnedFd> {
        let text = Path::new(std::ffi::OsStr::from_bytes(name));
        let found = match nix::fcntl::openat2(directory, text, how(ResolveFlag::RESOLVE_NO_XDEV)) {
            Err(Errno::EXDEV) if self.is_honest_mount(directory, name) => {
                nix::fcntl::openat2(directory, text, how(ResolveFlag::empty()))
            }
            found => found,
        };
        match found {
            Ok(file) => self.facts(&file).map_or(Found::Unknown, |facts| Found::Is(file, facts)),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG) => Found::Missing,
            Err(_) => Found::Unknown,
        }
    }

    fn target(&self, link: &OwnedFd) -> Option<Vec<u8>> {
        let target = nix::fcntl::readlinkat(link, "").ok()?;
        Some(target.as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::super::lookup::Base;
    use super::*;

    #[test]
    fn the_table_of_mounts_has_codes_for_blanks() {
        assert_eq!(unescaped(br"/a\040b\134\x"), b"/a b\\\\x");
        assert_eq!(unescaped(br"/a\04"), br"/a\04");
    }

    /// A change of the directory makes the answer unsure, as does a name that changed too short a time before.
    #[test]
    fn answers_are_sure_while_nothing_changes() {
        let Some(mut system) = System::new() else {
            eprintln!("skipped: there is no /proc");
            return;
        };
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().canonicalize().expect("its path");
        std::os::unix::fs::symlink(&path, path.join("link")).expect("a link");
        let given = [path.as_os_str().as_bytes(), b"/link/new"].concat();
        let (_, facts) = system.root().expect("the root");
        let root = Base { path: b"/".to_vec(), inode: facts.inode, mount: facts.mount };
        let mut ask = |submit_ns| {
            let (root, base, given) = (root.clone(), root.clone(), given.clone());
            let question = Question { root, base, given, follow: false, links: true };
            system.look_up(&question, submit_ns).expect("an answer")
        };
        let early = ask(monotonic() - SECOND_NS / 1000);
        assert_eq!((&early.path[..], early.sure), (path.join("new").as_os_str().as_bytes(), false));
        // As if the link had been there for longer than the kernel's clock is coarse.
        assert!(ask(monotonic() + 2 * SECOND_NS).sure);
    }
}
