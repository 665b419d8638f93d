//! Calls: of functions, which are followed with what the caller gives, and of helpers.

use super::check::{FRAMES, Verifier};
use super::helpers::{self, Argument};
use super::object::Instruction;
use super::state::{Frame, State};
use super::value::{Kind, Pointer, Range, Register, VAR_MAX};

const PSEUDO_CALL: u8 = 1;
/// What libbpf puts in the place of an instruction whose relocation failed.
const POISON: i32 = 195_896_080;

impl Verifier<'_> {
    pub(super) fn call(&mut self, entry: usize, at: usize, i: Instruction, state: &mut State) -> Result<(), String> {
        if i.immediate == POISON {
            return Err("a relocation that failed is reached".to_owned());
        }
        let result = match i.source {
            PSEUDO_CALL => {
                let target = usize::try_from(at as i64 + 1 + i64::from(i.immediate));
                let target = target.map_err(|_| "calls out of the program".to_owned())?;
                self.calls.insert((entry, target));
                self.function(target, state)?
            }
            0 => self.helper(entry, at, i.immediate, state)?,
            _ => return Err("calls a function of the kernel (5.13)".to_owned()),
        };
        for number in 1..=5 {
            state.set(number, Register::Unreadable);
        }
        state.set(0, result);
        Ok(())
    }

    fn function(&mut self, target: usize, state: &mut State) -> Result<Register, String> {
        let depth = state.frames.len();
        if depth >= FRAMES {
            return Err(format!("the call stack of {} frames is too deep", depth + 1));
        }
        let mut frame = Frame::new(depth);
        // From 5.6 on a global function that takes numbers is followed with any.
        let numbers = (1..=5).all(|n| !matches!(state.register(n), Register::Pointer(_)));
        for n in 1..=5 {
            frame.registers[usize::from(n)] = match state.register(n) {
                Register::Number(_) if numbers => Register::UNKNOWN,
                other => other,
            };
        }
        // Of its callers it sees what their stacks hold, where a pointer leads there.
        let seen = frame.registers[1..=5]
            .iter()
            .any(|r| matches!(r, Register::Pointer(p) if matches!(p.kind, Kind::Stack(_))));
        let mut begun = State { frames: state.frames.iter().map(|caller| caller.hidden(seen)).collect() };
        begun.frames.push(frame);
        begun.forget(self.live.get(target).copied().unwrap_or(0));
        let before = self.known.get(&target).and_then(|all| all.iter().find(|(with, _)| *with == begun));
        let (frames, mut result) = match before {
            Some((_, ended)) => ended.clone(),
            None => {
                let here = self.at;
                let ended = self.run(target, begun.clone())?;
                self.at = here;
                self.known.entry(target).or_default().push((begun, ended.clone()));
                ended
            }
        };
        if seen {
            for (frame, after) in state.frames.iter_mut().zip(frames) {
                frame.stack = after.stack;
            }
        }
        if let (true, Register::Number(_)) = (numbers, result) {
            result = Register::UNKNOWN;
        }
        match result {
            Register::Pointer(Pointer { kind: Kind::Stack(_), .. }) => {
                Err("cannot return stack pointer to the caller".to_owned())
            }
            result => Ok(result),
        }
    }

    fn helper(&mut self, entry: usize, at: usize, id: i32, state: &mut State) -> Result<Register, String> {
        let helper = helpers::get(id).ok_or_else(|| format!("invalid func unknown#{id}"))?;
        let mut map = None;
        for (number, argument) in (1u8..).zip(helper.arguments) {
            let given = state.register(number);
            if given == Register::Unreadable {
                return Err(format!("R{number} !read_ok in {}", helper.name));
            }
            let size_of = |map: Option<usize>, value: bool| {
                let map = map.ok_or_else(|| "no map".to_owned())?;
                let map = &self.maps[map];
                Ok::<_, String>(u64::from(if value { map.value_size } else { map.key_size }))
            };
            match argument {
                Argument::Any | Argument::Size => {}
                Argument::Number if given.range().is_some() => {}
                Argument::Context if given == Register::pointer(Kind::Context) => {}
                Argument::Map => match given {
                    Register::Pointer(Pointer { kind: Kind::Map(of), .. }) => map = Some(of),
                    _ => return Err(format!("R{number} type of {} is no map", helper.name)),
                },
                Argument::Key => {
                    let size = size_of(map, false)?;
                    self.memory(entry, state, number, Range::of(size), false)?;
                }
                Argument::Value => {
                    let size = size_of(map, true)?;
                    self.memory(entry, state, number, Range::of(size), false)?;
                }
                Argument::Read | Argument::Written => {
                    let Register::Number(size) = state.register(number + 1) else {
                        return Err(format!("R{} of {} is no size", number + 1, helper.name));
                    };
                    if size.hi >= VAR_MAX {
                        return Err(format!(
                            "R{} unbounded memory access, use 'var &= const' or 'if (var < const)' in {}",
                            number + 1,
                            helper.name
                        ));
                    }
                    // Of a size that is not constant, the memory must have been written before.
                    let written = matches!(argument, Argument::Written) && size.constant().is_some();
                    self.memory(entry, state, number, size, written)?;
                }
                Argument::Number | Argument::Context => {
                    return Err(format!("R{number} of {} has a type that it does not take", helper.name));
                }
            }
        }
        let result = match map {
            Some(map) if helper.looks_up => {
                Register::pointer(Kind::ValueOrNull(map, (state.frames.len() as u32) << 24 | at as u32))
            }
            _ => Register::UNKNOWN,
        };
        Ok(result)
    }

    /// check_helper_mem_access().
    fn memory(
        &mut self,
        entry: usize,
        state: &mut State,
        number: u8,
        size: Range,
        written: bool,
    ) -> Result<(), String> {
        let p = match state.register(number) {
            Register::Pointer(p) => p,
            Register::Number(n) if n == Range::of(0) && size == Range::of(0) => return Ok(()),
            _ => return Err(format!("R{number} is no memory")),
        };
        if size.hi == 0 {
            return Ok(());
        }
        let begin = self.bounds(entry, p, 0, size.hi, state)?;
        match p.kind {
            Kind::Stack(frame) if written => state.frames[frame].filled(begin, size.hi),
            Kind::Stack(frame) => state.frames[frame].given(begin, size.hi),
            Kind::Value(_) => Ok(()),
            _ => Err(format!("R{number} is no memory that a helper takes")),
        }
    }
}
