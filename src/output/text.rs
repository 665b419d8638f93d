//! Text for people: nothing that a terminal obeys, widths, and human units.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar as _;

use crate::json::is_hidden;

/// Nearly all text is: each byte is a character of one column.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| (b' '..0x7f).contains(&b))
}

/// The text with each character that a terminal would obey written out, and a backslash as two: no two texts look the same.
#[must_use]
pub fn visible(text: &str) -> String {
    if is_plain(text) && !text.contains('\\') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\\' => out.push_str("\\\\"),
            c if is_hidden(c) => {
                let _ = write!(out, "{}", c.escape_unicode());
            }
            c => out.push(c),
        }
    }
    out
}

/// A name among words: in quotes where it has blanks or quotes of its own, so that no part of it passes for a word.
pub(crate) fn quoted(name: &str) -> String {
    let visible = visible(name);
    if visible.contains([' ', '"']) { format!("\"{}\"", visible.replace('"', "\\\"")) } else { visible }
}

/// Columns that `text` takes.
pub(crate) fn width(text: &str) -> usize {
    if is_plain(text) {
        return text.len();
    }
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// `text` in at most `columns`, its beginning replaced by `…`: a path tells most at its end.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = 0;
    let mut from = text.len();
    for (i, c) in text.char_indices().rev() {
        kept += c.width().unwrap_or(0);
        if kept + 1 > columns {
            break;
        }
        from = i;
    }
    format!("…{}", &text[from..])
}

/// Bytes with a binary unit, at most five columns.
pub(crate) fn bytes(n: u64) -> String {
    scaled(n, 1024, &["", "K", "M", "G", "T", "P", "E"])
}

/// A time span, at most six columns.
pub(crate) fn nanoseconds(n: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns")];
    let (unit, name) = UNITS.into_iter().find(|(unit, _)| n >= *unit).unwrap_or((1, "ns"));
    format!("{}{name}", decimal(n, unit))
}

/// A number with commas between its thousands.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn scaled(n: u64, base: u64, names: &[&str]) -> String {
    let mut unit = 1;
    let mut i = 0;
    while i + 1 < names.len() && n / unit >= base {
        unit *= base;
        i += 1;
    }
    format!("{}{}", decimal(n, unit), names[i])
}

/// One digit behind the point below ten.
fn decimal(n: u64, unit: u64) -> String {
    if unit == 1 || n / unit >= 10 {
        return (n / unit).to_string();
    }
    let tenth = u128::from(n) * 10 / u128::from(unit);
    format!("{}.{}", tenth / 10, tenth % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_remains() {
        assert_eq!(visible("a\nb\x1b[31m\u{202e}c\x7f"), "a\\nb\\u{1b}[31m\\u{202e}c\\u{7f}");
        assert_eq!(visible("über/日本"), "über/日本");
        assert_ne!(visible("tab\tx"), visible("tab\\tx"));
    }

    #[test]
    fn a_name_is_told_from_the_words_beside_it() {
        assert_eq!(quoted("/x"), "/x");
        assert_eq!(quoted("/x (deleted)"), "\"/x (deleted)\"");
        assert_eq!(quoted("/x\" (deleted)"), "\"/x\\\" (deleted)\"");
        assert_eq!(fit(&quoted("/a/long/x (deleted)"), 14), "…/x (deleted)\"");
    }

    #[test]
    fn a_long_path_keeps_its_end() {
        assert_eq!(fit("/a/long/path", 8), "…ng/path");
        assert_eq!(fit("/short", 8), "/short");
        assert_eq!(width(&fit("/日本日本日本", 6)), 5);
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([grouped(0), grouped(999), grouped(4096), grouped(1_234_567)], ["0", "999", "4,096", "1,234,567"]);
    }

    #[test]
    fn units_are_short() {
        assert_eq!(
            [bytes(0), bytes(1023), bytes(4096), bytes(10 << 20), bytes(u64::MAX)],
            ["0", "1023", "4.0K", "10M", "15E"]
        );
        assert_eq!(
            [nanoseconds(7), nanoseconds(1500), nanoseconds(25_000_000), nanoseconds(3_000_000_000)],
            ["7ns", "1.5us", "25ms", "3.0s"]
        );
    }
}
