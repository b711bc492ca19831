//! The wire of agentd: the package `agentd.v1` as compiled from `agentd/v1/*.proto`, and nothing
//! else. The `.proto` files are the manual of the protocol.

/// The package `agentd.v1`: messages, clients and servers.
#[allow(missing_docs, clippy::all, reason = "generated; the .proto files document it")]
pub mod v1 {
    tonic::include_proto!("agentd.v1");
}

/// The compiled descriptors of every file, for reflection and for tests that walk the methods.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
