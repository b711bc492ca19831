//! The rivals: policies of other systems, written anew from descriptions of what they do.
//!
//! One file each, whose head says what it does, and which figure stands in for one that a VM with a
//! virtio balloon does not have. Where the original knows no least size of a VM, or one for all of
//! them, the VM's own minimum is its floor.
//!
//! What they share is what they see: `figures` reads a host, `usage` what VMs used when they
//! reported, `swapped` what lies on their swap devices, `meter` their counters as rates.

use super::rival::Rival;

pub mod balloond;
pub mod chromeos;
pub mod equal_percent;
pub mod esx;
mod figures;
pub mod hyper_v;
mod meter;
pub mod mom;
pub mod pi;
pub mod proxmox;
pub mod qmemman;
#[cfg(test)]
mod scenes;
pub mod squeezed;
pub mod static_split;
mod swapped;
mod usage;
pub mod vcmmd_wfb;
pub mod vcmmd_wss;
pub mod virtui;

/// Every rival, as it is before its first turn.
#[must_use]
pub fn all() -> Vec<Box<dyn Rival>> {
    vec![
        Box::new(proxmox::Proxmox),
        Box::<qmemman::Qmemman>::default(),
        Box::<squeezed::Squeezed>::default(),
        Box::<mom::Mom>::default(),
        Box::<vcmmd_wfb::VcmmdWfb>::default(),
        Box::<vcmmd_wss::VcmmdWss>::default(),
        Box::<chromeos::ChromeOs>::default(),
        Box::<hyper_v::HyperV>::default(),
        Box::<esx::Esx>::default(),
        Box::<virtui::Virtui>::default(),
        Box::<pi::Pi>::default(),
        Box::<balloond::Balloond>::default(),
        Box::<equal_percent::EqualPercent>::default(),
        Box::<static_split::StaticSplit>::default(),
    ]
}
