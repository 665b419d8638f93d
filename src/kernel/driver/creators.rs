//! Who made each SQPOLL ring is kept as long as the ring lives. The kernel tells of no ring's end, so that what is kept
//! of rings that are gone is removed when there is much of it.

use std::collections::HashSet;

use libbpf_rs::{MapCore as _, MapHandle};

use crate::kernel::rings::{Iterators, Storage};
use crate::kernel::wire::rw_ring;

/// Half of what the map holds.
const MANY: usize = 32_768;

/// The map, for any thread.
#[derive(Debug)]
pub(super) struct Creators(MapHandle);

impl Creators {
    pub(super) fn new(map: MapHandle) -> Self {
        Self(map)
    }

    /// Removes those of rings that are gone, where there are many. Where the living cannot be listed, all stay.
    pub(super) fn clean(&self) {
        // Before the list of the living, so that none is missing there that is younger.
        let known: Vec<_> = self.0.keys().collect();
        if known.len() < MANY {
            return;
        }
        let mut storage = Storage::default();
        let Ok(living) = Iterators::load(&mut storage).and_then(|iterators| iterators.read()) else { return };
        let living: HashSet<u64> = living.chunks_exact(size_of::<rw_ring>()).filter_map(context).collect();
        for key in known {
            let ring = key.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
            if ring.is_some_and(|ring| !living.contains(&ring)) {
                // Whoever was faster did the same.
                let _ = self.0.delete(&key);
            }
        }
    }
}

/// The ring's address in the record of an iterator.
fn context(record: &[u8]) -> Option<u64> {
    let bytes = record.get(std::mem::offset_of!(rw_ring, ctx)..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*bytes))
}
