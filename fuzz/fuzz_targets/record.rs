//! Whatever bytes a record of the ring buffer has: no panic, and no string beyond its end.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringwatch::fuzz::record(input));
