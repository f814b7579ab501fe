//! A whole response, head and body: the same however it is cut.
#![no_main]

#[path = "../../tests/codec/claims.rs"]
mod claims;

libfuzzer_sys::fuzz_target!(|data: &[u8]| claims::from_fuzzer("response", data));
