//! cargo-fuzz's way into weir_tests::fuzz::head.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_tests::fuzz::head(bytes));
