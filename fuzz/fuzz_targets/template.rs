//! See `authferry::fuzzing::template`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authferry::fuzzing::template(data));
