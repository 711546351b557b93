//! Any text as an attribute.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| lakegate_fuzz::attribute(text));
