//! The sums: from the bytes of the kernel side's maps, or of single writes. Pure.

use std::collections::HashMap;

use super::buckets::{Histogram, Latencies, Sizes};
use crate::kernel::driver::SumBytes;
use crate::kernel::wire::{rw_class, rw_failure, rw_failure_key, rw_file_key, rw_row};
use crate::record::{End, Malformed, Write, flag, head};

/// Executors, in the order of `enum rw_executor`.
pub const CLASSES: usize = 5;
/// Writes that are shorter are tiny; `RW_TINY`.
pub const TINY: u32 = 512;

const ENDS: usize = 7;
const ERRNOS: usize = 134;
const S_IFMT: u16 = 0o170_000;

/// Writes of one executor; `struct rw_class`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Class {
    /// Bytes written.
    pub bytes: u64,
    /// Bytes asked for.
    pub asked: u64,
    /// Sum of the latencies that are known.
    pub latency_ns: u64,
    /// Writes of fewer bytes than were asked for.
    pub short: u64,
    /// Writes that were handed to io-wq.
    pub punted: u64,
    /// Writes by [`End`].
    pub ends: [u64; ENDS],
    /// Failed writes by errno; 0 counts those of errnos without a name.
    pub errors: Errors,
    /// Latencies that are known.
    pub latency: Latencies,
    /// Bytes asked for by each write.
    pub sizes: Sizes,
}

/// Counts by errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errors(pub [u64; ERRNOS]);

impl Default for Errors {
    fn default() -> Self {
        Self([0; ERRNOS])
    }
}

/// Writes to one file, or of one thread; `struct rw_row`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Row {
    /// How many.
    pub writes: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Sum of the latencies that are known.
    pub latency_ns: u64,
    /// Writes whose latency is not known.
    pub untimed: u64,
    /// Writes that failed.
    pub failed: u64,
    /// Writes of which the kernel never told what came of them.
    pub unknown: u64,
    /// Writes of fewer bytes than were asked for.
    pub short: u64,
    /// Writes of fewer than [`TINY`] bytes.
    pub tiny: u64,
    /// Writes whose CQE found the CQ ring full.
    pub overflows: u64,
    /// Writes that were handed to io-wq.
    pub punted: u64,
    /// The latencies of these.
    pub punted_ns: u64,
    /// Those of these whose latency is not known.
    pub punted_untimed: u64,
}

impl Row {
    fn each(&mut self, other: &Self, f: impl Fn(u64, u64) -> u64) {
        let fields = [
            (&mut self.writes, other.writes),
            (&mut self.bytes, other.bytes),
            (&mut self.latency_ns, other.latency_ns),
            (&mut self.untimed, other.untimed),
            (&mut self.failed, other.failed),
            (&mut self.unknown, other.unknown),
            (&mut self.short, other.short),
            (&mut self.tiny, other.tiny),
            (&mut self.overflows, other.overflows),
            (&mut self.punted, other.punted),
            (&mut self.punted_ns, other.punted_ns),
            (&mut self.punted_untimed, other.punted_untimed),
        ];
        for (mine, other) in fields {
            *mine = f(*mine, other);
        }
    }

    /// Adds another.
    pub fn merge(&mut self, other: &Self) {
        self.each(other, u64::wrapping_add);
    }

    /// What was added since `earlier`.
    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        self.each(earlier, u64::saturating_sub);
        self
    }

    /// Mean latency of all, of those handed to io-wq, and of the others.
    #[must_use]
    pub fn means(&self) -> Means {
        let mean = |sum: u64, n: u64| sum.checked_div(n);
        let timed = self.writes.saturating_sub(self.untimed);
        let punted = self.punted.saturating_sub(self.punted_untimed);
        Means {
            all: mean(self.latency_ns, timed),
            punted: mean(self.punted_ns, punted),
            inline: mean(self.latency_ns.saturating_sub(self.punted_ns), timed.saturating_sub(punted)),
        }
    }
}

/// Mean latencies, where there are any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Means {
    /// Of all writes.
    pub all: Option<u64>,
    /// Of those that were handed to io-wq.
    pub punted: Option<u64>,
    /// Of the others.
    pub inline: Option<u64>,
}

impl From<rw_row> for Row {
    fn from(raw: rw_row) -> Self {
        Self {
            writes: raw.writes,
            bytes: raw.bytes,
            latency_ns: raw.latency_ns,
            untimed: raw.untimed,
            failed: raw.failed,
            unknown: raw.unknown,
            short: raw.short_writes,
            tiny: raw.tiny,
            overflows: raw.overflows,
            punted: raw.punted,
            punted_ns: raw.punted_ns,
            punted_untimed: raw.punted_untimed,
        }
    }
}

/// Which file, and how it was open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileKey {
    /// The id of its path; 0: no file.
    pub path_id: u64,
    /// Its type: `S_IFMT` of its mode.
    pub kind: u32,
    /// With O_DIRECT.
    pub direct: bool,
}

/// Failures of one thread with one errno; `struct rw_failure`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failure {
    /// How many.
    pub count: u64,
    /// The end of the first one.
    pub first_ns: u64,
    /// How many were submitted after that.
    pub later: u64,
}

/// All sums.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums {
    /// By executor.
    pub classes: [Class; CLASSES],
    /// By file.
    pub files: HashMap<FileKey, Row>,
    /// By thread.
    pub tasks: HashMap<u64, Row>,
    /// By thread and errno.
    pub failures: HashMap<(u64, u32), Failure>,
    /// Files that found no room in the kernel side's table.
    pub other_files: Row,
    /// Threads that found none.
    pub other_tasks: Row,
}

impl Sums {
    /// From the maps.
    ///
    /// # Errors
    /// The bytes are not of this version.
    pub fn decode(bytes: &SumBytes) -> Result<Self, Malformed> {
        let mut sums = Self::default();
        for (class, cpus) in sums.classes.iter_mut().zip(&bytes.classes) {
            for cpu in cpus {
                class.merge(&head::<rw_class>(cpu)?.into());
            }
        }
        for (key, row) in &bytes.files {
            let key: rw_file_key = head(key)?;
            let key = FileKey { path_id: key.path_id, kind: key.kind, direct: key.direct != 0 };
            sums.files.insert(key, head::<rw_row>(row)?.into());
        }
        for (key, row) in &bytes.tasks {
            let id = key.first_chunk().ok_or(Malformed::Short(key.len()))?;
            sums.tasks.insert(u64::from_ne_bytes(*id), head::<rw_row>(row)?.into());
        }
        for (key, row) in &bytes.failures {
            let (key, row): (rw_failure_key, rw_failure) = (head(key)?, head(row)?);
            let failure = Failure { count: row.count, first_ns: row.first_ns, later: row.later };
            sums.failures.insert((key.task_id, key.error), failure);
        }
        for (other, row) in [&mut sums.other_files, &mut sums.other_tasks].into_iter().zip(&bytes.others) {
            *other = head::<rw_row>(row)?.into();
        }
        Ok(sums)
    }

    /// Adds others.
    pub fn merge(&mut self, other: &Self) {
        self.classes.iter_mut().zip(&other.classes).for_each(|(class, other)| class.merge(other));
        for (key, row) in &other.files {
            self.files.entry(*key).or_default().merge(row);
        }
        for (key, row) in &other.tasks {
            self.tasks.entry(*key).or_default().merge(row);
        }
        for (key, failure) in &other.failures {
            let held = self.failures.entry(*key).or_insert_with(|| Failure { count: 0, later: 0, ..*failure });
            held.count += failure.count;
            held.later += failure.later;
        }
        self.other_files.merge(&other.other_files);
        self.other_tasks.merge(&other.other_tasks);
    }

    /// What was added since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut sums = self.clone();
        for (class, earlier) in sums.classes.iter_mut().zip(&earlier.classes) {
            *class = class.since(earlier);
        }
        for (key, row) in &mut sums.files {
            *row = earlier.files.get(key).map_or(*row, |earlier| row.since(earlier));
        }
        for (key, row) in &mut sums.tasks {
            *row = earlier.tasks.get(key).map_or(*row, |earlier| row.since(earlier));
        }
        for (key, failure) in &mut sums.failures {
            if let Some(earlier) = earlier.failures.get(key) {
                failure.count = failure.count.saturating_sub(earlier.count);
                failure.later = failure.later.saturating_sub(earlier.later);
            }
        }
        sums.files.retain(|_, row| row.writes > 0);
        sums.tasks.retain(|_, row| row.writes > 0);
        sums.failures.retain(|_, failure| failure.count > 0);
        sums.other_files = sums.other_files.since(&earlier.other_files);
        sums.other_tasks = sums.other_tasks.since(&earlier.other_tasks);
        sums
    }

    /// Adds one write, as the kernel side does.
    pub fn add(&mut self, w: &Write) {
        let told = !matches!(w.end, End::Unseen | End::InFlight | End::Untracked);
        let result = told.then_some(w.result);
        let written = result.filter(|&r| r >= 0).map_or(0, i32::unsigned_abs);
        let error = result.filter(|&r| r < 0).map(i32::unsigned_abs);
        let latency = w.has(flag::SUBMIT | flag::END_SEEN).then(|| w.end_ns.saturating_sub(w.submit_ns));
        let punted = w.has(flag::PUNTED);
        let row = Row {
            writes: 1,
            bytes: written.into(),
            latency_ns: latency.unwrap_or(0),
            untimed: latency.is_none().into(),
            failed: error.is_some().into(),
            unknown: (!told).into(),
            short: result.is_some_and(|r| r >= 0 && written < w.len).into(),
            tiny: (w.len < TINY).into(),
            overflows: (w.end == End::Overflow).into(),
            punted: punted.into(),
            punted_ns: latency.filter(|_| punted).unwrap_or(0),
            punted_untimed: (punted && latency.is_none()).into(),
        };
        let class = &mut self.classes[w.executor as usize];
        class.bytes += row.bytes;
        class.asked += u64::from(w.len);
        class.latency_ns += row.latency_ns;
        class.short += row.short;
        class.punted += row.punted;
        class.ends[w.end as usize] += 1;
        class.sizes.add(w.len.into());
        if let Some(latency) = latency {
            class.latency.add(latency);
        }
        let file = match w.has(flag::FILE) {
            true => {
                let kind = (w.mode & S_IFMT).into();
                FileKey { path_id: w.path_id, kind, direct: w.has(flag::DIRECT) }
            }
            false => FileKey { path_id: 0, kind: 0, direct: false },
        };
        self.files.entry(file).or_default().merge(&row);
        self.tasks.entry(w.task_id).or_default().merge(&row);
        if let Some(error) = error {
            let index = usize::try_from(error).unwrap_or(0);
            class.errors.0[if index < ERRNOS { index } else { 0 }] += 1;
            let failure = self
                .failures
                .entry((w.task_id, error))
                .or_insert_with(|| Failure { first_ns: w.end_ns, ..Failure::default() });
            failure.count += 1;
            failure.later += u64::from(w.submit_ns > failure.first_ns);
        }
    }
}

impl Class {
    /// How many writes.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.ends.iter().sum()
    }

    /// Adds another.
    pub fn merge(&mut self, other: &Self) {
        self.each(other, u64::wrapping_add);
        self.latency.merge(&other.latency);
        self.sizes.merge(&other.sizes);
    }

    /// What was added since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let (latency, sizes) = (self.latency.since(&earlier.latency), self.sizes.since(&earlier.sizes));
        let mut since = Self { latency, sizes, ..self.clone() };
        since.each(earlier, u64::saturating_sub);
        since
    }

    fn each(&mut self, other: &Self, f: impl Fn(u64, u64) -> u64) {
        let fields = [
            (&mut self.bytes, other.bytes),
            (&mut self.asked, other.asked),
            (&mut self.latency_ns, other.latency_ns),
            (&mut self.short, other.short),
            (&mut self.punted, other.punted),
        ];
        let lists = self.ends.iter_mut().zip(other.ends).chain(self.errors.0.iter_mut().zip(other.errors.0));
        for (mine, other) in fields.into_iter().chain(lists) {
            *mine = f(*mine, other);
        }
    }
}

impl From<rw_class> for Class {
    fn from(raw: rw_class) -> Self {
        Self {
            bytes: raw.bytes,
            asked: raw.asked,
            latency_ns: raw.latency_ns,
            short: raw.short_writes,
            punted: raw.punted,
            ends: raw.ends,
            errors: Errors(raw.errors),
            latency: Histogram::new(raw.latency.to_vec()),
            sizes: Histogram::new(raw.sizes.to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::wire::bytes_of;
    use crate::kernel::wire::rw_write;
    use crate::record::{Record, decode};

    fn write(of: rw_write) -> Write {
        let bytes = bytes_of(&rw_write { r#type: 1, ..of });
        let Ok(Record::Write(write)) = decode(&bytes) else { panic!("not a write") };
        write
    }

    #[test]
    fn writes_add_up() {
        let mut sums = Sums::default();
        let seen = flag::SUBMIT | flag::END_SEEN | flag::FILE;
        let ok = rw_write {
            flags: seen,
            submit_ns: 10,
            end_ns: 50,
            path_id: 7,
            task_id: 3,
            mode: 0o100_644,
            len: 600,
            result: 600,
            ..rw_write::default()
        };
        sums.add(&write(ok));
        sums.add(&write(rw_write { result: 100, flags: seen | flag::PUNTED | flag::DIRECT, executor: 1, ..ok }));
        sums.add(&write(rw_write { result: -28, ..ok }));
        sums.add(&write(rw_write { result: -28, submit_ns: 60, end_ns: 70, ..ok }));
        sums.add(&write(rw_write { result: -1000, ..ok }));
        sums.add(&write(rw_write { end: 5, len: 4, flags: flag::SUBMIT, ..ok }));
        let [inline, punted, ..] = &sums.classes;
        assert_eq!((inline.bytes, inline.asked, inline.ends), (600, 2404, [4, 0, 0, 0, 0, 1, 0]));
        assert_eq!((inline.errors.0[28], inline.errors.0[0], inline.latency.count()), (2, 1, 4));
        assert_eq!((punted.bytes, punted.short, punted.punted), (100, 1, 1));
        assert_eq!(sums.files.len(), 3);
        let task = sums.tasks[&3];
        assert_eq!((task.writes, task.failed, task.unknown, task.untimed, task.tiny), (6, 3, 1, 1, 1));
        assert_eq!(sums.failures[&(3, 28)], Failure { count: 2, first_ns: 50, later: 1 });
    }

    #[test]
    fn what_came_since_is_the_difference() {
        let mut sums = Sums::default();
        let one = rw_write { task_id: 1, len: 5, result: 5, ..rw_write::default() };
        sums.add(&write(one));
        let earlier = sums.clone();
        sums.add(&write(rw_write { task_id: 2, result: -5, ..one }));
        let since = sums.since(&earlier);
        assert_eq!(since.tasks.keys().copied().collect::<Vec<_>>(), [2]);
        assert_eq!((since.classes[0].writes(), since.classes[0].bytes), (1, 0));
        let mut both = earlier;
        both.merge(&since);
        assert_eq!((both.tasks, both.files), (sums.tasks, sums.files));
        assert_eq!(both.classes[0].errors, sums.classes[0].errors);
    }
}
