//! [`Peer`]: who is at the other end of a connection.

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use crate::control::Actor;

/// Who is at the other end of a connection. Every request carries it in its extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// A process on this host, as the kernel vouches for it.
    Local {
        /// Its user id; `None` where the kernel did not say.
        uid: Option<u32>,
        /// Its group id; `None` where the kernel did not say.
        gid: Option<u32>,
    },
    /// Somebody who proved to have the key of a certificate that one of this host's CAs signed.
    Remote {
        /// Where the connection is from.
        address: SocketAddr,
        /// The certificate.
        certificate: Arc<Certificate>,
    },
}

/// What a client certificate says of who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    /// Who it is: its one URI among the alternative names, or else its common name.
    pub(super) name: String,
    /// Its organizations, in its order: "agentd:reader" is a role.
    pub(super) organizations: Vec<String>,
    /// Its serial number, in lower hexadecimal digits without colons.
    pub(super) serial: String,
    /// Until when it is valid.
    pub(super) not_after: SystemTime,
}

impl Peer {
    /// Whoever sent this request.
    pub(super) fn of<T>(request: &tonic::Request<T>) -> Self {
        let known = request.extensions().get::<Self>().cloned();
        known.unwrap_or(Self::Local { uid: None, gid: None })
    }

    /// Its name as an identity: "uid:0", or the name in its certificate.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Local { uid: Some(uid), .. } => format!("uid:{uid}"),
            Self::Local { uid: None, .. } => "uid:unknown".to_owned(),
            Self::Remote { certificate, .. } => certificate.name.clone(),
        }
    }

    /// It as the maker of a change.
    pub(super) fn actor(&self, time: SystemTime) -> Actor {
        let peer = match self {
            Self::Local { .. } => String::new(),
            Self::Remote { address, .. } => address.to_string(),
        };
        Actor { id: self.name(), peer, time }
    }
}
