//! The lab and the end-to-end tests: real libvirtd, real QEMU VMs, the real programs.
//!
//! [`lab`] is the library; `tests/it` holds the tests; the program `lab` is the lab for a person.

pub mod lab;
