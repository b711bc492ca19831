//! Fuzz target: see [`agentd::fuzz::connection`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agentd::fuzz::connection(data));
