//! What holds of /proc's text about threads and mounts; and events that hold a string everywhere.

use super::Enricher;
use super::process::Exec;
use super::tree::Honesty;
use crate::event::Event;
use crate::kernel::wire::{DATA_OFFSET, bytes_of};
use crate::kernel::wire::{rw_names, rw_path, rw_request, rw_task, rw_write};
use crate::opcode;
use crate::record::{decode, flag};
use crate::selection::Selection;

/// The stat and cmdline of a thread, and the table of mounts.
pub(crate) fn proc(text: &[u8]) {
    let exec = Exec::of_stat(text);
    assert!(exec.is_none_or(|exec| crate::here::start(text) == Some(exec.start)));
    if let Some(line) = crate::proc::joined(text) {
        assert!(line.len() <= text.len() && !line.contains(&0));
    }
    let _ = Honesty::of(text);
    // Names that the kernel escapes are what they were, and forge no mount.
    let escaped: Vec<u8> = text
        .iter()
        .flat_map(|&b| match b {
            b' ' | b'\t' | b'\n' | b'\\' => format!("\\{b:03o}").into_bytes(),
            b => vec![b],
        })
        .collect();
    let line = [b"36 35 98:0 / /", &escaped[..], b" rw shared:1 - ext4 ", &escaped[..], b" rw\n"].concat();
    let all = Honesty::of(&line);
    assert_eq!((all.ids.len(), all.points.len()), (1, 1));
    assert_eq!(all.ids.get(&36), Some(&true));
    assert_eq!(all.points.get(&[b"/", text].concat()), Some(&true));
}

/// Emits a write to a file of this name, by a thread of this name and command line, and operations that take names, each
/// with this one; with this number.
pub(crate) fn events(string: &[u8], number: u64, emit: &mut impl FnMut(&Event)) {
    const ID: u64 = 10;
    let mut enricher = Enricher::new(Selection::all(), false, vec![]);
    let mut take = |bytes: &[u8]| enricher.take(&decode(bytes).expect("a record"), emit);
    let with_data = |mut header: Vec<u8>, data: &[u8]| {
        header.resize(DATA_OFFSET, 0);
        [&header, data].concat()
    };
    let size = u32::try_from(string.len()).unwrap_or(u32::MAX);
    let path = rw_path { r#type: 2, path_id: ID, size, mode: 0o100_644, ..rw_path::default() };
    take(&with_data(bytes_of(&path), string));
    let mut task =
        rw_task { r#type: 3, task_id: ID, exe_path_id: ID, start_boottime: number, size, ..rw_task::default() };
    task.arg_len = size;
    task.comm.iter_mut().zip(string).for_each(|(to, &from)| *to = from);
    take(&with_data(bytes_of(&task), string));
    let names = rw_names { r#type: 5, names_id: ID, size: 3 * size, len: [size; 3], ..rw_names::default() };
    for name in ["WRITE", "OPENAT", "RENAMEAT", "LINKAT", "SYMLINKAT", "SETXATTR", "SPLICE"] {
        take(&with_data(bytes_of(&names), &string.repeat(3)));
        let mut request = rw_request { names_id: ID, ..rw_request::default() };
        request.w = rw_write {
            r#type: 4,
            flags: flag::SUBMIT | flag::FILE,
            opcode: opcode::number(name).expect("an opcode"),
            path_id: ID,
            task_id: ID,
            end_ns: number,
            user_data: number,
            ..request.w
        };
        take(&bytes_of(&request));
    }
}
