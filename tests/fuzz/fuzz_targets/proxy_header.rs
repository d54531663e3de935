//! cargo-fuzz's way into weir_tests::fuzz::proxy_header.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_tests::fuzz::proxy_header(bytes));
