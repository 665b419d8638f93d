//! The maps that writes are added to.

use libbpf_rs::{MapCore as _, MapFlags};

use super::object::CLASSES;
use super::{Error, Session, step};

/// A key with its value.
type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// What the maps held; see `bpf/sums.h`. Writes that end meanwhile may be in one map and not yet in another.
#[derive(Debug, Default)]
pub struct SumBytes {
    /// By executor, each of all CPUs.
    pub classes: Vec<Vec<Vec<u8>>>,
    /// By file.
    pub files: Rows,
    /// By thread.
    pub tasks: Rows,
    /// By thread and errno.
    pub failures: Rows,
    /// What found no room among the files, and among the threads.
    pub others: Vec<Vec<u8>>,
}

impl Session<'_> {
    /// Reads the sums.
    ///
    /// # Errors
    /// A map could not be read.
    pub fn sums(&self) -> Result<SumBytes, Error> {
        let failed = || step("read the sums");
        let mut sums = SumBytes::default();
        for class in 0..CLASSES {
            let mut values = vec![];
            // Of programs that interrupted another on their CPU as well.
            for key in [class, class + CLASSES] {
                let more = self.loaded.classes().lookup_percpu(&key.to_ne_bytes(), MapFlags::ANY).map_err(failed())?;
                values.extend(more.into_iter().flatten());
            }
            sums.classes.push(values);
        }
        let [files, tasks, failures] = self.loaded.tables();
        for (map, rows) in [(files, &mut sums.files), (tasks, &mut sums.tasks), (failures, &mut sums.failures)] {
            for key in map.keys() {
                if let Some(value) = map.lookup(&key, MapFlags::ANY).map_err(failed())? {
                    rows.push((key, value));
                }
            }
        }
        for key in self.loaded.others().keys() {
            sums.others.extend(self.loaded.others().lookup(&key, MapFlags::ANY).map_err(failed())?);
        }
        Ok(sums)
    }
}
