//! What is known at one instruction: registers and stack of each frame.

use std::rc::Rc;

use super::value::{Kind, Pointer, Range, Register};

pub(super) const STACK: usize = 512;
const SLOT: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Byte {
    Unwritten,
    Zero,
    Misc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Bytes([Byte; SLOT]),
    /// A pointer, or a constant: what the verifiers before 5.11 keep of what is spilled.
    Spilled(Register),
}

const EMPTY: Slot = Slot::Bytes([Byte::Unwritten; SLOT]);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) registers: [Register; 11],
    /// Shared until it is written to.
    pub(super) stack: Rc<Vec<Slot>>,
}

impl Frame {
    /// The frame with this index.
    pub(super) fn new(index: usize) -> Self {
        let mut registers = [Register::Unreadable; 11];
        registers[10] = Register::pointer(Kind::Stack(index));
        Self { registers, stack: Rc::new(vec![EMPTY; STACK / SLOT]) }
    }

    /// What a function sees of its caller.
    pub(super) fn hidden(&self, stack: bool) -> Self {
        let mut frame = Self::new(0);
        frame.registers = [Register::Unreadable; 11];
        if stack {
            frame.stack.clone_from(&self.stack);
        }
        frame
    }

    /// Byte `offset` below the frame's end is this slot, and byte of it.
    fn place(offset: i64) -> Result<(usize, usize), String> {
        match usize::try_from(offset + STACK as i64) {
            Ok(at) if at < STACK => Ok((at / SLOT, at % SLOT)),
            _ => Err(format!("invalid stack offset {offset}")),
        }
    }

    pub(super) fn write(&mut self, offset: i64, size: u32, value: Register) -> Result<(), String> {
        let (slot, byte) = Self::place(offset)?;
        Self::place(offset + i64::from(size) - 1)?;
        let whole = size == 8 && byte == 0;
        let constant = value.range().and_then(Range::constant);
        match value {
            Register::Unreadable => return Err("a register that was not written is stored".to_owned()),
            Register::Pointer(_) if !whole => return Err("invalid size of register spill".to_owned()),
            Register::Pointer(_) => Rc::make_mut(&mut self.stack)[slot] = Slot::Spilled(value),
            Register::Number(_) if whole && constant.is_some_and(|c| c != 0) => {
                Rc::make_mut(&mut self.stack)[slot] = Slot::Spilled(value);
            }
            Register::Number(_) => {
                self.set(offset, u64::from(size), if constant == Some(0) { Byte::Zero } else { Byte::Misc })?;
            }
        }
        Ok(())
    }

    /// What is written over a spilled register makes all of it data.
    fn set(&mut self, offset: i64, size: u64, to: Byte) -> Result<(), String> {
        let stack = Rc::make_mut(&mut self.stack);
        for i in 0..size as i64 {
            let (slot, byte) = Self::place(offset + i)?;
            if let Slot::Spilled(_) = stack[slot] {
                stack[slot] = Slot::Bytes([Byte::Misc; SLOT]);
            }
            if let Slot::Bytes(bytes) = &mut stack[slot] {
                bytes[byte] = to;
            }
        }
        Ok(())
    }

    pub(super) fn read(&self, offset: i64, size: u32) -> Result<Register, String> {
        let (slot, byte) = Self::place(offset)?;
        if let Slot::Spilled(register) = self.stack[slot] {
            return match register {
                _ if size == 8 && byte == 0 => Ok(register),
                Register::Number(_) => Ok(Register::Number(Range::ANY.cut(size))),
                _ => Err("invalid size of register fill".to_owned()),
            };
        }
        let mut zero = true;
        for i in 0..i64::from(size) {
            let (slot, byte) = Self::place(offset + i)?;
            match self.stack[slot] {
                Slot::Bytes(bytes) if bytes[byte] == Byte::Unwritten => {
                    return Err(format!("invalid read from stack off {offset} size {size}"));
                }
                Slot::Bytes(bytes) => zero &= bytes[byte] == Byte::Zero,
                Slot::Spilled(_) => zero = false,
            }
        }
        Ok(Register::Number(if zero { Range::of(0) } else { Range::ANY.cut(size) }))
    }

    /// A helper reads it: check_stack_boundary().
    pub(super) fn given(&mut self, offset: i64, size: u64) -> Result<(), String> {
        for i in 0..size as i64 {
            let (slot, byte) = Self::place(offset + i)?;
            match self.stack[slot] {
                Slot::Bytes(bytes) if bytes[byte] != Byte::Unwritten => {}
                Slot::Spilled(Register::Number(_)) => {
                    Rc::make_mut(&mut self.stack)[slot] = Slot::Bytes([Byte::Misc; SLOT]);
                }
                _ => return Err(format!("invalid indirect read from stack off {offset}+{i} size {size}")),
            }
        }
        Ok(())
    }

    /// A helper writes it.
    pub(super) fn filled(&mut self, offset: i64, size: u64) -> Result<(), String> {
        self.set(offset, size, Byte::Misc)
    }

    fn each(&mut self) -> impl Iterator<Item = &mut Register> {
        let spilled = Rc::make_mut(&mut self.stack).iter_mut().filter_map(|slot| match slot {
            Slot::Spilled(register) => Some(register),
            Slot::Bytes(_) => None,
        });
        self.registers.iter_mut().chain(spilled)
    }

    fn join(&mut self, other: &Self, id: &mut dyn FnMut(&Register, &Register) -> u32) {
        for (mine, theirs) in self.registers.iter_mut().zip(&other.registers) {
            *mine = mine.join(*theirs, id(mine, theirs));
        }
        if self.stack == other.stack {
            return;
        }
        for (mine, theirs) in Rc::make_mut(&mut self.stack).iter_mut().zip(other.stack.iter()) {
            *mine = match (*mine, *theirs) {
                (a, b) if a == b => a,
                (Slot::Spilled(a), Slot::Spilled(b)) => match a.join(b, id(&a, &b)) {
                    Register::Pointer(p) => Slot::Spilled(Register::Pointer(p)),
                    Register::Number(_) => Slot::Bytes([Byte::Misc; SLOT]),
                    Register::Unreadable => EMPTY,
                },
                (Slot::Bytes(a), Slot::Bytes(b)) => {
                    let mut bytes = a;
                    for (mine, theirs) in bytes.iter_mut().zip(b) {
                        *mine = match (*mine, theirs) {
                            (a, b) if a == b => a,
                            (Byte::Unwritten, _) | (_, Byte::Unwritten) => Byte::Unwritten,
                            _ => Byte::Misc,
                        };
                    }
                    Slot::Bytes(bytes)
                }
                (Slot::Spilled(register), Slot::Bytes(bytes)) | (Slot::Bytes(bytes), Slot::Spilled(register)) => {
                    // A pointer or NULL.
                    let null = Register::Number(Range::of(0));
                    match register {
                        Register::Number(_) if !bytes.contains(&Byte::Unwritten) => Slot::Bytes([Byte::Misc; SLOT]),
                        Register::Pointer(_) if bytes == [Byte::Zero; SLOT] => {
                            match register.join(null, id(&register, &null)) {
                                joined @ Register::Pointer(_) => Slot::Spilled(joined),
                                _ => EMPTY,
                            }
                        }
                        _ => EMPTY,
                    }
                }
            };
        }
    }
}

/// All frames; the last one runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) frames: Vec<Frame>,
}

impl State {
    pub(super) fn top(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("a program has a frame")
    }

    pub(super) fn register(&self, number: u8) -> Register {
        self.frames.last().map_or(Register::Unreadable, |frame| frame.registers[usize::from(number)])
    }

    pub(super) fn set(&mut self, number: u8, to: Register) {
        self.top().registers[usize::from(number)] = to;
    }

    /// Forgets registers that nothing reads.
    pub(super) fn forget(&mut self, live: u16) {
        for (number, register) in self.top().registers[..10].iter_mut().enumerate() {
            if live & 1 << number == 0 {
                *register = Register::Unreadable;
            }
        }
    }

    /// What tells ways apart, such as the steps of a loop: registers that hold one value, and kinds of the others.
    pub(super) fn constants(&self) -> Vec<Register> {
        let Some(frame) = self.frames.last() else { return vec![] };
        let constant = |register: &Register| match *register {
            Register::Number(range) if range.constant().is_none() => Register::UNKNOWN,
            Register::Pointer(pointer) if pointer.more.constant().is_none() => {
                Register::Pointer(Pointer { offset: 0, more: Range::ANY, ..pointer })
            }
            other => other,
        };
        frame.registers.iter().map(constant).collect()
    }

    /// The result of a look-up is, or is not, NULL.
    pub(super) fn looked_up(&mut self, id: u32, null: bool) {
        let of = |register: &Register| matches!(register, Register::Pointer(p) if matches!(p.kind, Kind::ValueOrNull(_, i) if i == id));
        let held = |frame: &&mut Frame| {
            let spilled = |slot: &Slot| matches!(slot, Slot::Spilled(register) if of(register));
            frame.registers.iter().any(of) || frame.stack.iter().any(spilled)
        };
        for register in self.frames.iter_mut().filter(held).flat_map(Frame::each) {
            if let Register::Pointer(pointer) = register
                && let Kind::ValueOrNull(map, of) = pointer.kind
                && of == id
            {
                if null {
                    *register = Register::Number(Range::of(0));
                } else {
                    pointer.kind = Kind::Value(map);
                }
            }
        }
    }

    /// `at`: where both ways meet.
    pub(super) fn join(&mut self, other: &Self, at: usize) {
        // Copies of one look-up stay copies of one.
        let mut met: Vec<((u32, u32), u32)> = vec![];
        let number = |register: &Register| match register {
            Register::Pointer(pointer) => match pointer.kind {
                Kind::ValueOrNull(_, id) => id,
                Kind::Value(_) => u32::MAX,
                _ => 0,
            },
            _ => 0,
        };
        let mut id = |a: &Register, b: &Register| {
            let pair = (number(a), number(b));
            if pair.0 == pair.1 {
                return pair.0;
            }
            if let Some((_, id)) = met.iter().find(|(p, _)| *p == pair) {
                return *id;
            }
            let id = 1 << 31 | (at as u32) << 8 | met.len() as u32;
            met.push((pair, id));
            id
        };
        for (mine, theirs) in self.frames.iter_mut().zip(&other.frames) {
            mine.join(theirs, &mut id);
        }
    }
}
