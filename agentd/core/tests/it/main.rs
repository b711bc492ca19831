//! Tests of the decisions as a whole.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that fails stops nothing but itself"
)]

mod properties; // what holds for every decision, on random hosts
mod scenarios; // what the algorithm does, sentence by sentence, as golden transcripts
mod world; // the ideal host that both run on
