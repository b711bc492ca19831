//! `memctl version`: ours and the agents'.

use clap::Args;

use super::{Ended, exit_of, status, tell_skew};
use crate::dto::Item;
use crate::exit::Exit;
use crate::fleet::ask_all;
use crate::render::version::VersionBody;
use crate::session::Session;
use crate::versions::OURS;

/// Options of `memctl version`.
#[derive(Args, Debug)]
pub(crate) struct VersionArgs {
    /// Only this memctl; ask no agent.
    #[arg(long)]
    client: bool,
}

/// Shows the versions.
pub(crate) async fn run(args: &VersionArgs, session: &mut Session) -> Ended {
    let body = VersionBody { component: "memctl", version: OURS.to_owned() };
    let mut items = vec![Item::answered(NOBODY, body)];
    if args.client {
        session.output.show(&mut items)?;
        return Ok(Exit::Done);
    }
    let hosts = match session.hosts() {
        Ok(hosts) => hosts,
        Err(failure) if failure.reason == "NO_HOST" => {
            let exit = failure.exit();
            items.push(Item::failed("local", failure));
            session.output.show(&mut items)?;
            return Ok(exit);
        }
        Err(failure) => return Err(failure.into()),
    };
    let answers = ask_all(&hosts, session.bounds(), status::ask).await;
    let agents = Item::of_answers(answers, |status| {
        vec![VersionBody { component: "agentd", version: status.agent_version }]
    });
    let exit = exit_of(&agents);
    items.extend(agents);
    session.output.show(&mut items)?;
    let agents = items.iter().filter(|item| item.host != NOBODY);
    for (host, body) in agents.filter_map(|item| Some((&item.host, item.body.as_ref()?))) {
        tell_skew(host, &body.version, session)?;
    }
    Ok(exit)
}

/// Where memctl itself stands in the place of a host.
const NOBODY: &str = "-";
