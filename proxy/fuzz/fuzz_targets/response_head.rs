//! A response's head: reading it never panics, and what was read is not taken back when more arrives.
#![no_main]

#[path = "../../tests/codec/claims.rs"]
mod claims;

libfuzzer_sys::fuzz_target!(|data: &[u8]| claims::from_fuzzer("response_head", data));
