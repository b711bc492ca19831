//! Bursts that take turns, on real VMs: what each way of sharing memory makes of them, beside all the
//! memory that they want.
//!
//! ```text
//! contender --shares--> stage: four VMs, one burst after another --> score --> report
//!                 script: the plain one
//! ```
//!
//! Each VM in turn fills memory as fast as it can, works with all of it, and keeps it for as long as
//! its burst lasts. Time, sizes and faults are those of real kernels: nothing here is simulated.

pub mod contender;
pub mod report;
pub mod score;
mod script;
pub mod stage;
