//! Programs by chance, the same for the same seed.

use fastrand::Rng;

use super::program::{End, FileKind, Namespace, Op, OpFlag, Program, RingFlag, RingSpec, Step, What, Whom};

/// Far fewer than what would take long, whatever becomes of them.
const MAX_OPS: usize = 150;

/// How requests get their `user_data`.
#[derive(Clone, Copy)]
enum Tags {
    Own,
    Some,
    All,
}

struct Maker {
    rng: Rng,
    rings: usize,
    tags: Tags,
    /// Chances in a hundred.
    skip: u32,
    link: u32,
    fixed: u32,
    /// Only files and operations that end at once.
    prompt: bool,
    ops_left: usize,
    /// Only a program that begins with one thread may fork.
    may_fork: bool,
}

pub(crate) fn program(seed: u64) -> Program {
    let mut rng = Rng::with_seed(seed);
    let ring_count = [1, 1, 1, 2, 2, 3][rng.usize(..6)];
    let rings: Vec<_> = (0..ring_count).map(|index| ring(&mut rng, index)).collect();
    let tags = [Tags::Own, Tags::Own, Tags::Some, Tags::All][rng.usize(..4)];
    let end = match rng.u32(..16) {
        0..9 => End::Settle,
        9..11 => End::Close,
        11 => End::Exit,
        12 | 13 => End::Kill,
        14 => End::Exec,
        _ => End::KilledAfter(rng.u32(50..20_000)),
    };
    let namespaces: Vec<_> = match rng.u32(..20) {
        0 => vec![Namespace::User],
        1 => vec![Namespace::Pid],
        2 => vec![Namespace::User, Namespace::Pid],
        _ => vec![],
    };
    // The first process of a namespace cannot be killed by itself.
    let end = match end {
        End::Kill | End::KilledAfter(_) if namespaces.contains(&Namespace::Pid) => End::Exit,
        end => end,
    };
    let mut maker = Maker {
        tags,
        rings: ring_count,
        skip: [0, 0, 10, 50][rng.usize(..4)],
        link: [0, 10, 40][rng.usize(..3)],
        fixed: [0, 20, 80][rng.usize(..3)],
        prompt: rng.bool(),
        ops_left: rng.usize(1..=MAX_OPS),
        may_fork: true,
        rng,
    };
    let count = maker.rng.usize(1..=10);
    let steps = maker.steps(count, None, 0);
    Program { seed, namespaces, rings, steps, end }
}

fn ring(rng: &mut Rng, index: usize) -> RingSpec {
    let entries = [1, 2, 4, 8, 32, 64][rng.usize(..6)];
    let cq_entries = if rng.u32(..3) == 0 { [1, 2, 4, 16][rng.usize(..4)].max(entries) } else { 0 };
    let mut flags = vec![];
    for (flag, chance) in
        [(RingFlag::SubmitAll, 20), (RingFlag::Sqe128, 8), (RingFlag::SqRewind, 4), (RingFlag::NoSqarray, 8)]
    {
        if rng.u32(..100) < chance {
            flags.push(flag);
        }
    }
    // Not CQE_MIXED: where such a queue has been full, 6.18 shows CQEs twice.
    if rng.u32(..16) == 0 {
        flags.push(RingFlag::Cqe32);
    }
    match rng.u32(..12) {
        0 => flags.push(RingFlag::Iopoll),
        1 => flags.push(RingFlag::Sqpoll),
        2 => flags.extend([RingFlag::Sqpoll, RingFlag::SingleIssuer]),
        3 | 4 => flags.push(RingFlag::DeferTaskrun),
        5 => flags.push(RingFlag::SingleIssuer),
        6 => flags.push(RingFlag::CoopTaskrun),
        _ => {}
    }
    if flags.contains(&RingFlag::Sqpoll) {
        flags.retain(|&flag| flag != RingFlag::SqRewind);
    }
    if index > 0 && rng.u32(..8) == 0 {
        flags.push(RingFlag::AttachWq);
    }
    RingSpec { entries, cq_entries, flags }
}

impl Maker {
    fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(..100) < percent
    }

    /// `only`: the ring that these steps may use.
    fn steps(&mut self, count: usize, only: Option<usize>, depth: u32) -> Vec<Step> {
        (0..count).map(|_| self.step(only, depth)).collect()
    }

    fn step(&mut self, only: Option<usize>, depth: u32) -> Step {
        let ring = only.unwrap_or_else(|| self.rng.usize(..self.rings));
        match self.rng.u32(..100) {
            0..55 => {
                let count = self.rng.usize(1..=12).min(self.ops_left);
                self.ops_left -= count;
                Step::Submit { ring, ops: self.ops(count) }
            }
            55..67 => Step::Reap { ring, most: self.rng.u32(1..20) },
            67..72 => Step::Flush { ring },
            72..80 => Step::Settle { ring },
            80..84 => Step::Drain,
            84..88 => Step::Feed,
            88..91 if depth == 0 && self.may_fork => {
                let count = self.rng.usize(1..4);
                Step::Fork { steps: self.steps(count, only, 1) }
            }
            91..95 if depth == 0 => {
                let count = self.rng.usize(1..4);
                Step::Thread { steps: self.steps(count, only, 1) }
            }
            95..98 if depth == 0 => {
                let (left, right) = (self.rng.usize(1..4), self.rng.usize(1..4));
                let other = self.rng.usize(..self.rings);
                Step::Both { left: self.steps(left, Some(ring), 1), right: self.steps(right, Some(other), 1) }
            }
            98.. if depth == 0 => Step::Close { ring },
            _ => Step::Reap { ring, most: 100 },
        }
    }

    fn ops(&mut self, count: usize) -> Vec<Op> {
        let mut ops = vec![];
        while ops.len() < count {
            let what = self.what();
            let mut flags = vec![];
            for (flag, chance) in [
                (OpFlag::Fixed, self.fixed),
                (OpFlag::Link, self.link),
                (OpFlag::Hardlink, self.link / 4),
                (OpFlag::Drain, 3),
                (OpFlag::Async, 10),
                (OpFlag::Skip, self.skip),
            ] {
                if self.chance(chance) {
                    flags.push(flag);
                }
            }
            let tag = self.tag();
            let timed = matches!(what, What::Write { .. } | What::Read) && self.chance(8);
            if timed && !flags.contains(&OpFlag::Link) {
                flags.push(OpFlag::Link);
            }
            ops.push(Op { what, flags, tag });
            if timed {
                let ms = self.rng.u32(..8);
                ops.push(Op { what: What::LinkTimeout { ms }, flags: vec![], tag: self.tag() });
            }
        }
        ops
    }

    fn tag(&mut self) -> Option<u8> {
        match self.tags {
            Tags::Own => None,
            Tags::Some => self.chance(60).then(|| self.rng.u8(..3)),
            Tags::All => Some(0),
        }
    }

    fn whom(&mut self) -> Whom {
        match self.tags {
            Tags::Own => Whom::Last,
            _ if self.rng.bool() => Whom::Last,
            _ => Whom::Tag(self.rng.u8(..3)),
        }
    }

    fn file(&mut self) -> FileKind {
        const PROMPT: [FileKind; 8] = [
            FileKind::Plain,
            FileKind::Direct,
            FileKind::Tmpfs,
            FileKind::Null,
            FileKind::Null,
            FileKind::Full,
            FileKind::ReadOnly,
            FileKind::Bad,
        ];
        if self.prompt {
            PROMPT[self.rng.usize(..PROMPT.len())]
        } else {
            FileKind::ALL[self.rng.usize(..FileKind::ALL.len())]
        }
    }

    /// Most requests of equal `user_data` differ in this.
    fn len(&mut self) -> u32 {
        match self.rng.u32(..20) {
            0 => 0,
            1 => 4096,
            _ => self.rng.u32(1..2000),
        }
    }

    fn lens(&mut self) -> Vec<u32> {
        let count = self.rng.usize(..5);
        (0..count).map(|_| self.rng.u32(..500)).collect()
    }

    fn result(&mut self) -> i32 {
        match self.rng.u32(..4) {
            0 => -9,
            1 => -125,
            2 => 0,
            _ => self.rng.i32(1..2000),
        }
    }

    fn what(&mut self) -> What {
        match self.rng.u32(..100) {
            0..32 => What::Write { file: self.file(), len: self.len() },
            32..44 => What::Writev { file: self.file(), lens: self.lens() },
            44..52 => What::WriteFixed { file: self.file(), len: self.len() },
            52..56 => What::WritevFixed { file: self.file(), lens: self.lens() },
            56..61 => What::Nop { result: None },
            61..66 => What::Nop { result: Some(self.result()) },
            66..70 if !self.prompt => What::Read,
            70..74 if !self.prompt => What::Poll { multishot: self.rng.bool() },
            74..76 if !self.prompt => What::PollRemove { of: self.whom() },
            76..79 => What::Timeout { ms: self.rng.u32(..10), count: self.rng.u32(..3) },
            79..83 => What::Cancel { of: self.whom(), all: self.rng.bool() },
            83..88 => {
                let ring = self.rng.usize(..self.rings);
                What::Message { ring, of: self.whom(), result: self.result() }
            }
            88..90 => What::Fsync { file: self.file() },
            90..92 => What::OpenDirect,
            92..94 => What::CloseDirect,
            94..96 => What::Mkdir,
            96..98 => What::Unlink,
            98.. => What::Rename,
            _ => What::Nop { result: None },
        }
    }
}
