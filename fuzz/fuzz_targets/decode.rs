//! Whatever bytes the ring buffer holds: no panic, and every event is one line of valid JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringwatch::enrich::Enricher;
use ringwatch::record;
use ringwatch::selection::Selection;

/// Cuts the next record off: its length in 16 bits, then its bytes, fewer when the input ends.
fn cut<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, tail) = rest.split_first_chunk()?;
    let (record, tail) = tail.split_at(usize::from(u16::from_le_bytes(*length)).min(tail.len()));
    *rest = tail;
    Some(record)
}

fuzz_target!(|input: &[u8]| {
    let flags = vec![(0, "REQ_F_FIXED_FILE".to_owned())];
    let mut enricher = Enricher::new(Selection::all(), true, flags);
    let mut rest = input;
    while let Some(bytes) = cut(&mut rest) {
        let Ok(record) = record::decode(bytes) else { continue };
        enricher.take(&record, &mut |event| {
            let line = serde_json::to_string(event).expect("an event can be serialised");
            assert!(!line.contains('\n'), "one line: {line}");
            let back: serde_json::Value = serde_json::from_str(&line).expect("valid JSON");
            assert!(back["event"].is_string());
        });
    }
});
