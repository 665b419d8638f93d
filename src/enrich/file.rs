//! Path records to text.

use crate::event::{PathUnknown, Root, Text};
use crate::record::{Path, Write, flag, unknown};

const S_IFMT: u32 = 0o170_000;
const S_IFIFO: u32 = 0o010_000;
const S_IFSOCK: u32 = 0o140_000;
const NSFS_MAGIC: u32 = 0x6e73_6673;
const PIDFS_MAGIC: u32 = 0x5049_4446;
/// The number of a mount namespace that holds a detached tree, on kernels where these have one.
const MNT_NS_ANON_INO: u32 = 0xefff_fff7;

/// The path as /proc shows it, from the components leaf first.
pub(super) fn text(path: &Path<'_>) -> Text {
    let names = path.names.strip_suffix(b"\0").unwrap_or(path.names);
    let truncated = path.flags & flag::TRUNCATED != 0;
    if path.flags & flag::PSEUDO != 0 {
        return match path.mode & S_IFMT {
            _ if path.magic == PIDFS_MAGIC => Text::new(b"anon_inode:[pidfd]", truncated),
            _ if path.magic == NSFS_MAGIC => {
                Text::new(&[names, format!(":[{}]", path.inode).as_bytes()].concat(), truncated)
            }
            S_IFIFO => Text::new(format!("pipe:[{}]", path.inode).as_bytes(), truncated),
            S_IFSOCK => Text::new(format!("socket:[{}]", path.inode).as_bytes(), truncated),
            _ if names.starts_with(b"[") => Text::new(&[b"anon_inode:", names].concat(), truncated),
            _ if names.is_empty() => Text::new(format!("unnamed:[{}]", path.inode).as_bytes(), truncated),
            _ => Text::new(names, truncated),
        };
    }
    let root = match path.mnt_ns {
        _ if path.flags & flag::UNREACHABLE != 0 => Root::Unreachable,
        // The upper end was not read.
        0 if truncated => Root::None,
        0 | MNT_NS_ANON_INO => Root::Nowhere,
        ns => Root::Namespace(ns),
    };
    if path.names.is_empty() {
        return Text::new(b"/", truncated).below(root);
    }
    let mut bytes = Vec::with_capacity(path.names.len() + 4);
    if truncated {
        bytes.extend_from_slice(b"...");
    }
    for name in names.rsplit(|&b| b == 0) {
        bytes.push(b'/');
        bytes.extend_from_slice(name);
    }
    Text::new(&bytes, truncated).below(root)
}

/// Why there is no path for the file of a record; `None` where the record names no file.
pub(super) fn unknown(w: &Write) -> Option<PathUnknown> {
    w.has(flag::FILE).then(|| unknown_of(w.path_id))
}

/// Why there is no path of this id.
pub(crate) fn unknown_of(path_id: u64) -> PathUnknown {
    match path_id {
        0 => PathUnknown::NoFile,
        unknown::RENAMED => PathUnknown::Renamed,
        unknown::DISCONNECTED => PathUnknown::NoName,
        unknown::DEEP => PathUnknown::TooDeep,
        _ => PathUnknown::Forgotten,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(names: &[u8], flags: u32, mode: u32) -> Text {
        text(&Path { id: 1, flags, inode: 42, mode, mnt_ns: 7, magic: 0, names })
    }

    #[test]
    fn where_a_path_begins() {
        let root =
            |flags, mnt_ns| text(&Path { id: 1, flags, inode: 42, mode: 0, mnt_ns, magic: 0, names: b"a\0" }).root;
        assert_eq!(root(0, 7), Root::Namespace(7));
        assert_eq!(root(0, 0), Root::Nowhere);
        assert_eq!(root(0, MNT_NS_ANON_INO), Root::Nowhere);
        assert_eq!(root(flag::TRUNCATED, 0), Root::None);
        assert_eq!(root(flag::UNREACHABLE, 0), Root::Unreachable);
    }

    #[test]
    fn namespaces_and_processes_are_named_as_in_proc() {
        let of = |magic, names| {
            text(&Path { id: 1, flags: flag::PSEUDO, inode: 42, mode: 0o100_444, mnt_ns: 0, magic, names })
                .text()
                .into_owned()
        };
        assert_eq!(of(NSFS_MAGIC, &b"mnt\0"[..]), "mnt:[42]");
        assert_eq!(of(PIDFS_MAGIC, &b"/\0"[..]), "anon_inode:[pidfd]");
    }

    #[test]
    fn components_come_leaf_first() {
        assert_eq!(path(b"c\0b\0a\0", 0, 0).text(), "/a/b/c");
        assert_eq!(path(b"", 0, 0).text(), "/");
    }

    #[test]
    fn a_cut_path_says_so() {
        let cut = path(b"c\0b\0", flag::TRUNCATED, 0);
        assert_eq!((cut.text().as_ref(), cut.truncated), (".../b/c", true));
    }

    #[test]
    fn what_has_no_path_is_named_as_in_proc() {
        assert_eq!(path(b"\0", flag::PSEUDO, S_IFIFO).text(), "pipe:[42]");
        assert_eq!(path(b"TCP\0", flag::PSEUDO, S_IFSOCK).text(), "socket:[42]");
        assert_eq!(path(b"[eventfd]\0", flag::PSEUDO, 0o600).text(), "anon_inode:[eventfd]");
        assert_eq!(path(b"memfd:a\0", flag::PSEUDO, 0o100_777).text(), "memfd:a");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_kept() {
        let odd = path(b"\xff\0", 0, 0);
        assert_eq!((odd.text().as_ref(), odd.exact()), ("/\u{fffd}", &b"/\xff"[..]));
    }
}
