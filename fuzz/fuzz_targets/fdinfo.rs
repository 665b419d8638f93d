//! Whatever text /proc/PID/fdinfo/FD holds: no panic, and no file's name passes for what the kernel tells.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringwatch::fuzz::fdinfo(input));
