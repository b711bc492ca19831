//! The contest of policies: every policy known, on the same simulated hosts under the same
//! workloads, by the same measures.
//!
//! ```text
//! seed -> Family -> Workload -> arena <- Contestant      ours (the real tick), a Rival, the clairvoyant
//!                               film  -> Score -> report, plots
//! ```
//!
//! A host's memory is the budget of all: the pool that VMs share, the reserve, and what the host
//! and the processes take themselves. Nobody is told what a VM wants, but for [`clairvoyant`]. What
//! nobody can better is [`bound`]. The same seed is the same run, but for what deciding costs.

pub mod arena;
pub mod bound;
pub mod clairvoyant;
pub mod contestant;
pub mod film;
pub mod goals;
pub mod measures;
mod order_log;
pub mod plot;
#[cfg(test)]
mod polite;
pub mod report;
pub mod results;
pub mod rival;
pub mod rivals;
pub mod shares;
mod stopwatch;
pub mod workload;
