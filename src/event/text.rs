//! Strings of the kernel, which need not be UTF-8.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

use super::Root;

/// A string from the kernel, kept once as its exact bytes, however it is shown. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    bytes: Arc<[u8]>,
    form: Form,
    /// It was longer than what is kept.
    pub truncated: bool,
    /// Where a path begins.
    pub root: Root,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Characters of ASCII that JSON shows as they are.
    Plain,
    Utf8,
    /// Text is lossy.
    Bytes,
}

impl Text {
    /// From bytes of the kernel.
    #[must_use]
    pub fn new(bytes: &[u8], truncated: bool) -> Self {
        let form = if bytes.iter().all(|&b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\') {
            Form::Plain
        } else if std::str::from_utf8(bytes).is_ok() {
            Form::Utf8
        } else {
            Form::Bytes
        };
        Self { bytes: bytes.into(), form, truncated, root: Root::None }
    }

    /// As text: lossy where it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    /// The exact bytes.
    #[must_use]
    pub fn exact(&self) -> &[u8] {
        &self.bytes
    }

    /// The exact bytes for JSON, where [`Text::text`] is lossy.
    #[must_use]
    pub fn base64(&self) -> Option<Base64> {
        (self.form == Form::Bytes).then(|| Base64(Arc::clone(&self.bytes)))
    }

    /// What stands between the quotes of its JSON, where that is the text itself.
    #[must_use]
    pub fn plain(&self) -> Option<&[u8]> {
        (self.form == Form::Plain).then_some(&self.bytes)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.bytes.escape_ascii())?;
        if self.truncated { f.write_str(" (truncated)") } else { Ok(()) }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes(), false)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

/// Bytes that are shown in base64.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Base64(Arc<[u8]>);

impl Base64 {
    /// Appends the text.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + self.0.len().div_ceil(3) * 4, 0);
        // There is room for all of it.
        let written = STANDARD.encode_slice(&self.0, &mut out[start..]).unwrap_or(0);
        out.truncate(start + written);
    }
}

impl fmt::Display for Base64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Base64Display::new(&self.0, &STANDARD).fmt(f)
    }
}

impl fmt::Debug for Base64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_only_where_text_is_lossy() {
        let told = |bytes: &[u8]| {
            let text = Text::new(bytes, false);
            (text.text().into_owned(), text.base64().map(|b| b.to_string()), text.plain().is_some())
        };
        assert_eq!(told(b"/a b"), ("/a b".to_owned(), None, true));
        assert_eq!(told("/ä\"".as_bytes()), ("/ä\"".to_owned(), None, false));
        assert_eq!(told(b"/\xff"), ("/\u{fffd}".to_owned(), Some("L/8=".to_owned()), false));
        let mut out = b"x".to_vec();
        Text::new(b"/\xff", false).base64().unwrap().append_to(&mut out);
        assert_eq!(out, b"xL/8=");
    }
}
