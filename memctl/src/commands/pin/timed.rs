//! A pin with an end, beside the policy: begun with `memctl pin VM --for TIME`, ended by time or by `unpin`.

use std::time::Duration;

use agentd_proto::v1;

use super::{Place, VmArgs};
use crate::client::Connection;
use crate::commands::{Ended, exit_of};
use crate::dto::Item;
use crate::failure::{Code, Failure};
use crate::fleet::{Answer, ask_all};
use crate::render::pin::{PinBody, until};
use crate::session::Session;

/// Pins the VM for this time, in the place of what pinned it for a while before.
pub(super) async fn pin(
    args: &VmArgs,
    lasting: Duration,
    place: &Place,
    session: &Session,
) -> Ended {
    let duration = prost_types::Duration::try_from(lasting);
    let duration = duration.map_err(|error| Failure::usage(format!("--for: {error}")))?;
    let request = v1::PinVmRequest {
        vm: named(place),
        duration: Some(duration),
        reason: args.reason.clone(),
        validate_only: args.dry_run,
    };
    let begin = move |connection| begin(connection, request.clone());
    let hosts = std::slice::from_ref(&place.host);
    let answers = ask_all(hosts, session.bounds(), begin).await.into_iter();
    let nearest = |failure| nearest(failure, place, lasting);
    let answers = answers.map(|answer| Answer { result: answer.result.map_err(nearest), ..answer });
    show(answers.collect(), session)
}

/// Ends what pins the VM for a while.
pub(super) async fn unpin(args: &VmArgs, place: &Place, session: &Session) -> Ended {
    no_columns(session)?;
    let (reason, validate_only) = (args.reason.clone(), args.dry_run);
    let request = v1::UnpinVmRequest { vm: named(place), reason, validate_only };
    let end = move |connection| end(connection, request.clone());
    show(ask_all(std::slice::from_ref(&place.host), session.bounds(), end).await, session)
}

/// Tells a person who has changed the policy's pin what pins the VM beside it.
pub(super) fn tell_beside(place: &Place, session: &Session) -> std::io::Result<()> {
    let Some(pin) = place.pin.as_ref().filter(|_| !session.output.is_for_programs()) else {
        return Ok(());
    };
    let (host, vm) = (&place.host.name, place.vm.label());
    let until = until(pin, &session.output.view);
    session.output.notice(&format!("{host}: beside the policy {vm} is {until}"))
}

/// Refuses to choose columns: those of these commands are of a change of the policy.
pub(super) fn no_columns(session: &Session) -> Result<(), Failure> {
    if session.global.columns.is_empty() && session.global.sort_by.is_none() {
        return Ok(());
    }
    let what = "a pin with an end prints no table to choose of or to sort";
    Err(Failure::usage(what).hint("leave them out, or say -o json for every field"))
}

/// By its UUID, which no other VM has; by the name where nobody knows that.
fn named(place: &Place) -> String {
    let uuid = Some(&place.vm.uuid).filter(|uuid| !uuid.is_empty());
    uuid.unwrap_or(&place.vm.name).clone()
}

/// What an agent of before there were any is to be told instead.
fn nearest(failure: Failure, place: &Place, lasting: Duration) -> Failure {
    if failure.code != Code::Unimplemented {
        return failure;
    }
    let hint = format!(
        "{}; until then a trial of the whole policy comes nearest: memctl policy set vm.{}.pinned=true \
         --revert-after {}s --host {}",
        failure.hint.clone().unwrap_or_default(),
        place.vm.label(),
        lasting.as_secs(),
        place.host.name
    );
    failure.hint(hint)
}

fn show(answers: Vec<Answer<PinBody>>, session: &Session) -> Ended {
    let mut items = Item::of_answers(answers, |body| vec![body]);
    session.output.show(&mut items)?;
    let told = items.iter().filter_map(|item| Some((&item.host, item.body.as_ref()?)));
    for (host, body) in told.filter(|_| !session.output.is_for_programs()) {
        if let Some(text) = stays(host, body) {
            session.output.notice(&text)?;
        }
    }
    Ok(exit_of(&items))
}

/// What holds once the pin is over, where that is no end of it.
fn stays(host: &str, body: &PinBody) -> Option<String> {
    let vm = body.pin.vm.label();
    let when = match (body.applied, body.is_over) {
        (true, true) => "now",
        (false, true) => "then",
        (_, false) => "once this is over",
    };
    let how = format!("memctl unpin {vm} --host {host}");
    body.policy_pins.then(|| {
        format!("{host}: the policy pins {vm} as well, without an end, which holds {when}: {how} ends that")
    })
}

async fn begin(connection: Connection, request: v1::PinVmRequest) -> Result<PinBody, Failure> {
    let applied = !request.validate_only;
    let answer = connection.policies().pin_vm(request).await;
    let wire = answer.map_err(|status| Failure::from_status(&status))?;
    let v1::PinVmResponse { pin, replaced, policy_pins, .. } = wire.into_inner();
    let pin = pin.unwrap_or_default().into();
    let replaced = replaced.map(Into::into);
    Ok(PinBody { applied, is_over: false, pin, replaced, policy_pins })
}

async fn end(connection: Connection, request: v1::UnpinVmRequest) -> Result<PinBody, Failure> {
    let applied = !request.validate_only;
    let answer = connection.policies().unpin_vm(request).await;
    let wire = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
    let pin = wire.pin.unwrap_or_default().into();
    Ok(PinBody { applied, is_over: true, pin, replaced: None, policy_pins: wire.policy_pins })
}
