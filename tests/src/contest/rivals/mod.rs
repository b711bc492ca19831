//! The rivals: policies of other systems, written anew from descriptions of what they do.
//!
//! One file each, whose head says what it does, and which figure stands in for one that a VM with a
//! virtio balloon does not have. Where the original knows no least size of a VM, or one for all of
//! them, the VM's own minimum is its floor.
//!
//! Where a rival has a setting for what the host is to keep, it has the best that it can be set to for the host at
//! hand; where it has none, it is as it comes:
//!
//! | rival | what it is given for the host | else as it comes |
//! | --- | --- | --- |
//! | `proxmox` | `ballooning-target`: all but the reserve, in whole percent | minimum, maximum and shares of each VM |
//! | `qmemman` | the reserve for its 50 MiB; reports of its VMs every 100 ms, by its own program in them | margins |
//! | `squeezed` | the reserve for its 72 MiB | ranges of each VM |
//! | `mom` | limits of its rules: the reserve is critical, a step of 5 % more is pressure | its rules |
//! | `vcmmd-wfb`, `vcmmd-wss` | the pool without the reserve | guarantee and limit of each VM |
//! | `chromeos` | the reserve for the host's critical amount | the VM's critical amount, which it learns |
//! | `hyper-v` | the pool without the reserve; there the host computes its own | buffers of a fifth |
//! | `esx` | the reserve for its limits of free memory | the tax |
//! | `virtui` | nothing: it knows no host | bands, and one least size |
//! | `qemus-pi` | nothing: a fifth of the host available is written in its program | gains |
//! | `balloond` | nothing: it knows no host | the band |
//! | `equal-percent` | nothing: it makes VMs as full as the host is | the step |
//! | `static` | the pool without the reserve | weights |
//!
//! Some are asked for memory before a VM starts. Here VMs start whoever has the host, and nobody asks: of
//! those whose tests tell the answers, `qmemman::admission` and `squeezed::reservation` give them to tests alone.
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
