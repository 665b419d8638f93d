//! Whatever bytes a string holds: every format tells it in full and safely.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringwatch::fuzz::encode(input));
