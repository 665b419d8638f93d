//! Cases that meet the tracer half way: they stop between steps until told to go on.

use std::io::{BufRead, Write};
use std::path::Path;

use anyhow::{Result, bail};

use crate::cx::Cx;
use crate::os;
use crate::target::Target;

type Stepped = fn(&Cx) -> Result<()>;

const STEPPED: &[(&str, Stepped)] = &[
    ("before", before),
    ("before-inflight", before_inflight),
    ("outlive", outlive),
    ("exit-before", exit_before),
    ("silent-behind", silent_behind),
];

/// Apart from the indexes of the ordinary cases, which user_data is made of.
const FIRST_INDEX: u64 = 100_000;

pub(crate) fn run(name: &str, truth: &Path, dir: &Path) -> Result<bool> {
    let found = STEPPED.iter().enumerate().find(|(_, (n, _))| *n == name);
    let Some((index, &(name, run))) = found else {
        let names: Vec<_> = STEPPED.iter().map(|(n, _)| *n).collect();
        bail!("no stepped case is called {name:?}, only {}", names.join(", "));
    };
    // None of these needs a tmpfs.
    let tmpfs = dir.join("tmpfs");
    let cx = Cx::new(name, FIRST_INDEX + index as u64, dir, &tmpfs, truth)?;
    let outcome = run(&cx);
    cx.end(&outcome)?;
    if let Err(error) = &outcome {
        eprintln!("{name}: {error:#}");
    }
    Ok(outcome.is_ok())
}

/// Says where the case is, and waits to be sent on. The truth so far is in the file by then.
fn step(cx: &Cx, name: &str) -> Result<()> {
    cx.flush()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{name}")?;
    out.flush()?;
    let mut line = String::new();
    // The end of the input sends it on as well.
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(())
}

/// The ring is older than the tracer.
fn before(cx: &Cx) -> Result<()> {
    let path = cx.dir.join("file");
    let file = os::open(&path, 0)?;
    let target = Target::at(&file, &path)?;
    let null = os::open("/dev/null", 0)?;
    let null = Target::at(&null, "/dev/null").map(|target| (null, target))?;
    let mut ring = cx.plain_ring()?;
    step(cx, "ready")?;
    ring.run(
        cx,
        vec![
            cx.write(&target, 0, cx.buf(10)),
            cx.write(&null.1, 1, cx.buf(11)),
            cx.writev(&target, 10, &[cx.buf(12), cx.buf(13)]),
        ],
    )?;
    step(cx, "written")
}

/// The request is older than the tracer.
fn before_inflight(cx: &Cx) -> Result<()> {
    let (reader, writer) = os::full_pipe()?;
    let pipe = Target::pathless(&writer)?;
    let mut ring = cx.plain_ring()?;
    let mut requests = vec![cx.write(&pipe, -1, cx.buf(100))];
    ring.start(cx, &mut requests)?;
    step(cx, "ready")?;
    os::read_exact(&reader, 4096)?;
    ring.finish(cx, requests)?;
    step(cx, "written")
}

/// The request outlives the tracer.
fn outlive(cx: &Cx) -> Result<()> {
    let (reader, writer) = os::full_pipe()?;
    let pipe = Target::pathless(&writer)?;
    let mut ring = cx.plain_ring()?;
    step(cx, "ready")?;
    let mut requests = vec![cx.write(&pipe, -1, cx.buf(100))];
    ring.start(cx, &mut requests)?;
    step(cx, "in-flight")?;
    os::read_exact(&reader, 4096)?;
    ring.finish(cx, requests)?;
    step(cx, "written")
}

/// The process is gone long before the tracer.
fn exit_before(cx: &Cx) -> Result<()> {
    step(cx, "ready")?;
    let path = cx.dir.join("file");
    let file = os::open(&path, 0)?;
    let target = Target::at(&file, &path)?;
    cx.run(vec![cx.write(&target, 0, cx.buf(10)), cx.write(&target, 20, cx.buf(11))])
}

/// A write without a CQE waits behind one that blocks.
fn silent_behind(cx: &Cx) -> Result<()> {
    cx.needs_cqe_skip()?;
    // Nothing is handed to io-wq, where it would be seen once more.
    let null = os::open("/dev/null", 0)?;
    let target = Target::at(&null, "/dev/null")?;
    let (reader, writer) = os::full_pipe()?;
    let pipe = Target::pathless(&writer)?;
    let mut ring = cx.plain_ring()?;
    step(cx, "ready")?;
    let mut requests = vec![cx.write(&pipe, -1, cx.buf(100)).linked(), cx.write(&target, 0, cx.buf(41)).skips()];
    ring.start(cx, &mut requests)?;
    step(cx, "waiting")?;
    os::read_exact(&reader, 4096)?;
    ring.finish(cx, requests)?;
    step(cx, "written")
}
