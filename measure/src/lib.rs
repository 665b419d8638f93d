//! Made-up records through the pipeline, as the ring thread sends them.

use std::sync::mpsc;

use ringwatch::enrich::Enricher;
use ringwatch::output::{Look, Sink, Target};
use ringwatch::pipeline::{Message, Pipeline, Select, Signals, Summary};
use ringwatch::record::sample;

/// Writes of a batch: as many as the ring thread hands on at a time.
const BATCH: u64 = 1_900;
const FILES: u64 = 64;

/// `writes` writes as `format`, to nowhere.
///
/// # Errors
/// There is no such format, or /dev/null cannot be opened.
pub fn feed(format: &str, writes: u64) -> Result<Summary, String> {
    let target: Target = format!("{format}:/dev/null").parse()?;
    let sink = Sink::open(&target, &Look::default()).map_err(|e| e.to_string())?;
    let (sender, messages) = mpsc::channel();
    let (spare, _spares) = mpsc::sync_channel(8);
    let mut left = writes;
    while left > 0 {
        let part = left.min(BATCH);
        sender.send(Message::Records(sample::batch(part, FILES))).map_err(|e| e.to_string())?;
        left -= part;
    }
    drop(sender);
    Ok(Pipeline::new(Enricher::default(), vec![sink], Select::default(), Signals::default()).run(&messages, &spare))
}
