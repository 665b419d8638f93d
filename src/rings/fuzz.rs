//! What holds of rings, whoever told of them, and of what /proc tells of their processes.

use std::path::Path;

use super::merge::{Sight, merge};
use super::process::{Proc, cgroup2_mount, mapped, place, stat, status};
use super::{Hold, Key, Owner, PERSONALITIES_MAX, Ring, Sighting, Source, fdinfo, record};
use crate::event::Timestamp;
use crate::json;
use crate::output::fuzz::{is_shown_safely, parsed};
use crate::output::{Style, text};

const HEAD: &[u8] = b"pos:\t0\nino:\t5\nSqMask:\t0x7\nSqHead:\t1\nSqTail:\t2\nSqThread:\t31921\nUserFiles:\t2\n    1: ";
const TAIL: &[u8] = b"\nUserBufs:\t1\nPersonalities:\n    1\n\tUid:\t1\t\t2\t\t3\t\t4\nPollList:\nCqOverflowList:\n";

/// The text of /proc/PID/fdinfo/FD.
pub fn fdinfo(input: &[u8]) {
    let facts = fdinfo::parse(input);
    let _ = fdinfo::is_told(&facts);
    let told = facts.personalities.as_ref().map(|p| p.len() as u32);
    assert_eq!(told, facts.personality_count.map(|count| count.min(PERSONALITIES_MAX as u32)));
    // The name of a registered file changes nothing.
    let named = |name: &[u8]| fdinfo::parse(&[HEAD, name, TAIL].concat());
    assert_eq!(named(input), named(b"/tmp/file"));
    let name = Some(String::from_utf8_lossy(input).into_owned());
    let owner = Owner { host_pid: 0, name, ..Owner::default() };
    shown(vec![Sighting { key: Key::Number(1), facts, owner, hold: Hold::Fd(3) }], Source::Proc);
}

/// Records of the kernel's iterators.
pub fn rings(input: &[u8]) {
    let (sightings, wrong) = record::decode(input);
    assert!(wrong <= input.len());
    shown(sightings, Source::Bpf);
}

/// That rings are told safely.
fn shown(sightings: Vec<Sighting>, source: Source) {
    let sight = Sight { source, registered: true, mapped: true };
    let count = sightings.len();
    let rings = merge(sightings, sight, &Proc::new(Path::new("/nonexistent")), Timestamp(0));
    assert!(rings.len() <= count);
    for ring in &rings {
        let told = parsed(&json::to_string(ring).expect("JSON"));
        assert_eq!(told["processes"].as_array().map(Vec::len), Some(ring.processes.len()));
        is_consistent(ring);
    }
    for width in [None, Some(12), Some(80)] {
        for line in super::table(&rings, Style { width, colour: false }) {
            is_shown_safely(&line);
            assert!(width.is_none_or(|columns| text::width(&line) <= columns), "{width:?}: {line}");
        }
    }
}

fn is_consistent(ring: &Ring) {
    assert!(ring.sq_used <= ring.sq_entries && ring.cq_used <= ring.cq_entries);
    assert!(ring.processes.is_sorted_by_key(|p| p.host_pid));
}

/// What is read of a process, beside its rings.
pub(crate) fn proc(text: &[u8]) {
    let lossy = String::from_utf8_lossy(text);
    let _ = (cgroup2_mount(&lossy), stat(text), status(text), crate::here::parsed(&lossy));
    assert!(stat(text).is_none_or(|stat| crate::here::start(text) == Some(stat.start)));
    assert!(mapped(text).is_sorted_by(|a, b| a < b));
    let id = place(&lossy).container;
    assert!(id.is_none_or(|id| id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit())));
    // Names forge nothing, as the kernel escapes their line breaks.
    let line: Vec<u8> = text.iter().map(|&b| if b == b'\n' { b' ' } else { b }).collect();
    let of = |begin: &[u8], end: &[u8]| [begin, &line[..], end].concat();
    let fields = b") S 1 7 7 0 -1 4194304 0 0 0 0 12 30 0 0 20 0 1 0 4711 0 0\n";
    assert_eq!(stat(&of(b"7 (", fields)), stat(&[b"7 (a", &fields[..]].concat()));
    let told = status(&of(b"Name:\t", b"\nUid:\t1\t2\t3\t4\nNSpid:\t7\t12\n"));
    assert_eq!((told.uid, told.pid), (Some(1), Some(12)));
    let map = of(b"7f6d11e98000-7f6d11e99000 rw-s 10000000 08:01 5                     /", b"\n");
    assert_eq!(mapped(&map), [0u64; 0]);
}
