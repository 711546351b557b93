//! Any text as `lakegate.toml`.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| lakegate_fuzz::config(text));
