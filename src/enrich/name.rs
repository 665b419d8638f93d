//! Names that programs give, put together with the directories that they are relative to.

use std::sync::Arc;

use crate::event::ops::{Named, OldNew, PathSource, PathText};
use crate::event::{Rendered, Text};
use crate::record::Names;

/// A name as it was given, and where it leads.
#[derive(Debug, Clone)]
pub(super) struct Name {
    given: Text,
    path: Option<PathText>,
}

/// What a request brought along, joined with the paths of its directories.
#[derive(Debug, Clone)]
pub(super) struct Held {
    /// By position in the record.
    names: [Option<Name>; 2],
    /// What is no file of its own: the target of a symbolic link, the name of an attribute.
    pub(super) other: Option<Text>,
    /// The paths that the record refers to.
    from: [Option<PathText>; 2],
}

impl Held {
    pub(super) fn new(record: &Names<'_>, path_of: impl Fn(u64) -> Option<PathText>) -> Self {
        let from = record.from.map(path_of);
        let name = |i: usize| {
            let given = record.strings[i];
            if given.is_empty() {
                return None;
            }
            let path = from[i].as_ref().map(|base| {
                let text = Text::new(&join(&base.exact(), given), base.truncated).below(base.root);
                Arc::new(Rendered::new(text))
            });
            Some(Name { given: Text::new(given, false), path })
        };
        let other = Some(record.strings[2]).filter(|s| !s.is_empty()).map(|s| Text::new(s, false));
        Self { names: [name(0), name(1)], other, from }
    }

    /// The file that a second descriptor named.
    pub(super) fn second_file(&self) -> Option<&PathText> {
        self.from[1].as_ref()
    }
}

/// `given` below `base`, without `.` and empty names, and without what `..` takes back. An absolute name begins again:
/// then `base` is the root directory of the process.
fn join(base: &[u8], given: &[u8]) -> Vec<u8> {
    let parts = |path: &'_ [u8]| -> Vec<Vec<u8>> {
        path.split(|&b| b == b'/').filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let mut path = parts(base);
    let floor = if given.starts_with(b"/") { path.len() } else { 0 };
    for part in parts(given) {
        match &part[..] {
            b"." => {}
            b".." if path.len() > floor => drop(path.pop()),
            b".." => {}
            _ => path.push(part),
        }
    }
    let mut joined = vec![];
    for part in &path {
        joined.push(b'/');
        joined.extend_from_slice(part);
    }
    if joined.is_empty() { b"/".to_vec() } else { joined }
}

/// One of the names, as an event has it.
pub(super) fn named(held: Option<&Held>, i: usize, source: PathSource, dirfd: Option<i32>) -> Named {
    let Some(name) = held.and_then(|h| h.names[i].as_ref()) else { return Named { dirfd, ..Named::default() } };
    Named {
        path_bytes: name.path.as_ref().and_then(|p| p.bytes.clone()),
        path_source: name.path.is_some().then_some(source),
        path: name.path.clone(),
        path_given_bytes: name.given.bytes.clone(),
        path_given: Some(name.given.clone()),
        dirfd,
    }
}

/// Both names.
pub(super) fn old_new(held: Option<&Held>, source: PathSource, dirfds: Option<(i32, i32)>) -> OldNew {
    let old = named(held, 0, source, dirfds.map(|d| d.0));
    let new = named(held, 1, source, dirfds.map(|d| d.1));
    OldNew {
        path_source: old.path_source.or(new.path_source),
        old_path: old.path,
        old_path_bytes: old.path_bytes,
        old_path_given: old.path_given,
        old_path_given_bytes: old.path_given_bytes,
        old_dirfd: old.dirfd,
        new_path: new.path,
        new_path_bytes: new.path_bytes,
        new_path_given: new.path_given,
        new_path_given_bytes: new.path_given_bytes,
        new_dirfd: new.dirfd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_relative_to_their_directory() {
        let joined = |base: &str, given: &str| String::from_utf8(join(base.as_bytes(), given.as_bytes())).unwrap();
        assert_eq!(joined("/a/b", "c"), "/a/b/c");
        assert_eq!(joined("/a/b", "./c//d/"), "/a/b/c/d");
        assert_eq!(joined("/a/b", "../../../c"), "/c");
        assert_eq!(joined("/", "/etc/passwd"), "/etc/passwd");
        assert_eq!(joined("/", "/"), "/");
        // In a chroot nothing leads out of it.
        assert_eq!(joined("/jail", "/../../etc"), "/jail/etc");
        assert_eq!(joined("/jail", "/.."), "/jail");
    }
}
