//! `memctl policy`: shows the policy, changes it, confirms or takes back a change.

pub(crate) mod apply;
pub(crate) mod change;
pub(crate) mod diff;
pub(crate) mod edit;
pub(crate) mod explain;
pub(crate) mod get;
pub(crate) mod revise;
pub(crate) mod set;
mod taken;

use agentd_proto::v1;
use clap::Subcommand;

use super::Ended;
use crate::client::Connection;
use crate::dto::{Item, Policy, PolicyChange};
use crate::failure::Failure;
use crate::policy_keys::{Key, Value, values};
use crate::quantity::Units;
use crate::render::policy::ChangeBody;
use crate::session::Session;
use crate::wire_words::in_words;

/// What to do with the policy.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Show every value, and whether it is the default
    Get(get::GetArgs),
    /// Change values: KEY=VALUE, with "unset" for the default
    Set(set::SetArgs),
    /// Set values back to their default
    Unset(set::UnsetArgs),
    /// Change the policy of one host in an editor
    Edit(edit::EditArgs),
    /// Make a file the whole policy
    Apply(apply::ApplyArgs),
    /// Show what a change would change; ends with 1 if anything
    Diff(diff::DiffArgs),
    /// Keep a change that was made with --revert-after
    Confirm(revise::ConfirmArgs),
    /// Go back to an earlier revision
    Revert(revise::RevertArgs),
    /// Show earlier revisions
    History(revise::HistoryArgs),
    /// Tell what a key does: its values, its default, who goes by it
    Explain(explain::ExplainArgs),
}

/// Runs the command.
pub(crate) async fn run(command: &PolicyCommand, session: &mut Session) -> Ended {
    match command {
        PolicyCommand::Get(args) => get::run(args, session).await,
        PolicyCommand::Set(args) => set::run(args, session).await,
        PolicyCommand::Unset(args) => set::unset(args, session).await,
        PolicyCommand::Edit(args) => edit::run(args, session).await,
        PolicyCommand::Apply(args) => apply::run(args, session).await,
        PolicyCommand::Diff(args) => diff::run(args, session).await,
        PolicyCommand::Confirm(args) => revise::confirm(args, session).await,
        PolicyCommand::Revert(args) => revise::revert(args, session).await,
        PolicyCommand::History(args) => revise::history(args, session).await,
        PolicyCommand::Explain(args) => explain::run(args, session),
    }
}

/// The policy and the mask that assignments as typed make.
pub(super) fn assignments(
    typed: &[String],
) -> Result<(v1::Policy, prost_types::FieldMask), Failure> {
    let mut policy = v1::Policy::default();
    let mut paths: Vec<String> = Vec::with_capacity(typed.len());
    for word in typed {
        let (key, value) = word.split_once('=').ok_or_else(|| {
            Failure::usage(format!("\"{word}\" is not KEY=VALUE"))
                .hint("for example host-reserve=1GiB, or pool-limit=unset")
        })?;
        let key = Key::parse(key).map_err(Failure::usage)?;
        let path = key.path();
        if paths.contains(&path) {
            return Err(Failure::usage(format!("{key} is given twice")));
        }
        key.assign(&mut policy, value).map_err(|what| Failure::usage(format!("{key}: {what}")))?;
        paths.push(path);
    }
    Ok((policy, prost_types::FieldMask { paths }))
}

/// The update that gives one key a value.
pub(crate) fn assignment(
    key: &Key,
    value: &str,
) -> Result<(v1::Policy, prost_types::FieldMask), Failure> {
    let mut policy = v1::Policy::default();
    key.assign(&mut policy, value).map_err(|what| Failure::usage(format!("{key}: {what}")))?;
    Ok((policy, prost_types::FieldMask { paths: vec![key.path()] }))
}

/// What it takes to come from `old` to `new`.
fn between(old: &Policy, new: &Policy, units: Units) -> Vec<PolicyChange> {
    let (old, new) = (values(old), values(new));
    let find = |all: &[(Key, Value)], key: &Key| {
        all.iter().find(|(k, _)| k == key).map_or(Value::Unset, |(_, v)| v.clone())
    };
    let gone = old.iter().filter(|(key, _)| !new.iter().any(|(k, _)| k == key));
    new.iter()
        .chain(gone)
        .map(|(key, _)| (key, find(&old, key), find(&new, key)))
        .filter(|(_, old, new)| old != new)
        .map(|(key, old, new)| PolicyChange {
            key: key.to_string(),
            path: key.path(),
            old_value: old.text(units),
            new_value: new.text(units),
        })
        .collect()
}

async fn update(
    connection: Connection,
    request: v1::UpdatePolicyRequest,
) -> Result<ChangeBody, Failure> {
    let applied = !request.validate_only;
    let answer = connection.policies().update_policy(request.clone()).await;
    let wire = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
    taken::check(&request, &wire)?;
    let current = wire.current.unwrap_or_default();
    Ok(ChangeBody {
        applied: applied && !wire.changes.is_empty(),
        revision: current.revision,
        etag: current.etag,
        revert_time: crate::dto::time(current.revert_time),
        changes: wire.changes.into_iter().map(Into::into).collect(),
        warnings: wire.warnings,
        standing_warnings: wire.standing_warnings,
    })
}

/// Tells a person what is questionable about it; what was so before, in full where they want to know more.
fn tell_warnings(host: &str, body: &ChangeBody, session: &Session) -> std::io::Result<()> {
    let is_old = |warning: &&String| body.standing_warnings.contains(warning);
    for warning in body.warnings.iter().filter(|warning| !is_old(warning)) {
        session.output.notice(&format!("warning: {host}: {}", in_words(warning)))?;
    }
    let old: Vec<&String> = body.warnings.iter().filter(is_old).collect();
    if session.global.verbose > 0 {
        for warning in old {
            session.output.notice(&format!("warning: {host}, as before: {}", in_words(warning)))?;
        }
    } else if !old.is_empty() {
        let what = if old.len() == 1 {
            "1 warning stands"
        } else {
            &*format!("{} warnings stand", old.len())
        };
        session.output.notice(&format!("{host}: {what} as before; -v tells it"))?;
    }
    Ok(())
}

/// Tells a person what the table of changes does not show.
fn tell_changes(items: &[Item<ChangeBody>], session: &Session) -> std::io::Result<()> {
    if session.output.is_for_programs() {
        return Ok(());
    }
    let told = items.iter().filter_map(|item| Some((&item.host, item.body.as_ref()?)));
    for (host, body) in told {
        tell_warnings(host, body, session)?;
        if body.changes.is_empty() {
            session.output.notice(&format!("{host}: nothing changes, the policy is so already"))?;
        } else if body.applied {
            let etag = &body.etag;
            session
                .output
                .notice(&format!("{host}: changed, revision {}, etag {etag}", body.revision))?;
        }
        if let (true, Some(time)) = (body.applied, body.revert_time) {
            let time = crate::render::text::date_time(time.0, &session.output.view.zone);
            let text = format!(
                "{host}: goes back at {time} unless you run: memctl policy confirm --host {host}"
            );
            session.output.notice(&text)?;
        }
    }
    Ok(())
}
