//! See `authferry::fuzzing::framing`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authferry::fuzzing::framing(data));
