//! The server as its clients see it: real sockets, real clients, a real recorder and control.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test stops at the first surprise, whatever it is"
)]

mod audit;
mod authz;
mod bounds;
mod change;
mod reach;
mod read;
mod reserve;
mod rig;
mod shadow;
mod stop;
mod watch;
mod watch_gaps;
