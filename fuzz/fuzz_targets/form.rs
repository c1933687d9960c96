//! See `authferry::fuzzing::form`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authferry::fuzzing::form(data));
