//! What every event may have, whatever it is about.

use super::{Data, Outcome, ops};

/// A value of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<T> {
    /// It has this value.
    Known(T),
    /// It has one, which is not known.
    Unknown,
    /// Events of this kind have none.
    Absent,
}

impl<T> Field<T> {
    fn of(value: Option<T>) -> Self {
        value.map_or(Self::Unknown, Self::Known)
    }
}

/// Opcodes whose result is a number of bytes.
const TRANSFERS: [&str; 18] = [
    "READ",
    "READV",
    "READ_FIXED",
    "READV_FIXED",
    "READ_MULTISHOT",
    "WRITE",
    "WRITEV",
    "WRITE_FIXED",
    "WRITEV_FIXED",
    "SEND",
    "SEND_ZC",
    "SENDMSG",
    "SENDMSG_ZC",
    "RECV",
    "RECVMSG",
    "RECV_ZC",
    "SPLICE",
    "TEE",
];

impl Data {
    /// How it ended.
    #[must_use]
    pub fn outcome(&self) -> Field<Outcome> {
        match self {
            Self::IoWrite(e) => Field::Known(e.outcome),
            Self::VfsWrite(e) | Self::VfsWritev(e) => Field::Known(e.outcome),
            Self::SecurityFileOpen(e) => Field::Known(e.outcome),
            _ => self.request().map_or(Field::Absent, |request| Field::Known(request.outcome)),
        }
    }

    /// Nanoseconds from submission to completion.
    #[must_use]
    pub fn latency(&self) -> Field<u64> {
        match self {
            Self::IoWrite(e) => Field::of(e.latency_ns),
            _ => self.request().map_or(Field::Absent, |request| Field::of(request.latency_ns)),
        }
    }

    /// Bytes transferred; 0 of what failed.
    #[must_use]
    pub fn transferred(&self) -> Field<u64> {
        let result = match self {
            Self::IoWrite(e) => e.result,
            Self::VfsWrite(e) | Self::VfsWritev(e) => Some(e.result),
            _ => match self.request() {
                Some(ops::Request { opcode: Some(opcode), result, .. }) if TRANSFERS.contains(opcode) => *result,
                // Of an opcode that is newer than ringwatch it is not known what its result is.
                Some(ops::Request { opcode: None, .. }) => None,
                _ => return Field::Absent,
            },
        };
        Field::of(result.map(|result| u64::try_from(result).unwrap_or(0)))
    }
}
