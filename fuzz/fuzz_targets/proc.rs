//! Whatever text other files of /proc hold: no panic, and no name passes for what the kernel tells.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringwatch::fuzz::proc(input));
