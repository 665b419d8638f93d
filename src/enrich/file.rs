//! Path records to text.

use crate::event::Text;
use crate::record::{Path, flag};

const S_IFMT: u32 = 0o170_000;
const S_IFIFO: u32 = 0o010_000;
const S_IFSOCK: u32 = 0o140_000;

/// The path as /proc shows it, from the components leaf first.
pub(super) fn text(path: &Path<'_>) -> Text {
    let names = path.names.strip_suffix(b"\0").unwrap_or(path.names);
    let truncated = path.flags & flag::TRUNCATED != 0;
    if path.flags & flag::PSEUDO != 0 {
        return match path.mode & S_IFMT {
            S_IFIFO => Text::new(format!("pipe:[{}]", path.inode).as_bytes(), truncated),
            S_IFSOCK => Text::new(format!("socket:[{}]", path.inode).as_bytes(), truncated),
            _ if names.starts_with(b"[") => Text::new(&[b"anon_inode:", names].concat(), truncated),
            _ if names.is_empty() => Text::new(format!("unnamed:[{}]", path.inode).as_bytes(), truncated),
            _ => Text::new(names, truncated),
        };
    }
    if path.names.is_empty() {
        return Text::new(b"/", truncated);
    }
    let mut bytes = Vec::with_capacity(path.names.len() + 4);
    if truncated {
        bytes.extend_from_slice(b"...");
    }
    for name in names.rsplit(|&b| b == 0) {
        bytes.push(b'/');
        bytes.extend_from_slice(name);
    }
    Text::new(&bytes, truncated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(names: &[u8], flags: u32, mode: u32) -> Text {
        text(&Path { id: 1, flags, inode: 42, mode, names })
    }

    #[test]
    fn components_come_leaf_first() {
        assert_eq!(path(b"c\0b\0a\0", 0, 0).text, "/a/b/c");
        assert_eq!(path(b"", 0, 0).text, "/");
    }

    #[test]
    fn a_cut_path_says_so() {
        let cut = path(b"c\0b\0", flag::TRUNCATED, 0);
        assert_eq!((cut.text.as_str(), cut.truncated), (".../b/c", true));
    }

    #[test]
    fn what_has_no_path_is_named_as_in_proc() {
        assert_eq!(path(b"\0", flag::PSEUDO, S_IFIFO).text, "pipe:[42]");
        assert_eq!(path(b"TCP\0", flag::PSEUDO, S_IFSOCK).text, "socket:[42]");
        assert_eq!(path(b"[eventfd]\0", flag::PSEUDO, 0o600).text, "anon_inode:[eventfd]");
        assert_eq!(path(b"memfd:a\0", flag::PSEUDO, 0o100_777).text, "memfd:a");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_kept() {
        let odd = path(b"\xff\0", 0, 0);
        assert_eq!((odd.text.as_str(), odd.bytes.as_deref()), ("/\u{fffd}", Some("L/8=")));
    }
}
