//! What all commands that change the policy have in common: how a change is made, and on what
//! conditions.

use std::time::Duration;

use agentd_proto::v1;
use clap::Args;

use super::{tell_changes, update};
use crate::commands::Ended;
use crate::commands::rollout::{Intent, roll_out};
use crate::failure::Failure;
use crate::hosts::Host;
use crate::quantity::parse_positive_duration;
use crate::session::Session;

/// How a change is made.
#[derive(Args, Clone, Debug)]
pub(crate) struct ChangeArgs {
    /// Check everything, change nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Go back after this time unless the change is confirmed with `memctl policy confirm`.
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration)]
    pub(super) revert_after: Option<Duration>,
    /// Why, for the log and for other operators.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(super) reason: String,
    /// Only if this is the etag of the policy in force. One host only.
    #[arg(long, value_name = "ETAG")]
    pub(super) if_match: Option<String>,
}

impl ChangeArgs {
    /// A change of these values, on these conditions.
    pub(super) fn request(
        &self,
        (policy, update_mask): (v1::Policy, prost_types::FieldMask),
    ) -> Result<v1::UpdatePolicyRequest, Failure> {
        let revert_after = self.revert_after.map(prost_types::Duration::try_from).transpose();
        Ok(v1::UpdatePolicyRequest {
            policy: Some(policy),
            update_mask: Some(update_mask),
            etag: self.if_match.clone().unwrap_or_default(),
            validate_only: false,
            revert_after: revert_after
                .map_err(|error| Failure::usage(format!("--revert-after: {error}")))?,
            reason: self.reason.clone(),
        })
    }

    /// Whether the change is made.
    pub(super) fn intent(&self) -> Intent {
        Intent::of(self.dry_run)
    }
}

/// Makes the change on every host, and tells what came of it.
pub(crate) async fn make(
    request: v1::UpdatePolicyRequest,
    hosts: &[Host],
    intent: Intent,
    session: &Session,
) -> Ended {
    one_etag(&request.etag, hosts, "change")?;
    let dry_run = v1::UpdatePolicyRequest { validate_only: true, ..request.clone() };
    let attempt = move |connection| update(connection, dry_run.clone());
    let change = |connection| update(connection, request.clone());
    let mut done = roll_out(hosts, session, intent, attempt, change).await?;
    session.output.show(&mut done.items)?;
    tell_changes(&done.items, session)?;
    Ok(done.exit)
}

/// Refuses one etag for several hosts; `verb` is what is done to them.
pub(super) fn one_etag(etag: &str, hosts: &[Host], verb: &str) -> Result<(), Failure> {
    if etag.is_empty() || hosts.len() < 2 {
        return Ok(());
    }
    let what = format!("--if-match with {} hosts: each has its own etag", hosts.len());
    Err(Failure::usage(what).hint(format!("{verb} one host at a time")))
}
