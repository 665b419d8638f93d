//! /proc/PID/fdinfo/FD of a ring: pure. Kernels differ in what they print, and the text holds names of files that a
//! program chose.

use super::{Facts, PERSONALITIES_MAX, Personality, PollThread, Queue};

const FILES: &str = "UserFiles:";
const BUFFERS: &str = "UserBufs:";
const POLLS: &str = "PollList:";
const OVERFLOW: &str = "CqOverflowList:";
const PERSONALITIES: &str = "Personalities:";

/// What the text tells; what this kernel does not print is `None`.
pub(super) fn parse(text: &[u8]) -> Facts {
    let lines: Vec<&[u8]> = text.split(|&b| b == b'\n').collect();
    // Between these two lines stand the names of registered files, where older kernels print even line breaks. So
    // what comes before is taken up to the first, and what comes after from the last.
    let files = lines.iter().position(|l| l.starts_with(FILES.as_bytes())).unwrap_or(lines.len());
    let buffers = lines.iter().rposition(|l| l.starts_with(BUFFERS.as_bytes())).filter(|&at| at > files);
    let head: Vec<_> = lines[..files].iter().copied().chain(lines.get(files).copied()).map(text_of).collect();
    let tail: Vec<_> = lines[buffers.unwrap_or(lines.len())..].iter().copied().map(text_of).collect();
    let number = |name: &str| value(&head, name).and_then(number_of);
    let count = |lines: &[&str], name: &str| value(lines, name).and_then(number_of).and_then(|n| n.try_into().ok());
    let queue = |mask: &str, first: &str, last: &str| {
        let entries = u32::try_from(number(mask)?).ok()?.checked_add(1)?;
        Some(Queue { entries, head: number(first)?.try_into().ok()?, tail: number(last)?.try_into().ok()? })
    };
    let personalities = personalities(&tail);
    Facts {
        inode: number("ino:"),
        sq: queue("SqMask:", "SqHead:", "SqTail:"),
        cq: queue("CqMask:", "CqHead:", "CqTail:"),
        cq_overflowed: position(&tail, OVERFLOW).map(|at| tail.get(at + 1).is_some_and(|l| is_item(l))),
        sqpoll: count(&head, "SqThread:")
            .filter(|&tid| tid != 0)
            .map(|host_tid| PollThread { host_tid, cpu: count(&head, "SqThreadCpu:") }),
        files: count(&head, FILES),
        buffers: count(&tail, BUFFERS),
        personality_count: personalities.as_ref().and_then(|p| p.0.try_into().ok()),
        personalities: personalities.map(|p| p.1),
        ..Facts::default()
    }
}

/// Whether the kernel printed more than it prints of any file: it leaves that out while the ring is busy.
pub(super) fn is_told(facts: &Facts) -> bool {
    facts.sq.is_some() || facts.files.is_some()
}

fn text_of(line: &[u8]) -> &str {
    std::str::from_utf8(line).unwrap_or_default()
}

fn position(lines: &[&str], name: &str) -> Option<usize> {
    lines.iter().position(|l| l.starts_with(name))
}

fn value<'a>(lines: &[&'a str], name: &str) -> Option<&'a str> {
    lines.iter().find_map(|l| l.strip_prefix(name)).map(str::trim)
}

fn number_of(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A line of the list of completions held back.
fn is_item(line: &str) -> bool {
    line.starts_with(' ') && line.contains("user_data=")
}

/// How many, and the first of them. Newer kernels do not print them, older ones not if there are none.
fn personalities(lines: &[&str]) -> Option<(usize, Vec<Personality>)> {
    let from = position(lines, PERSONALITIES)? + 1;
    let mut count = 0;
    let mut all: Vec<Personality> = vec![];
    for line in &lines[from..] {
        if line.starts_with(POLLS) {
            break;
        }
        if let Ok(id) = line.trim().parse() {
            count += 1;
            if count <= PERSONALITIES_MAX {
                let cap_effective = String::new();
                all.push(Personality { id, uid: 0, euid: 0, fsuid: 0, gid: 0, egid: 0, fsgid: 0, cap_effective });
            }
            continue;
        }
        let Some(last) = all.last_mut().filter(|_| count <= PERSONALITIES_MAX) else { continue };
        let Some((name, values)) = line.trim().split_once(':') else { continue };
        let mut ids = values.split_whitespace().map_while(|v| v.parse::<u32>().ok());
        match name {
            // Real, effective, saved, for files.
            "Uid" => [last.uid, last.euid, _, last.fsuid] = std::array::from_fn(|_| ids.next().unwrap_or(0)),
            "Gid" => [last.gid, last.egid, _, last.fsgid] = std::array::from_fn(|_| ids.next().unwrap_or(0)),
            "CapEff" if values.trim().bytes().all(|b| b.is_ascii_hexdigit()) => {
                last.cap_effective = format!("{:0>16}", values.trim());
            }
            _ => {}
        }
    }
    Some((count, all))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: &str = "pos:\t0\nflags:\t02000002\nmnt_id:\t17\nino:\t191260\nSqMask:\t0x7\nSqHead:\t4294967295\n\
SqTail:\t2\nCachedSqHead:\t2\nCqMask:\t0xf\nCqHead:\t0\nCqTail:\t5\nCachedCqTail:\t5\nSQEs:\t0\nCQEs:\t1\n\
    0: user_data:1, res:0, flags:0\nSqThread:\t31921\nSqThreadCpu:\t-1\nSqTotalTime:\t0\nSqWorkTime:\t0\nUserFiles:\t2\n\
    1: /tmp/file\nUserBufs:\t1\n    0: 0x7f00/4096\nPersonalities:\n    1\n\tUid:\t1\t\t2\t\t3\t\t4\n\
\tGid:\t5\t\t6\t\t7\t\t8\n\tGroups:\t9 10\n\tCapEff:\t000001fffeffffff\n    7\n\tUid:\t0\t\t0\t\t0\t\t0\n\
\tGid:\t0\t\t0\t\t0\t\t0\n\tGroups:\t\n\tCapEff:\t0000000000000000\nPollList:\nCqOverflowList:\n\
\x20 user_data=3, res=0, flags=0\nNAPI:\tdisabled\n";

    #[test]
    fn all_that_kernels_print() {
        let info = parse(NOW.as_bytes());
        assert_eq!(info.inode, Some(191_260));
        assert_eq!(info.sq, Some(Queue { entries: 8, head: u32::MAX, tail: 2 }));
        assert_eq!(info.cq, Some(Queue { entries: 16, head: 0, tail: 5 }));
        assert_eq!(info.sqpoll, Some(PollThread { host_tid: 31921, cpu: None }));
        assert_eq!((info.files, info.buffers, info.cq_overflowed), (Some(2), Some(1), Some(true)));
        let personalities = info.personalities.unwrap_or_default();
        assert_eq!(personalities.iter().map(|p| p.id).collect::<Vec<_>>(), [1, 7]);
        assert_eq!(info.personality_count, Some(2));
        let p = &personalities[0];
        assert_eq!([p.uid, p.euid, p.fsuid, p.gid, p.egid, p.fsgid], [1, 2, 4, 5, 6, 8]);
        assert_eq!(p.cap_effective, "000001fffeffffff");
    }

    #[test]
    fn older_kernels_print_less() {
        let text = "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nSqThread:\t-1\nSqThreadCpu:\t-1\nUserFiles:\t0\nUserBufs:\t0\nPollList:\n";
        let info = parse(text.as_bytes());
        assert!(is_told(&info));
        let wanted = Facts { files: Some(0), buffers: Some(0), ..Facts::default() };
        assert_eq!(info, wanted);
    }

    #[test]
    fn a_busy_ring_prints_nothing_of_itself() {
        assert!(!is_told(&parse(b"pos:\t0\nflags:\t02000002\nmnt_id:\t17\nino:\t191260\n")));
    }

    #[test]
    fn a_file_name_forges_nothing() {
        let forged = "x\nUserBufs:\t99\nPersonalities:\n    5\n\tUid:\t0\t0\t0\t0\nSqThread:\t1\nCqOverflowList:\n  user_data=1\n";
        let text = NOW.replace("/tmp/file", forged);
        assert_eq!(parse(text.as_bytes()), parse(NOW.as_bytes()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed(text in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = parse(&text);
        }

        #[test]
        fn any_lines_are_parsed(
            lines in proptest::collection::vec(("(SqMask|SqHead|SqTail|UserFiles|UserBufs|Personalities|PollList|\
    CqOverflowList|SqThread|    1|\tUid|\tGid|\tCapEff|  user_data=1):?", "[\t -]?[0-9a-fx]{0,20}[\t ]?[0-9]{0,12}"), 0..60)
        ) {
            let text: String = lines.iter().map(|(name, value)| format!("{name}{value}\n")).collect();
            let info = parse(text.as_bytes());
            prop_assert!(info.personalities.is_none_or(|p| p.len() <= PERSONALITIES_MAX));
        }

        #[test]
        fn what_stands_behind_the_first_file_changes_nothing_else(name in "(.|\n){0,200}") {
            let told = parse(NOW.replace("/tmp/file", &name).as_bytes());
            prop_assert_eq!(told, parse(NOW.as_bytes()));
        }
    }
}
