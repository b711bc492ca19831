//! [`Peer`]: who is at the other end of a connection.

use std::{net::SocketAddr, time::SystemTime};

use crate::control::Actor;

/// Who is at the other end of a connection. Every request carries it in its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// A process on this host, with the user id that the kernel vouches for.
    Local {
        /// Its user id; `None` where the kernel did not say.
        uid: Option<u32>,
    },
    /// Somebody without identity.
    Tcp(SocketAddr),
}

impl Peer {
    /// Whoever sent this request.
    pub(super) fn of<T>(request: &tonic::Request<T>) -> Self {
        let known = request.extensions().get::<Self>().copied();
        known.unwrap_or(Self::Local { uid: None })
    }

    /// Its name as an identity: "uid:0", "tcp".
    pub(super) fn name(self) -> String {
        match self {
            Self::Local { uid: Some(uid) } => format!("uid:{uid}"),
            Self::Local { uid: None } => "uid:unknown".to_owned(),
            Self::Tcp(_) => "tcp".to_owned(),
        }
    }

    /// It as the maker of a change.
    pub(super) fn actor(self, time: SystemTime) -> Actor {
        let peer = match self {
            Self::Local { .. } => String::new(),
            Self::Tcp(address) => address.to_string(),
        };
        Actor { id: self.name(), peer, time }
    }
}
