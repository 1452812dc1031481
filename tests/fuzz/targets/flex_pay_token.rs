#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| holdfast::fuzz::flex_pay_token(data));
