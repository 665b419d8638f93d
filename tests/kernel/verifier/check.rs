//! The verifier: follows every way through a program, and joins what is known where ways meet.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::compare::{divided, mirrored};
use super::live;
use super::object::{Instruction, Map, Program};
use super::state::{Frame, STACK, State};
use super::value::{Kind, Pointer, Range, Register, VAR_MAX};

pub(super) const FRAMES: usize = 8;
/// Instructions that are followed; these verifiers give up at a million.
const PATIENCE: usize = 10_000_000;
/// Ways to one instruction that are told apart by their constants.
const APART: usize = 4096;
const PSEUDO_MAP_FD: u8 = 1;
const PSEUDO_MAP_VALUE: u8 = 2;

/// What the verifier would say.
///
/// # Errors
/// It refuses the program, with the reason.
pub(super) fn check(program: &Program, maps: &[Map]) -> Result<(), String> {
    let mut verifier = Verifier {
        program,
        maps,
        known: BTreeMap::new(),
        stacks: BTreeMap::new(),
        calls: BTreeSet::new(),
        live: live::registers(&program.instructions),
        targets: live::targets(&program.instructions),
        followed: 0,
        at: 0,
    };
    let mut frame = Frame::new(0);
    frame.registers[1] = Register::pointer(Kind::Context);
    let ended = verifier.run(0, State { frames: vec![frame] });
    let verdict = ended.and_then(|_| verifier.depth(0, FRAMES));
    verdict.map(drop).map_err(|reason| {
        let code = program.instructions.get(verifier.at);
        format!("{}: instruction {} ({code:x?}): {reason}", program.name, verifier.at)
    })
}

/// How a function ends: the frames of its callers, and what it returns.
pub(super) type Ended = (Vec<Frame>, Register);

pub(super) struct Verifier<'a> {
    program: &'a Program,
    pub(super) maps: &'a [Map],
    /// Functions that were followed, by where they begin and with what.
    pub(super) known: BTreeMap<usize, Vec<(State, Ended)>>,
    /// Bytes of stack, by function.
    stacks: BTreeMap<usize, usize>,
    pub(super) calls: BTreeSet<(usize, usize)>,
    pub(super) live: Vec<u16>,
    targets: BTreeSet<usize>,
    followed: usize,
    pub(super) at: usize,
}

/// The ways to one instruction.
#[derive(Default)]
struct Ways {
    states: Vec<State>,
    by_constants: HashMap<Vec<Register>, usize>,
}

impl Ways {
    fn find(&self, state: &State) -> Option<usize> {
        if self.states.len() >= APART { Some(0) } else { self.by_constants.get(&state.constants()).copied() }
    }

    fn add(&mut self, state: State) -> usize {
        self.by_constants.insert(state.constants(), self.states.len());
        self.states.push(state);
        self.states.len() - 1
    }
}

enum Next {
    Fall,
    Exit,
    Jump(usize),
    /// Also what is known there.
    Either(usize, Box<State>),
}

impl Verifier<'_> {
    pub(super) fn run(&mut self, entry: usize, start: State) -> Result<Ended, String> {
        let mut meetings: BTreeMap<usize, Ways> = BTreeMap::new();
        let mut met = BTreeSet::new();
        let mut ended: Option<Ended> = None;
        let mut apart = vec![(entry, start)];
        self.stacks.entry(entry).or_insert(0);
        loop {
            let (at, mut state) = match apart.pop() {
                Some(next) => next,
                None => {
                    let Some((at, way)) = met.pop_first() else { break };
                    let Some(state): Option<&State> = meetings.get(&at).and_then(|ways| ways.states.get(way)) else {
                        continue;
                    };
                    (at, state.clone())
                }
            };
            self.at = at;
            self.followed += 1;
            if self.followed > PATIENCE {
                return Err("it is too large".to_owned());
            }
            let next = self.step(entry, at, &mut state)?;
            let wide = self.program.instructions.get(at).is_some_and(|i| i.code == 0x18);
            let follow = at + if wide { 2 } else { 1 };
            let ways = match next {
                Next::Exit => {
                    ended = Some(Self::leave(entry, at, ended, state)?);
                    vec![]
                }
                Next::Fall => vec![(follow, state)],
                Next::Jump(to) => vec![(to, state)],
                Next::Either(to, there) => vec![(follow, state), (to, *there)],
            };
            for (to, mut state) in ways {
                if !self.targets.contains(&to) {
                    apart.push((to, state));
                    continue;
                }
                state.forget(self.live.get(to).copied().unwrap_or(0));
                let ways = meetings.entry(to).or_default();
                if let Some(way) = ways.find(&state) {
                    let mut joined = ways.states[way].clone();
                    joined.join(&state, to);
                    if joined != ways.states[way] {
                        ways.states[way] = joined;
                        met.insert((to, way));
                    }
                } else {
                    met.insert((to, ways.add(state)));
                }
            }
        }
        ended.ok_or_else(|| "the function never ends".to_owned())
    }

    /// What a function returns, and leaves of its callers' stacks, on this way and those before.
    fn leave(entry: usize, at: usize, before: Option<Ended>, mut state: State) -> Result<Ended, String> {
        let result = state.register(0);
        // A function may return nothing.
        if result == Register::Unreadable && state.frames.len() == 1 {
            return Err("R0 !read_ok".to_owned());
        }
        state.frames.pop();
        Ok(match before {
            None => (state.frames, result),
            Some((frames, of)) => {
                let mut all = State { frames };
                all.join(&state, at);
                (all.frames, of.join(result, 1 << 30 | entry as u32))
            }
        })
    }

    /// Bytes of stack, as check_max_stack_depth() counts them.
    fn depth(&self, function: usize, frames: usize) -> Result<usize, String> {
        if frames == 0 {
            return Err("the call stack is too deep".to_owned());
        }
        let own = self.stacks.get(&function).copied().unwrap_or(0).max(1).next_multiple_of(32);
        let mut below = 0;
        for (_, to) in self.calls.iter().filter(|(from, _)| *from == function) {
            below = below.max(self.depth(*to, frames - 1)?);
        }
        let all = own + below;
        if all > STACK { Err(format!("combined stack size of calls is {all}")) } else { Ok(all) }
    }

    fn step(&mut self, entry: usize, at: usize, state: &mut State) -> Result<Next, String> {
        let Some(&i) = self.program.instructions.get(at) else { return Err("falls off the end".to_owned()) };
        let to = |offset: i32| {
            usize::try_from(at as i64 + 1 + i64::from(offset)).map_err(|_| "jumps out of the program".to_owned())
        };
        match i.code & 7 {
            0 if i.code == 0x18 => self.load_constant(at, i, state)?,
            1 => {
                let from = self.pointer(state, i.source)?;
                let loaded = self.load(entry, state, from, i.offset, i.size())?;
                state.set(i.destination, loaded);
            }
            2 | 3 => {
                let into = self.pointer(state, i.destination)?;
                let value = if i.code & 7 == 2 {
                    Register::Number(Range::of(i64::from(i.immediate) as u64))
                } else {
                    state.register(i.source)
                };
                if i.code & 0xe0 == 0xc0 {
                    // Before 5.12 it adds, and gives nothing back.
                    if i.immediate != 0 {
                        return Err("BPF_STX uses reserved fields".to_owned());
                    }
                    if value.range().is_none() {
                        return Err("adds what is no number".to_owned());
                    }
                    self.load(entry, state, into, i.offset, i.size())?;
                    self.store(entry, state, into, i.offset, i.size(), Register::UNKNOWN)?;
                } else {
                    self.store(entry, state, into, i.offset, i.size(), value)?;
                }
            }
            4 => Self::arithmetic(i, state, 32)?,
            7 => Self::arithmetic(i, state, 64)?,
            5 if i.code == 0x95 => return Ok(Next::Exit),
            5 if i.code == 0x85 => self.call(entry, at, i, state)?,
            5 if i.code == 0x05 => return Ok(Next::Jump(to(i.offset.into())?)),
            5 | 6 => return Self::branch(i, state, to(i.offset.into())?),
            _ => return Err("unknown opcode".to_owned()),
        }
        Ok(Next::Fall)
    }

    fn load_constant(&self, at: usize, i: Instruction, state: &mut State) -> Result<(), String> {
        let Some(second) = self.program.instructions.get(at + 1) else { return Err("half an instruction".to_owned()) };
        let value = match i.source {
            0 => Register::Number(Range::of(
                u64::from(i.immediate.cast_unsigned()) | u64::from(second.immediate.cast_unsigned()) << 32,
            )),
            PSEUDO_MAP_FD | PSEUDO_MAP_VALUE => {
                let map = self.maps.iter().position(|m| m.fd == i.immediate);
                let map = map.ok_or_else(|| "unknown map".to_owned())?;
                if i.source == PSEUDO_MAP_FD {
                    Register::pointer(Kind::Map(map))
                } else {
                    let pointer =
                        Pointer { kind: Kind::Value(map), offset: second.immediate.into(), more: Range::of(0) };
                    Register::Pointer(pointer)
                }
            }
            _ => return Err("unrecognized bpf_ld_imm64 insn".to_owned()),
        };
        state.set(i.destination, value);
        Ok(())
    }

    fn pointer(&self, state: &State, number: u8) -> Result<Pointer, String> {
        match state.register(number) {
            Register::Pointer(pointer) => Ok(pointer),
            Register::Number(_) => Err(format!("R{number} invalid mem access 'inv'")),
            Register::Unreadable => Err(format!("R{number} !read_ok")),
        }
    }

    /// Where memory is read or written: check_mem_access().
    pub(super) fn bounds(
        &mut self,
        entry: usize,
        p: Pointer,
        offset: i64,
        size: u64,
        state: &State,
    ) -> Result<i64, String> {
        let begin = p.offset + offset;
        match p.kind {
            Kind::Value(map) => {
                let all = u64::from(self.maps[map].value_size);
                let lowest = i128::from(begin) + i128::from(p.more.lo);
                let end = i128::from(begin) + i128::from(p.more.hi) + i128::from(size);
                if p.more.hi >= VAR_MAX {
                    return Err(format!("unbounded memory access to a value of {}", self.maps[map].name));
                }
                if lowest < 0 || end > i128::from(all) {
                    let name = &self.maps[map].name;
                    return Err(format!(
                        "invalid access to map value {name}, value_size={all} off={lowest} up to {end}"
                    ));
                }
            }
            Kind::Stack(frame) => {
                if p.more != Range::of(0) {
                    return Err("variable stack access".to_owned());
                }
                if begin >= 0 || begin < -(STACK as i64) || begin + size as i64 > 0 {
                    return Err(format!("invalid stack off={begin} size={size}"));
                }
                if frame + 1 == state.frames.len() {
                    let used = self.stacks.entry(entry).or_insert(0);
                    *used = (*used).max(usize::try_from(-begin).unwrap_or(STACK));
                }
            }
            Kind::Context if begin < 0 || p.more != Range::of(0) => {
                return Err("variable context access".to_owned());
            }
            Kind::Context => {}
            Kind::ValueOrNull(..) => return Err("invalid mem access 'map_value_or_null'".to_owned()),
            Kind::Map(_) => return Err("invalid mem access 'map_ptr'".to_owned()),
            Kind::Typed => return Err("a typed pointer is read, which differs between kernels".to_owned()),
        }
        Ok(begin)
    }

    fn load(&mut self, entry: usize, state: &State, p: Pointer, offset: i16, size: u32) -> Result<Register, String> {
        let begin = self.bounds(entry, p, offset.into(), size.into(), state)?;
        Ok(match p.kind {
            Kind::Stack(frame) => state.frames[frame].read(begin, size)?,
            Kind::Context if self.program.is_traced() => {
                if size != 8 || begin % 8 != 0 {
                    return Err(format!("invalid bpf_context access off={begin} size={size}"));
                }
                Register::pointer(Kind::Typed)
            }
            _ => Register::Number(Range::ANY.cut(size)),
        })
    }

    fn store(
        &mut self,
        entry: usize,
        state: &mut State,
        p: Pointer,
        offset: i16,
        size: u32,
        value: Register,
    ) -> Result<(), String> {
        let begin = self.bounds(entry, p, offset.into(), size.into(), state)?;
        match p.kind {
            Kind::Stack(frame) => state.frames[frame].write(begin, size, value),
            Kind::Value(map) if !self.maps[map].writable => Err(format!("writes to {}", self.maps[map].name)),
            Kind::Value(_) if value == Register::Unreadable => Err("stores what was not written".to_owned()),
            Kind::Value(_) => Ok(()),
            _ => Err("writes to the context".to_owned()),
        }
    }

    fn arithmetic(i: Instruction, state: &mut State, bits: u32) -> Result<(), String> {
        let op = i.code & 0xf0;
        let by_register = i.code & 8 != 0;
        let operand = if by_register {
            state.register(i.source)
        } else if bits == 32 && op == 0xb0 {
            Register::Number(Range::of(i.immediate.cast_unsigned().into()))
        } else {
            Register::Number(Range::of(i64::from(i.immediate) as u64))
        };
        let before = state.register(i.destination);
        // NEG and byte swaps have no operand.
        let unary = op == 0x80 || op == 0xd0;
        if (operand == Register::Unreadable && !unary) || (before == Register::Unreadable && op != 0xb0) {
            return Err("a register that was not written is read".to_owned());
        }
        let result = match (op, before, operand) {
            (0xb0, _, Register::Number(range)) => Register::Number(if bits == 32 { range.cut(4) } else { range }),
            (0xb0, _, pointer) if bits == 64 => pointer,
            (0xb0, ..) => return Err("partial copy of pointer".to_owned()),
            (0x80 | 0xd0, Register::Number(_), _) => Register::Number(Range::ANY.cut(bits / 8)),
            (_, Register::Number(a), Register::Number(b)) => Register::Number(Range::operate(op, a, b, bits)),
            (_, Register::Pointer(p), Register::Number(n)) if bits == 64 => Self::move_pointer(op, p, n)?,
            (0x00, Register::Number(n), Register::Pointer(p)) if bits == 64 => Self::move_pointer(op, p, n)?,
            (0x10, Register::Pointer(_), Register::Pointer(_)) if bits == 64 => Register::UNKNOWN,
            _ => return Err(format!("arithmetic {op:#x} of {bits} bits on a pointer is prohibited")),
        };
        state.set(i.destination, result);
        Ok(())
    }

    /// adjust_ptr_min_max_vals().
    fn move_pointer(op: u8, mut p: Pointer, by: Range) -> Result<Register, String> {
        let kind = match p.kind {
            Kind::Value(_) => "map_value",
            Kind::Stack(_) => "fp",
            Kind::Context => "ctx",
            Kind::Typed => "ptr_",
            Kind::ValueOrNull(..) => return Err("pointer arithmetic on map_value_or_null prohibited".to_owned()),
            Kind::Map(_) => return Err("pointer arithmetic on map_ptr prohibited".to_owned()),
        };
        match (op, by.constant()) {
            (0x00, Some(n)) => p.offset = p.offset.wrapping_add(n.cast_signed()),
            (0x10, Some(n)) => p.offset = p.offset.wrapping_sub(n.cast_signed()),
            (0x00, None) if by.hi < VAR_MAX => {
                p.more = Range { lo: p.more.lo.saturating_add(by.lo), hi: p.more.hi.saturating_add(by.hi) };
            }
            (0x00 | 0x10, None) => {
                return Err(format!(
                    "math between {kind} pointer and register with unbounded min value is not allowed"
                ));
            }
            _ => return Err(format!("arithmetic {op:#x} on a pointer is prohibited")),
        }
        if p.offset.unsigned_abs() >= VAR_MAX {
            return Err(format!("{kind} pointer offset {} is not allowed", p.offset));
        }
        Ok(Register::Pointer(p))
    }

    fn branch(i: Instruction, state: &mut State, to: usize) -> Result<Next, String> {
        let op = i.code & 0xf0;
        let bits = if i.code & 7 == 6 { 32 } else { 64 };
        let by_register = i.code & 8 != 0;
        let left = state.register(i.destination);
        let right = if by_register {
            state.register(i.source)
        } else {
            let value = i64::from(i.immediate) as u64;
            Register::Number(Range::of(if bits == 32 { value & Range::ANY32.hi } else { value }))
        };
        let mut there = Box::new(state.clone());
        match (left, right) {
            (Register::Unreadable, _) | (_, Register::Unreadable) => {
                return Err("a register that was not written is compared".to_owned());
            }
            (Register::Pointer(p), Register::Number(n)) if n == Range::of(0) && bits == 64 => {
                if let Kind::ValueOrNull(_, id) = p.kind
                    && matches!(op, 0x10 | 0x50)
                {
                    there.looked_up(id, op == 0x10);
                    state.looked_up(id, op == 0x50);
                }
            }
            (Register::Number(a), Register::Number(b)) => {
                // Only a comparison with a constant tells of the other one.
                let (number, range, n, op) = match (a.constant(), b.constant()) {
                    (_, Some(n)) => (i.destination, a, n, op),
                    (Some(n), None) => (i.source, b, n, mirrored(op)),
                    (None, None) => return Ok(Next::Either(to, there)),
                };
                let (yes, no) = divided(op, range, n, bits);
                if let Some(yes) = yes {
                    there.set(number, Register::Number(yes));
                }
                if let Some(no) = no {
                    state.set(number, Register::Number(no));
                }
                return Ok(match (yes, no) {
                    (Some(_), Some(_)) => Next::Either(to, there),
                    (Some(_), None) => {
                        *state = *there;
                        Next::Jump(to)
                    }
                    _ => Next::Fall,
                });
            }
            _ => {}
        }
        Ok(Next::Either(to, there))
    }
}
