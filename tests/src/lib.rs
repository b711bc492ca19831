//! The lab and the end-to-end tests: real libvirtd, real QEMU VMs, the real programs.
//!
//! [`lab`] makes hosts and VMs, [`programs`] finds the programs under test, `tests/it` holds the
//! tests; the program `lab` is the lab for a person.

pub mod lab;
pub mod programs;
