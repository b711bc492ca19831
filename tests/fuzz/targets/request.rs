//! Fuzz target: see [`agentd::fuzz::request`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agentd::fuzz::request(data));
