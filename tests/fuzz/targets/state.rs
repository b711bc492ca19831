//! Fuzz target: see [`agentd::fuzz::state`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agentd::fuzz::state(data));
