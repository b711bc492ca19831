//! [`TlsError`]: what is wrong with the files of `[tls]`, in which of them, and what to do.

use std::{io, path::PathBuf};

use crate::server::limits;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is not there, or not for agentd.
    #[error("cannot read {}: {}; correct its name in [tls], or let agentd read it", .0.display(), .1)]
    Unreadable(PathBuf, io::Error),
    /// It is something else.
    #[error(
        "{} is no regular file of at most {} bytes; correct its name in [tls]",
        .0.display(), limits::TLS_FILE
    )]
    NotAFile(PathBuf),
    /// Others than agentd may have the key.
    #[error(
        "{} is open to others than its owner and the readers of its group (mode {:o}): chmod 600 {}, and \
         make a new key if somebody may have read it",
        .0.display(), .1, .0.display()
    )]
    Exposed(PathBuf, u32),
    /// Somebody else can put another key in its place, or has this one.
    #[error(
        "{} belongs to uid {}, who is neither root nor the user that agentd runs as: chown it, and make a \
         new key",
        .0.display(), .1
    )]
    Foreign(PathBuf, u32),
    /// It holds nothing of the kind.
    #[error(
        "{} has no {} in PEM form, which begins with \"-----BEGIN\"; write one into it",
        .0.display(), .1
    )]
    Nothing(PathBuf, &'static str),
    /// What it holds cannot be read.
    #[error("{} has a {} that cannot be read: {}; write it again, whole", .0.display(), .1, .2)]
    Broken(PathBuf, &'static str, String),
    /// They do not belong together.
    #[error(
        "the key {} is not that of the certificate {}: put both from one pair",
        .key.display(), .cert.display()
    )]
    Mismatch {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// Clients could not check which host they reach.
    #[error(
        "the certificate {} has no subject alternative name: issue it anew with the names and addresses \
         by which this host is reached",
        .0.display()
    )]
    NoNames(PathBuf),
    /// Clients would refuse it.
    #[error(
        "the certificate {} is not for servers: issue it anew with the extended key usage serverAuth",
        .0.display()
    )]
    NotForServers(PathBuf),
    /// It signs nothing.
    #[error(
        "{} has a certificate of {}, which is no CA: put the CAs that sign those of clients",
        .0.display(), .1
    )]
    NotACa(PathBuf, String),
    /// All clients of a CA would be refused.
    #[error(
        "{} has no list of the CA {}, whose clients would all be refused: add one, be it empty",
        .0.display(), .1
    )]
    NoListOf(PathBuf, String),
    /// The list of those who are not let in makes no sense.
    #[error("{}:{}", .0.display(), .1)]
    Denied(PathBuf, String),
    /// It cannot be served for another reason.
    #[error("the files of [tls] cannot be served: {0}")]
    Unserved(String),
}
