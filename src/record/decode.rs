//! One record out of its bytes.

use super::{Created, Directory, End, Executor, FileAct, Malformed, Names, Path, Record, Request, Task, Write};
use crate::kernel::wire::{self, DATA_OFFSET, IN_FLIGHT, Plain, kind};
use crate::kernel::wire::{rw_names, rw_path, rw_request, rw_task, rw_write};

/// The value at the beginning of `bytes`.
pub(crate) fn head<T: Plain>(bytes: &[u8]) -> Result<T, Malformed> {
    wire::head(bytes).ok_or(Malformed::Short(bytes.len()))
}

fn data(bytes: &[u8], size: u32) -> Result<&[u8], Malformed> {
    usize::try_from(size)
        .ok()
        .and_then(|size| bytes.get(DATA_OFFSET..)?.get(..size))
        .ok_or(Malformed::Short(bytes.len()))
}

impl Write {
    fn new(raw: rw_write) -> Result<Self, Malformed> {
        let end = match raw.end {
            0 => End::Cqe,
            1 => End::Overflow,
            2 => End::Skipped,
            3 => End::Link,
            4 => End::Unseen,
            IN_FLIGHT => End::InFlight,
            6 => End::Untracked,
            other => return Err(Malformed::Field("end", other.into())),
        };
        let executor = match raw.executor {
            0 => Executor::Submitter,
            1 => Executor::IoWq,
            2 => Executor::Sqpoll,
            3 => Executor::Kernel,
            4 => Executor::Unknown,
            other => return Err(Malformed::Field("executor", other.into())),
        };
        Ok(Self { raw, end, executor })
    }
}

fn names(bytes: &[u8]) -> Result<Names<'_>, Malformed> {
    let raw: rw_names = head(bytes)?;
    let mut rest = data(bytes, raw.size)?;
    let mut strings: [&[u8]; 3] = [&[]; 3];
    for (string, &len) in strings.iter_mut().zip(&raw.len) {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        (*string, rest) = rest.split_at_checked(len).ok_or(Malformed::Short(bytes.len()))?;
    }
    Ok(Names { id: raw.names_id, from: raw.from.map(Directory::from), root: raw.root.into(), strings })
}

/// Decodes one record.
///
/// # Errors
/// The bytes are no record that this version knows.
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, Malformed> {
    match wire::kind_of(bytes).ok_or(Malformed::Short(bytes.len()))? {
        kind::WRITE => Ok(Record::Write(Write::new(head(bytes)?)?)),
        kind::REQUEST => {
            let raw: rw_request = head(bytes)?;
            Ok(Record::Request(Request { raw, write: Write::new(raw.w)? }))
        }
        kind::NAMES => Ok(Record::Names(names(bytes)?)),
        kind::CREATED => Ok(Record::Created(Created(head(bytes)?))),
        kind::FILE => {
            let write = Write::new(head(bytes)?)?;
            let act = match write.opcode {
                0 => FileAct::Write,
                1 => FileAct::Writev,
                2 => FileAct::Open,
                3 => FileAct::Modified,
                other => return Err(Malformed::Field("opcode", other.into())),
            };
            Ok(Record::File(act, write))
        }
        kind::PATH => {
            let raw: rw_path = head(bytes)?;
            Ok(Record::Path(Path {
                id: raw.path_id,
                flags: raw.flags,
                inode: raw.inode,
                mode: raw.mode,
                mnt_ns: raw.mnt_ns,
                magic: raw.magic,
                names: data(bytes, raw.size)?,
            }))
        }
        kind::TASK => {
            let raw: rw_task = head(bytes)?;
            Ok(Record::Task(Task { raw, command_line: data(bytes, raw.size)? }))
        }
        other => Err(Malformed::Type(other)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::wire::bytes_of;

    #[test]
    fn a_write_survives_the_way() {
        let raw = rw_write { r#type: 1, result: -28, len: 7, end: 1, executor: 2, ..rw_write::default() };
        let Ok(Record::Write(w)) = decode(&bytes_of(&raw)) else { panic!("not a write") };
        assert_eq!((w.result, w.len, w.end, w.executor), (-28, 7, End::Overflow, Executor::Sqpoll));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let raw = rw_write { r#type: 1, end: 9, ..rw_write::default() };
        assert_eq!(decode(&bytes_of(&raw)).err(), Some(Malformed::Field("end", 9)));
        let raw = rw_write { r#type: 1, executor: 77, ..rw_write::default() };
        assert_eq!(decode(&bytes_of(&raw)).err(), Some(Malformed::Field("executor", 77)));
        assert_eq!(decode(&9u32.to_ne_bytes()).err(), Some(Malformed::Type(9)));
        assert_eq!(decode(&[1, 0]).err(), Some(Malformed::Short(2)));
    }

    #[test]
    fn names_cannot_claim_more_than_was_sent() {
        let raw = rw_names { r#type: 5, size: 3, len: [1, 2, 0], ..rw_names::default() };
        let mut bytes = bytes_of(&raw);
        bytes.resize(DATA_OFFSET, 0);
        bytes.extend_from_slice(b"abc");
        let Ok(Record::Names(names)) = decode(&bytes) else { panic!("no names") };
        assert_eq!(names.strings, [&b"a"[..], b"bc", b""]);
        let raw = rw_names { len: [1, 2, 1], ..raw };
        bytes[..size_of::<rw_names>()].copy_from_slice(&bytes_of(&raw));
        assert_eq!(decode(&bytes).err(), Some(Malformed::Short(bytes.len())));
    }

    #[test]
    fn a_path_cannot_claim_more_than_was_sent() {
        let raw = rw_path { r#type: 2, size: 5, ..rw_path::default() };
        let mut bytes = bytes_of(&raw);
        bytes.resize(DATA_OFFSET, 0);
        bytes.extend_from_slice(b"a\0bc");
        assert_eq!(decode(&bytes).err(), Some(Malformed::Short(bytes.len())));
        bytes.push(0);
        let Ok(Record::Path(path)) = decode(&bytes) else { panic!("not a path") };
        assert_eq!(path.names, b"a\0bc\0");
    }

    proptest! {
        #[test]
        fn no_bytes_crash_the_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 0u32..9) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_chunk_mut() {
                *first = kind.to_ne_bytes();
            }
            let _ = decode(&bytes);
        }
    }
}
