//! DTO of whoever asks.

use agentd_proto::v1;
use serde::Serialize;

use super::{Time, said, time};

/// The caller as an agent sees them.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct WhoAmI {
    /// "uid:0", or the name in the certificate.
    pub(crate) identity: String,
    /// "reader", "operator", "admin"; null where they have none.
    pub(crate) role: Option<String>,
    /// What gives them the role; null where they have none.
    pub(crate) role_from: Option<String>,
    /// The address that they come from; null on the host itself.
    pub(crate) peer: Option<String>,
    /// Null where they showed none.
    pub(crate) certificate: Option<Certificate>,
    /// Organizations in the certificate that give no role.
    pub(crate) idle_organizations: Vec<String>,
    /// The host's own name.
    pub(crate) name: String,
    /// Version of its agent; null where the caller may not know.
    pub(crate) agent_version: Option<String>,
    pub(crate) host_time: Option<Time>,
}

/// What they showed to prove who they are.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct Certificate {
    pub(crate) serial: String,
    pub(crate) expire_time: Option<Time>,
    /// What is left of it by the host's clock; below zero where it has expired.
    pub(crate) expires_in_seconds: Option<i64>,
    pub(crate) organizations: Vec<String>,
}

impl From<v1::WhoAmIResponse> for WhoAmI {
    fn from(wire: v1::WhoAmIResponse) -> Self {
        let host_time = time(wire.host_time);
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let certificate = wire.certificate.map(|own| {
            let expire_time = time(own.expire_time);
            let left = expire_time.zip(host_time).map(|(end, now)| end.0.duration_since(now.0));
            Certificate {
                serial: own.serial,
                expire_time,
                expires_in_seconds: left.map(|left| left.as_secs()),
                organizations: own.organizations,
            }
        });
        Self {
            identity: wire.caller.map(|caller| caller.name).unwrap_or_default(),
            role: said(wire.role, v1::Role::as_str_name, "ROLE_"),
            role_from: given(wire.role_from),
            peer: given(wire.peer),
            certificate,
            idle_organizations: wire.idle_organizations,
            name: wire.host,
            agent_version: None,
            host_time,
        }
    }
}
