//! Fuzz target: see [`agentd::fuzz::certificate`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agentd::fuzz::certificate(data));
