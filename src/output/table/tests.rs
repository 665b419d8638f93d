//! Whole tables of events whose names are hostile.

use super::*;
use crate::output::fuzz::is_shown_safely;

const NAMES: [&[u8]; 8] = [
    b"/etc/shadow",
    b"tmp/a/rather/long/way/to/the/file/store.db",
    b"/tmp/\x1b[31mred\n/\x9b2J/a\tb.db",
    "/srv/日本語/日本語日本語/日本.db".as_bytes(),
    "/x\u{202e}/y\u{301}\u{301}/gnp.exe".as_bytes(),
    b"/with blanks and \" quotes (deleted)/in/the/name x",
    b"/\xff\xfe/not/utf8/\xff",
    b"a -> b/relative/-> c",
];

fn lines(columns: Option<usize>, name: &[u8], look: &Look) -> Vec<String> {
    let mut table = Table::new(Style { width: columns, colour: false }, look);
    let mut out = vec![];
    let number = 1_234_567_890_123_456_789;
    crate::enrich::fuzz::events(name, number, &mut |event| table.encode(event, &mut out));
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn on_each_terminal_there_are_the_time_the_operation_the_result_and_the_name() {
    let look = Look { utc: true, ..Look::default() };
    for name in NAMES {
        let whole = lines(None, name, &look);
        assert!(whole.len() > 10, "{whole:?}");
        for columns in [60, 80, 100, 120, 200] {
            let shown = lines(Some(columns), name, &look);
            assert_eq!(shown.len(), whole.len());
            let titles = &shown[0];
            for title in ["TIME UTC ", " OP ", " RESULT ", " PATH"] {
                assert!(format!("{titles} ").contains(title), "{columns}: {titles}");
            }
            for (line, whole) in shown.iter().zip(&whole).skip(1) {
                is_shown_safely(line);
                assert!(width(line) <= columns, "{columns}: {line}");
                let words: Vec<_> = whole.split_whitespace().collect();
                let words: Vec<_> = line.split_whitespace().filter(|word| words.contains(word)).collect();
                assert_eq!(words[0].len(), "00:00:00.000".len(), "{line}");
                let operations = ["WRITE", "OPENAT", "RENAMEAT", "LINKAT", "SYMLINKAT", "SETXATTR", "SPLICE"];
                assert!(operations.iter().any(|op| words.contains(op)), "{line}");
            }
            // The last name, as it is shown whole, where it is short.
            let last = whole[1].rsplit('/').next().unwrap();
            if width(last) < 12 {
                assert!(shown[1].ends_with(last), "{columns}: {} and not {last}", shown[1]);
            }
        }
    }
}

#[test]
fn a_path_keeps_its_beginning() {
    let shown = lines(Some(80), NAMES[1], &Look::default());
    assert!(shown[1].ends_with(" /tmp/…/to/the/file/store.db"), "{}", shown[1]);
}

#[test]
fn a_cell_that_is_too_wide_moves_the_next_ones_as_little_as_can_be() {
    let table = Table::new(Style { width: None, colour: false }, &Look::default());
    let cell = |c: &Column| match c.title {
        "OP" => "FIXED_FD_INSTALL".to_owned(),
        "RESULT" => "ENAMETOOLONG".to_owned(),
        _ => "-".to_owned(),
    };
    let plain = table.row(|_| "-".to_owned(), |_| "/x".to_owned());
    let wide = table.row(cell, |_| "/x".to_owned());
    assert_eq!(width(&wide), width(&plain));
    assert!(wide.contains(" FIXED_FD_INSTALL ") && wide.contains(" ENAMETOOLONG "), "{wide}");
}

#[test]
fn columns_and_titles_are_as_asked_for() {
    let columns = ["event", "exe", "result"].map(|name| name.parse().unwrap());
    let look = Look { columns: Some(columns.to_vec()), ..Look::default() };
    let titled = lines(Some(80), b"bin/x", &look);
    assert_eq!(titled[0].split_whitespace().collect::<Vec<_>>(), ["EVENT", "EXE", "RESULT"]);
    assert_eq!(titled[1].split_whitespace().collect::<Vec<_>>()[..2], ["io_write", "/bin/x"]);
    let bare = lines(Some(80), b"bin/x", &Look { no_header: true, ..look });
    assert_eq!(bare, titled[1..]);
}

#[test]
fn a_time_zone_that_changes_gets_titles_of_its_own() {
    let mut table =
        Table::new(Style { width: None, colour: false }, &Look { date: true, utc: true, ..Look::default() });
    let mut out = vec![];
    let number = 1_000_000_000;
    let mut put = |table: &mut Table| crate::enrich::fuzz::events(b"/x", number, &mut |e| table.encode(e, &mut out));
    put(&mut table);
    put(&mut table);
    table.titled = Some("+02:00".to_owned());
    put(&mut table);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("TIME UTC")).count(), 2, "{text}");
}
