//! A pin with an end, beside the policy: begun with `memctl pin VM --for TIME`, ended by time or by `unpin`.

use std::time::Duration;

use agentd_proto::v1;

use super::{Place, VmArgs};
use crate::client::Connection;
use crate::commands::{Ended, exit_of};
use crate::dto::Item;
use crate::exit::Exit;
use crate::failure::{Code, Failure};
use crate::fleet::ask_all;
use crate::quantity::format_seconds;
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
    let (key, host) = (format!("vm.{}.pinned=true", place.vm.label()), place.host.name.clone());
    let instead = format!(
        "update agentd there; until then a trial of the whole policy comes nearest: memctl policy set {key} \
         --revert-after {} --host {host}",
        format_seconds(lasting.as_secs_f64())
    );
    let begin = move |connection| begin(connection, request.clone(), instead.clone());
    show(ask_all(std::slice::from_ref(&place.host), session.bounds(), begin).await, session)
}

/// Ends what pins the VM for a while.
pub(super) async fn unpin(args: &VmArgs, place: &Place, session: &Session) -> Ended {
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

/// By its UUID, which no other VM has; by the name where nobody knows that.
fn named(place: &Place) -> String {
    let uuid = Some(&place.vm.uuid).filter(|uuid| !uuid.is_empty());
    uuid.unwrap_or(&place.vm.name).clone()
}

fn show(answers: Vec<crate::fleet::Answer<PinBody>>, session: &Session) -> Ended {
    let mut items = Item::of_answers(answers, |body| vec![body]);
    session.output.show(&mut items)?;
    let told = items.iter().filter_map(|item| Some((&item.host, item.body.as_ref()?)));
    for (host, body) in told.filter(|_| !session.output.is_for_programs()) {
        if let Some(text) = stays(host, body) {
            session.output.notice(&text)?;
        }
    }
    let exit: Exit = exit_of(&items);
    Ok(exit)
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

async fn begin(
    connection: Connection,
    request: v1::PinVmRequest,
    instead: String,
) -> Result<PinBody, Failure> {
    let applied = !request.validate_only;
    let answer = connection.policies().pin_vm(request).await;
    let wire = answer.map_err(|status| match Failure::from_status(&status) {
        // An agent of before there were any.
        failure if failure.code == Code::Unimplemented => failure.hint(instead),
        failure => failure,
    })?;
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
