//! How many labs may run on this machine at once, over all processes and all users of it.
//!
//! A slot is an abstract socket address that is bound for as long as the lab lives: the kernel
//! gives it back however the process ends, and no file stays behind.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use anyhow::{Context, Result};

use super::clock;

/// The right to run one lab; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    _bound: UnixListener,
}

impl Slot {
    /// Waits for one of the machine's slots.
    pub(crate) fn take() -> Result<Self> {
        let slots = slots();
        clock::wait_for("a free lab slot on this machine", TURN_LIMIT, || {
            Ok((0..slots).find_map(|n| bind(&format!("agentd-lab-slot-{n}"))))
        })
    }

    /// Waits until nobody else holds what is called `name`.
    pub(crate) fn alone(name: &str) -> Result<Self> {
        let address = format!("agentd-lab-{name}");
        let what = format!("another process to be done with {name}");
        clock::wait_for(&what, ALONE_LIMIT, || Ok(bind(&address)))
    }
}

fn bind(name: &str) -> Option<Slot> {
    let address = SocketAddr::from_abstract_name(name).ok()?;
    let bound = UnixListener::bind_addr(&address).ok()?;
    Some(Slot { _bound: bound })
}

fn slots() -> u32 {
    std::env::var(SLOTS_VARIABLE)
        .context("not set")
        .and_then(|value| Ok(value.parse()?))
        .unwrap_or(SLOTS)
}

/// Sets another number of labs at once.
const SLOTS_VARIABLE: &str = "LAB_SLOTS";

/// A lab of emulated VMs keeps about one core busy while it boots, and machines of CI have two.
const SLOTS: u32 = 2;

/// Longer than all lab tests together take: it ends a test that waits for a lab that nobody ends.
const TURN_LIMIT: Duration = Duration::from_secs(1800);

/// Longer than fetching a kernel over a slow line.
const ALONE_LIMIT: Duration = Duration::from_secs(600);
