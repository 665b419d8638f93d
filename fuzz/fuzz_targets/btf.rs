//! Whatever a file of type information holds: no panic, and an end, of what is looked for in it.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringwatch::fuzz::btf(input));
