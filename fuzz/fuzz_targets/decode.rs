//! Whatever bytes the ring buffer holds: no panic, and every event is told in full and safely in every format.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringwatch::fuzz::decode(input));
