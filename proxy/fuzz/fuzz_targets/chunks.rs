//! A chunked body: the same however it is cut, and as a plain reading of the RFC has it.
#![no_main]

#[path = "../../tests/codec/claims.rs"]
mod claims;

libfuzzer_sys::fuzz_target!(|data: &[u8]| claims::from_fuzzer("chunks", data));
