//! Operations that are no writes, each by requests of its own, with what the tracer should say of them.

mod errno;
mod lane;
mod name;
mod parts;
mod place;
mod request;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

use self::lane::Lane;
use self::place::Place;
use self::request::{KINDS, Op};
use crate::cx::Cx;
use crate::ring::Setup;

#[derive(Debug)]
pub(crate) struct Ops {
    cx: Cx,
    /// Opcodes that the kernel has.
    known: BTreeSet<u8>,
}

impl Ops {
    fn knows(&self, op: &Op) -> bool {
        self.known.contains(&op.sqe.opcode)
    }
}

/// Runs all parts in a new directory below `dir`, and writes down what came of it.
pub(crate) fn run(truth: &Path, dir: &Path) -> Result<()> {
    let cx = Cx::new("ops", 0, &dir.join("work"), &dir.join("other"), truth)?;
    let ring = crate::ring::Ring::new(Setup::new(4, 0))?;
    let known = (0..=u8::MAX).filter(|&opcode| ring.supports(opcode)).collect();
    drop(ring);
    let ops = Ops { cx, known };
    for kind in KINDS.iter().filter(|kind| !ops.known.contains(&kind.opcode)) {
        let why = format!("the kernel lacks IORING_OP_{}", kind.name);
        ops.cx.remark(&json!({"event": kind.event, "skipped": why}))?;
    }
    for (name, part) in parts::PARTS {
        let place = Place::enter(&ops, name)?;
        part(&place).map_err(|error| error.context(format!("part {name}")))?;
        ops.cx.flush()?;
    }
    ops.cx.remark(&json!({"done": true, "requests": ops.cx.recorded()}))
}
