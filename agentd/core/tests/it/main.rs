//! Tests of the decisions as a whole.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that fails stops nothing but itself"
)]

mod fair; // who gets how much of too little
mod giving; // who gets what arrives
mod kept_back; // for VMs that start, and for those that suffered
mod mess; // policies, states and samples of any kind
mod properties; // what holds for every decision, on random hosts
mod reserve; // memory that is kept for VMs to come
mod scenarios; // what the algorithm does, sentence by sentence, as golden transcripts
mod settled; // where working-set comes to rest
mod stuck; // what polite VMs pay for a stuck one
mod worked_example; // the figures of docs/WORKING_SET.md
mod world; // the ideal host that both run on
