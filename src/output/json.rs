//! One JSON object a line, as docs/events.md describes it.

use super::Encode;
use crate::event::Event;

/// The native format.
#[derive(Debug, Default)]
pub struct Json;

impl Encode for Json {
    fn encode(&mut self, event: &Event, out: &mut Vec<u8>) {
        let start = out.len();
        // Writing to memory cannot fail; should a value ever refuse, no half line may stay.
        if serde_json::to_writer(&mut *out, event).is_err() {
            out.truncate(start);
        }
        out.push(b'\n');
    }
}
