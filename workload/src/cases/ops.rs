//! One case for each opcode and way of naming buffers and files.

use anyhow::Result;

use super::{Case, case};
use crate::cx::{Buf, Cx, skip};
use crate::os;
use crate::request::Request;
use crate::ring::Setup;
use crate::session::Session;
use crate::sys;
use crate::target::Target;

pub(super) const CASES: &[Case] = &[
    case("write", "WRITE of many lengths", write),
    case("writev", "WRITEV with 1, 3, 9 and 1024 segments", writev),
    case("write-fixed", "WRITE_FIXED from a registered buffer", write_fixed),
    case("writev-fixed", "WRITEV_FIXED from a registered buffer", writev_fixed),
    case("fixed-file", "registered files, by index", fixed_file),
    case("direct-descriptor", "a file opened into a slot by openat, linked where the kernel can", direct_descriptor),
    case("direct-descriptor-skip", "the same with IOSQE_CQE_SKIP_SUCCESS", direct_descriptor_skip),
    case("all-opcodes-null", "all opcodes to the null device in one batch", all_opcodes_null),
];

fn segments(cx: &Cx, count: u32, len: u32) -> Vec<Buf> {
    (0..count).map(|i| cx.buf(len + i % 3)).collect()
}

fn write(cx: &Cx) -> Result<()> {
    let path = cx.dir.join("file");
    let file = os::open(&path, 0)?;
    let file = &Target::at(&file, &path)?;
    let lengths = [1, 2, 511, 512, 513, 4095, 4096, 4097, 65536, 1 << 20];
    let mut ring = cx.plain_ring()?;
    ring.run_each(cx, lengths.map(|len| cx.write(file, i64::from(len), cx.buf(len))).to_vec())
}

fn writev(cx: &Cx) -> Result<()> {
    let path = cx.dir.join("file");
    let file = os::open(&path, 0)?;
    let file = &Target::at(&file, &path)?;
    let mut ring = cx.plain_ring()?;
    let requests = [1, 3, 9, 1024].map(|n| cx.writev(file, 1000, &segments(cx, n, 20)));
    ring.run_each(cx, requests.to_vec())
}

fn write_fixed(cx: &Cx) -> Result<()> {
    let path = cx.dir.join("file");
    let file = os::open(&path, 0)?;
    let file = &Target::at(&file, &path)?;
    let (mut ring, buf) = cx.ring_with_buffer(Setup::new(8, 0), 1 << 16)?;
    ring.run_each(
        cx,
        vec![
            cx.write_fixed(file, 0, buf, 0),
            cx.write_fixed(file, 300, buf.part(100, 500), 0),
            cx.write_fixed(file, 9000, buf.part(65535, 1), 0),
        ],
    )
}

fn writev_fixed(cx: &Cx) -> Result<()> {
    cx.needs_opcode(sys::OP_WRITEV_FIXED)?;
    let path = cx.dir.join("file");
    let file = os::open(&path, 0)?;
    let file = &Target::at(&file, &path)?;
    let (mut ring, buf) = cx.ring_with_buffer(Setup::new(8, 0), 1 << 16)?;
    let many: Vec<_> = (0..9).map(|i| buf.part(i * 5000, 100 + i)).collect();
    ring.run_each(
        cx,
        vec![
            cx.writev_fixed(file, 0, &[buf.part(0, 4096)], 0),
            cx.writev_fixed(file, 50, &[buf.part(8192, 10), buf.part(100, 20), buf.part(4096, 30)], 0),
            cx.writev_fixed(file, 7, &many, 0),
        ],
    )
}

fn fixed_file(cx: &Cx) -> Result<()> {
    let (one, two) = (cx.dir.join("one"), cx.tmpfs.join("two"));
    let (a, b) = (os::open(&one, 0)?, os::open(&two, 0)?);
    let null = os::open("/dev/null", 0)?;
    let (mut ring, buf) = cx.ring_with_buffer(Setup::new(8, 0), 4096)?;
    cx.register(&ring, &[&a, &b, &null])?;
    let a = &Target::at(&a, &one)?.fixed(0);
    let b = &Target::at(&b, &two)?.fixed(1);
    let null = &Target::at(&null, "/dev/null")?.fixed(2);
    ring.run(
        cx,
        vec![
            cx.write(a, 0, cx.buf(40)),
            cx.writev(b, 1, &segments(cx, 3, 5)),
            cx.write(null, 2, cx.buf(6)),
            cx.write_fixed(a, 100, buf.part(0, 41), 0),
        ],
    )
}

/// A ring with an empty table of files, and a file whose inode is known before it is opened there.
fn opened_in_slot(cx: &Cx, name: &str) -> Result<(Session, Request, Target)> {
    let path = cx.dir.join(name);
    let file = os::open(&path, 0)?;
    let target = Target::at(&file, &path)?.fixed(1);
    let ring = cx.plain_ring()?;
    ring.ring.register_files(&[-1; 4])?;
    let open = cx.open_direct(&os::cstr(&path)?, libc::O_WRONLY, 1);
    Ok((ring, open, target))
}

fn direct_descriptor(cx: &Cx) -> Result<()> {
    let (mut ring, open, target) = opened_in_slot(cx, "file")?;
    let write = cx.write(&target, 0, cx.buf(60));
    if ring.ring.has(sys::FEAT_LINKED_FILE) {
        ring.run(cx, vec![open.linked(), write])?;
    } else {
        // The slot must have its file when the write is submitted.
        ring.push(&[open])?;
        ring.ring.submit_all()?;
        match ring.ring.wait()?.res {
            0 => ring.run(cx, vec![write])?,
            // The slot is refused, or not looked at.
            other => return Err(skip(format!("openat into a slot gives {other}"))),
        }
    }
    ring.run(cx, vec![cx.write(&target, 60, cx.buf(61))])
}

fn direct_descriptor_skip(cx: &Cx) -> Result<()> {
    cx.needs_cqe_skip()?;
    let (mut ring, open, target) = opened_in_slot(cx, "file")?;
    if !ring.ring.has(sys::FEAT_LINKED_FILE) {
        return Err(skip("this kernel has no IORING_FEAT_LINKED_FILE"));
    }
    // The NOP at the end of the chain tells that the write before it is done.
    let write = cx.write(&target, 0, cx.buf(62)).skips().linked();
    ring.run(cx, vec![open.linked(), write, cx.nop()])
}

fn all_opcodes_null(cx: &Cx) -> Result<()> {
    let file = os::open("/dev/null", 0)?;
    let file = &Target::at(&file, "/dev/null")?;
    let (mut ring, buf) = cx.ring_with_buffer(Setup::new(8, 0), 4096)?;
    let mut requests = vec![
        cx.write(file, 1, cx.buf(100)),
        cx.writev(file, 2, &segments(cx, 5, 10)),
        cx.write_fixed(file, 3, buf.part(0, 300), 0),
    ];
    if ring.ring.supports(sys::OP_WRITEV_FIXED) {
        requests.push(cx.writev_fixed(file, 4, &[buf.part(0, 7), buf.part(64, 8)], 0));
    }
    ring.run(cx, requests)
}
