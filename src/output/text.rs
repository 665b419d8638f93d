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

/// The beginning of `text`, in at most `columns`.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    if columns == 0 { String::new() } else { format!("{}…", &text[..begins(text, columns - 1)]) }
}

/// `text` in at most `columns`. A path loses names from its middle, so that its beginning and its last name stay:
/// `/etc/…/shadow`; where these are too long, its beginning, and then characters from the middle.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let slashes: Vec<usize> = text.match_indices('/').map(|(i, _)| i).collect();
    let fits = |head: usize, tail: usize| width(&text[..head]) + 1 + width(&text[tail..]) <= columns;
    let joined = |head: usize, tail: usize| format!("{}…{}", &text[..head], &text[tail..]);
    if let Some((first, last)) = ends(text, &slashes) {
        if fits(first, last) {
            let tail = slashes.iter().rev().copied().take_while(|&i| i >= first && fits(first, i)).last();
            let tail = tail.unwrap_or(last);
            let heads = slashes.iter().map(|i| i + 1).skip_while(|&i| i < first);
            let head = heads.take_while(|&i| i <= tail && fits(i, tail)).last();
            return joined(head.unwrap_or(first), tail);
        }
        if fits(0, last) {
            return joined(0, last);
        }
    }
    if columns == 0 {
        return String::new();
    }
    let head = (columns - 1) / 3;
    joined(begins(text, head), end(text, columns - 1 - head))
}

/// Columns of `text` when [`fit`] leaves nothing of a path but its first and its last name.
pub(crate) fn shortest(text: &str) -> usize {
    let slashes: Vec<usize> = text.match_indices('/').map(|(i, _)| i).collect();
    let short = |(first, last): (usize, usize)| width(&text[..first]) + 1 + width(&text[last..]);
    ends(text, &slashes).map_or(usize::MAX, short).min(width(text))
}

/// Where the first name of a path ends, behind its slash, and where the last one begins, before its slash.
fn ends(text: &str, slashes: &[usize]) -> Option<(usize, usize)> {
    let named = |&&i: &&usize| text[..i].contains(|c| !matches!(c, '/' | '"'));
    let first = slashes.iter().find(named)? + 1;
    let last = *slashes.last()?;
    (first <= last).then_some((first, last))
}

/// How many bytes of `text` have room in `columns`.
fn begins(text: &str, columns: usize) -> usize {
    let mut kept = 0;
    let fits = |&(_, c): &(usize, char)| {
        kept += c.width().unwrap_or(0);
        kept <= columns
    };
    text.char_indices().take_while(fits).last().map_or(0, |(i, c)| i + c.len_utf8())
}

/// Where the end of `text` begins that has room in `columns`.
fn end(text: &str, columns: usize) -> usize {
    let mut kept = 0;
    let fits = |&(_, c): &(usize, char)| {
        kept += c.width().unwrap_or(0);
        kept <= columns
    };
    text.char_indices().rev().take_while(fits).last().map_or(text.len(), |(i, _)| i)
}

/// Bytes with a binary unit, at most five columns.
pub(crate) fn bytes(n: u64) -> String {
    scaled(n, 1024, &["", "K", "M", "G", "T", "P", "E"])
}

/// A time span, at most six columns below some months.
pub(crate) fn nanoseconds(n: u64) -> String {
    scaled(n, 1000, &["ns", "us", "ms", "s"])
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

/// Rounded to nearest: with one digit behind the point below ten, and in the next unit what would round to one of it.
fn scaled(n: u64, base: u64, names: &[&str]) -> String {
    let mut unit: u64 = 1;
    for (i, name) in names.iter().enumerate() {
        let rounded = |parts: u64| (u128::from(n) * u128::from(parts) + u128::from(unit) / 2) / u128::from(unit);
        let (tenths, whole) = (rounded(10), rounded(1));
        if unit > 1 && tenths < 100 {
            return format!("{}.{}{name}", tenths / 10, tenths % 10);
        }
        if whole < u128::from(base) || i + 1 == names.len() {
            return format!("{whole}{name}");
        }
        unit *= base;
    }
    n.to_string()
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
        assert_eq!(fit(&quoted("/a/long/x (deleted)"), 20), "\"/a/…/x (deleted)\"");
    }

    #[test]
    fn a_long_path_keeps_its_beginning_and_its_name() {
        let path = "/etc/ssh/sshd_config.d/10-x.conf";
        assert_eq!(fit(path, 32), path);
        assert_eq!(fit(path, 31), "/etc/…/sshd_config.d/10-x.conf");
        assert_eq!(fit(path, 29), "/etc/ssh/…/10-x.conf");
        assert_eq!(fit(path, 19), "/etc/…/10-x.conf");
        assert_eq!(fit(path, 16), "/etc/…/10-x.conf");
        assert_eq!(fit(path, 15), "…/10-x.conf");
        assert_eq!(fit(path, 10), "/et…x.conf");
        assert_eq!(fit(path, 1), "…");
        assert_eq!(fit(path, 0), "");
        assert_eq!(fit("/short", 8), "/short");
        assert_eq!(fit("/etc/a-long-name", 12), "/et…ong-name");
        assert_eq!(fit("a/b/c/d", 6), "a/…/d");
        assert_eq!(fit("/日本日本日本", 6), "/…日本");
        assert_eq!((shortest(path), shortest("/etc/shadow"), shortest("-")), (16, 11, 1));
    }

    #[test]
    fn what_is_cut_keeps_its_beginning() {
        assert_eq!([cut("abcd", 4), cut("abcd", 3), cut("日本", 3), cut("ab", 0)], ["abcd", "ab…", "日…", ""]);
    }

    proptest::proptest! {
        #[test]
        fn what_is_fitted_is_no_wider_and_of_both_ends(text in "[\"/ab日\u{301}]{0,40}", columns in 0usize..40) {
            let part = fit(&text, columns);
            proptest::prop_assert!(width(&part) <= columns);
            let of_both = |i: usize| text.starts_with(&part[..i]) && text.ends_with(&part[i + '…'.len_utf8()..]);
            proptest::prop_assert!(part == text || part.is_empty() || part.find('…').is_some_and(of_both));
            proptest::prop_assert!(columns < shortest(&text) || width(&part) >= shortest(&text));
        }
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([grouped(0), grouped(999), grouped(4096), grouped(1_234_567)], ["0", "999", "4,096", "1,234,567"]);
    }

    #[test]
    fn units_are_short_and_rounded() {
        assert_eq!(
            [0, 1023, 4096, 5000, 10 << 20, (10 << 10) - 1, (1 << 20) - 1, u64::MAX].map(bytes),
            ["0", "1023", "4.0K", "4.9K", "10M", "10K", "1.0M", "16E"]
        );
        assert_eq!(
            [0, 7, 999, 1500, 4687, 9949, 9950, 17_691_000, 25_000_000, 999_499, 999_500, 3_000_000_000]
                .map(nanoseconds),
            ["0ns", "7ns", "999ns", "1.5us", "4.7us", "9.9us", "10us", "18ms", "25ms", "999us", "1.0ms", "3.0s"]
        );
        assert_eq!([999_950_000, 3_600_000_000_000].map(nanoseconds), ["1.0s", "3600s"]);
    }

    proptest::proptest! {
        #[test]
        fn what_is_shown_is_the_nearest(n: u64) {
            for (text, base, names) in [
                (bytes(n), 1024f64, &["", "K", "M", "G", "T", "P", "E"][..]),
                (nanoseconds(n), 1000f64, &["ns", "us", "ms", "s"]),
            ] {
                let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
                let (number, unit) = text.split_at(at);
                let power = names.iter().position(|name| *name == unit).unwrap();
                let unit = base.powi(i32::try_from(power).unwrap());
                let step = if number.contains('.') { unit / 10.0 } else { unit };
                let off = (number.parse::<f64>().unwrap() * unit - n as f64).abs();
                proptest::prop_assert!(off <= step * 0.500_001, "{n}: {text}");
            }
        }
    }
}
