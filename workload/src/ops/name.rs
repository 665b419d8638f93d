//! A name as a request gives it, and where that leads.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::cx::Cx;

pub(super) type Data = Map<String, Value>;

pub(super) fn put(data: &mut Data, key: &str, value: impl Into<Value>) {
    data.insert(key.to_owned(), value.into());
}

/// Bytes that the truth may tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Text {
    Known(Vec<u8>),
    /// There is none, and the tracer should say so.
    Null,
    /// Not for the tracer to know, or not to be compared.
    Untold,
}

impl Text {
    /// As text, and as bytes in base64 where text would lose some.
    pub(super) fn tell(&self, data: &mut Data, key: &str) {
        match self {
            Self::Untold => {}
            Self::Null => put(data, key, Value::Null),
            Self::Known(bytes) => {
                put(data, key, String::from_utf8_lossy(bytes).into_owned());
                if std::str::from_utf8(bytes).is_err() {
                    put(data, &format!("{key}_bytes"), STANDARD.encode(bytes));
                }
            }
        }
    }
}

/// Takes `.`, `..`, and needless slashes out of an absolute path. True where no component on the way is a symlink.
pub(super) fn normalise(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    let mut out = Vec::with_capacity(path.len());
    for part in &parts {
        out.push(b'/');
        out.extend_from_slice(part);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

/// Where a name leads that is looked up from a directory.
pub(super) fn join(dir: &[u8], given: &[u8]) -> Vec<u8> {
    if given.starts_with(b"/") { normalise(given) } else { normalise(&[dir, b"/", given].concat()) }
}

#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) addr: u64,
    pub(super) dirfd: i32,
    pub(super) given: Text,
    pub(super) path: Text,
    /// The kernel takes it; otherwise the request ends where it is prepared.
    pub(super) taken: bool,
}

impl Name {
    /// `dir` is the path of `dirfd`, where that is a directory at all.
    pub(super) fn new(cx: &Cx, dirfd: i32, dir: Option<&[u8]>, given: &[u8]) -> Self {
        let path = match dir {
            Some(dir) => Text::Known(join(dir, given)),
            None if given.starts_with(b"/") => Text::Known(normalise(given)),
            None => Text::Untold,
        };
        Self { addr: string(cx, given), dirfd, given: Text::Known(given.to_vec()), path, taken: true }
    }

    /// A name that cannot be read.
    pub(super) fn nowhere(addr: u64) -> Self {
        Self { addr, dirfd: libc::AT_FDCWD, given: Text::Null, path: Text::Null, taken: false }
    }

    /// A name that can be read, and that no lookup gets to see.
    pub(super) fn refused(cx: &Cx, given: &[u8]) -> Self {
        Self { addr: string(cx, given), dirfd: libc::AT_FDCWD, given: Text::Untold, path: Text::Untold, taken: false }
    }

    /// `path`, `path_given` and `dirfd`, each behind the prefix.
    pub(super) fn tell(&self, data: &mut Data, prefix: &str) {
        self.path.tell(data, &format!("{prefix}path"));
        self.given.tell(data, &format!("{prefix}path_given"));
        put(data, &format!("{prefix}dirfd"), self.dirfd);
    }

    /// The same, where the request ends before it comes to this name.
    pub(super) fn unread(mut self) -> Self {
        (self.given, self.path) = (Text::Untold, Text::Untold);
        self
    }
}

/// A terminated string in memory that stays.
pub(super) fn string(cx: &Cx, bytes: &[u8]) -> u64 {
    cx.keep(&[bytes, b"\0"].concat()).addr
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> String {
        String::from_utf8_lossy(&normalise(path.as_bytes())).into_owned()
    }

    #[test]
    fn dots_and_slashes_go() {
        assert_eq!(normal("/a/b"), "/a/b");
        assert_eq!(normal("//a///b/"), "/a/b");
        assert_eq!(normal("/a/./b/."), "/a/b");
        assert_eq!(normal("/a/b/../c"), "/a/c");
        assert_eq!(normal("/a/b/../../c/.."), "/");
        assert_eq!(normal("/a/..b/.../c."), "/a/..b/.../c.");
    }

    #[test]
    fn the_root_is_its_own_parent() {
        assert_eq!(normal("/"), "/");
        assert_eq!(normal("/../../a"), "/a");
        assert_eq!(normal("/a/../../.."), "/");
    }

    #[test]
    fn bytes_stay_as_they_are() {
        assert_eq!(normalise(b"/\xff/../\xfe//x"), b"/\xfe/x");
    }

    #[test]
    fn absolute_names_need_no_directory() {
        assert_eq!(join(b"/d", b"a/../b"), b"/d/b");
        assert_eq!(join(b"/d", b"../b"), b"/b");
        assert_eq!(join(b"/d", b"/x/./y"), b"/x/y");
        assert_eq!(join(b"/d", b""), b"/d");
        assert_eq!(join(b"/", b"a"), b"/a");
    }

    #[test]
    fn bytes_are_told_only_where_text_loses_them() {
        let mut data = Data::new();
        Text::Known(b"/\xc3\xbc".to_vec()).tell(&mut data, "plain");
        Text::Known(b"/\xff".to_vec()).tell(&mut data, "odd");
        Text::Null.tell(&mut data, "none");
        Text::Untold.tell(&mut data, "untold");
        let expected = serde_json::json!({"plain": "/ü", "odd": "/\u{fffd}", "odd_bytes": "L/8=", "none": null});
        assert_eq!(Value::Object(data), expected);
    }
}
