//! `memctl policy get`: every value, and whether it is the default.

use agentd_proto::v1;

use crate::client::Connection;
use crate::commands::{Ended, exit_of};
use crate::dto::Item;
use crate::failure::{Code, Failure};
use crate::fleet::ask_all;
use crate::render::policy::PolicyBody;
use crate::session::Session;

/// Asks every host for its policy.
pub(crate) async fn run(session: &mut Session) -> Ended {
    let hosts = session.hosts()?;
    let answers = ask_all(&hosts, session.bounds(), ask).await;
    let items = Item::of_answers(answers, |body| vec![body]);
    session.output.show(&items)?;
    Ok(exit_of(&items))
}

/// Asks one host.
pub(crate) async fn ask(connection: Connection) -> Result<PolicyBody, Failure> {
    let answer = connection.policies().get_policy(v1::GetPolicyRequest {}).await;
    let wire = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
    match (wire.current, wire.defaults) {
        (Some(current), Some(defaults)) => {
            let bounds = wire.bounds.unwrap_or_default().into();
            Ok(PolicyBody::new(current.into(), defaults.into(), bounds))
        }
        _ => Err(Failure::new(Code::Internal, "NO_POLICY", "the agent sent no policy")
            .hint("the agent is of another version: compare with `memctl version`")),
    }
}
