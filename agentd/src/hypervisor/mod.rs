//! The hypervisor port: all that a tick asks of whoever runs the VMs.
//!
//! Two adapters stand behind it, `libvirt` and `sim`; `contract` holds both to what is promised
//! here. Which VMs are had to report is decided alike for both, by `prompts`. Only the tick, through
//! `apply`, orders anything.

#[cfg(any(test, feature = "testing"))]
pub mod contract;
pub mod libvirt;
mod prompts;
pub mod sim;
mod stamp;
mod turn;

use std::{collections::BTreeSet, fmt::Debug, sync::Arc, time::Duration};

use agentd_core::{
    bytes::ByteCount,
    sample::{Reading, Reported},
    vm::VmId,
};

use crate::bell::Bell;

/// Whoever runs the VMs.
///
/// Calls block, but never for much longer than their `timeout`: what has not answered by then is
/// reported as unresponsive or in doubt, and one VM that hangs delays no other. An adapter
/// reconnects by itself; while it has no connection every call fails at once.
pub trait Hypervisor: Debug + Send {
    /// What is served, as a URI, for people.
    fn uri(&self) -> &str;

    /// Reads the host and every VM that is not shut off.
    ///
    /// The actual of a VM in `live` is as of now; others' may be up to a second old. Its figures are
    /// as of now as well where it can be had to report, as some of libvirt's VMs can at a time. A VM that
    /// does not answer in time is in the reading as [`Unresponsive`] with its last known figures.
    ///
    /// # Errors
    ///
    /// Fails when nothing at all could be read.
    ///
    /// [`Unresponsive`]: agentd_core::sample::RunState::Unresponsive
    fn read(&mut self, live: &BTreeSet<VmId>, timeout: Duration) -> Result<Reading, ReadError>;

    /// Reads the actual of these VMs as of now. A VM that is gone, or does not answer in time, is
    /// left out.
    fn read_actuals(&mut self, vms: &[VmId], timeout: Duration) -> Vec<LiveActual>;

    /// Tells each VM how much memory to hold. The answers come in the order of the orders.
    ///
    /// `Accepted` means that the order was taken, not that the VM follows: only its actual shows
    /// that. A target is a multiple of the reading's granule, and a VM is named at most once. A VM
    /// never has two orders in flight: while an earlier one is without answer, a new one is
    /// `InDoubt` at once and not passed on. What was not passed on within `timeout` never is, and is
    /// `Refused`: once this returns no order begins any more.
    fn set_targets(&mut self, orders: &[Target], timeout: Duration) -> Vec<Answer>;

    /// True once after VMs' figures may no longer be continued from earlier readings: after a new
    /// connection, for example.
    fn take_reconnected(&mut self) -> bool;

    /// Has `bell` rung once as soon as a connection is lost, if that shows between two calls. An adapter that has no
    /// connection never rings.
    fn ring_when_lost(&mut self, bell: &Arc<Bell>) {
        let _ = bell;
    }

    /// How many calls have not returned for so long, more than half a minute, that only the VMs that
    /// they wait for, or the end of this process, would free what they hold.
    fn parked(&self) -> usize;
}

/// A live actual with the stamp of the figures that came along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveActual {
    /// Which VM.
    pub vm: VmId,
    /// Memory that it holds now.
    pub actual: ByteCount,
    /// When its kernel last reported.
    pub reported: Reported,
    /// Resident memory of its process on the host now; `None` when unknown.
    pub host_rss: Option<ByteCount>,
}

/// An order: how much memory a VM is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which VM.
    pub vm: VmId,
    /// What it is to hold.
    pub target: ByteCount,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The hypervisor took it.
    Accepted,
    /// The hypervisor refused it, with these words.
    Refused(String),
    /// There is no such VM, or it is shut off.
    VmGone,
    /// No answer in time: it may have been taken, or be taken later.
    InDoubt,
}

/// Why nothing at all could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no connection.
    #[error("cannot reach {uri}: {problem}; {remedy}; trying again in {retry:.1?}")]
    Unreachable {
        /// What was tried.
        uri: String,
        /// What went wrong.
        problem: String,
        /// What to do.
        remedy: String,
        /// When the next attempt is due.
        retry: Duration,
    },
    /// There is a connection, but it does not answer.
    #[error("{uri} does not answer within {timeout:?}")]
    Silent {
        /// What was asked.
        uri: String,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// It answered with an error.
    #[error("{uri}: {problem}")]
    Failed {
        /// What was asked.
        uri: String,
        /// What went wrong.
        problem: String,
    },
    /// The host's own memory could not be read.
    #[error("cannot read the host's memory from {path}: {problem}")]
    Host {
        /// Where it should be.
        path: String,
        /// What went wrong.
        problem: String,
    },
}
