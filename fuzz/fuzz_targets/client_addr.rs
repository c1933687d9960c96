//! See `authferry::fuzzing::client_addr`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authferry::fuzzing::client_addr(data));
