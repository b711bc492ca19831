//! The contest of policies: every policy known, on the same simulated hosts under the same
//! workloads, by the same measures.

pub mod rival;
pub mod rivals;
