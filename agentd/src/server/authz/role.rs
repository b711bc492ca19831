//! [`Role`]: how much somebody may do.

/// How much somebody may do. Each may do all that the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::server) enum Role {
    /// Looks on.
    Reader,
    /// Does what passes or is safe: pauses, tries a policy for a while, reserves memory.
    Operator,
    /// Does what stays: sets the policy, goes on after somebody else's pause.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub(in crate::server) const ALL: [Self; 3] = [Self::Reader, Self::Operator, Self::Admin];

    /// Its name.
    pub(in crate::server) const fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The organization in a certificate that gives it.
    pub(in crate::server) const fn organization(self) -> &'static str {
        match self {
            Self::Reader => "agentd:reader",
            Self::Operator => "agentd:operator",
            Self::Admin => "agentd:admin",
        }
    }

    /// The role that an organization gives, if any.
    pub(in crate::server) fn of_organization(organization: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.organization() == organization)
    }
}
