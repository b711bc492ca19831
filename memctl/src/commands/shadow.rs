//! `memctl shadow`: sets a policy that decides along without acting, and shows what it would have done
//! differently.

use agentd_proto::v1;
use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;

use super::policy::assignments;
use super::{Ended, exit_of};
use crate::client::Connection;
use crate::completers;
use crate::dto::Item;
use crate::failure::Failure;
use crate::fleet::{Bounds, ask_all};
use crate::hosts::Host;
use crate::render::shadow::ShadowBody;
use crate::session::Session;
use crate::wire_words::in_words;

/// What to do with the shadow.
#[derive(Debug, Subcommand)]
pub(crate) enum ShadowCommand {
    /// Let a policy decide along: KEY=VALUE, what is to be otherwise than in the one in force
    Set(SetArgs),
    /// Take the shadow away
    Off,
    /// Show what the shadow would have done differently
    Status(StatusArgs),
}

/// Options of `memctl shadow set`.
#[derive(Args, Debug)]
pub(crate) struct SetArgs {
    /// What is to be otherwise, as in `memctl policy set`: algorithm=working-set,
    /// two-pointer.step=60MiB. All else follows the policy in force, also when that changes.
    #[arg(value_name = "KEY=VALUE", required = true)]
    #[arg(add = ArgValueCompleter::new(completers::assignments))]
    assignments: Vec<String>,
    /// Check everything, change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Why, for other operators.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// Options of `memctl shadow status`.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Sum up the last so many ticks; all that are kept if not given.
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    ticks: u32,
}

/// Runs the command.
pub(crate) async fn run(command: &ShadowCommand, session: &mut Session) -> Ended {
    let hosts = session.hosts()?;
    let bounds = session.bounds();
    let answers = match command {
        ShadowCommand::Set(args) => {
            let (policy, update_mask) = assignments(&args.assignments)?;
            let request = v1::SetShadowRequest {
                policy: Some(policy),
                update_mask: Some(update_mask),
                reason: args.reason.clone(),
                validate_only: args.dry_run,
            };
            ask_all(&hosts, bounds, move |c| set(c, request.clone())).await
        }
        ShadowCommand::Off => ask_all(&hosts, bounds, clear).await,
        ShadowCommand::Status(args) => {
            let request = v1::GetShadowRequest { ticks: args.ticks };
            ask_all(&hosts, bounds, move |c| show(c, request)).await
        }
    };
    let mut items = Item::of_answers(answers, |body| vec![body]);
    session.output.show(&mut items)?;
    tell_warnings(&items, session)?;
    tell_unset(&items, session)?;
    Ok(exit_of(&items))
}

/// Tells a person what was hardly meant.
fn tell_warnings(items: &[Item<ShadowBody>], session: &Session) -> std::io::Result<()> {
    for item in items.iter().filter(|_| !session.output.is_for_programs()) {
        for warning in item.body.iter().flat_map(|body| &body.warnings) {
            session.output.notice(&format!("warning: {}: {}", item.host, in_words(warning)))?;
        }
    }
    Ok(())
}

/// Tells a person that a dry run set nothing.
fn tell_unset(items: &[Item<ShadowBody>], session: &Session) -> std::io::Result<()> {
    let could = |item: &&Item<ShadowBody>| item.body.as_ref().is_some_and(|body| !body.applied);
    for item in items.iter().filter(could).filter(|_| !session.output.is_for_programs()) {
        let what = "it could be set; nothing is, as --dry-run only checks it";
        session.output.notice(&format!("{}: {what}", item.host))?;
    }
    Ok(())
}

/// Tells a person who wants to see what the shadows of these hosts do which of them have none. Who does not
/// answer is told of elsewhere.
pub(super) async fn tell_missing(hosts: &[Host], session: &Session) -> std::io::Result<()> {
    if hosts.is_empty() || session.output.is_for_programs() {
        return Ok(());
    }
    let request = v1::GetShadowRequest { ticks: 1 };
    let bounds = Bounds { tells: false, ..session.bounds() };
    for answer in ask_all(hosts, bounds, move |c| show(c, request)).await {
        if matches!(answer.result, Ok(ShadowBody { shadow: None, .. })) {
            let what = "there is no shadow: `memctl shadow set KEY=VALUE..` sets one";
            session.output.notice(&format!("{}: {what}", answer.host))?;
        }
    }
    Ok(())
}

async fn set(connection: Connection, request: v1::SetShadowRequest) -> Result<ShadowBody, Failure> {
    let applied = !request.validate_only;
    let answer = connection.shadows().set_shadow(request).await;
    let wire = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
    let (shadow, warnings) = (wire.shadow.map(Into::into), wire.warnings);
    Ok(ShadowBody { applied, shadow, summary: None, warnings })
}

async fn clear(connection: Connection) -> Result<ShadowBody, Failure> {
    let answer = connection.shadows().clear_shadow(v1::ClearShadowRequest {}).await;
    answer.map_err(|status| Failure::from_status(&status))?;
    Ok(ShadowBody { applied: true, shadow: None, summary: None, warnings: Vec::new() })
}

async fn show(
    connection: Connection,
    request: v1::GetShadowRequest,
) -> Result<ShadowBody, Failure> {
    let answer = connection.shadows().get_shadow(request).await;
    let wire = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
    let (shadow, summary) = (wire.shadow.map(Into::into), wire.summary.map(Into::into));
    Ok(ShadowBody { applied: true, shadow, summary, warnings: Vec::new() })
}
