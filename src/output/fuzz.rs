//! What holds of everything that is written: of JSON, that it is one line, that it tells the exact bytes, and that nothing
//! in it is obeyed by a terminal; of a table, the latter, and that it is no wider than the terminal.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::text::{bytes, fit, nanoseconds, quoted, visible, width};
use super::{Encode as _, Json, Look, Style, Table};
use crate::enrich::Enricher;
use crate::event::{Data, Event, EventsLost, LossCause, Text, Timestamp};
use crate::json;
use crate::kernel::wire::{self, rw_write};
use crate::record::{self, Record};
use crate::selection::Selection;

/// So little that strings are forgotten.
const MEMORY: usize = 16 << 10;

/// Cuts the next record off: its length in 16 bits, then its bytes, fewer when the input ends.
fn cut<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, tail) = rest.split_first_chunk()?;
    let (record, tail) = tail.split_at(usize::from(u16::from_le_bytes(*length)).min(tail.len()));
    *rest = tail;
    Some(record)
}

/// One record of the ring buffer.
pub fn record(input: &[u8]) {
    let within = |part: &[u8]| input.as_ptr_range().end >= part.as_ptr_range().end && part.len() <= input.len();
    let strings = match record::decode(input) {
        Ok(Record::Path(path)) => vec![path.names],
        Ok(Record::Task(task)) => vec![task.command_line],
        Ok(Record::Names(names)) => names.strings.to_vec(),
        _ => vec![],
    };
    assert!(strings.iter().all(|part| within(part)));
    assert!(strings.is_empty() || wire::is_string(input));
    if let Some(open) = wire::in_flight(input, 1) {
        assert!(record::head::<rw_write>(&open).is_ok_and(|w| w.end_ns == 1));
    }
}

/// Records of the ring buffer, through the enricher to every format.
pub fn decode(input: &[u8]) {
    let flags = vec![(0, "REQ_F_FIXED_FILE".to_owned()), (u32::MAX, "REQ_F_\u{9b}".to_owned())];
    // With and without the steps of each request.
    let life = input.len() % 2 == 1;
    let mut enricher = Enricher::new(Selection::all(), life, flags).with_limit(MEMORY);
    let mut outputs = Outputs::new(20 + input.len() % 140);
    let mut rest = input;
    while let Some(bytes) = cut(&mut rest) {
        match record::decode(bytes) {
            Ok(record) => enricher.take(&record, &mut |event| outputs.put(event)),
            Err(_) => outputs.put(&lost(1)),
        }
        if enricher.is_full() {
            enricher.age(&std::collections::HashSet::new());
        }
    }
}

fn lost(count: u64) -> Event {
    let lost = EventsLost { count, cause: LossCause::Malformed };
    Event { timestamp: Timestamp(0), data: Data::EventsLost(lost), process: None }
}

/// Any string, as text and as JSON, by itself and as every string of events and rings.
pub fn encode(input: &[u8]) {
    string(input);
    let number = input.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
    assert!(bytes(number).len() <= 5 && !nanoseconds(number).is_empty());
    let mut outputs = Outputs::new(20 + input.len() % 140);
    outputs.put(&lost(number));
    crate::enrich::fuzz::events(input, number, &mut |event| outputs.put(event));
}

fn string(input: &[u8]) {
    let text = Text::new(input, false);
    let lossy = String::from_utf8_lossy(input);
    assert_eq!((text.text(), text.exact()), (lossy.clone(), input));
    for json in [json::to_string(&text).expect("JSON"), json::to_string_pretty(&text).expect("JSON")] {
        is_shown_safely(&json);
        assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), lossy);
        assert!(text.plain().is_none_or(|plain| json.as_bytes() == [b"\"", plain, b"\""].concat()));
    }
    assert_eq!(text.base64().is_some(), std::str::from_utf8(input).is_err());
    if let Some(base64) = text.base64() {
        let mut out = vec![];
        base64.append_to(&mut out);
        assert_eq!(out, base64.to_string().into_bytes());
        assert_eq!(STANDARD.decode(out).expect("base64"), input);
    }
    let seen = visible(&lossy);
    is_shown_safely(&seen);
    assert_eq!(meant(&seen), lossy, "{seen}");
    let name = quoted(&lossy);
    assert_eq!(name.starts_with('"') && name.ends_with('"'), seen.contains([' ', '"']), "{name}");
    for columns in 1..12 {
        let part = fit(&seen, columns);
        assert!(width(&part) <= columns, "{part}");
        let of_both = |(i, _): (usize, &str)| seen.starts_with(&part[..i]) && seen.ends_with(&part[i + 3..]);
        assert!(part == seen || part.match_indices('…').any(of_both), "{part}");
    }
}

/// What [`visible`] was made from.
fn meant(seen: &str) -> String {
    let mut out = String::new();
    let mut rest = seen.chars();
    while let Some(c) = rest.next() {
        let code = if c == '\\' { rest.next() } else { None };
        out.push(match code {
            None => c,
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('u') => {
                let digits: String = rest.by_ref().skip(1).take_while(|&c| c != '}').collect();
                u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).expect("a character")
            }
            Some(c) => c,
        });
    }
    out
}

/// Nothing but text: no control characters, and no marks that change the direction of others.
pub(crate) fn is_shown_safely(text: &str) {
    let obeyed = |c: char| {
        matches!(c, '\0'..='\x1f' | '\x7f'..='\u{9f}')
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(obeyed), "{text:?}");
}

/// The value of a line of JSON, in which each text that is lossy has its bytes beside it.
pub(crate) fn parsed(line: &str) -> Value {
    is_shown_safely(line);
    let value = serde_json::from_str(line).expect("JSON");
    has_exact_bytes(&value);
    value
}

fn has_exact_bytes(value: &Value) {
    match value {
        Value::Array(all) => all.iter().for_each(has_exact_bytes),
        Value::Object(all) => {
            for (key, value) in all {
                has_exact_bytes(value);
                if let (Some(of), Value::String(base64)) = (key.strip_suffix("_bytes"), value) {
                    let bytes = STANDARD.decode(base64).expect("base64");
                    assert!(std::str::from_utf8(&bytes).is_err(), "{key} of text that is UTF-8");
                    assert_eq!(all[of].as_str(), Some(&*String::from_utf8_lossy(&bytes)), "{key}");
                }
            }
        }
        _ => {}
    }
}

/// That the object tells the bytes of `text` under this key.
fn tells(object: &Value, key: &str, text: Option<&Text>) {
    let Some(text) = text else {
        assert!(object[key].is_null(), "{key}");
        return;
    };
    let told = match object[format!("{key}_bytes")].as_str() {
        Some(base64) => STANDARD.decode(base64).expect("base64"),
        None => object[key].as_str().expect("a text").as_bytes().to_vec(),
    };
    assert_eq!(told, text.exact(), "{key}");
}

/// All formats.
struct Outputs {
    json: Json,
    tables: [(Table, Option<usize>); 2],
}

impl Outputs {
    fn new(columns: usize) -> Self {
        let table = |width| (Table::new(Style { width, colour: false }, &Look::default()), width);
        Self { json: Json::default(), tables: [None, Some(columns)].map(table) }
    }

    fn put(&mut self, event: &Event) {
        let mut line = vec![];
        self.json.encode(event, &mut line);
        let line = String::from_utf8(line).expect("UTF-8");
        let told = parsed(line.strip_suffix('\n').expect("a line"));
        // The definition says the same, in another order.
        assert_eq!(told, parsed(&json::to_string(event).expect("JSON")));
        assert!(told["event"].is_string() && told["timestamp"].is_string());
        let keys = match event.data {
            Data::IoRenameat(_) | Data::IoLinkat(_) => ["old_path", "new_path"],
            _ => ["path", "path_in"],
        };
        let paths = event.data.paths();
        keys.into_iter().zip(paths).for_each(|(key, path)| tells(&told["data"], key, path));
        if let Some(process) = event.process.as_deref() {
            tells(&told["process"], "name", Some(&process.name));
            tells(&told["process"], "executable", process.executable.as_ref());
            tells(&told["process"], "command_line", process.command_line.as_ref());
        }
        for (table, columns) in &mut self.tables {
            let mut text = vec![];
            table.encode(event, &mut text);
            let text = String::from_utf8(text).expect("UTF-8");
            let lines: Vec<_> = text.strip_suffix('\n').expect("a line").split('\n').collect();
            // The title, the row, and its story.
            assert!(lines.len() <= 3, "{text}");
            for line in lines {
                is_shown_safely(line);
                let lost = matches!(event.data, Data::EventsLost(_));
                assert!(lost || columns.is_none_or(|columns| width(line) <= columns), "{columns:?}: {line}");
            }
        }
    }
}
