//! One record out of its bytes.

use super::{
    Created, DATA_OFFSET, Directory, End, Executor, FileAct, Malformed, Names, Path, Record, Request, Task, Write,
};
use crate::kernel::{rw_class, rw_failure, rw_failure_key, rw_file_key, rw_row};
use crate::kernel::{rw_created, rw_names, rw_path, rw_request, rw_task, rw_write};

/// `enum rw_type`.
mod kind {
    pub(super) const WRITE: u32 = 1;
    pub(super) const PATH: u32 = 2;
    pub(super) const TASK: u32 = 3;
    pub(super) const REQUEST: u32 = 4;
    pub(super) const NAMES: u32 = 5;
    pub(super) const CREATED: u32 = 6;
    pub(super) const FILE: u32 = 7;
}

/// `RW_END_IN_FLIGHT`.
const IN_FLIGHT: u8 = 5;

/// Types whose every bit pattern is a value, without padding.
///
/// # Safety
/// All fields must be integers or arrays of them.
pub(crate) unsafe trait Plain: Copy {}
// SAFETY: generated from bpf/record.h, which has only integers and arrays of integers.
unsafe impl Plain for rw_write {}
// SAFETY: as above.
unsafe impl Plain for rw_path {}
// SAFETY: as above.
unsafe impl Plain for rw_task {}
// SAFETY: as above.
unsafe impl Plain for rw_request {}
// SAFETY: as above.
unsafe impl Plain for rw_names {}
// SAFETY: as above.
unsafe impl Plain for rw_created {}
// SAFETY: generated from bpf/sums.h, which has only integers and arrays of integers.
unsafe impl Plain for rw_class {}
// SAFETY: as above.
unsafe impl Plain for rw_row {}
// SAFETY: as above.
unsafe impl Plain for rw_file_key {}
// SAFETY: as above.
unsafe impl Plain for rw_failure_key {}
// SAFETY: as above.
unsafe impl Plain for rw_failure {}

/// The value at the beginning of `bytes`.
pub(crate) fn head<T: Plain>(bytes: &[u8]) -> Result<T, Malformed> {
    if bytes.len() < size_of::<T>() {
        return Err(Malformed::Short(bytes.len()));
    }
    // SAFETY: there are enough bytes, any of them make a T, and the read does not need alignment.
    Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
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
    let kind = bytes.first_chunk().map(|b| u32::from_ne_bytes(*b)).ok_or(Malformed::Short(bytes.len()))?;
    match kind {
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

/// Whether a record holds strings, which others refer to.
pub(crate) fn is_string(bytes: &[u8]) -> bool {
    let kind = bytes.first_chunk().map(|b| u32::from_ne_bytes(*b));
    matches!(kind, Some(kind::PATH | kind::TASK | kind::NAMES))
}

/// What was kept of a request at its submission, as the record of one that is still in flight.
pub(crate) fn in_flight(bytes: &[u8], now: u64) -> Option<Vec<u8>> {
    let mut raw: rw_write = head(bytes).ok()?;
    raw.end = IN_FLIGHT;
    raw.end_ns = now;
    Some(bytes_of(&raw))
}

pub(crate) fn bytes_of<T: Plain>(value: &T) -> Vec<u8> {
    // SAFETY: a Plain type has no padding, so all of its bytes are initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast::<u8>(), size_of::<T>()) }.to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
