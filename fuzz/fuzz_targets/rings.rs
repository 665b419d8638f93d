//! Whatever bytes the kernel's iterators give: no panic, and every ring is told safely.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringwatch::fuzz::rings(input));
