//! Bounded memory of ids: two generations, of which the older is dropped when the younger is full.

use std::collections::HashMap;
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

/// Values by id. What was not inserted again between two [`Memory::age`] is gone after the second.
#[derive(Debug)]
pub struct Memory<V> {
    young: HashMap<u64, V, BuildHasherDefault<Identity>>,
    old: HashMap<u64, V, BuildHasherDefault<Identity>>,
}

impl<V> Default for Memory<V> {
    fn default() -> Self {
        Self { young: HashMap::default(), old: HashMap::default() }
    }
}

impl<V> Memory<V> {
    /// Remembers `value`; an older one of that id is replaced.
    pub fn insert(&mut self, id: u64, value: V) {
        self.young.insert(id, value);
    }

    /// The value of `id`.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&V> {
        self.young.get(&id).or_else(|| self.old.get(&id))
    }

    /// Forgets the value of `id`, and gives it.
    pub fn remove(&mut self, id: u64) -> Option<V> {
        self.young.remove(&id).or_else(|| self.old.remove(&id))
    }

    /// Ids of the younger generation.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len()
    }

    /// Whether the younger generation is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.young.is_empty()
    }

    /// Drops the older generation; the younger takes its place.
    pub fn age(&mut self) {
        self.old = std::mem::take(&mut self.young);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_outlives_one_ageing_and_not_two() {
        let mut memory = Memory::default();
        memory.insert(1, "a");
        memory.age();
        assert_eq!(memory.get(1), Some(&"a"));
        memory.insert(1, "b");
        assert_eq!(memory.get(1), Some(&"b"));
        memory.age();
        memory.age();
        assert_eq!(memory.get(1), None);
    }
}
