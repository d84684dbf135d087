#![no_main]
//! Hands libFuzzer's bytes to the body of this name.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ssm_role_controller_fuzz::messages::messages(bytes));
