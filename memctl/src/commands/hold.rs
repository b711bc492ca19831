//! `memctl mode MODE --for TIME`: stays for that time, then sets the mode back that was found.
//!
//! A host whose answer was lost may have taken the mode all the same: what its own log says of the change is set
//! back. A host that refused is not held, and one that cannot be set back is tried again a few times.

use std::sync::Arc;
use std::time::Duration;

use agentd_proto::v1;
use agentd_proto::v1::watch_request::Start;
use agentd_proto::v1::watch_response::Body;
use jiff::Timestamp;
use tokio::time::Instant;

use super::Ended;
use super::mode::{set, show};
use super::watch::until_stopped;
use crate::client::Connection;
use crate::dto::{Item, ModeName};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::{Answer, ask_every, ask_one};
use crate::hosts::Host;
use crate::render::mode::ModeBody;
use crate::render::text::date_time;
use crate::session::Session;

/// The change that is taken back in the end.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) mode: v1::Mode,
    /// Why, as every host was told.
    pub(super) reason: String,
    /// When the first host was asked.
    pub(super) began: Instant,
}

/// A host that has the mode, or may have it.
#[derive(Clone, Debug)]
struct Held {
    host: Host,
    /// The mode that it is set back to. None where its answer was lost.
    before: Option<v1::Mode>,
}

/// Stays for `lasting`, then sets back each mode of `items` that was another one before. Ends as if
/// interrupted where it was.
pub(super) async fn hold(
    hosts: &[Host],
    items: &[Item<ModeBody>],
    change: Change,
    lasting: Duration,
    session: &Session,
) -> Ended {
    let held = held(hosts, items, change.mode);
    tell_unheld(items, &held, session)?;
    if held.is_empty() {
        let mut before = items.iter().filter_map(|item| item.body.as_ref()).map(found).peekable();
        let took_none = before.peek().is_none();
        let why = match before.any(|before| before == Some(change.mode)) {
            true => "the mode was so before",
            false if took_none => "no host took the mode",
            false => "nobody knows the mode of before",
        };
        session.output.notice(&format!("{why}: nothing is to be set back"))?;
        return Ok(Exit::Done);
    }
    let end = jiff::SignedDuration::try_from(lasting).ok();
    let end = end.and_then(|lasting| Timestamp::now().checked_add(lasting).ok());
    let end = end.map(|end| date_time(end, &session.output.view.zone)).unwrap_or_default();
    let word = ModeName::new(change.mode).0;
    session.output.notice(&format!("{word} until {end}; Ctrl-C ends it earlier"))?;
    let ended = until_stopped(std::future::pending(), Some(lasting)).await?;
    let back = all_back(held, change, lasting, session);
    let exit = until_stopped(back, None).await?;
    if matches!(exit, Exit::Interrupted | Exit::Terminated) {
        let text = format!("ended while it set back what was {word}: memctl mode shows what is");
        session.output.notice(&text)?;
    }
    Ok(if exit == Exit::Done { ended } else { exit })
}

/// Sets all of them back, and tells of each what came of it.
async fn all_back(held: Vec<Held>, change: Change, lasting: Duration, session: &Session) -> Ended {
    let word = ModeName::new(change.mode).0;
    let reason = format!("back after {word} for {lasting:?}");
    let hosts: Vec<Host> = held.iter().map(|held| held.host.clone()).collect();
    let (bounds, held) = (session.bounds(), Arc::new(held));
    let known = Arc::clone(&held);
    let answers = ask_every(&hosts, bounds, move |host| {
        let before = known.iter().find(|h| h.host.name == host.name).and_then(|h| h.before);
        let (change, reason) = (change.clone(), reason.clone());
        async move { persist(&host, bounds.timeout, before, change, reason).await }
    });
    let mut failures = Vec::new();
    for Answer { host, result, .. } in answers.await {
        match result {
            Ok(told) => session.output.notice(&format!("{host}: {told}"))?,
            Err(failure) => {
                let before = held.iter().find(|h| h.host.name == host).and_then(|h| h.before);
                let failure = Failure { hint: Some(again(&word, before, &host)), ..failure };
                session.output.host_failed(&host, &failure)?;
                failures.push(failure);
            }
        }
    }
    Ok(Exit::of_hosts(held.len() - failures.len(), failures.iter()))
}

/// What to do about a host that was not set back.
fn again(word: &str, before: Option<v1::Mode>, host: &str) -> String {
    match before {
        Some(before) => {
            format!("it is still {word}: memctl mode {} --host {host}", ModeName::new(before).0)
        }
        None => format!("it may be {word}: memctl mode --host {host} shows it, and by whom"),
    }
}

/// Sets one host back, and tries again where it does not answer for a moment.
async fn persist(
    host: &Host,
    timeout: Duration,
    before: Option<v1::Mode>,
    change: Change,
    reason: String,
) -> Result<String, Failure> {
    let mut tries = 1;
    loop {
        let (change, reason) = (change.clone(), reason.clone());
        let back = |connection| set_back(connection, before, change, reason);
        match ask_one(host, timeout, back).await {
            Err(failure) if failure.code.is_passing() && tries < MOST_TRIES => {
                tries += 1;
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            result => return result,
        }
    }
}

/// Sets the mode of before again, unless somebody has set something else than the change in between.
async fn set_back(
    connection: Connection,
    before: Option<v1::Mode>,
    change: Change,
    reason: String,
) -> Result<String, Failure> {
    let now = show(connection.clone()).await?;
    let before = match before {
        Some(before) => before,
        None => match found_in_log(&connection, &change).await? {
            Some(before) => before,
            None => return Ok("did not take the mode: nothing is to be set back".to_owned()),
        },
    };
    if now.mode == ModeName::new(before) {
        return Ok(format!("{} already", now.mode.0));
    }
    if now.mode != ModeName::new(change.mode) {
        let by = now.actor.map(|actor| format!(" by {}", actor.label())).unwrap_or_default();
        return Ok(format!("{} was set{by} in between, and stays", now.mode.0));
    }
    let request = v1::SetModeRequest { mode: before.into(), reason };
    let body = set(connection, request).await?;
    Ok(format!("{} again", body.mode.0))
}

/// The mode that was in force before the change, by the agent's log. None where the change is not in it.
async fn found_in_log(
    connection: &Connection,
    change: &Change,
) -> Result<Option<v1::Mode>, Failure> {
    let failed = |status| Failure::from_status(&status);
    let caller = connection.hosts().who_am_i(v1::WhoAmIRequest {}).await.map_err(failed)?;
    let own = caller.into_inner().caller.unwrap_or_default().name;
    let age = prost_types::Duration::try_from(change.began.elapsed() + MARGIN);
    let age = age.map_err(|error| Failure::usage(format!("--for: {error}")))?;
    let request = v1::WatchRequest {
        start: Some(Start::Since(age)),
        follow: false,
        kinds: vec![v1::EventKind::Mode.into()],
        ..Default::default()
    };
    let mut log = connection.events().watch(request).await.map_err(failed)?.into_inner();
    while let Some(message) = log.message().await.map_err(failed)? {
        let Some(Body::ModeChanged(event)) = message.body else { continue };
        let is_own = event.actor.as_ref().is_some_and(|actor| actor.id == own);
        if is_own && event.mode() == change.mode && event.reason == change.reason {
            return Ok(Some(event.previous_mode()));
        }
    }
    Ok(None)
}

/// The hosts that have the mode and had another one, and those that may.
fn held(hosts: &[Host], items: &[Item<ModeBody>], mode: v1::Mode) -> Vec<Held> {
    let mut all = Vec::new();
    for item in items {
        let Some(host) = hosts.iter().find(|host| host.name == item.host) else { continue };
        let before = item.body.as_ref().and_then(found);
        let is_held = match &item.error {
            Some(failure) => failure.is_in_doubt(),
            None => before.is_some_and(|before| before != mode),
        };
        all.extend(is_held.then(|| Held { host: host.clone(), before }));
    }
    all
}

/// The mode that was in force before.
fn found(body: &ModeBody) -> Option<v1::Mode> {
    let before = body.previous_mode.as_ref()?;
    let modes = [v1::Mode::Active, v1::Mode::Observe, v1::Mode::Paused];
    modes.into_iter().find(|mode| ModeName::new(*mode) == *before)
}

/// Tells which hosts are not held, and which may be.
fn tell_unheld(items: &[Item<ModeBody>], held: &[Held], session: &Session) -> std::io::Result<()> {
    let told = items.iter().filter_map(|item| Some((&item.host, item.body.as_ref()?)));
    for (host, body) in told.filter(|(_, body)| found(body).is_none()) {
        // One that only a newer memctl knows.
        let before = body.previous_mode.as_ref().map_or("nobody knows which", |mode| &mode.0);
        let text = format!("{host}: the mode before was {before}: it is not set back to that");
        session.output.notice(&text)?;
    }
    for item in items.iter().filter(|item| !item.ok) {
        let is_held = held.iter().any(|held| held.host.name == item.host);
        let what = match is_held {
            true => "may have taken the mode all the same: it is set back like the others",
            false => "did not take the mode, and is not held",
        };
        session.output.notice(&format!("{}: {what}", item.host))?;
    }
    Ok(())
}

/// A host that answers none of these is left as it is.
const MOST_TRIES: usize = 5;
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// For a host whose clock was put forward meanwhile.
const MARGIN: Duration = Duration::from_secs(60);
