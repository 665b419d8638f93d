//! Numbers: many files, many threads, many writes in little time.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::{Case, case};
use crate::cx::Cx;
use crate::os;
use crate::ring::Setup;
use crate::target::Target;

pub(super) const CASES: &[Case] = &[
    case("many-files", "2,000 small writes to 50 files 64 directories down, by 4 threads with a ring each", many_files),
    case("many-null", "4,096 writes to the null device", many_null),
    case("many-in-flight", "12,288 writes blocked on a full pipe, which then breaks", many_in_flight),
];

const FILES: usize = 50;
const THREADS: usize = 4;
const PER_THREAD: usize = 500;
const BATCH: usize = 50;

fn many_files(cx: &Cx) -> Result<()> {
    let deep: PathBuf = (0..64).map(|i| format!("d{i}")).collect();
    let deep = cx.dir.join(deep);
    std::fs::create_dir_all(&deep)?;
    let mut files = Vec::new();
    for i in 0..FILES {
        let path = deep.join(format!("file-{i}"));
        let file = os::open(&path, 0)?;
        let target = Target::at(&file, &path)?;
        files.push((file, target));
    }
    let files = &files;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || write_many(cx, thread, files))).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(_) => bail!("a thread panicked"),
        })
    })
}

fn write_many(cx: &Cx, thread: usize, files: &[(std::fs::File, Target)]) -> Result<()> {
    let mut ring = cx.plain_ring()?;
    let buf = cx.buf(64);
    for first in (0..PER_THREAD).step_by(BATCH) {
        let request = |i: usize| {
            let (_, target) = &files[(i + thread * 7) % FILES];
            cx.write(target, (thread * PER_THREAD + i) as i64 * 64, buf.part(0, 1 + i as u32 % 64))
        };
        ring.run(cx, (first..first + BATCH).map(request).collect())?;
    }
    Ok(())
}

fn many_null(cx: &Cx) -> Result<()> {
    let file = os::open("/dev/null", 0)?;
    let target = Target::at(&file, "/dev/null")?;
    let mut ring = cx.plain_ring()?;
    let buf = cx.buf(4096);
    (0..64i64).try_for_each(|batch| {
        let request = |i| cx.write(&target, batch * 64 + i, buf.part(0, (batch * 64 + i) as u32 + 1));
        ring.run(cx, (0..64).map(request).collect())
    })
}

/// More at once than a tracer's table has room for without collisions.
fn many_in_flight(cx: &Cx) -> Result<()> {
    let (reader, writer) = os::full_pipe()?;
    let pipe = Target::pathless(&writer)?;
    let buf = cx.buf(64);
    let mut rings = vec![];
    for _ in 0..3 {
        let mut ring = cx.ring(Setup::new(4096, 0))?;
        let mut requests: Vec<_> =
            (0..4096).map(|i| cx.write(&pipe, -1, buf.part(0, 1 + i % 64)).fails(libc::EPIPE)).collect();
        ring.start(cx, &mut requests)?;
        rings.push((ring, requests));
    }
    drop(reader);
    rings.into_iter().try_for_each(|(mut ring, requests)| ring.finish(cx, requests))
}
