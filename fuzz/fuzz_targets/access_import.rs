//! Any table as the access-control table to import, a row a line, with tabs between cells.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| lakegate_fuzz::access_import(text));
