//! agentd reads every VM's memory each tick, decides who gives and who gets, moves it with the
//! virtio balloon, and tells what it did and why.
//!
//! A tick runs `sample -> decide -> apply -> record -> publish` on its own thread.

pub mod alarm;
pub mod apply;
pub mod args;
pub mod audit;
pub mod bell;
#[cfg(test)]
#[allow(dead_code, unreachable_pub, reason = "shared with the end-to-end tests")]
#[path = "../../tests/src/certificates.rs"]
mod certificates;
pub mod clock;
pub mod config;
pub mod control;
pub mod difference;
pub mod event;
pub mod fields;
mod frozen;
#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
pub mod host_lock;
pub mod hypervisor;
pub mod lifecycle;
mod lock;
pub mod log;
pub mod manual;
pub mod metrics;
pub mod mind;
pub mod pace;
mod places;
pub mod proxy;
pub mod publish;
pub mod record;
pub mod recording;
pub mod reload_command;
pub mod replay;
pub mod resources;
pub mod run;
pub mod server;
pub mod shadow;
pub mod simulate;
pub mod store;
pub mod supervisor;
pub mod tick;
mod uri;
