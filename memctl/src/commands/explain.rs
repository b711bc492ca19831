//! `memctl explain VM`: why a VM got what it got.

use agentd_proto::v1;
use clap::Args;
use clap_complete::ArgValueCompleter;

use super::{Ended, exit_of, parse_position, tell_conditions};
use crate::client::Connection;
use crate::completers;
use crate::dto::{Explanation, Item};
use crate::failure::{Code, Failure};
use crate::fleet::ask_all;
use crate::render::explain::ExplainBody;
use crate::session::Session;

/// Options of `memctl explain`.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// VM, by name or UUID.
    #[arg(add = ArgValueCompleter::new(completers::vm_names))]
    vm: String,
    /// The tick to explain, by its position in the event log; the last one if not given.
    #[arg(long, value_name = "EPOCH:SEQ", value_parser = parse_position)]
    at: Option<v1::Position>,
}

/// Asks for the explanation. Of several hosts, those that do not know the VM are left out.
pub(crate) async fn run(args: &ExplainArgs, session: &mut Session) -> Ended {
    let hosts = session.hosts()?;
    let request = v1::ExplainVmRequest { vm: args.vm.clone(), at: args.at.clone() };
    let answers = ask_all(&hosts, session.bounds(), move |c| ask(c, request.clone())).await;
    let mut items = Item::of_answers(answers, |explanation| vec![ExplainBody { explanation }]);
    if items.iter().any(|item| item.ok) {
        items.retain(|item| item.error.as_ref().is_none_or(|e| e.code != Code::NotFound));
    }
    session.output.show(&items)?;
    for (host, body) in items.iter().filter_map(|item| Some((&item.host, item.body.as_ref()?))) {
        tell_conditions(host, &body.explanation.conditions, session)?;
    }
    Ok(exit_of(&items))
}

async fn ask(
    connection: Connection,
    request: v1::ExplainVmRequest,
) -> Result<Explanation, Failure> {
    let answer = connection.vms().explain_vm(request).await;
    Ok(answer.map_err(|status| Failure::from_status(&status))?.into_inner().into())
}
