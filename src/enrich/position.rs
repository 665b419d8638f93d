//! Where a write landed.

use crate::record::{Write, flag};

const S_IFMT: u16 = 0o170_000;
const S_IFREG: u16 = 0o100_000;
const S_IFBLK: u16 = 0o060_000;

/// The offset of the first byte; for a write that failed, the offset asked for. `None` where the file has none, or where
/// what is known fits several. The same for writes of io_uring, which may tell what was asked for, and for those of system
/// calls, which tell the offset behind.
pub(super) fn position(w: &Write, result: Option<i32>) -> Option<i64> {
    if w.has(flag::NO_POS) {
        return None;
    }
    let asked = (w.has(flag::SUBMIT) && w.asked_pos != -1).then_some(w.asked_pos);
    let end = (w.has(flag::KI_POS) && w.ki_pos != -1).then_some(w.ki_pos);
    let written = i64::from(result.unwrap_or(0));
    let kind = w.mode & S_IFMT;
    let special = w.has(flag::FILE) && kind != S_IFREG && kind != S_IFBLK;
    let at = if result.is_none() {
        asked
    } else if written <= 0 {
        asked.or(end.filter(|_| !special || !w.has(flag::SUBMIT)))
    } else if special || w.has(flag::HANDLER) {
        // Character devices and handlers take an offset, and leave it or move it. Where it is 0 behind a write, it was left.
        asked.or(end.filter(|&end| end == 0 && !(special && w.has(flag::SUBMIT))))
    } else {
        match (asked, end) {
            // Also what O_APPEND said when it was asked for later or earlier than at the write.
            (Some(asked), Some(end)) if end == asked.saturating_add(written) => Some(asked),
            (Some(asked), Some(end)) if end == asked && !w.has(flag::APPEND) => Some(asked),
            (_, Some(end)) => Some(end - written),
            (asked, None) => asked.filter(|_| !w.has(flag::APPEND)),
        }
    };
    at.filter(|&at| at >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::wire::bytes_of;
    use crate::kernel::wire::rw_write;
    use crate::record::{Record, decode};

    const FILE: u32 = flag::FILE | flag::KI_POS;
    const ASKED: u32 = FILE | flag::SUBMIT;

    fn of(flags: u32, mode: u16, asked_pos: i64, ki_pos: i64, result: i32) -> Option<i64> {
        let raw = rw_write { r#type: 1, flags, mode, asked_pos, ki_pos, result, ..rw_write::default() };
        match decode(&bytes_of(&raw)) {
            Ok(Record::Write(w)) => position(&w, Some(result)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_offset_moves_by_what_was_written() {
        assert_eq!(of(ASKED, S_IFREG, 10, 15, 5), Some(10));
        assert_eq!(of(ASKED, S_IFREG, -1, 15, 5), Some(10));
        assert_eq!(of(ASKED | flag::APPEND, S_IFREG, 0, 105, 5), Some(100));
        assert_eq!(of(FILE, S_IFREG, -1, 15, 5), Some(10));
        assert_eq!(of(ASKED, S_IFBLK, 512, 1024, 512), Some(512));
    }

    #[test]
    fn handlers_of_their_own_may_leave_it() {
        let handler = ASKED | flag::HANDLER;
        assert_eq!(of(handler, S_IFREG, 0, 0, 5), Some(0));
        assert_eq!(of(handler, S_IFREG, 3, 3, 5), Some(3));
        assert_eq!(of(handler, S_IFREG, 3, 8, 5), Some(3));
        assert_eq!(of(handler | flag::APPEND, S_IFREG, 7, 7, 5), Some(7));
        assert_eq!(of(handler, S_IFREG, -1, 0, 5), Some(0));
        // Left at 5, or moved from 0.
        assert_eq!(of(handler, S_IFREG, -1, 5, 5), None);
        assert_eq!(of(FILE | flag::HANDLER, S_IFREG, -1, 5, 5), None);
        // A file system that leaves it all the same.
        assert_eq!(of(ASKED, S_IFREG, 3, 3, 5), Some(3));
    }

    #[test]
    fn it_is_never_negative() {
        assert_eq!(of(ASKED, S_IFREG, -2, -2, -22), None);
        assert_eq!(of(FILE, S_IFREG, -1, 2, 5), None);
        assert_eq!(of(ASKED | flag::APPEND, S_IFREG, 0, 0, 5), None);
        assert_eq!(of(ASKED, S_IFREG, i64::MAX, i64::MAX, -27), Some(i64::MAX));
    }

    #[test]
    fn devices_and_pipes() {
        const S_IFCHR: u16 = 0o020_000;
        assert_eq!(of(ASKED, S_IFCHR, 9, 9, 1), Some(9));
        assert_eq!(of(ASKED, S_IFCHR, -1, 0, 1), None);
        assert_eq!(of(ASKED | flag::NO_POS, 0o010_000, 0, 0, 1), None);
        assert_eq!(of(FILE, S_IFCHR, -1, 0, 1), Some(0));
    }
}
