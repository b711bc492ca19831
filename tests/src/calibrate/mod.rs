//! The simulator's VM beside a real one: the same demand, files and targets at the same times in both,
//! and what is read off each.
//!
//! ```text
//! trace --> real, simulated --> samples --> measures --> table
//! ```

pub mod measures;
pub mod real;
pub mod simulated;
pub mod table;
pub mod trace;
