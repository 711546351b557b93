//! Any bytes as a Parquet file: its footer, its index of pages, its pages, its rows.
#![no_main]

libfuzzer_sys::fuzz_target!(|file: &[u8]| lakegate_fuzz::parquet(file));
