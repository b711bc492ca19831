//! The certificate authority of a small fleet, in one folder:
//!
//! ```text
//! ca.pem                            the CA that is trusted; two of them while one follows another
//! ca.key  old-ca.pem  old-ca.key    what signs, and what signed before
//! crl.pem                           what was revoked, a list for each CA
//! issued.json                       what was ever issued
//! servers/NAME/server.{pem,key}     for [tls] of the host's agentd.toml
//! clients/NAME/client.{pem,key}     for cert and key of memctl's configuration
//! ```
//!
//! Every file takes its place whole or not at all, and none takes another's place unasked.

mod authority;
mod files;
mod index;
mod names;
mod store;

pub(crate) use index::{Entry, Kind};
pub(crate) use names::{AltName, check_name};
pub(crate) use store::{CA, CRL, Issued, Rotated, Store, Terms};
