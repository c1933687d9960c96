//! See `authferry::fuzzing::path`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authferry::fuzzing::path(data));
