//! What ringwatch says of itself: lines on standard error, which may be closed, full or gone.

use std::fmt;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::json::is_hidden;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// What failed, and what is missing in the data.
    Quiet,
    /// Also when tracing begins, and the summary.
    Normal,
    /// Also how it is traced.
    Verbose,
}

/// Of the whole program, as standard error is.
static LEVEL: AtomicU8 = AtomicU8::new(Level::Normal as u8);

/// Says no more than this from now on.
pub fn limit_to(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Says a line, unless quiet was asked for.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {
        $crate::say::line($crate::say::Level::Normal, format_args!($($text)*))
    };
}

/// Says what failed, and what is missing in the data.
#[macro_export]
macro_rules! complain {
    ($($text:tt)*) => {
        $crate::say::line($crate::say::Level::Quiet, format_args!($($text)*))
    };
}

/// Says what only those want to know who asked for more.
#[macro_export]
macro_rules! detail {
    ($($text:tt)*) => {
        $crate::say::line($crate::say::Level::Verbose, format_args!($($text)*))
    };
}

/// One write, so that no other program's line comes in between. Whether anyone reads it is no matter: tracing goes on.
pub fn line(level: Level, text: fmt::Arguments<'_>) {
    if level as u8 > LEVEL.load(Ordering::Relaxed) {
        return;
    }
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
