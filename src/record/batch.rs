//! How the ring thread hands records on.

/// Records back to back, each behind its length.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    len: usize,
}

impl Batch {
    /// Appends a copy of a record.
    pub fn push(&mut self, record: &[u8]) {
        let Ok(size) = u32::try_from(record.len()) else { return };
        self.bytes.extend_from_slice(&size.to_ne_bytes());
        self.bytes.extend_from_slice(record);
        self.len += 1;
    }

    /// Bytes held.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no record is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets the records, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.len = 0;
    }

    /// The records in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (size, tail) = rest.split_first_chunk()?;
            let (record, tail) = tail.split_at_checked(u32::from_ne_bytes(*size) as usize)?;
            rest = tail;
            Some(record)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_batch_returns_what_was_pushed(records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..20)) {
            let mut batch = Batch::default();
            for record in &records {
                batch.push(record);
            }
            prop_assert_eq!(batch.iter().map(<[u8]>::to_vec).collect::<Vec<_>>(), records);
        }
    }
}
