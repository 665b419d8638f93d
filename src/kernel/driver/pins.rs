//! Strings that requests in flight refer to: they stay known, however long such a request waits.

use std::collections::HashSet;
use std::mem::offset_of;

use libbpf_rs::{MapCore as _, MapFlags, MapHandle};

use crate::kernel::wire::{rw_request, rw_write};

/// Requests of one system call.
const AT_ONCE: u32 = 4096;
/// Where a request holds ids.
const IDS: [usize; 4] = [
    offset_of!(rw_request, w) + offset_of!(rw_write, path_id),
    offset_of!(rw_request, w) + offset_of!(rw_write, task_id),
    offset_of!(rw_request, acted),
    offset_of!(rw_request, acted) + size_of::<u64>(),
];

/// The table of requests in flight, for any thread.
#[derive(Debug)]
pub struct Pins(MapHandle);

impl Pins {
    pub(super) fn new(map: MapHandle) -> Self {
        Self(map)
    }

    /// Ids of the strings that requests in flight refer to now.
    #[must_use]
    pub fn ids(&self) -> HashSet<u64> {
        let Ok(requests) = self.0.lookup_batch(AT_ONCE, MapFlags::ANY, MapFlags::ANY) else { return HashSet::new() };
        let id = |request: &[u8], at: usize| request.get(at..)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
        requests.flat_map(|(_, request)| IDS.map(|at| id(&request, at))).flatten().filter(|&id| id != 0).collect()
    }
}
