//! What ringwatch says of itself: lines on standard error, which may be closed, full or gone.

use std::fmt;
use std::io::{self, Write as _};

use crate::json::is_hidden;

/// Says a line.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {
        $crate::say::line(format_args!($($text)*))
    };
}

/// One write, so that no other program's line comes in between. Whether anyone reads it is no matter: tracing goes on.
pub fn line(text: fmt::Arguments<'_>) {
    let mut line = String::from("ringwatch: ");
    for c in text.to_string().chars() {
        // Names of files and what a verifier says may stand in it.
        if matches!(c, '\n' | '\t') || !is_hidden(c) {
            line.push(c);
        } else {
            line.extend(c.escape_unicode());
        }
    }
    line.push('\n');
    let _ = io::stderr().lock().write_all(line.as_bytes());
}
