//! Any arguments under any grants; `src/arguments.rs` says how they are written.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| lakegate_fuzz::arguments(text));
