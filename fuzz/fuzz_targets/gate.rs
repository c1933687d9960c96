//! See `authferry::fuzzing::gate`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authferry::fuzzing::gate(data));
