//! [`Peer`]: who is at the other end of a connection.

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use rustix::process::geteuid;

use crate::{audit::Caller, control::Actor};

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

    /// True for root of this host and for agentd's own user, who have what there is.
    pub(super) fn is_own(&self) -> bool {
        let own = geteuid().as_raw();
        matches!(self, Self::Local { uid: Some(uid), .. } if [0, own].contains(uid))
    }

    /// It as the maker of a change.
    pub(super) fn actor(&self, time: SystemTime) -> Actor {
        Actor { id: self.name(), peer: self.address(), time }
    }

    /// Where it is; empty on this host.
    pub(super) fn address(&self) -> String {
        match self {
            Self::Local { .. } => String::new(),
            Self::Remote { address, .. } => address.to_string(),
        }
    }
}

/// True for names that agentd gives to who has no certificate: no certificate may be for one.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with("uid:") || OURS.contains(&name)
}

/// What the config set, what agentd did by itself, and callers of whom there are too many to be told
/// apart in the audit.
const OURS: [&str; 3] = ["config", "agent", "others"];

/// It as the audit knows it.
impl From<&Peer> for Caller {
    fn from(peer: &Peer) -> Self {
        let serial = match peer {
            Peer::Remote { certificate, .. } => certificate.serial.clone(),
            Peer::Local { .. } => String::new(),
        };
        Self { who: peer.name(), serial, from: peer.address() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audit_is_told_name_serial_and_address() {
        let certificate = Certificate {
            name: "spiffe://lab/ann".to_owned(),
            organizations: vec!["agentd:operator".to_owned()],
            serial: "2a7f".to_owned(),
            not_after: SystemTime::UNIX_EPOCH,
        };
        let address = "192.0.2.1:7000".parse().unwrap();
        let remote = Peer::Remote { address, certificate: Arc::new(certificate) };
        let told = |who: &str, serial: &str, from: &str| {
            let [who, serial, from] = [who, serial, from].map(str::to_owned);
            Caller { who, serial, from }
        };
        assert_eq!(Caller::from(&remote), told("spiffe://lab/ann", "2a7f", "192.0.2.1:7000"));
        let local = Peer::Local { uid: Some(7), gid: None };
        assert_eq!(Caller::from(&local), told("uid:7", "", ""));
    }
}
