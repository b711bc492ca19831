//! `memctl whoami`: who the caller is to each host, and what they may do there.

use agentd_proto::v1;
use clap::Args;

use super::{Ended, exit_of, tell_skew};
use crate::client::Connection;
use crate::dto::{Item, WhoAmI};
use crate::failure::Failure;
use crate::fleet::ask_all;
use crate::render::whoami::WhoAmIBody;
use crate::session::Session;

/// Options of `memctl whoami`.
#[derive(Args, Debug)]
pub(crate) struct WhoAmIArgs {}

/// Asks every host.
pub(crate) async fn run(_: &WhoAmIArgs, session: &mut Session) -> Ended {
    let hosts = session.hosts()?;
    let answers = ask_all(&hosts, session.bounds(), ask).await;
    let mut items = Item::of_answers(answers, |caller| vec![WhoAmIBody { caller }]);
    session.output.show(&mut items)?;
    for (host, body) in items.iter().filter_map(|item| Some((&item.host, item.body.as_ref()?))) {
        if session.output.is_for_programs() {
            break;
        }
        for idle in &body.caller.idle_organizations {
            let what = format!("{host}: the organization {idle} in the certificate gives no role");
            session.output.notice(&what)?;
        }
        if let Some(version) = &body.caller.agent_version {
            tell_skew(host, version, session)?;
        }
    }
    Ok(exit_of(&items))
}

async fn ask(connection: Connection) -> Result<WhoAmI, Failure> {
    let answer = connection.hosts().who_am_i(v1::WhoAmIRequest {}).await;
    let caller: WhoAmI =
        answer.map_err(|status| Failure::from_status(&status))?.into_inner().into();
    if caller.role.is_none() {
        // To ask for more would only be denied, and written down as that.
        return Ok(caller);
    }
    let status = connection.hosts().get_status(v1::GetStatusRequest {}).await.ok();
    Ok(WhoAmI { agent_version: status.map(|status| status.into_inner().agent_version), ..caller })
}
