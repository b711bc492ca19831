//! The lab and the end-to-end tests: real libvirtd, real QEMU VMs, the real programs.
//!
//! [`lab`] makes hosts and VMs; [`agent`] runs the programs under test on them, which [`programs`]
//! finds; [`certificates`] makes what TLS needs; [`line`] fails as networks do; [`feed`] follows what they
//! tell tick by tick; [`tally`] counts what came of it; [`usage`] is how programs are called; [`attacks`] is what strangers and readers try on agentd; `tests/it`
//! holds the tests; the program `lab` is the lab for a person.

pub mod agent;
pub mod attacks;
pub mod bursts;
pub mod calibrate;
pub mod certificates;
pub mod contest;
mod dice;
pub mod feed;
pub mod lab;
pub mod line;
pub mod programs;
pub mod soak;
pub mod tally;
pub mod threads;
pub mod usage;
