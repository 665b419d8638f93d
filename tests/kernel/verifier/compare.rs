//! What a comparison tells.

use super::value::Range;

/// The comparison with both sides exchanged.
pub(super) fn mirrored(op: u8) -> u8 {
    match op {
        0x20 => 0xa0,
        0x30 => 0xb0,
        0xa0 => 0x20,
        0xb0 => 0x30,
        0x60 => 0xc0,
        0x70 => 0xd0,
        0xc0 => 0x60,
        0xd0 => 0x70,
        other => other,
    }
}

/// What a comparison with a constant leaves of a range, where it holds and where not. `None`: never.
pub(super) fn divided(op: u8, r: Range, n: u64, bits: u32) -> (Option<Range>, Option<Range>) {
    let both = (Some(r), Some(r));
    // 32 bits tell only of what has no more.
    if bits == 32 && r.hi > Range::ANY32.hi {
        return both;
    }
    let make = |lo: u64, hi: u64| (lo <= hi).then_some(Range { lo, hi });
    let below = |limit: u64| make(r.lo, r.hi.min(limit));
    let from = |limit: u64| make(r.lo.max(limit), r.hi);
    let less = n.checked_sub(1).and_then(below);
    let more = n.checked_add(1).and_then(from);
    let positive = if bits == 32 { i32::MAX as u64 } else { i64::MAX as u64 };
    let sign = n > positive;
    match op {
        0x10 => (make(r.lo.max(n), r.hi.min(n)), without(r, n)),
        0x50 => (without(r, n), make(r.lo.max(n), r.hi.min(n))),
        0x20 => (more, below(n)),
        0x30 => (from(n), less),
        0xa0 => (less, from(n)),
        0xb0 => (below(n), more),
        // With a sign, which the range does not have.
        0x60 | 0x70 | 0xc0 | 0xd0 if r.hi <= positive && !sign => match op {
            0x60 => (more, below(n)),
            0x70 => (from(n), less),
            0xc0 => (less, from(n)),
            _ => (below(n), more),
        },
        // Greater than -1, or less than 0.
        0x60 if n == u64::MAX && bits == 64 => (below(positive), from(positive + 1)),
        0xd0 if n == u64::MAX && bits == 64 => (from(positive + 1), below(positive)),
        0x70 | 0x60 if !sign && bits == 64 => (make(r.lo.max(n), r.hi.min(positive)), Some(r)),
        0xc0 | 0xd0 if !sign && bits == 64 => (Some(r), make(r.lo.max(n), r.hi.min(positive))),
        _ => both,
    }
}

fn without(r: Range, n: u64) -> Option<Range> {
    match (r.lo == n, r.hi == n) {
        (true, true) => None,
        (true, false) => Some(Range { lo: n + 1, hi: r.hi }),
        (false, true) => Some(Range { lo: r.lo, hi: n - 1 }),
        (false, false) => Some(r),
    }
}
