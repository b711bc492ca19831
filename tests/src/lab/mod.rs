//! The lab: private hypervisor hosts with a real libvirtd and real QEMU VMs, on one machine.
//!
//! [`Lab::open`] asks for a place on the machine and prepares what VMs boot. A [`Host`] is a set of
//! namespaces with a libvirtd; [`Host::boot`] starts VMs on it; [`Lab::fleet`] makes several hosts
//! on a network with a workstation. Programs under test run on a host by [`Host::start`] and
//! [`Host::command`]. Everything ends and vanishes when it is dropped, and when the process ends in
//! any way.
//!
//! The lab knows nothing of agentd: it is what agentd is judged against.

mod channel;
pub mod clock;
mod cpio;
mod gauge;
mod host;
mod image;
mod needs;
mod net;
pub mod package;
mod process;
mod scope;
mod shell;
mod slot;
mod space;
mod spec;
mod vm;

use std::sync::Arc;

use anyhow::Result;

pub use gauge::{Actuals, Gauge};
pub use host::{BOOT_LIMIT, Host};
pub use needs::missing;
pub use net::Fleet;
pub use process::Process;
pub use scope::Scope;
pub use space::Space;
pub use vm::{Balloon, Swapped, Ticket, Vm, VmSpec};

use image::Image;
use slot::Slot;

/// The right to run hosts on this machine, and what their VMs boot.
#[derive(Debug)]
pub struct Lab {
    ground: Arc<Ground>,
}

/// What everything in a lab stands on; the machine's slot is free again when the last of it is
/// gone.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) image: Image,
    pub(crate) kvm: bool,
    _slot: Slot,
}

impl Lab {
    /// Waits for a place on this machine, and fetches the VMs' kernel the first time.
    pub fn open() -> Result<Self> {
        if let Some(missing) = missing() {
            anyhow::bail!(missing);
        }
        let slot = Slot::take()?;
        let ground = Ground { image: Image::ready()?, kvm: needs::kvm_works(), _slot: slot };
        Ok(Self { ground: Arc::new(ground) })
    }

    /// Makes one host, alone on its network.
    pub fn host(&self, name: &str) -> Result<Host> {
        Host::make(&self.ground, name, &format!("127.0.1.1 {name}\n"))
    }

    /// Makes hosts with these names on one network, and a workstation.
    pub fn fleet(&self, names: &[&str]) -> Result<Fleet> {
        Fleet::make(&self.ground, names)
    }
}
