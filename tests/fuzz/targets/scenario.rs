//! Fuzz target: see [`agentd::fuzz::scenario`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agentd::fuzz::scenario(data));
