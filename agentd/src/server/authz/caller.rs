//! [`Caller`]: whoever sent a request, with what they may do.

use tonic::Request;

use super::Role;
use crate::server::peer::Peer;

/// Whoever sent a request, with what they may do. Every request that came through the layer carries
/// it in its extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Caller {
    /// Who it is.
    pub(in crate::server) peer: Peer,
    /// The most that they may do; `None` for nothing.
    pub(in crate::server) role: Option<Role>,
    /// What gives them the role, in words; empty where they have none.
    pub(in crate::server) grounds: String,
}

impl Caller {
    /// Whoever sent this request; somebody without a role where it came by another way.
    pub(in crate::server) fn of<T>(request: &Request<T>) -> Self {
        let known = request.extensions().get::<Self>().cloned();
        known.unwrap_or_else(|| Self::without_role(Peer::of(request)))
    }

    pub(super) const fn without_role(peer: Peer) -> Self {
        Self { peer, role: None, grounds: String::new() }
    }

    /// True where they may do at least that much.
    pub(in crate::server) fn is(&self, least: Role) -> bool {
        self.role >= Some(least)
    }

    /// True for admins of this host: see `limits`.
    pub(super) fn is_unlimited(&self) -> bool {
        self.is(Role::Admin) && !matches!(self.peer, Peer::Remote { .. })
    }

    /// The organizations in their certificate that give no role.
    pub(in crate::server) fn idle_organizations(&self) -> Vec<String> {
        let Peer::Remote { certificate, .. } = &self.peer else { return Vec::new() };
        let all = certificate.organizations.iter();
        all.filter(|name| Role::of_organization(name).is_none()).cloned().collect()
    }
}
