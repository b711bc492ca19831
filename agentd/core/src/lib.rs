//! The pure decisions of agentd: samples in, plans and verdicts out.
//!
//! This crate does no I/O, reads no clock, uses no floats and iterates no hash map. Nothing in it
//! fails on any sample, and the same inputs give the same outputs on every machine.
//!
//! ```text
//! Reading --Tracks::observe--> Sample --decide(&Policy, &State)--> Decision { verdicts, plan }
//!                                                                      |            |
//!                                            check (independent judge) +            v
//!                                            State <--State::after-- Applied <-- apply (agentd)
//! ```

pub mod admit;
pub mod assess;
pub mod by_vm;
pub mod bytes;
pub mod check;
pub mod conduct;
pub mod decide;
pub mod decision;
pub mod distress;
pub mod emergency;
pub mod explain;
pub mod fair;
#[cfg(test)]
mod fixture;
pub mod followed;
pub mod grant;
pub mod host;
mod in_a_row;
pub mod known;
pub mod life;
pub mod order;
mod overhead;
pub mod plan;
pub mod policy;
pub mod report;
pub mod reserve;
pub mod sample;
pub mod state;
pub mod track;
pub mod two_pointer;
pub mod verdict;
pub mod vm;
pub mod working_set;
