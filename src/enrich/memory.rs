//! Bounded memory of ids: two generations, of which the older is dropped when the younger is full.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// The ids are keyed hashes already.
#[derive(Debug, Default)]
pub(super) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

/// What a value takes, with what it keeps alive.
pub trait Weigh {
    /// Bytes.
    fn weight(&self) -> usize;
}

/// What a table entry takes beside its value's own bytes.
pub const ENTRY: usize = 128;

#[derive(Debug)]
struct Generation<V> {
    values: HashMap<u64, V, BuildHasherDefault<Identity>>,
    bytes: usize,
}

impl<V> Default for Generation<V> {
    fn default() -> Self {
        Self { values: HashMap::default(), bytes: 0 }
    }
}

impl<V: Weigh> Generation<V> {
    fn insert(&mut self, id: u64, value: V) {
        self.bytes += ENTRY + value.weight();
        if let Some(replaced) = self.values.insert(id, value) {
            self.bytes -= ENTRY + replaced.weight();
        }
    }

    fn remove(&mut self, id: u64) -> Option<V> {
        let value = self.values.remove(&id)?;
        self.bytes -= ENTRY + value.weight();
        Some(value)
    }
}

/// Values by id. What was not inserted again between two [`Memory::age`] is gone after the second, unless it is pinned.
#[derive(Debug)]
pub struct Memory<V> {
    young: Generation<V>,
    old: Generation<V>,
}

impl<V> Default for Memory<V> {
    fn default() -> Self {
        Self { young: Generation::default(), old: Generation::default() }
    }
}

impl<V: Weigh> Memory<V> {
    /// Remembers `value`; an older one of that id is replaced.
    pub fn insert(&mut self, id: u64, value: V) {
        self.young.insert(id, value);
    }

    /// The value of `id`.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&V> {
        self.young.values.get(&id).or_else(|| self.old.values.get(&id))
    }

    /// Forgets the value of `id`, and gives it.
    pub fn remove(&mut self, id: u64) -> Option<V> {
        self.young.remove(id).or_else(|| self.old.remove(id))
    }

    /// Bytes of the younger generation.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.young.bytes
    }

    /// Drops the older generation, but for those that are `pinned` and weigh at most `most` together; the younger takes
    /// its place.
    pub fn age(&mut self, pinned: &HashSet<u64>, most: usize) {
        let mut gone = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        let mut kept = 0;
        for &id in pinned {
            let Some(value) = gone.remove(id) else { continue };
            kept += ENTRY + value.weight();
            if kept > most {
                return;
            }
            if !self.old.values.contains_key(&id) {
                self.old.insert(id, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weigh for &str {
        fn weight(&self) -> usize {
            self.len()
        }
    }

    #[test]
    fn bytes_follow_what_is_held() {
        let mut memory = Memory::default();
        memory.insert(1, "abc");
        memory.insert(1, "a");
        memory.insert(2, "b");
        assert_eq!(memory.bytes(), 2 * (ENTRY + 1));
        memory.remove(1);
        assert_eq!(memory.bytes(), ENTRY + 1);
        memory.age(&HashSet::new(), 0);
        assert_eq!(memory.bytes(), 0);
        assert_eq!(memory.remove(2), Some("b"));
    }

    #[test]
    fn an_id_outlives_one_ageing_and_not_two() {
        let mut memory = Memory::default();
        let none = HashSet::new();
        memory.insert(1, "a");
        memory.age(&none, 0);
        assert_eq!(memory.get(1), Some(&"a"));
        memory.insert(1, "b");
        assert_eq!(memory.get(1), Some(&"b"));
        memory.age(&none, 0);
        memory.age(&none, 0);
        assert_eq!(memory.get(1), None);
    }

    #[test]
    fn what_is_pinned_stays_within_its_share() {
        let mut memory = Memory::default();
        let pinned: HashSet<u64> = [1, 2].into();
        memory.insert(1, "a");
        memory.insert(2, "b");
        memory.insert(3, "c");
        for _ in 0..3 {
            memory.age(&pinned, 2 * (ENTRY + 1));
        }
        assert_eq!([1, 2, 3].map(|id| memory.get(id)), [Some(&"a"), Some(&"b"), None]);
        memory.age(&pinned, ENTRY + 1);
        assert_eq!([1, 2].map(|id| memory.get(id).is_some() as u8).iter().sum::<u8>(), 1);
        memory.age(&HashSet::new(), usize::MAX);
        assert_eq!([1, 2].map(|id| memory.get(id)), [None, None]);
    }
}
