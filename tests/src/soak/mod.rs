//! The seeded simulation: the real tick on a simulated host in virtual time, under faults drawn from
//! a seed, and a judge who looks at every order by what is really so.
//!
//! ```text
//! seed -> Plot -> Sim <- Witness <- (Saboteur) <- Ticker      one Ticker after the other
//!                 truth -> Judge <-'                          -> breaches, or none
//! ```
//!
//! One seed is one host with its VMs for 600 ticks: first with faults, then calm, so that it shows
//! whether control comes back and the orders end. The same seed is the same run, bit for bit.

mod budget;
mod draw;
mod draw_policy;
mod draw_reserved;
mod emergency;
mod fault;
#[cfg(test)]
mod fixture;
mod judge;
mod known;
mod ledger;
mod limits;
pub mod report;
mod rule;
mod run;
mod saboteur;
mod squeeze;
mod strangers;
mod trace;
mod troubles;
mod turns;
mod want;
mod witness;

pub use self::{
    draw::{Act, Plot},
    fault::Fault,
    rule::{Breach, Rule},
    run::{Played, TICKS, play},
    saboteur::Saboteur,
};
