//! What is known of a register.

/// Offsets beyond this are refused: BPF_MAX_VAR_OFF.
pub(super) const VAR_MAX: u64 = 1 << 29;

/// An unsigned range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Range {
    pub(super) lo: u64,
    pub(super) hi: u64,
}

impl Range {
    pub(super) const ANY: Self = Self { lo: 0, hi: u64::MAX };
    pub(super) const ANY32: Self = Self { lo: 0, hi: u32::MAX as u64 };

    pub(super) fn of(value: u64) -> Self {
        Self { lo: value, hi: value }
    }

    pub(super) fn constant(self) -> Option<u64> {
        (self.lo == self.hi).then_some(self.lo)
    }

    pub(super) fn join(self, other: Self) -> Self {
        Self { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi) }
    }

    /// What is left of it in its low bits: coerce_reg_to_size().
    pub(super) fn cut(self, bytes: u32) -> Self {
        if bytes >= 8 {
            return self;
        }
        let mask = (1u64 << (bytes * 8)) - 1;
        if self.lo & !mask == self.hi & !mask {
            Self { lo: self.lo & mask, hi: self.hi & mask }
        } else {
            Self { lo: 0, hi: mask }
        }
    }

    /// adjust_scalar_min_max_vals() of 5.4, without what tnums alone would tell. `bits`: 32 or 64.
    pub(super) fn operate(op: u8, a: Self, b: Self, bits: u32) -> Self {
        let (a, b) = if bits == 32 { (a.cut(4), b.cut(4)) } else { (a, b) };
        let result = match op {
            0x00 => match (a.lo.checked_add(b.lo), a.hi.checked_add(b.hi)) {
                (Some(lo), Some(hi)) => Self { lo, hi },
                _ => match (a.constant(), b.constant()) {
                    (Some(a), Some(b)) => Self::of(a.wrapping_add(b)),
                    _ => Self::ANY,
                },
            },
            0x10 => match (a.lo.checked_sub(b.hi), a.hi.checked_sub(b.lo)) {
                (Some(lo), Some(hi)) => Self { lo, hi },
                _ => match (a.constant(), b.constant()) {
                    (Some(a), Some(b)) => Self::of(a.wrapping_sub(b)),
                    _ => Self::ANY,
                },
            },
            0x20 if a.hi <= Self::ANY32.hi && b.hi <= Self::ANY32.hi => Self { lo: a.lo * b.lo, hi: a.hi * b.hi },
            0x50 => match (a.constant(), b.constant()) {
                (Some(a), Some(b)) => Self::of(a & b),
                _ => Self { lo: 0, hi: a.hi.min(b.hi) },
            },
            0x40 => match (a.constant(), b.constant()) {
                (Some(a), Some(b)) => Self::of(a | b),
                _ => Self { lo: a.lo.max(b.lo), hi: ones(a.hi.max(b.hi)) },
            },
            0x60 if b.hi < u64::from(bits) && a.hi <= u64::MAX >> b.hi => Self { lo: a.lo << b.lo, hi: a.hi << b.hi },
            0x70 if b.hi < u64::from(bits) => Self { lo: a.lo >> b.hi, hi: a.hi >> b.lo },
            0xc0 if b.constant().is_some_and(|s| s < u64::from(bits)) && a.hi >> (bits - 1) == 0 => {
                Self { lo: a.lo >> b.lo, hi: a.hi >> b.lo }
            }
            // XOR, NEG, DIV, MOD: unknown to 5.4.
            _ => Self::ANY,
        };
        if bits == 32 { result.cut(4) } else { result }
    }
}

/// All bits set up to the highest one of `value`.
fn ones(value: u64) -> u64 {
    u64::MAX.checked_shr(value.leading_zeros()).unwrap_or(0)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Context,
    /// Of the frame with this index.
    Stack(usize),
    Map(usize),
    Value(usize),
    /// By the number of the look-up: one check holds for all copies.
    ValueOrNull(usize, u32),
    /// A kernel structure, as the context of fentry programs gives it.
    Typed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Pointer {
    pub(super) kind: Kind,
    pub(super) offset: i64,
    /// Added to the offset.
    pub(super) more: Range,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Register {
    /// Not written, or of different kinds on different ways here.
    Unreadable,
    Number(Range),
    Pointer(Pointer),
}

impl Register {
    pub(super) const UNKNOWN: Self = Self::Number(Range::ANY);

    pub(super) fn pointer(kind: Kind) -> Self {
        Self::Pointer(Pointer { kind, offset: 0, more: Range::of(0) })
    }

    pub(super) fn range(self) -> Option<Range> {
        match self {
            Self::Number(range) => Some(range),
            _ => None,
        }
    }

    /// `id` numbers a look-up that is known by different numbers on the ways here.
    pub(super) fn join(self, other: Self, id: u32) -> Self {
        if self == other {
            return self;
        }
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => Self::Number(a.join(b)),
            (Self::Pointer(a), Self::Pointer(b)) => Self::join_pointers(a, b, id),
            // NULL, or what was looked up.
            (Self::Number(n), Self::Pointer(p)) | (Self::Pointer(p), Self::Number(n)) if n == Range::of(0) => {
                match p.kind {
                    Kind::Value(map) | Kind::ValueOrNull(map, _) if p.offset == 0 && p.more == Range::of(0) => {
                        Self::pointer(Kind::ValueOrNull(map, id))
                    }
                    _ => Self::Unreadable,
                }
            }
            _ => Self::Unreadable,
        }
    }

    fn join_pointers(a: Pointer, b: Pointer, id: u32) -> Self {
        let plain = |p: Pointer| p.offset == 0 && p.more == Range::of(0);
        match (a.kind, b.kind) {
            (x, y) if x == y => {
                let offset = a.offset.min(b.offset);
                let more = |p: Pointer| {
                    let up = p.offset.abs_diff(offset);
                    Range { lo: p.more.lo.saturating_add(up), hi: p.more.hi.saturating_add(up) }
                };
                Self::Pointer(Pointer { kind: x, offset, more: more(a).join(more(b)) })
            }
            (Kind::Value(m) | Kind::ValueOrNull(m, _), Kind::Value(n) | Kind::ValueOrNull(n, _))
                if m == n && plain(a) && plain(b) =>
            {
                Self::pointer(Kind::ValueOrNull(m, id))
            }
            _ => Self::Unreadable,
        }
    }
}
