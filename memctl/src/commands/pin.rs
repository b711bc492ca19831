//! `memctl pin VM` and `unpin VM`: leaves a VM alone, wherever it runs. A shorthand for the policy's
//! `vm.NAME.pinned`.

use std::time::Duration;

use agentd_proto::v1;
use clap::Args;
use clap_complete::ArgValueCompleter;

use super::policy::{assignments, change, get};
use super::rollout::Intent;
use super::{Ended, vms};
use crate::client::Connection;
use crate::completers;
use crate::dto::{Revision, VmName};
use crate::failure::{Code, Failure};
use crate::fleet::{Answer, ask_all};
use crate::hosts::Host;
use crate::quantity::parse_positive_duration;
use crate::render::text::date_time;
use crate::session::Session;

/// Options of `memctl pin`.
#[derive(Args, Debug)]
pub(crate) struct PinArgs {
    #[command(flatten)]
    vm: VmArgs,
    /// Only for this time: afterwards the policy goes back to what it is now, unless the change is
    /// confirmed with `memctl policy confirm`. Refused while the policy is on trial: there is one trial at a
    /// time, of the whole policy.
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

/// Pins the VM.
pub(crate) async fn pin(args: &PinArgs, session: &mut Session) -> Ended {
    let place = find(&args.vm.vm, session).await?;
    // An exception by UUID counts before one by name.
    let name = match place.current.policy.vms.contains_key(&place.vm.uuid) {
        true => &place.vm.uuid,
        false => &args.vm.vm,
    };
    if args.lasting.is_some() {
        no_trial(&place, session)?;
        no_lasting_pin(&place)?;
    }
    let revert_after = args.lasting.map(prost_types::Duration::try_from).transpose();
    let revert_after = revert_after.map_err(|error| Failure::usage(format!("--for: {error}")))?;
    let assigned = vec![format!("vm.{name}.pinned=true")];
    update(&args.vm, assigned, revert_after, &place, session).await
}

/// Takes the pin away, by whichever name of the VM it was set.
pub(crate) async fn unpin(args: &UnpinArgs, session: &mut Session) -> Ended {
    let place = find(&args.vm.vm, session).await?;
    let pinned = place.pins();
    if pinned.is_empty() {
        let host = &place.host.name;
        let what = format!("{} is not pinned on {host}", place.vm.label());
        let failure = Failure::new(Code::FailedPrecondition, "NOT_PINNED", what);
        return Err(failure.hint(format!("memctl policy get --host {host} shows what is")).into());
    }
    let assigned = pinned.into_iter().map(|name| format!("vm.{name}.pinned=unset")).collect();
    update(&args.vm, assigned, None, &place, session).await
}

/// Refuses a second trial: the two would end together, or each make the other last longer.
fn no_trial(place: &Place, session: &Session) -> Result<(), Failure> {
    let Revision { revision, revert_time: Some(end), actor, .. } = &place.current else {
        return Ok(());
    };
    let (end, host) = (date_time(end.0, &session.output.view.zone), &place.host.name);
    let by = actor.as_ref().map(|actor| format!(" by {}", actor.label())).unwrap_or_default();
    let what = format!(
        "revision {revision} of the policy of {host}{by} is on trial until {end}: it would end with this pin, \
         or later because of it"
    );
    let hint = format!(
        "wait until then, or end it: memctl policy confirm --host {host} keeps it, memctl policy revert \
         --host {host} takes it back"
    );
    Err(Failure::new(Code::FailedPrecondition, "TRIAL_RUNS", what).hint(hint))
}

/// Refuses an end where the VM is pinned for good: it would go on.
fn no_lasting_pin(place: &Place) -> Result<(), Failure> {
    if place.pins().is_empty() {
        return Ok(());
    }
    let (vm, host) = (&place.vm.name, &place.host.name);
    let what = format!("{} is pinned on {host} already, and without an end", place.vm.label());
    let hint = format!("memctl unpin {vm} --host {host} ends that; then pin it with --for");
    Err(Failure::new(Code::FailedPrecondition, "PINNED", what).hint(hint))
}

async fn update(
    args: &VmArgs,
    assigned: Vec<String>,
    revert_after: Option<prost_types::Duration>,
    place: &Place,
    session: &Session,
) -> Ended {
    let (policy, update_mask) = assignments(&assigned)?;
    let request = v1::UpdatePolicyRequest {
        policy: Some(policy),
        update_mask: Some(update_mask),
        // A trial that somebody else begins meanwhile is a trial, too.
        etag: revert_after.map(|_| place.current.etag.clone()).unwrap_or_default(),
        validate_only: false,
        revert_after,
        reason: args.reason.clone(),
    };
    let hosts = std::slice::from_ref(&place.host);
    change::make(request, hosts, Intent::of(args.dry_run), session).await
}

/// Where a VM runs.
struct Place {
    host: Host,
    vm: VmName,
    current: Revision,
}

impl Place {
    /// The names of the VM by which it is pinned.
    fn pins(&self) -> Vec<&String> {
        let vms = &self.current.policy.vms;
        let is_pinned = |name: &&String| vms.get(*name).is_some_and(|own| own.pinned == Some(true));
        [&self.vm.uuid, &self.vm.name].into_iter().filter(is_pinned).collect()
    }
}

/// What a host knows of it.
struct Known {
    /// The VM, where it runs there or the policy there has an exception for it.
    vm: Option<VmName>,
    current: Revision,
}

/// The one host that knows the VM.
async fn find(vm: &str, session: &mut Session) -> Result<Place, Failure> {
    let hosts = session.hosts()?;
    let wanted = vm.to_owned();
    let answers = ask_all(&hosts, session.bounds(), move |c| known_there(c, wanted.clone())).await;
    let (mut knowing, mut silent) = (Vec::new(), Vec::new());
    for Answer { host, result, .. } in answers {
        match result {
            Ok(Known { vm: Some(vm), current }) => knowing.push((host, vm, current)),
            Ok(Known { vm: None, .. }) => {}
            Err(failure) => silent.push((host, failure)),
        }
    }
    let is_uuid = |(_, found, _): &(String, VmName, Revision)| found.uuid == vm;
    // A name may stand on a silent host as well; a UUID does not.
    let may_be_elsewhere = !knowing.iter().any(is_uuid);
    if let Some((host, failure)) = silent.first().filter(|_| may_be_elsewhere) {
        if hosts.len() == 1 {
            return Err(failure.clone());
        }
        let what = format!("where \"{vm}\" runs is not known: {host}: {}", failure.message);
        return Err(Failure { message: what, ..failure.clone() }
            .hint("name its host with --host, or give its UUID (memctl vms -o wide)"));
    }
    let names: Vec<String> = knowing.iter().map(|(host, ..)| host.clone()).collect();
    let mut found = knowing.into_iter();
    match (found.next(), found.next()) {
        (Some((name, vm, current)), None) => {
            let host = hosts.into_iter().find(|host| host.name == name);
            let host = host.ok_or_else(|| Failure::usage("the host is gone"))?;
            // What is told is about this host alone.
            session.output.view.many_hosts = false;
            Ok(Place { host, vm, current })
        }
        (Some(_), Some(_)) => Err(ambiguous(vm, &names)),
        (None, _) => {
            let what = format!("no running VM is called \"{vm}\"");
            Err(Failure::new(Code::NotFound, "VM_NOT_FOUND", what)
                .hint("memctl vms lists those that there are"))
        }
    }
}

fn ambiguous(vm: &str, hosts: &[String]) -> Failure {
    let what = format!("\"{vm}\" is ambiguous: {} have one each", hosts.join(" and "));
    let first = hosts.first().map_or("NODE", String::as_str);
    Failure::new(Code::InvalidArgument, "VM_AMBIGUOUS", what)
        .hint(format!("name the host, as in --host {first}, or give the UUID (memctl vms -o wide)"))
}

async fn known_there(connection: Connection, wanted: String) -> Result<Known, Failure> {
    let current = get::ask(connection.clone()).await?.current;
    let running = vms::list(connection).await?.vms;
    let mut names = running.into_iter().map(|running| running.vm);
    let runs = names.find(|vm| vm.name == wanted || vm.uuid == wanted);
    let excepted = current.policy.vms.contains_key(&wanted);
    let by_policy = || excepted.then(|| VmName { uuid: String::new(), name: wanted.clone() });
    Ok(Known { vm: runs.or_else(by_policy), current })
}
