//! `memctl explain VM`: why a VM got what it got.

use agentd_proto::v1;
use clap::Args;
use clap_complete::ArgValueCompleter;
use jiff::Timestamp;

use super::history::wire;
use super::{Ended, exit_of, parse_position, tell_conditions, vms};
use crate::client::Connection;
use crate::completers;
use crate::dto::{Explanation, Item};
use crate::failure::{Code, Failure};
use crate::fleet::ask_all;
use crate::moment::Moment;
use crate::render::explain::ExplainBody;
use crate::render::text::date_time;
use crate::session::Session;
use crate::suggest::did_you_mean;

/// Options of `memctl explain`.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// VM, by name or UUID.
    #[arg(add = ArgValueCompleter::new(completers::vm_names))]
    vm: String,
    /// The tick to explain: the last one that had ended by then (so long ago, 10m; a time of day, 14:05;
    /// or a date and time), or the one at a position of the event log. The last one if not given.
    #[arg(long, value_name = "TIME|EPOCH:SEQ", value_parser = At::parse)]
    at: Option<At>,
    /// The tick to explain, by its number in the run of the agent that is under way.
    #[arg(long, value_name = "N", conflicts_with = "at")]
    tick: Option<u64>,
}

/// Which tick is meant.
#[derive(Clone, Debug)]
enum At {
    Position(v1::Position),
    Moment(Moment),
}

impl At {
    /// "14:05" would be a position too, if an epoch were as short.
    fn parse(text: &str) -> Result<Self, String> {
        let is_long = text.split_once(':').is_some_and(|(epoch, _)| epoch.len() >= SHORTEST_EPOCH);
        let is_date = text.contains(['-', ' ']);
        match is_long && !is_date {
            true => parse_position(text).map(Self::Position),
            false => Moment::parse(text).map(Self::Moment),
        }
    }
}

/// Asks for the explanation. Of several hosts, those that do not know the VM are left out.
pub(crate) async fn run(args: &ExplainArgs, session: &mut Session) -> Ended {
    let hosts = session.hosts()?;
    let (at, moment) = match &args.at {
        None => (None, None),
        Some(At::Position(position)) => (Some(position.clone()), None),
        Some(At::Moment(moment)) => {
            (None, Some(moment.at(Timestamp::now(), &session.output.view.zone)?))
        }
    };
    let time = moment.map(wire);
    let request = v1::ExplainVmRequest { vm: args.vm.clone(), at, time, tick: args.tick };
    let mut answers = ask_all(&hosts, session.bounds(), move |c| ask(c, request.clone())).await;
    if let Some(time) = moment {
        let by = date_time(time, &session.output.view.zone);
        for failure in answers.iter_mut().filter_map(|answer| answer.result.as_mut().err()) {
            if failure.reason == NOT_KEPT {
                // The agent knows no zone but its own.
                failure.message = format!("no tick that had ended by {by} is kept");
            }
        }
    }
    let mut items = Item::of_answers(answers, |explanation| vec![ExplainBody { explanation }]);
    if items.iter().any(|item| item.ok) {
        items.retain(|item| item.error.as_ref().is_none_or(|e| e.code != Code::NotFound));
    }
    session.output.show(&mut items)?;
    for (host, body) in items.iter().filter_map(|item| Some((&item.host, item.body.as_ref()?))) {
        tell_conditions(host, &body.explanation.conditions, session)?;
    }
    Ok(exit_of(&items))
}

async fn ask(
    connection: Connection,
    request: v1::ExplainVmRequest,
) -> Result<Explanation, Failure> {
    let vm = request.vm.clone();
    let answer = connection.vms().explain_vm(request).await;
    let failure = match answer {
        Ok(answer) => return Ok(answer.into_inner().into()),
        Err(status) => Failure::from_status(&status),
    };
    if failure.code != Code::NotFound || failure.hint.is_some() {
        return Err(failure);
    }
    let hint = match (failure.reason.as_str(), meant(&vm, connection).await) {
        (NOT_KEPT | OTHER_EPOCH, _) | (_, None) => hint_of(&failure.reason).to_owned(),
        (_, Some(close)) => format!("did you mean {close}? {}", hint_of(&failure.reason)),
    };
    Err(failure.hint(hint))
}

/// A VM of this host that has nearly this name.
async fn meant(vm: &str, connection: Connection) -> Option<String> {
    let known = vms::list(connection).await.ok()?.vms;
    let known: Vec<&str> = known.iter().map(|own| &*own.vm.name).collect();
    did_you_mean(vm, &known).map(str::to_owned)
}

/// What to do where there is no such tick, or no such VM in it.
fn hint_of(reason: &str) -> &'static str {
    match reason {
        NOT_KEPT => {
            "memctl watch --kind tick --oldest --no-follow --count 1 shows the oldest one that is"
        }
        OTHER_EPOCH => {
            "memctl watch --oldest --no-follow -o name prints the positions that are kept"
        }
        _ => "memctl vms lists those that there are",
    }
}

/// The reasons of an agent that has no such tick: it is not kept, or its run is not.
const NOT_KEPT: &str = "NOT_KEPT";
const OTHER_EPOCH: &str = "OTHER_EPOCH";
/// Longer than any hour, which a `:` follows too; an epoch has 32 digits.
const SHORTEST_EPOCH: usize = 8;
