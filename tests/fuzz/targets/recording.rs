//! Fuzz target: see [`agentd::fuzz::recording`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agentd::fuzz::recording(data));
