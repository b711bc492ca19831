//! `memctl vms`: one row for each VM.

use agentd_proto::v1;
use clap::Args;

use super::{Ended, exit_of};
use crate::client::Connection;
use crate::dto::{Item, Vm};
use crate::failure::{Code, Failure};
use crate::fleet::ask_all;
use crate::render::vms::VmBody;
use crate::session::Session;

/// Options of `memctl vms`.
#[derive(Args, Debug)]
pub(crate) struct VmsArgs {
    /// Only these VMs, by name or UUID.
    #[arg(value_name = "VM")]
    vms: Vec<String>,
}

/// Asks every host for its VMs.
pub(crate) async fn run(args: &VmsArgs, session: &mut Session) -> Ended {
    let hosts = session.hosts()?;
    let answers = ask_all(&hosts, session.bounds(), list).await;
    let mut items =
        Item::of_answers(answers, |vms| vms.into_iter().map(|vm| VmBody { vm }).collect());
    items.retain(|item| item.body.as_ref().is_none_or(|body| is_wanted(&body.vm, &args.vms)));
    session.output.show(&items)?;
    let exit = exit_of(&items);
    let missing = args.vms.iter().find(|name| !items.iter().any(|item| names(item, name)));
    match missing {
        Some(name) if items.iter().all(|i| i.ok) => Err(not_found(name).into()),
        _ => Ok(exit),
    }
}

/// All VMs of one host.
async fn list(connection: Connection) -> Result<Vec<Vm>, Failure> {
    let mut vms = Vec::new();
    let mut page_token = String::new();
    for _ in 0..MOST_PAGES {
        let request = v1::ListVmsRequest { page_size: PAGE_SIZE, page_token };
        let answer = connection.vms().list_vms(request).await;
        let page = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
        vms.extend(page.vms.into_iter().map(Vm::from));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(vms);
        }
    }
    Err(Failure::new(Code::OutOfRange, "TOO_MANY_VMS", "the agent's list of VMs has no end"))
}

fn is_wanted(vm: &Vm, wanted: &[String]) -> bool {
    wanted.is_empty() || wanted.iter().any(|w| *w == vm.vm.name || *w == vm.vm.uuid)
}

fn names(item: &Item<VmBody>, name: &str) -> bool {
    item.body.as_ref().is_some_and(|b| b.vm.vm.name == name || b.vm.vm.uuid == name)
}

fn not_found(name: &str) -> Failure {
    Failure::new(Code::NotFound, "VM_NOT_FOUND", format!("no running VM is called \"{name}\""))
        .hint("memctl vms lists those that there are")
}

const PAGE_SIZE: i32 = 1000;
/// A million VMs on one host: more than any has.
const MOST_PAGES: usize = 1000;
