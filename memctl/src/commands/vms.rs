//! `memctl vms`: one row for each VM.

use agentd_proto::v1;
use clap::Args;
use clap_complete::ArgValueCompleter;

use super::repeat::{RepeatArgs, shown};
use super::{Ended, exit_of, status, tell_conditions};
use crate::client::Connection;
use crate::completers;
use crate::dto::{Condition, Item, Vm, seconds};
use crate::failure::{Code, Failure};
use crate::fleet::ask_all;
use crate::render::vms::VmBody;
use crate::session::Session;

/// Options of `memctl vms`.
#[derive(Args, Debug)]
pub(crate) struct VmsArgs {
    /// Only these VMs, by name or UUID.
    #[arg(value_name = "VM", add = ArgValueCompleter::new(completers::vm_names))]
    vms: Vec<String>,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// Asks every host for its VMs.
pub(crate) async fn run(args: &VmsArgs, session: &mut Session) -> Ended {
    shown(&args.repeat, session, async |session| once(args, session).await).await
}

async fn once(args: &VmsArgs, session: &mut Session) -> Ended {
    let hosts = session.hosts()?;
    let answers = ask_all(&hosts, session.bounds(), list).await;
    let empty = answers
        .iter()
        .filter_map(|answer| Some((answer.host.clone(), answer.result.as_ref().ok()?)))
        .filter(|(_, listed)| listed.vms.is_empty())
        .map(|(host, listed)| (host, listed.unread.clone()))
        .collect::<Vec<_>>();
    let caveats = answers
        .iter()
        .filter_map(|answer| Some((answer.host.clone(), answer.result.as_ref().ok()?)))
        .filter(|(_, listed)| listed.unread.is_none())
        .map(|(host, listed)| (host, listed.conditions.clone()))
        .collect::<Vec<_>>();
    let mut items = Item::of_answers(answers, |listed| {
        let Listed { vms, tick_age_seconds, conditions, .. } = listed;
        let body = |vm| VmBody { vm, tick_age_seconds, conditions: conditions.clone() };
        vms.into_iter().map(body).collect()
    });
    items.retain(|item| item.body.as_ref().is_none_or(|body| is_wanted(&body.vm, &args.vms)));
    session.output.show(&mut items)?;
    tell_empty(&empty, session)?;
    for (host, conditions) in &caveats {
        tell_conditions(host, conditions, session)?;
    }
    let exit = exit_of(&items);
    let missing = args.vms.iter().find(|name| !items.iter().any(|item| names(item, name)));
    match missing {
        Some(name) if items.iter().all(|i| i.ok) => Err(not_found(name, &empty).into()),
        _ => Ok(exit),
    }
}

/// What one host has.
pub(crate) struct Listed {
    pub(crate) vms: Vec<Vm>,
    /// Why nobody knows the VMs. None where a tick has read them.
    unread: Option<String>,
    /// How long ago the tick began that the figures are of.
    tick_age_seconds: Option<f64>,
    /// What keeps them from being current, or decisions from being carried out.
    conditions: Vec<Condition>,
}

/// All VMs of one host.
pub(crate) async fn list(connection: Connection) -> Result<Listed, Failure> {
    let mut vms = Vec::new();
    let mut page_token = String::new();
    for _ in 0..MOST_PAGES {
        let request = v1::ListVmsRequest { page_size: PAGE_SIZE, page_token };
        let answer = connection.vms().list_vms(request).await;
        let page = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
        vms.extend(page.vms.into_iter().map(Vm::from));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            let unread = match page.tick {
                None if vms.is_empty() => Some(why_unread(connection).await?),
                _ => None,
            };
            let conditions = page.conditions.into_iter().map(Into::into).collect();
            let tick_age_seconds = seconds(page.tick_age);
            return Ok(Listed { vms, unread, tick_age_seconds, conditions });
        }
    }
    Err(Failure::new(Code::OutOfRange, "TOO_MANY_VMS", "the agent's list of VMs has no end"))
}

/// Why no tick has read the VMs, in the words of the agent where it has some.
async fn why_unread(connection: Connection) -> Result<String, Failure> {
    let conditions = status::ask(connection).await?.conditions;
    let told: Vec<String> =
        conditions.iter().map(|c| format!("{}: {}", c.reason, c.message)).collect();
    Ok(if told.is_empty() { "no tick has read the VMs yet".to_owned() } else { told.join("; ") })
}

/// A table of nothing needs a word.
fn tell_empty(empty: &[(String, Option<String>)], session: &Session) -> std::io::Result<()> {
    if session.output.is_for_programs() {
        return Ok(());
    }
    for (host, unread) in empty {
        session.output.notice(&match unread {
            Some(why) => format!("{host}: the VMs are not known: {why}"),
            None => format!("{host}: no VM is running"),
        })?;
    }
    Ok(())
}

fn is_wanted(vm: &Vm, wanted: &[String]) -> bool {
    wanted.is_empty() || wanted.iter().any(|w| *w == vm.vm.name || *w == vm.vm.uuid)
}

fn names(item: &Item<VmBody>, name: &str) -> bool {
    item.body.as_ref().is_some_and(|b| b.vm.vm.name == name || b.vm.vm.uuid == name)
}

fn not_found(name: &str, empty: &[(String, Option<String>)]) -> Failure {
    let unread = empty.iter().find_map(|(host, unread)| Some((host, unread.as_ref()?)));
    if let Some((host, why)) = unread {
        let what = format!("nobody knows whether \"{name}\" runs: {host}: {why}");
        return Failure::new(Code::FailedPrecondition, "VMS_UNREAD", what);
    }
    Failure::new(Code::NotFound, "VM_NOT_FOUND", format!("no running VM is called \"{name}\""))
        .hint("memctl vms lists those that there are")
}

const PAGE_SIZE: i32 = 1000;
/// A million VMs on one host: more than any has.
const MOST_PAGES: usize = 1000;
