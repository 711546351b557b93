//! Any bytes as a token, and around one.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lakegate_fuzz::token(bytes));
