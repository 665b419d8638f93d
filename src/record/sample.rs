//! Made-up records, for whoever measures what is done with them.

use super::{Batch, flag};
use crate::kernel::wire::{DATA_OFFSET, bytes_of};
use crate::kernel::wire::{rw_path, rw_task, rw_write};

const TASK: u64 = 1;
const START_NS: u64 = 1_000_000_000_000;

/// One thread that writes to `files` files in turn, 512 bytes at a time: their strings, then `writes` writes.
#[must_use]
pub fn batch(writes: u64, files: u64) -> Batch {
    let mut batch = Batch::default();
    let mut strings = |header: Vec<u8>, data: &[u8]| {
        let mut record = header;
        record.resize(DATA_OFFSET, 0);
        record.extend_from_slice(data);
        batch.push(&record);
    };
    let command = b"/usr/bin/database\0--data\0/var/lib/database\0";
    let task = rw_task {
        r#type: 3,
        task_id: TASK,
        tgid: 4711,
        tid: 4711,
        comm: *b"database\0\0\0\0\0\0\0\0",
        size: u32::try_from(command.len()).unwrap_or(0),
        ..rw_task::default()
    };
    strings(bytes_of(&task), command);
    for id in 0..files {
        let names = format!("segment-{id}.log\0database\0lib\0var\0");
        let size = u32::try_from(names.len()).unwrap_or(0);
        let path = rw_path { r#type: 2, path_id: id, inode: id, size, mode: 0o100_644, ..rw_path::default() };
        strings(bytes_of(&path), names.as_bytes());
    }
    for i in 0..writes {
        batch.push(&bytes_of(&rw_write {
            r#type: 1,
            flags: flag::SUBMIT | flag::FILE | flag::KI_POS | flag::EXEC_TID | flag::END_SEEN,
            submit_ns: START_NS + i * 1000,
            end_ns: START_NS + i * 1000 + 700 + i % 300,
            task_id: TASK,
            path_id: i % files.max(1),
            user_data: i,
            asked_pos: (i * 512).cast_signed(),
            ki_pos: (i * 512 + 512).cast_signed(),
            buf: 0x7fff_1234_5000,
            inode: i % files.max(1),
            dev: 0x80_0001,
            tid: 4711,
            exec_tid: 4711,
            result: 512,
            len: 512,
            fd: 3,
            mode: 0o100_644,
            opcode: 23,
            ..rw_write::default()
        }));
    }
    batch
}
