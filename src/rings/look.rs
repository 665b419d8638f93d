//! One look at all rings.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::sys::eventfd::EventFd;

use super::merge::{Sight, merge};
use super::process::Proc;
use super::{Ring, Source, record, scan};
pub use crate::kernel::rings::Error;
use crate::kernel::rings::{Iterators, Storage};
use crate::time::Clock;

/// The rings, and what could not be seen.
#[derive(Debug, Default)]
pub struct Inventory {
    /// All rings, ordered by process and descriptor.
    pub rings: Vec<Ring>,
    /// For people: what is missing.
    pub notes: Vec<String>,
}

/// The inode of all files that have none of their own.
fn shared_inode() -> Option<u64> {
    let event = EventFd::new().ok()?;
    // The descriptor is the event's, and closed with it.
    let file = File::from(OwnedFd::from(event));
    Some(file.metadata().ok()?.ino())
}

/// Asks the kernel.
#[derive(Debug)]
pub struct Kernel<'obj> {
    iterators: Iterators<'obj>,
    proc: Proc,
    shared: Option<u64>,
}

impl<'obj> Kernel<'obj> {
    /// Loads the iterators.
    ///
    /// # Errors
    /// The kernel has none, or refuses them.
    pub fn new(storage: &'obj mut Storage) -> Result<Self, Error> {
        Ok(Self { iterators: Iterators::load(storage)?, proc: Proc::new(Path::new("/proc")), shared: shared_inode() })
    }

    /// All rings now.
    ///
    /// # Errors
    /// The kernel refused to run an iterator.
    pub fn look(&self) -> Result<Inventory, Error> {
        let offers = self.iterators.offers();
        let timestamp = Clock::wall();
        let (mut sightings, wrong) = record::decode(&self.iterators.read()?);
        for sighting in &mut sightings {
            // One inode for all files was made at boot.
            if self.shared.is_none_or(|shared| sighting.facts.inode == Some(shared)) {
                sighting.facts.inode = None;
                sighting.facts.created = None;
            }
        }
        let mut notes = vec![];
        if !offers.tasks {
            notes.push("rings that have no descriptor but are registered with a thread are not seen".to_owned());
        }
        if !offers.mappings {
            notes.push("rings that have no descriptor but are mapped are not seen".to_owned());
        }
        if wrong > 0 {
            notes.push(format!("{wrong} bytes from the kernel could not be understood"));
        }
        let sight = Sight { source: Source::Bpf, registered: offers.tasks, mapped: offers.mappings };
        Ok(Inventory { rings: merge(sightings, sight, &self.proc, timestamp), notes })
    }
}

/// All rings now, as far as /proc shows them.
#[must_use]
pub fn proc() -> Inventory {
    let proc = Proc::new(Path::new("/proc"));
    let shared = shared_inode();
    let timestamp = Clock::wall();
    let scan::Scan { sightings, refused } = scan::scan(&proc, shared);
    let sight = Sight { source: Source::Proc, registered: false, mapped: shared.is_some() };
    let mut rings = merge(sightings, sight, &proc, timestamp);
    for ring in &mut rings {
        if ring.inode.is_none() {
            ring.processes.iter_mut().for_each(|p| p.mapped = None);
        }
    }
    let notes = if refused > 0 { vec![format!("{refused} processes may not be looked into")] } else { vec![] };
    Inventory { rings, notes }
}
