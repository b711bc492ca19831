//! A change of several hosts: tried on all of them, shown as one difference, agreed to, made on one
//! host, then on the others, until one fails. Says what is done and what is not. Knows no change.
//!
//! ```text
//! try on all → one refuses: nothing is changed
//!            → show, ask → change the first → the next … → one fails, or Ctrl-C: the others are not tried
//! ```

use std::future::Future;
use std::io;

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
use crate::stop_signals::StopSignals;

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
    let (items, stopped) = in_turn(hosts, items, session, make).await?;
    let tried = items.iter().filter_map(|item| item.error.as_ref());
    let failures = tried.filter(|failure| failure.reason != NOT_TRIED);
    let done = items.iter().filter(|item| item.ok).count();
    let exit = stopped.unwrap_or_else(|| Exit::of_hosts(done, failures));
    Ok(RolledOut { items, exit })
}

/// One host after another, until one fails or somebody wants it to end; with how it ends then.
async fn in_turn<T, Make, Made>(
    hosts: &[Host],
    tried: Vec<Item<T>>,
    session: &Session,
    make: Make,
) -> Result<(Vec<Item<T>>, Option<Exit>), Stop>
where
    Make: Fn(Connection) -> Made,
    Made: Future<Output = Result<T, Failure>>,
{
    let mut brake = Brake { signals: StopSignals::listen()?, pulled: None };
    let mut items: Vec<Item<T>> = Vec::with_capacity(tried.len());
    let names = tried.iter().map(|item| item.host.as_str());
    let mut progress = Progress::new(session.bounds().tells, names);
    // A host of several names was tried once, and is changed once.
    for (at, Item { host: name, also_named, .. }) in tried.iter().enumerate() {
        let Some(host) = hosts.iter().find(|host| host.name == *name) else { continue };
        let mut item = if brake.is_pulled().await {
            Item::failed(name, not_tried("not tried: it was interrupted before"))
        } else if items.iter().any(|item| !item.ok) {
            Item::failed(name, not_tried("not tried: an earlier host failed"))
        } else {
            let asked = progress.beside(ask_one(host, session.global.timeout, &make));
            let told = || {
                session.output.notice(&format!(
                "interrupted: {name} is left to finish, and no host after it is changed; Ctrl-C again does not wait"
            ))
            };
            match brake.beside(asked, told).await {
                Ok(body) => Item::answered(name, body),
                Err(failure) => Item::failed(name, in_doubt(failure)),
            }
        };
        item.also_named.clone_from(also_named);
        items.push(item);
        progress.done(at);
    }
    Ok((items, brake.pulled))
}

/// Ctrl-C in the middle: the host that is at it gets its time to answer, and none comes after it.
struct Brake {
    signals: StopSignals,
    /// How the command ends, once it is pulled.
    pulled: Option<Exit>,
}

impl Brake {
    /// What a host answers. Pulled once, `tell` says so; pulled again, nobody waits for the host.
    async fn beside<T>(
        &mut self,
        asked: impl Future<Output = Result<T, Failure>>,
        tell: impl Fn() -> io::Result<()>,
    ) -> Result<T, Failure> {
        tokio::pin!(asked);
        loop {
            tokio::select! {
                answer = &mut asked => return answer,
                exit = self.signals.next() => if self.pulled.replace(exit).is_some() {
                    return Err(Failure::new(Code::DeadlineExceeded, LEFT, "it was not waited for"));
                },
            }
            // Where nobody reads it, the change is the same.
            let _ = tell();
        }
    }

    async fn is_pulled(&mut self) -> bool {
        tokio::select! {
            biased;
            exit = self.signals.next() => self.pulled = Some(exit),
            () = std::future::ready(()) => {}
        }
        self.pulled.is_some()
    }
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
const LEFT: &str = "NOT_WAITED_FOR";
