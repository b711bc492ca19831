//! agentd as a process: how it starts, how it stops, and what it remembers when it could not.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod audit;
mod authz;
#[allow(dead_code, unreachable_pub, reason = "shared with the end-to-end tests")]
#[path = "../../../tests/src/certificates.rs"]
mod certificates;
mod command;
mod descriptors;
mod disk;
mod durability;
mod freeze;
mod host;
mod log;
mod pin;
mod reload;
mod reserve;
mod rig;
mod state;
mod stop;
mod supervised;
mod time;
mod tls;
