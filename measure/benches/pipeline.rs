//! From raw records to each output format: `cargo bench --package ringwatch-measure`.

use divan::Bencher;
use divan::counter::ItemsCount;
use ringwatch_measure::feed;

const WRITES: u64 = 19_000;

fn main() {
    divan::main();
}

#[divan::bench(args = ["json", "table"])]
fn to(bencher: Bencher<'_, '_>, format: &str) {
    bencher.counter(ItemsCount::new(WRITES)).bench(|| feed(format, WRITES).map(|summary| summary.events));
}
