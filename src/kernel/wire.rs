//! What the kernel side sends and holds, as bytes: the generated types and how they are read.

/// See `bpf/rings/record.h`.
pub(crate) use super::skel::rings::types::rw_ring;
/// See `bpf/sums.h`.
pub(crate) use super::skel::typed::types::{rw_class, rw_failure, rw_failure_key, rw_file_key, rw_row};
/// See `bpf/record.h`.
pub(crate) use super::skel::typed::types::{
    rw_created, rw_directory, rw_names, rw_path, rw_queue, rw_request, rw_task, rw_write,
};

/// `enum rw_type`.
pub(crate) mod kind {
    pub(crate) const WRITE: u32 = 1;
    pub(crate) const PATH: u32 = 2;
    pub(crate) const TASK: u32 = 3;
    pub(crate) const REQUEST: u32 = 4;
    pub(crate) const NAMES: u32 = 5;
    pub(crate) const CREATED: u32 = 6;
    pub(crate) const FILE: u32 = 7;
}

/// `RW_END_IN_FLIGHT`.
pub(crate) const IN_FLIGHT: u8 = 5;

/// Where the variable part of path and task records starts; `RW_DATA_OFFSET`.
pub(crate) const DATA_OFFSET: usize = 112;

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

// SAFETY: generated from bpf/rings/record.h, which has only integers and arrays and structures of them.
unsafe impl Plain for rw_ring {}

/// The value at the beginning of `bytes`; `None`: they are too few.
pub(crate) fn head<T: Plain>(bytes: &[u8]) -> Option<T> {
    // SAFETY: there are enough bytes, any of them make a T, and the read does not need alignment.
    (bytes.len() >= size_of::<T>()).then(|| unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// The type of a record.
pub(crate) fn kind_of(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

/// Whether a record holds strings, which others refer to.
pub(crate) fn is_string(bytes: &[u8]) -> bool {
    matches!(kind_of(bytes), Some(kind::PATH | kind::TASK | kind::NAMES))
}

/// What was kept of a request at its submission, as the record of one that is still in flight.
pub(crate) fn in_flight(bytes: &[u8], now: u64) -> Option<Vec<u8>> {
    let raw: rw_write = head(bytes)?;
    Some(bytes_of(&rw_write { end: IN_FLIGHT, end_ns: now, ..raw }))
}

pub(crate) fn bytes_of<T: Plain>(value: &T) -> Vec<u8> {
    // SAFETY: a Plain type has no padding, so all of its bytes are initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast::<u8>(), size_of::<T>()) }.to_vec()
}
