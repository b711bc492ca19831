//! memctl as a user runs it: the real binary against gRPC servers on Unix sockets, scripted where
//! a real agent could not be made to do what the test needs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop on a surprise")]

mod agent; // a scripted agent on a socket
mod audit; // who asked for which change
mod ca; // certificates: what is issued, revoked, rotated
mod door; // TLS before an agent's socket
mod exits; // the exit codes, one after another
mod fleet; // hosts of several names, changes of several hosts, waiting, looking for what is wrong
mod golden; // every command in every format, compared with files
mod history; // how VMs and hosts fared, and when that was
mod hold; // modes for a time
mod hosts; // configured hosts, and hosts that cannot be asked
mod line; // connections that nobody closes
mod lists; // their columns, their order, and again and again
mod memctl; // runs the binary
mod merged; // the streams of several hosts as one
mod pin; // VMs that are pinned for a while
mod pki; // certificates for the tests
mod policy; // changes of several hosts
mod reserve; // memory for VMs to come
mod sample; // what the scripted agents answer
mod saved; // streams that were saved
mod schema; // what is printed against its schema
mod skew; // agents of other versions
mod ssh; // lines through ssh
mod tls; // https, and every way in which it fails
mod watch;
mod words; // what the shell completes, and files that are typed // streams that break, fall silent, skip and say farewell
