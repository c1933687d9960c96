//! See `authferry::fuzzing::proxy_header`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authferry::fuzzing::proxy_header(data));
