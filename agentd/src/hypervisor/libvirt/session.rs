//! A [`Session`]: keeps the link to libvirt, and opens a new one when it is lost.
//!
//! An attempt runs on its own thread, because it blocks as long as libvirt does; there is never
//! more than one.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread,
    time::Duration,
};

use super::{
    backoff::Backoff,
    calls::Calls,
    events::Event,
    link::{Link, OpenError, RUNNING},
};
use crate::{bell::Bell, clock::Clock, hypervisor::ReadError};

/// The link, or the way to it.
#[derive(Debug)]
pub(super) struct Session {
    uri: String,
    clock: Arc<dyn Clock>,
    state: State,
    backoff: Backoff,
    /// Links opened so far.
    opened: u64,
    /// The calls of all of them.
    calls: Calls,
    /// Rung when a link is lost.
    bell: Arc<Bell>,
    /// What links that were given up had told of VMs before.
    last_events: Vec<Event>,
}

#[derive(Debug)]
enum State {
    Down { due: Duration, why: OpenError },
    Opening { since: Duration, answer: Receiver<Result<Link, OpenError>> },
    Up(Box<Link>),
}

impl Session {
    /// A session that opens its link when it is first asked for.
    pub(super) fn new(uri: String, clock: Arc<dyn Clock>) -> Self {
        let state = State::Down { due: Duration::ZERO, why: not_tried() };
        let calls = Calls::new(clock.clone());
        let (backoff, opened, bell, last_events) = Default::default();
        Self { uri, clock, state, backoff, opened, calls, bell, last_events }
    }

    /// Has `bell` rung when a link is lost that is opened from now on.
    pub(super) fn ring_when_lost(&mut self, bell: &Arc<Bell>) {
        self.bell = Arc::clone(bell);
    }

    /// The URI that it keeps a link to.
    pub(super) fn uri(&self) -> &str {
        &self.uri
    }

    /// How many links it has opened: a new number is a new link.
    pub(super) fn opened(&self) -> u64 {
        self.opened
    }

    /// What happened to VMs before the last link was given up, and was not taken from it.
    pub(super) fn take_last_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.last_events)
    }

    /// How many calls have not returned for so long that only the VM that they wait for could free
    /// them: those of links that were given up, too.
    pub(super) fn parked(&self) -> usize {
        self.calls.parked()
    }

    /// The link, if it is up.
    pub(super) fn link(&self) -> Option<&Link> {
        match &self.state {
            State::Up(link) if !link.is_lost() => Some(link),
            State::Up(_) | State::Down { .. } | State::Opening { .. } => None,
        }
    }

    /// The link; opens it where that is due. Waits at most `timeout` for an attempt, counted from
    /// its begin.
    pub(super) fn connect(&mut self, timeout: Duration) -> Result<&Link, ReadError> {
        if matches!(&self.state, State::Up(link) if link.is_lost()) {
            tracing::warn!("lost the connection to {}", self.uri);
            self.reset("the connection was lost");
        }
        if matches!(&self.state, State::Down { due, .. } if *due <= self.clock.now()) {
            self.begin();
        }
        self.finish(timeout);
        match &self.state {
            State::Up(link) => Ok(link),
            State::Down { due, why } => {
                let retry = due.saturating_sub(self.clock.now());
                Err(self.unreachable(why.clone(), retry))
            }
            State::Opening { since, .. } => {
                let age = self.clock.now().saturating_sub(*since);
                let timeout = Duration::from_millis(u64::try_from(age.as_millis()).unwrap_or(0));
                Err(ReadError::Silent { uri: self.uri.clone(), timeout })
            }
        }
    }

    /// Gives the link up, because a call on it showed that it is broken.
    pub(super) fn reset(&mut self, problem: &str) {
        self.fall(OpenError { problem: problem.to_owned(), remedy: RUNNING });
    }

    fn fall(&mut self, why: OpenError) {
        let due = self.clock.now().saturating_add(self.backoff.fail(dice()));
        self.close(State::Down { due, why });
    }

    fn close(&mut self, next: State) {
        if let State::Up(link) = std::mem::replace(&mut self.state, next) {
            self.last_events = link.take_events().unwrap_or_default();
            link.close();
        }
    }

    fn begin(&mut self) {
        let (answer, receiver) = sync_channel(1);
        let (uri, calls, bell) = (self.uri.clone(), self.calls.clone(), Arc::clone(&self.bell));
        let open = move || {
            // When nobody waits any more, the link is closed here again.
            let _ = answer.try_send(Link::open(&uri, &calls, bell));
        };
        self.state = match thread::Builder::new().name("libvirt-open".to_owned()).spawn(open) {
            Ok(_) => State::Opening { since: self.clock.now(), answer: receiver },
            Err(error) => {
                let problem = format!("cannot start a thread: {error}");
                let due = self.clock.now().saturating_add(self.backoff.fail(dice()));
                State::Down { due, why: OpenError { problem, remedy: THREADS } }
            }
        };
    }

    fn finish(&mut self, timeout: Duration) {
        let State::Opening { since, answer } = &self.state else {
            return;
        };
        let left = since.saturating_add(timeout).saturating_sub(self.clock.now());
        let opened = match answer.recv_timeout(left) {
            Ok(opened) => opened,
            Err(RecvTimeoutError::Timeout) => return,
            Err(RecvTimeoutError::Disconnected) => Err(not_tried()),
        };
        match opened {
            Ok(link) => {
                tracing::info!("connected to {}", self.uri);
                self.opened = self.opened.saturating_add(1);
                self.backoff.reset();
                self.state = State::Up(Box::new(link));
            }
            Err(why) => self.fall(why),
        }
    }

    fn unreachable(&self, why: OpenError, retry: Duration) -> ReadError {
        let OpenError { problem, remedy } = why;
        ReadError::Unreachable { uri: self.uri.clone(), problem, remedy: remedy.to_owned(), retry }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close(State::Down { due: Duration::MAX, why: not_tried() });
    }
}

fn not_tried() -> OpenError {
    OpenError { problem: "no connection was tried".to_owned(), remedy: RUNNING }
}

/// A random number: the standard library seeds each of its hashers with one.
fn dice() -> u64 {
    RandomState::new().build_hasher().finish()
}

const THREADS: &str = "see the limits of its process";
