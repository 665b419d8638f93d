//! A BPF object as libbpf would hand it to the kernel, relocated against the types of another kernel.

use std::ffi::{CStr, CString};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use libbpf_sys::{
    bpf_insn, bpf_map__fd, bpf_map__key_size, bpf_map__name, bpf_map__value_size, bpf_object, bpf_object__close,
    bpf_object__next_map, bpf_object__next_program, bpf_object__open_mem, bpf_object__prepare, bpf_object_open_opts,
    bpf_program__insn_cnt, bpf_program__insns, bpf_program__name, bpf_program__section_name,
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Instruction {
    pub(super) code: u8,
    pub(super) destination: u8,
    pub(super) source: u8,
    pub(super) offset: i16,
    pub(super) immediate: i32,
}

impl Instruction {
    /// Bytes that a load or store moves.
    pub(super) fn size(self) -> u32 {
        match self.code & 0x18 {
            0x00 => 4,
            0x08 => 2,
            0x10 => 1,
            _ => 8,
        }
    }
}

#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) section: String,
    /// With the functions that it calls behind it.
    pub(super) instructions: Vec<Instruction>,
}

impl Program {
    /// Its context holds typed pointers.
    pub(super) fn is_traced(&self) -> bool {
        ["fentry/", "fexit/", "tp_btf/"].iter().any(|kind| self.section.starts_with(kind))
    }
}

#[derive(Debug)]
pub(super) struct Map {
    pub(super) name: String,
    pub(super) fd: i32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) writable: bool,
}

/// An object that libbpf has open.
struct Open(*mut bpf_object);

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: it was opened and is closed once.
        unsafe { bpf_object__close(self.0) };
    }
}

/// The programs and maps of `object`, and what is done with them while its maps exist.
pub(super) fn with<T>(object: &[u8], types: Option<&Path>, work: impl FnOnce(&[Program], &[Map]) -> T) -> Result<T> {
    let types = types.map(|path| CString::new(path.as_os_str().as_encoded_bytes())).transpose()?;
    let options = bpf_object_open_opts {
        sz: size_of::<bpf_object_open_opts>() as _,
        object_name: c"checked".as_ptr(),
        btf_custom_path: types.as_ref().map_or(std::ptr::null(), |path| path.as_ptr()),
        ..bpf_object_open_opts::default()
    };
    // SAFETY: the object and the strings of the options live during the call, which copies them.
    let open = unsafe { bpf_object__open_mem(object.as_ptr().cast(), object.len() as _, &raw const options) };
    ensure!(!open.is_null(), "libbpf cannot open the object");
    let open = Open(open);
    // SAFETY: the object is open.
    let prepared = unsafe { bpf_object__prepare(open.0) };
    ensure!(prepared == 0, "libbpf cannot prepare the object: {}", std::io::Error::from_raw_os_error(-prepared));
    let (programs, maps) = (programs(&open)?, maps(&open)?);
    Ok(work(&programs, &maps))
}

fn programs(open: &Open) -> Result<Vec<Program>> {
    let mut programs = vec![];
    let mut at = std::ptr::null_mut();
    loop {
        // SAFETY: the object is open, and `at` NULL or one of its programs.
        at = unsafe { bpf_object__next_program(open.0, at) };
        if at.is_null() {
            return Ok(programs);
        }
        // SAFETY: the program has a name and a section, which live as long as the object.
        let (name, section) = unsafe { (text(bpf_program__name(at))?, text(bpf_program__section_name(at))?) };
        // SAFETY: libbpf gives that many instructions of eight bytes, which live as long as the object.
        let raw = unsafe {
            let first: *const bpf_insn = bpf_program__insns(at);
            std::slice::from_raw_parts(first.cast::<[u8; 8]>(), bpf_program__insn_cnt(at) as usize)
        };
        let instructions = raw.iter().map(|&[code, registers, a, b, c, d, e, f]| Instruction {
            code,
            destination: registers & 15,
            source: registers >> 4,
            offset: i16::from_ne_bytes([a, b]),
            immediate: i32::from_ne_bytes([c, d, e, f]),
        });
        programs.push(Program { name, section, instructions: instructions.collect() });
    }
}

fn maps(open: &Open) -> Result<Vec<Map>> {
    let mut maps = vec![];
    let mut at = std::ptr::null_mut();
    loop {
        // SAFETY: the object is open, and `at` NULL or one of its maps.
        at = unsafe { bpf_object__next_map(open.0, at) };
        if at.is_null() {
            return Ok(maps);
        }
        // SAFETY: the map is one of the object, and its name lives as long.
        let map = unsafe {
            let name = text(bpf_map__name(at))?;
            Map {
                writable: !name.contains(".rodata"),
                name,
                fd: bpf_map__fd(at),
                key_size: bpf_map__key_size(at),
                value_size: bpf_map__value_size(at),
            }
        };
        maps.push(map);
    }
}

/// # Safety
/// A string that ends with NUL, or NULL.
unsafe fn text(of: *const std::ffi::c_char) -> Result<String> {
    ensure!(!of.is_null(), "libbpf gives no name");
    // SAFETY: the caller's.
    Ok(unsafe { CStr::from_ptr(of) }.to_str().context("a name is not UTF-8")?.to_owned())
}
