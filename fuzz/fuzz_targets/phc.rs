//! See `authferry::fuzzing::phc`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authferry::fuzzing::phc(data));
