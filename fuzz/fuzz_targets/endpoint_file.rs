//! Any text as an endpoint file.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| lakegate_fuzz::endpoint_file(text));
