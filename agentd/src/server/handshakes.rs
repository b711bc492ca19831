//! [`Handshakes`]: newcomers, whose client has not shown yet who it is.
//!
//! ```text
//! accepted --> silent --first bytes--> in line --its turn--> under way --> it is known who it is
//! ```
//!
//! Waiting takes next to nothing, and whoever goes away meanwhile has taken no more than that: knocks without end are
//! nothing but silent. So many handshakes are under way at a time, and so many of one address; the line is served in
//! its order, and the line of one address is short, so that however fast others of it come and go, the turn of who has a
//! place in it comes. Where others wait, the handshake that has gone on for the longest makes way: who is let in needs
//! some milliseconds.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::limits;

/// All of a listener.
#[derive(Debug)]
pub(super) struct Handshakes {
    pub(super) most: Most,
    now: Mutex<Now>,
}

/// How many there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    /// Under way.
    pub(super) all: usize,
    /// Those of one address.
    pub(super) each: usize,
    /// Waiting.
    pub(super) waiting: usize,
    /// Those of one address.
    pub(super) each_waiting: usize,
}

/// Those of now, by a number that grows.
#[derive(Debug, Default)]
struct Now {
    waiting: BTreeMap<u64, Waiting>,
    under_way: BTreeMap<u64, UnderWay>,
    next: u64,
    /// Which places somebody had to make way in since that was last asked.
    ousted: Option<Stage>,
}

/// How far a newcomer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It waits.
    Waiting,
    /// Its handshake is under way.
    UnderWay,
}

#[derive(Debug)]
struct Waiting {
    address: IpAddr,
    since: Instant,
    /// Whether it is in line.
    speaks: bool,
    turn: oneshot::Sender<Handshake>,
}

#[derive(Debug)]
struct UnderWay {
    address: IpAddr,
    since: Instant,
    ousted: CancellationToken,
}

/// The place of one who waits; free again when dropped.
#[derive(Debug)]
pub(super) struct Wait {
    all: Arc<Handshakes>,
    number: u64,
    turn: oneshot::Receiver<Handshake>,
    /// Where all places were taken, so that another one made way for it, or for one before it.
    pub(super) ousted: Option<Stage>,
}

/// The place of a handshake that is under way; free again when dropped.
#[derive(Debug)]
pub(super) struct Handshake {
    all: Arc<Handshakes>,
    number: u64,
    since: Instant,
    ousted: CancellationToken,
}

/// Whose places are all taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spent {
    /// Those of the address.
    Own,
    /// Those of all.
    All,
}

/// Whose turn has come.
type Called = Vec<(oneshot::Sender<Handshake>, Handshake)>;

impl Handshakes {
    pub(super) fn new(most: Most) -> Arc<Self> {
        Arc::new(Self { most, now: Mutex::default() })
    }

    /// Lets one wait that has just connected.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Wait, Spent> {
        let mut now = self.lock();
        let own = now.waiting.values().filter(|one| one.address == address).count();
        if own >= self.most.each_waiting {
            now.oust_silent(|one| one.address == address).ok_or(Spent::Own)?;
        } else if now.waiting.len() >= self.most.waiting {
            let ousted = now.oust_silent(|_| true).or_else(|| now.oust_of_many(own));
            ousted.ok_or(Spent::All)?;
            now.ousted = Some(Stage::Waiting);
        }
        let (call, turn) = oneshot::channel();
        let number = now.number();
        let waiting = Waiting { address, since: Instant::now(), speaks: false, turn: call };
        now.waiting.insert(number, waiting);
        let ousted = now.ousted.take();
        Ok(Wait { all: Arc::clone(self), number, turn, ousted })
    }

    /// True where one could wait and nobody has to make way.
    pub(super) fn has_room(&self) -> bool {
        let now = self.lock();
        now.waiting.len() < self.most.waiting && now.under_way.len() < self.most.all
    }

    /// Calls whoever has a turn now.
    fn advance(self: &Arc<Self>) {
        let called = self.call(&mut self.lock());
        // Whoever is gone gives its place back, for which nothing may be locked.
        for (turn, handshake) in called {
            drop(turn.send(handshake));
        }
    }

    fn call(self: &Arc<Self>, now: &mut Now) -> Called {
        let in_line = now.waiting.iter().filter(|(_, one)| one.speaks);
        let in_line: Vec<_> = in_line.map(|(number, one)| (*number, one.address)).collect();
        let mut called = Called::new();
        for (number, address) in in_line {
            let own = now.under_way.values().filter(|one| one.address == address).count();
            if own >= self.most.each
                && !now.oust(limits::ADDRESS_HANDSHAKE_LEAST, |one| one.address == address)
            {
                continue;
            }
            if now.under_way.len() >= self.most.all {
                if !now.oust(limits::HANDSHAKE_LEAST, |_| true) {
                    break;
                }
                now.ousted = Some(Stage::UnderWay);
            }
            let Some(one) = now.waiting.remove(&number) else { continue };
            let (number, since) = (now.number(), Instant::now());
            let ousted = CancellationToken::new();
            now.under_way.insert(number, UnderWay { address, since, ousted: ousted.clone() });
            called.push((one.turn, Handshake { all: Arc::clone(self), number, since, ousted }));
        }
        called
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Now {
    fn number(&mut self) -> u64 {
        self.next = self.next.saturating_add(1);
        self.next
    }

    /// Has the one of these make way that has been silent for the longest, if it had its time.
    fn oust_silent(&mut self, of: impl Fn(&Waiting) -> bool) -> Option<()> {
        let oldest = self.waiting.iter().find(|(_, one)| !one.speaks && of(one));
        let (number, _) = oldest.filter(|(_, one)| is_past(one.since, limits::HANDSHAKE_LEAST))?;
        let number = *number;
        // Who waits is told by the end of its channel.
        self.waiting.remove(&number).map(drop)
    }

    /// Has the last one of the address make way of which most wait, if they are more than `own` and one.
    fn oust_of_many(&mut self, own: usize) -> Option<()> {
        let mut of_each = BTreeMap::<IpAddr, (usize, u64)>::new();
        for (number, one) in &self.waiting {
            let (count, last) = of_each.entry(one.address).or_default();
            (*count, *last) = (count.saturating_add(1), *number);
        }
        let (count, last) = of_each.into_values().max()?;
        if count <= own.saturating_add(1) {
            return None;
        }
        self.waiting.remove(&last).map(drop)
    }

    /// Has the oldest handshake of these make way, if it had so much time; false where none does.
    fn oust(&mut self, least: Duration, of: impl Fn(&UnderWay) -> bool) -> bool {
        let oldest = self.under_way.iter().find(|(_, one)| of(one));
        let Some((number, _)) = oldest.filter(|(_, one)| is_past(one.since, least)) else {
            return false;
        };
        let number = *number;
        if let Some(one) = self.under_way.remove(&number) {
            one.ousted.cancel();
        }
        true
    }
}

impl Wait {
    /// Its client has begun to speak: it is in line from now on.
    pub(super) fn speaks(&self) {
        if let Some(one) = self.all.lock().waiting.get_mut(&self.number) {
            one.speaks = true;
        }
        self.all.advance();
    }

    /// Waits for its turn; `None` where it has to make way.
    pub(super) async fn turn(&mut self) -> Option<Handshake> {
        (&mut self.turn).await.ok()
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.all.lock().waiting.remove(&self.number);
    }
}

impl Handshake {
    /// Returns once it has to make way.
    pub(super) async fn ousted(&self) {
        // Whoever waits when it has had its time is called then.
        for least in [limits::HANDSHAKE_LEAST, limits::ADDRESS_HANDSHAKE_LEAST] {
            if let Some(at) = self.since.checked_add(least) {
                tokio::select! {
                    () = sleep_until(at) => self.all.advance(),
                    () = self.ousted.cancelled() => return,
                }
            }
        }
        self.ousted.cancelled().await;
    }

    /// Waits until it has taken its place for as long as one does at least.
    pub(super) async fn least(&self) {
        if let Some(at) = self.since.checked_add(limits::HANDSHAKE_LEAST) {
            sleep_until(at).await;
        }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.all.lock().under_way.remove(&self.number);
        self.all.advance();
    }
}

fn is_past(since: Instant, least: Duration) -> bool {
    Instant::now().duration_since(since) >= least
}

#[cfg(test)]
mod tests;
