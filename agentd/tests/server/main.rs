//! The server as its clients see it: real sockets, real clients, a real recorder and control.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test stops at the first surprise, whatever it is"
)]

mod audit;
mod authz;
mod authz_reload;
mod bounds;
#[allow(dead_code, unreachable_pub, reason = "shared with the end-to-end tests")]
#[path = "../../../tests/src/certificates.rs"]
mod certificates;
mod change;
mod disk;
mod history;
mod matrix;
mod others;
mod pin;
mod reach;
mod read;
mod reserve;
mod rig;
mod shadow;
mod skew;
mod stop;
mod tls;
mod tls_crowd;
mod tls_files;
mod tls_life;
mod tls_rig;
mod warned;
mod watch;
mod watch_gaps;
