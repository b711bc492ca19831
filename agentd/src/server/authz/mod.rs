//! [`Authz`]: who may do what.
//!
//! ```text
//! accept --Peer--> layer --admit--> Authz: rules (config) -> Role     table -> the least role
//!                    |                     directory (groups)         quotas -> not too often
//!                    `--Caller--> handlers, which check what the method alone does not tell
//! ```
//!
//! Nothing is decoded before a call is admitted. Whoever is not in the rules has no role, and a call
//! that is not in the table is nobody's.

mod caller;
mod directory;
mod layer;
mod quota;
mod refusal;
mod role;
mod standing;
mod table;

use std::{os::unix::fs::chown, path::PathBuf, sync::Arc, time::Duration};

use rustix::process::{getegid, geteuid};
use tokio::sync::watch;
use tonic::Status;

use super::{
    limits,
    peer::{self, Certificate, Peer},
};
use crate::{clock::Clock, config::AuthzConfig};
use directory::{Database, Directory};
use quota::{Place, Quotas};

pub(super) use caller::Caller;
pub(super) use layer::{Guarded, OnDenial};
pub(super) use role::Role;
use table::Rule;
pub(super) use table::{Kind, rule};

/// Who may do what, and how often.
#[derive(Debug)]
pub(super) struct Authz {
    /// In force. Streams that are open wait for others.
    rules: watch::Sender<Arc<AuthzConfig>>,
    own_uid: u32,
    directory: Directory,
    quotas: Arc<Quotas>,
    clock: Arc<dyn Clock>,
}

/// A call that may be made.
#[derive(Debug)]
struct Admitted {
    caller: Caller,
    rule: &'static Rule,
    /// Where it is a stream that takes one.
    place: Option<Place>,
}

impl Authz {
    pub(super) fn new(rules: AuthzConfig, clock: Arc<dyn Clock>) -> Self {
        Self::with(rules, clock, Database::SYSTEM)
    }

    fn with(rules: AuthzConfig, clock: Arc<dyn Clock>, database: Database) -> Self {
        Self {
            rules: watch::Sender::new(Arc::new(rules)),
            own_uid: geteuid().as_raw(),
            directory: Directory::new(database),
            quotas: Arc::default(),
            clock,
        }
    }

    /// Puts other rules in force, for calls from now on, the streams that are open, and connections.
    pub(super) fn replace(&self, rules: AuthzConfig) {
        tracing::info!(?rules, "other rules of who may do what are in force");
        self.rules.send_replace(Arc::new(rules));
    }

    /// Gives sockets to the first group in the rules that is on this host, so that its members reach
    /// them, or to agentd's own where there is none. Warns of those that are not there.
    pub(super) async fn share(self: Arc<Self>, sockets: Vec<PathBuf>) {
        let group = self.directory.look_for_groups(self.rules()).await;
        let group = group.unwrap_or_else(|| getegid().as_raw());
        for socket in sockets {
            if let Err(error) = chown(&socket, None, Some(group)) {
                let socket = socket.display();
                tracing::warn!(%error, %socket, "the socket cannot be given to the group {group}");
            }
        }
    }

    /// Counts a change that its handler had to look at first.
    pub(super) fn count_change(&self, caller: &Caller) -> Result<(), Status> {
        self.quotas.take(caller, Kind::Change).map(drop)
    }

    /// The refusal of something for which a method alone asks for less.
    /// `beyond` says in words what of it that is.
    pub(super) fn role_missing(
        &self,
        method: &str,
        beyond: &str,
        caller: &Caller,
        least: Role,
    ) -> Status {
        refusal::role_missing((method, beyond), least, caller, &self.rules())
    }

    /// Lets a call through, and counts it, or says why not.
    async fn admit(&self, peer: &Peer, path: &str) -> Result<Admitted, Status> {
        let caller = self.caller(peer).await?;
        let Some(rule) = rule(path) else {
            // Who may do nothing learns nothing.
            let refused = || self.role_missing(&refusal::shown(path), "", &caller, Role::Reader);
            let may_know = caller.is(Role::Reader);
            self.quotas.take(&caller, Kind::Read)?;
            return Err(if may_know { refusal::no_method(path) } else { refused() });
        };
        if let Err(refused) = self.allow(&caller, rule) {
            // Who asks for what they may not have asks often, too.
            self.quotas.take(&caller, Kind::Read)?;
            return Err(refused);
        }
        let place = self.quotas.take(&caller, rule.kind)?;
        Ok(Admitted { caller, rule, place })
    }

    /// Says whether a stream that was let through may go on.
    async fn check(&self, peer: &Peer, rule: &Rule) -> Result<(), Status> {
        let caller = self.caller(peer).await?;
        self.allow(&caller, rule)
    }

    fn allow(&self, caller: &Caller, rule: &Rule) -> Result<(), Status> {
        match rule.least {
            Some(least) if !caller.is(least) => {
                Err(self.role_missing(&refusal::shown(rule.path), "", caller, least))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What somebody may do, by the rules in force.
    async fn caller(&self, peer: &Peer) -> Result<Caller, Status> {
        let rules = self.rules();
        let with = |role: Option<(Role, String)>| {
            let (role, grounds) = role.unzip();
            Caller { peer: peer.clone(), role, grounds: grounds.unwrap_or_default() }
        };
        match peer {
            Peer::Local { uid: None, .. } => Err(refusal::nobody()),
            Peer::Local { uid: Some(uid), .. } if rules.local_admin_uids.contains(uid) => {
                Ok(with(Some((Role::Admin, format!("uid {uid} in local_admin_uids")))))
            }
            // It can read agentd's memory, write its files and use its connection to the hypervisor
            // as it is: to refuse it would keep nobody out.
            Peer::Local { uid: Some(uid), .. } if *uid == self.own_uid => {
                Ok(with(Some((Role::Admin, format!("agentd runs as uid {uid}")))))
            }
            Peer::Local { uid: Some(uid), gid } => {
                let membership = self.directory.membership(&rules, *uid, *gid).await;
                let membership = membership.map_err(|_| refusal::unanswered(&peer.name()))?;
                Ok(with(membership.map(|(role, group)| (role, format!("group {group}")))))
            }
            Peer::Remote { certificate, .. } => {
                self.still_counts(certificate)?;
                let roles = certificate.organizations.iter();
                let most = roles.filter_map(|name| Role::of_organization(name)).max();
                let grounds = |role: Role| format!("organization {}", role.organization());
                Ok(with(most.map(|role| (role, grounds(role)))))
            }
        }
    }

    fn still_counts(&self, certificate: &Certificate) -> Result<(), Status> {
        let name = &certificate.name;
        if peer::is_ours(name) {
            return Err(refusal::reserved(name));
        }
        if certificate.not_after <= self.clock.wall() {
            return Err(refusal::expired(name));
        }
        Ok(())
    }

    /// How long until it is to be asked anew whether somebody's stream may go on.
    fn recheck_after(&self, peer: &Peer) -> Duration {
        let Peer::Remote { certificate, .. } = peer else { return limits::RECHECK };
        let left = certificate.not_after.duration_since(self.clock.wall());
        left.unwrap_or_default().min(limits::RECHECK)
    }

    fn rules(&self) -> Arc<AuthzConfig> {
        Arc::clone(&self.rules.borrow())
    }
}

#[cfg(test)]
mod tests;
