//! A change of several hosts: tried on all of them, shown as one difference, agreed to, made on one
//! host, then on the others, until one fails. Says what is done and what is not. Knows no change.
//!
//! ```text
//! try on all → one refuses: nothing is changed
//!            → show, ask → change the first → the next … → one fails: the others are not tried
//! ```

use std::future::Future;

use super::{Stop, consent, exit_of};
use crate::client::Connection;
use crate::dto::Item;
use crate::exit::Exit;
use crate::failure::{Code, Failure};
use crate::fleet::{ask_all, ask_one};
use crate::hosts::Host;
use crate::progress::Progress;
use crate::render::Show;
use crate::session::Session;

/// What became of a change, and how the command ends.
pub(super) struct RolledOut<T> {
    /// One for each host.
    pub(super) items: Vec<Item<T>>,
    /// Done, in part, or not at all.
    pub(super) exit: Exit,
}

/// Whether the change is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// It is.
    Change,
    /// It is only tried, and shown.
    Try,
}

impl Intent {
    /// Of `--dry-run`.
    pub(crate) fn of(dry_run: bool) -> Self {
        if dry_run { Self::Try } else { Self::Change }
    }
}

/// Makes a change on every host: `attempt` checks it and changes nothing, `make` makes it.
pub(super) async fn roll_out<T, Attempt, Attempted, Make, Made>(
    hosts: &[Host],
    session: &Session,
    intent: Intent,
    attempt: Attempt,
    make: Make,
) -> Result<RolledOut<T>, Stop>
where
    T: Show + Send + 'static,
    Attempt: Fn(Connection) -> Attempted + Clone + Send + 'static,
    Attempted: Future<Output = Result<T, Failure>> + Send,
    Make: Fn(Connection) -> Made,
    Made: Future<Output = Result<T, Failure>>,
{
    let answers = ask_all(hosts, session.bounds(), attempt).await;
    let items = Item::of_answers(answers, |body| vec![body]);
    if intent == Intent::Try {
        return Ok(RolledOut { exit: exit_of(&items), items });
    }
    if items.iter().any(|item| !item.ok) {
        let exit = Exit::of_hosts(0, items.iter().filter_map(|item| item.error.as_ref()));
        return Ok(RolledOut { items: withheld(items), exit });
    }
    let difference = T::text(&items, &session.output.view);
    consent::ask(&difference, items.len(), session)?;
    let items = in_turn(hosts, items, session, make).await;
    let tried = items.iter().filter_map(|item| item.error.as_ref());
    let failures = tried.filter(|failure| failure.reason != NOT_TRIED);
    let done = items.iter().filter(|item| item.ok).count();
    let exit = Exit::of_hosts(done, failures);
    Ok(RolledOut { items, exit })
}

/// One host after another, until one fails.
async fn in_turn<T, Make, Made>(
    hosts: &[Host],
    tried: Vec<Item<T>>,
    session: &Session,
    make: Make,
) -> Vec<Item<T>>
where
    Make: Fn(Connection) -> Made,
    Made: Future<Output = Result<T, Failure>>,
{
    let mut items: Vec<Item<T>> = Vec::with_capacity(tried.len());
    let names = tried.iter().map(|item| item.host.as_str());
    let mut progress = Progress::new(session.bounds().tells, names);
    // A host of several names was tried once, and is changed once.
    for (at, Item { host: name, also_named, .. }) in tried.iter().enumerate() {
        let Some(host) = hosts.iter().find(|host| host.name == *name) else { continue };
        let mut item = if items.iter().any(|item| !item.ok) {
            Item::failed(name, not_tried("not tried: an earlier host failed"))
        } else {
            match progress.beside(ask_one(host, session.global.timeout, &make)).await {
                Ok(body) => Item::answered(name, body),
                Err(failure) => Item::failed(name, in_doubt(failure)),
            }
        };
        item.also_named.clone_from(also_named);
        items.push(item);
        progress.done(at);
    }
    items
}

/// After a timeout nobody knows: the agent may still have made the change.
fn in_doubt(failure: Failure) -> Failure {
    if failure.code != Code::DeadlineExceeded {
        return failure;
    }
    failure.hint("the change may have been made all the same: memctl policy get and mode show it")
}

/// The hosts that agreed are not changed, as others did not.
fn withheld<T>(mut items: Vec<Item<T>>) -> Vec<Item<T>> {
    for item in items.iter_mut().filter(|item| item.ok) {
        let why = not_tried("not changed: another host refused or did not answer");
        let also_named = std::mem::take(&mut item.also_named);
        *item = Item { also_named, ..Item::failed(&item.host, why) };
    }
    items
}

fn not_tried(why: &str) -> Failure {
    Failure::new(Code::Cancelled, NOT_TRIED, why)
}

const NOT_TRIED: &str = "NOT_TRIED";
