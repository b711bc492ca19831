//! Fuzz target: see [`agentd::fuzz::config`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agentd::fuzz::config(data));
