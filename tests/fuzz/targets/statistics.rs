//! Fuzz target: see [`agentd::fuzz::statistics`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agentd::fuzz::statistics(data));
