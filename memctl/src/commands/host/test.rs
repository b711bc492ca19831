//! `memctl host test`: whether hosts answer, as whom, and how fast.

use agentd_proto::v1;
use jiff::Timestamp;
use tokio::time::Instant;

use super::HostNames;
use crate::client::Connection;
use crate::commands::{Ended, exit_of};
use crate::dto::{Item, Status, WhoAmI};
use crate::failure::Failure;
use crate::fleet::{ask_every, ask_one};
use crate::hosts::NO_HOST;
use crate::render::host::TestBody;
use crate::session::Session;

/// Asks every host. Those of one host are asked by each of its names: names are what is tested.
pub(super) async fn run(names: &HostNames, session: &mut Session) -> Ended {
    session.global.hosts.extend(names.hosts.iter().cloned());
    let hosts = match session.hosts() {
        // Where nobody says whom to ask, to look at each does no harm.
        Err(failure) if failure.reason == NO_HOST && !session.config.hosts.is_empty() => {
            session.global.all_hosts = true;
            session.hosts()?
        }
        hosts => hosts?,
    };
    let bounds = session.bounds();
    let answers = ask_every(&hosts, bounds, move |host| async move {
        let started = Instant::now();
        let (status, caller) = ask_one(&host, bounds.timeout, ask).await?;
        Ok(TestBody {
            address: host.address.to_string(),
            name: status.name,
            agent_version: status.agent_version,
            identity: caller.identity,
            role: caller.role,
            seconds: (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        })
    });
    let mut items = Item::of_answers(answers.await, |body| vec![body]);
    session.output.show(&mut items)?;
    Ok(exit_of(&items))
}

async fn ask(connection: Connection) -> Result<(Status, WhoAmI), Failure> {
    let caller = connection.hosts().who_am_i(v1::WhoAmIRequest {}).await;
    let caller = caller.map_err(|status| Failure::from_status(&status))?.into_inner();
    let status = connection.hosts().get_status(v1::GetStatusRequest {}).await;
    let status = status.map_err(|status| Failure::from_status(&status))?.into_inner();
    Ok((Status::new(status, Timestamp::now()), caller.into()))
}
