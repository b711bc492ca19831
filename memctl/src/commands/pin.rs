//! `memctl pin VM` and `unpin VM`: leaves a VM alone, wherever it runs. Without an end a shorthand for the
//! policy's `vm.NAME.pinned`; with one a pin of its own, beside the policy.

mod timed;

use std::{collections::BTreeSet, time::Duration};

use agentd_proto::v1;
use clap::Args;
use clap_complete::ArgValueCompleter;

use super::policy::{assignments, change, get};
use super::rollout::Intent;
use super::{Ended, vms};
use crate::client::Connection;
use crate::completers;
use crate::dto::{Pin, Revision, VmName};
use crate::failure::{Code, Failure};
use crate::fleet::{Answer, ask_all};
use crate::hosts::Host;
use crate::quantity::parse_positive_duration;
use crate::render::View;
use crate::render::pin::until;
use crate::render::policy::PolicyBody;
use crate::session::Session;

/// Options of `memctl pin`.
#[derive(Args, Debug)]
pub(crate) struct PinArgs {
    #[command(flatten)]
    vm: VmArgs,
    /// Only for this time, from 1s to 24h, whatever the policy says of the VM meanwhile; said again, from now
    /// on for the time that is said then.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_positive_duration)]
    lasting: Option<Duration>,
}

/// Options of `memctl unpin`.
#[derive(Args, Debug)]
pub(crate) struct UnpinArgs {
    #[command(flatten)]
    vm: VmArgs,
}

/// Which VM, and how.
#[derive(Args, Debug)]
struct VmArgs {
    /// The VM, by name or UUID. It is looked for on all hosts that are asked; a name that several of
    /// them know is refused.
    #[arg(value_name = "VM", add = ArgValueCompleter::new(completers::vm_names))]
    vm: String,
    /// Check everything, change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Why, for the log and for other operators.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// Pins the VM: for a while beside the policy, or by the policy.
pub(crate) async fn pin(args: &PinArgs, session: &mut Session) -> Ended {
    if args.lasting.is_some() {
        timed::no_columns(session)?;
    }
    let place = find(&args.vm.vm, session).await?;
    if let Some(lasting) = args.lasting {
        return timed::pin(&args.vm, lasting, &place, session).await;
    }
    // An exception by UUID counts before one by name.
    let name = match place.current.policy.vms.contains_key(&place.vm.uuid) {
        true => &place.vm.uuid,
        false => &args.vm.vm,
    };
    let ended = update(&args.vm, vec![format!("vm.{name}.pinned=true")], &place, session).await?;
    timed::tell_beside(&place, session)?;
    Ok(ended)
}

/// Ends what pins the VM for a while; where nothing does, takes the policy's pin away, by whichever name of
/// the VM it was set.
pub(crate) async fn unpin(args: &UnpinArgs, session: &mut Session) -> Ended {
    let place = find(&args.vm.vm, session).await?;
    if place.pin.is_some() {
        return timed::unpin(&args.vm, &place, session).await;
    }
    let pinned = place.pinned_by_policy();
    if pinned.is_empty() {
        let host = &place.host.name;
        let what = format!("{} is not pinned on {host}", place.vm.label());
        let failure = Failure::new(Code::FailedPrecondition, "NOT_PINNED", what);
        return Err(failure.hint(format!("memctl policy get --host {host} shows what is")).into());
    }
    let assigned = pinned.into_iter().map(|name| format!("vm.{name}.pinned=unset")).collect();
    update(&args.vm, assigned, &place, session).await
}

async fn update(args: &VmArgs, assigned: Vec<String>, place: &Place, session: &Session) -> Ended {
    let (policy, update_mask) = assignments(&assigned)?;
    let request = v1::UpdatePolicyRequest {
        policy: Some(policy),
        update_mask: Some(update_mask),
        reason: args.reason.clone(),
        ..v1::UpdatePolicyRequest::default()
    };
    let hosts = std::slice::from_ref(&place.host);
    change::make(request, hosts, Intent::of(args.dry_run), session).await
}

/// Where a VM runs.
struct Place {
    host: Host,
    vm: VmName,
    current: Revision,
    /// What pins it for a while.
    pin: Option<Pin>,
}

impl Place {
    /// The names of the VM by which the policy pins it.
    fn pinned_by_policy(&self) -> Vec<&String> {
        let vms = &self.current.policy.vms;
        let is_pinned = |name: &&String| vms.get(*name).is_some_and(|own| own.pinned == Some(true));
        [&self.vm.uuid, &self.vm.name].into_iter().filter(is_pinned).collect()
    }
}

/// What a host knows of it.
struct Known {
    /// The VM, where it runs there, is pinned for a while there, or the policy there has an exception for it.
    vm: Option<VmName>,
    /// It runs there.
    runs: bool,
    current: Revision,
    /// What pins it for a while.
    pin: Option<Pin>,
}

/// The one host that knows the VM.
async fn find(vm: &str, session: &mut Session) -> Result<Place, Failure> {
    let hosts = session.hosts()?;
    let wanted = vm.to_owned();
    let answers = ask_all(&hosts, session.bounds(), move |c| known_there(c, wanted.clone())).await;
    let (mut knowing, mut silent) = (Vec::new(), Vec::new());
    for Answer { host: name, result, .. } in answers {
        let host = hosts.iter().find(|host| host.name == name);
        match (result, host) {
            (Ok(Known { vm: Some(vm), runs, current, pin }), Some(host)) => {
                knowing.push((Place { host: host.clone(), vm, current, pin }, runs));
            }
            (Ok(_), _) => {}
            (Err(failure), _) => silent.push((name, failure)),
        }
    }
    // A name may stand on a silent host as well; a UUID does not, where it runs on another one.
    let may_be_elsewhere = !knowing.iter().any(|(place, runs)| *runs && place.vm.uuid == vm);
    if let Some((host, failure)) = silent.first().filter(|_| may_be_elsewhere) {
        if hosts.len() == 1 {
            return Err(failure.clone());
        }
        let what = format!("where \"{vm}\" runs is not known: {host}: {}", failure.message);
        return Err(Failure { message: what, ..failure.clone() }
            .hint("name its host with --host, or give its UUID (memctl vms -o wide)"));
    }
    if knowing.len() > 1 {
        return Err(ambiguous(vm, &knowing, &session.output.view));
    }
    let Some((place, _)) = knowing.pop() else {
        let what = format!("no running VM is called \"{vm}\"");
        return Err(Failure::new(Code::NotFound, "VM_NOT_FOUND", what)
            .hint("memctl vms lists those that there are"));
    };
    // What is told is about this host alone.
    session.output.view.many_hosts = false;
    Ok(place)
}

/// What each of several hosts knows of the VM, which may be one that has migrated: a pin stays where it was
/// made.
fn ambiguous(vm: &str, knowing: &[(Place, bool)], view: &View) -> Failure {
    let name = |(place, _): &(Place, bool)| place.host.name.clone();
    let pins =
        |(place, _): &&(Place, bool)| place.pin.is_some() || !place.pinned_by_policy().is_empty();
    let pinning: Vec<String> = knowing.iter().filter(pins).map(name).collect();
    let told = knowing.iter().map(|(place, runs)| {
        let runs = if *runs { "runs one" } else { "runs none" };
        let pinned = match &place.pin {
            Some(pin) => until(pin, view),
            None if place.pinned_by_policy().is_empty() => "not pinned".to_owned(),
            None => "pinned by the policy".to_owned(),
        };
        format!("{} {runs}, {pinned}", place.host.name)
    });
    let told = match pinning.is_empty() && knowing.iter().all(|(_, runs)| *runs) {
        true => {
            let all: Vec<String> = knowing.iter().map(name).collect();
            format!("{} have one each", all.join(" and "))
        }
        false => told.collect::<Vec<_>>().join("; "),
    };
    let what = format!("\"{vm}\" is ambiguous: {told}");
    let place = knowing.iter().find(|(_, runs)| *runs).or_else(|| knowing.first());
    let one = place.map_or_else(|| "NODE".to_owned(), name);
    let uuids: BTreeSet<&str> = knowing.iter().map(|(place, _)| &*place.vm.uuid).collect();
    let by_uuid = match uuids.len() == knowing.len() {
        true => ", or give the UUID (memctl vms -o wide)",
        false => "",
    };
    let mut hint = format!("name the host, as in --host {one}{by_uuid}");
    if !pinning.is_empty() {
        let ends = pinning.iter().map(|host| format!("memctl unpin {vm} --host {host}"));
        let ends = ends.collect::<Vec<_>>().join(" and ");
        hint.push_str(&format!("; a pin stays on its host where the VM migrates: {ends} ends it"));
    }
    Failure::new(Code::InvalidArgument, "VM_AMBIGUOUS", what).hint(hint)
}

async fn known_there(connection: Connection, wanted: String) -> Result<Known, Failure> {
    let PolicyBody { current, pins, .. } = get::ask(connection.clone()).await?;
    let running = vms::list(connection).await?.vms;
    let is_meant = |vm: &VmName| vm.name == wanted || vm.uuid == wanted;
    let runs = running.into_iter().map(|running| running.vm).find(is_meant);
    // The UUID decides: another VM may have had the name when it was pinned.
    let is_pinned = |pin: &Pin| match &runs {
        Some(vm) => pin.vm.uuid == vm.uuid,
        None => is_meant(&pin.vm),
    };
    let pin = pins.into_iter().find(is_pinned);
    let excepted = current.policy.vms.contains_key(&wanted);
    let by_pin = || pin.as_ref().map(|pin| pin.vm.clone());
    let by_policy = || excepted.then(|| VmName { uuid: String::new(), name: wanted.clone() });
    let is_here = runs.is_some();
    Ok(Known { vm: runs.or_else(by_pin).or_else(by_policy), runs: is_here, current, pin })
}
