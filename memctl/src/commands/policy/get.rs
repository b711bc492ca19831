//! `memctl policy get`: every value, and whether it is the default.

use agentd_proto::v1;
use clap::Args;

use super::revise;
use crate::client::Connection;
use crate::commands::{Ended, exit_of};
use crate::dto::Item;
use crate::exit::Exit;
use crate::failure::{Code, Failure};
use crate::fleet::{ask_all, ask_one};
use crate::hosts::Host;
use crate::output::Format;
use crate::policy_file;
use crate::quantity::Units;
use crate::render::policy::PolicyBody;
use crate::session::Session;

/// Options of `memctl policy get`.
#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    /// Write the policy of one host as a file that `memctl policy apply -f` takes; what is the
    /// default is commented out.
    #[arg(long)]
    as_file: bool,
}

/// Asks every host for its policy.
pub(crate) async fn run(args: &GetArgs, session: &mut Session) -> Ended {
    let hosts = session.hosts()?;
    if args.as_file {
        // What is usual of other commands is not meant.
        let is_text = |own: &Format| matches!(own, Format::Table | Format::Wide);
        if let Some(format) = session.global.output.filter(|own| !is_text(own)) {
            let format = format!("{format:?}").to_lowercase();
            let what = format!("--as-file writes TOML, and the output is to be {format}");
            let hint = "leave one of them out: -o json has every value as well";
            return Err(Failure::usage(what).hint(hint).into());
        }
        return as_file(&hosts, session).await;
    }
    let units = session.global.units;
    let answers = ask_all(&hosts, session.bounds(), move |c| with_origins(c, units)).await;
    let mut items = Item::of_answers(answers, |body| vec![body]);
    session.output.show(&mut items)?;
    Ok(exit_of(&items))
}

async fn as_file(hosts: &[Host], session: &Session) -> Ended {
    let [host] = hosts else {
        let what = format!("--as-file with {} hosts: each has its own policy", hosts.len());
        return Err(Failure::usage(what).hint("name the one host with --host").into());
    };
    let body = ask_one(host, session.global.timeout, ask).await?;
    session.output.data(&policy_file::text(&body.current.policy, &body.defaults))?;
    Ok(Exit::Done)
}

/// Asks one host, and where each of its values is from.
async fn with_origins(connection: Connection, units: Units) -> Result<PolicyBody, Failure> {
    let body = ask(connection.clone()).await?;
    let revisions = revise::revisions(connection, MOST_REVISIONS).await?;
    Ok(body.with_origins(&revisions, units))
}

/// Asks one host.
pub(crate) async fn ask(connection: Connection) -> Result<PolicyBody, Failure> {
    let answer = connection.policies().get_policy(v1::GetPolicyRequest {}).await;
    let wire = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
    match (wire.current, wire.defaults) {
        (Some(current), Some(defaults)) => {
            let bounds = wire.bounds.unwrap_or_default().into();
            let pins = wire.pins.into_iter().map(Into::into).collect();
            Ok(PolicyBody::new(current.into(), defaults.into(), (bounds, pins)))
        }
        _ => Err(Failure::new(Code::Internal, "NO_POLICY", "the agent sent no policy")
            .hint("the agent is of another version: compare with `memctl version`")),
    }
}

/// As many as are looked through for where a value is from.
const MOST_REVISIONS: usize = 100;
