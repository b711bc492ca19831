//! `memctl mode MODE --for TIME`: stays for that time, then sets the mode back that was found.

use std::time::Duration;

use agentd_proto::v1;
use jiff::Timestamp;

use super::Ended;
use super::mode::{set, show};
use super::watch::until_stopped;
use crate::client::Connection;
use crate::dto::{Item, ModeName};
use crate::exit::Exit;
use crate::failure::{Code, Failure};
use crate::fleet::ask_one;
use crate::hosts::Host;
use crate::render::mode::ModeBody;
use crate::render::text::date_time;
use crate::session::Session;

/// Stays for `lasting`, then sets back each mode of `items` that was another one before. Ends as if
/// interrupted where it was.
pub(super) async fn hold(
    hosts: &[Host],
    items: &[Item<ModeBody>],
    mode: v1::Mode,
    lasting: Duration,
    session: &Session,
) -> Ended {
    let changed: Vec<(&Host, v1::Mode)> =
        items.iter().filter_map(|item| found(item, hosts)).filter(|(_, m)| *m != mode).collect();
    if changed.is_empty() {
        session.output.notice("the mode was so before: nothing is to be set back")?;
        return Ok(Exit::Done);
    }
    let end = jiff::SignedDuration::try_from(lasting).ok();
    let end = end.and_then(|lasting| Timestamp::now().checked_add(lasting).ok());
    let end = end.map(|end| date_time(end, &session.output.view.zone)).unwrap_or_default();
    let word = ModeName::new(mode).0;
    session.output.notice(&format!("{word} until {end}; Ctrl-C ends it earlier"))?;
    let ended = until_stopped(std::future::pending(), Some(lasting)).await?;
    let reason = format!("back after {word} for {lasting:?}");
    let mut failures = Vec::new();
    for (host, before) in &changed {
        let (before, reason) = (*before, reason.clone());
        let back = move |connection| set_back(connection, mode, before, reason);
        match ask_one(host, session.global.timeout, back).await {
            Ok(told) => session.output.notice(&format!("{}: {told}", host.name))?,
            Err(failure) => {
                let to = ModeName::new(before).0;
                let again = format!("it is still {word}: memctl mode {to} --host {}", host.name);
                let failure = Failure { hint: Some(again), ..failure };
                session.output.host_failed(&host.name, &failure)?;
                failures.push(failure);
            }
        }
    }
    let done = changed.len() - failures.len();
    let exit = Exit::of_hosts(done, failures.iter());
    Ok(if exit == Exit::Done { ended } else { exit })
}

/// The host of an item, and the mode that was in force there before.
fn found<'a>(item: &Item<ModeBody>, hosts: &'a [Host]) -> Option<(&'a Host, v1::Mode)> {
    let before = item.body.as_ref()?.previous_mode.as_ref()?;
    let modes = [v1::Mode::Active, v1::Mode::Observe, v1::Mode::Paused];
    let before = modes.into_iter().find(|mode| ModeName::new(*mode) == *before)?;
    Some((hosts.iter().find(|host| host.name == item.host)?, before))
}

/// Sets `before` again, unless somebody has set something else than `mode` in between.
async fn set_back(
    connection: Connection,
    mode: v1::Mode,
    before: v1::Mode,
    reason: String,
) -> Result<String, Failure> {
    let now = show(connection.clone()).await?;
    if now.mode != ModeName::new(mode) {
        let by = now.actor.map(|actor| format!(" by {}", actor.label())).unwrap_or_default();
        return Ok(format!("{} was set{by} in between, and stays", now.mode.0));
    }
    let request = v1::SetModeRequest { mode: before.into(), reason };
    let body = set(connection, request).await?;
    if body.mode != ModeName::new(before) {
        return Err(Failure::new(Code::Internal, "MODE_NOT_SET", "the agent set another mode"));
    }
    Ok(format!("{} again", body.mode.0))
}
