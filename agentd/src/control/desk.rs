//! [`Control`]: what everybody else sees of the control: what is in force, and how to ask for
//! something else.
//!
//! It hands requests to the keeper's thread and waits for the answer, but not for ever: a caller
//! who has lost patience takes the request back, so that what was refused is never done later.

use std::{
    cmp, fmt, io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread,
    time::Duration,
};

use agentd_core::{
    bytes::ByteCount,
    policy::{Fault, Policy},
    reserve::Booking,
    vm::VmId,
};
use arc_swap::{ArcSwap, ArcSwapOption};

use super::{
    Actor, Audience, Base, Bounds, ControlError, Eased, Gate, InForce, Mode, ModeSet,
    Overcommitment, PinAsk, PinSet, PinWish, Pins, PolicyEdit, PolicySet, Rebased, Reservations,
    ReserveAsk, ReserveSet, Revision, SavedMode, Storage, StorageError, beyond_host,
    keeper::{Keeper, Noted, Revert},
};
use crate::{clock::Clock, event::TickRecord};

/// The policy, the mode, the reservations and the pins in force.
///
/// Its methods that change something block until the change is durable, in force and announced, or
/// refused. Ends its thread when closed or dropped.
pub struct Control {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
    patience: Duration,
    /// What a tick had to say of reservations is still to be taken in.
    noting: Arc<AtomicBool>,
    /// Nothing comes through; it closes when the thread ends.
    ended: Mutex<Receiver<()>>,
}

/// What a control is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where the operator's will is kept.
    pub storage: Box<dyn Storage>,
    /// What holds until somebody sets something else.
    pub base: Base,
    /// Time, for trials.
    pub clock: Arc<dyn Clock>,
    /// Whoever is told.
    pub audience: Box<dyn Audience>,
    /// How long a caller waits for the disk.
    pub patience: Duration,
    /// No order starts while there is a file of this name; `None` for no such file.
    pub freeze_file: Option<PathBuf>,
}

/// Why a control could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What was kept cannot be read.
    #[error("cannot read the policy and the mode")]
    Storage(#[from] StorageError),
    /// The system gives no thread.
    #[error("the system gives the control no thread")]
    Thread(#[from] io::Error),
}

impl Control {
    /// Takes up what was kept, or the base where nothing was, and starts the keeper's thread. A
    /// trial that ran out while agentd was away is over when this returns.
    ///
    /// # Errors
    ///
    /// Fails when what was kept cannot be read. Not when nothing can be written.
    pub fn start(parts: Parts) -> Result<Self, StartError> {
        let patience = parts.patience;
        let keeper = Keeper::begin(parts)?;
        let shared = Arc::clone(keeper.shared());
        let (jobs, inbox) = mpsc::sync_channel(QUEUE);
        let (running, ended) = mpsc::sync_channel(0);
        thread::Builder::new().name("control".to_owned()).spawn(move || {
            let _running = running;
            keeper.run(&inbox);
        })?;
        let noting = Arc::default();
        Ok(Self { shared, jobs, patience, noting, ended: Mutex::new(ended) })
    }

    /// What is in force now. Never waits.
    #[must_use]
    pub fn in_force(&self) -> Arc<InForce> {
        self.shared.in_force.load_full()
    }

    /// The mode in force with who set it, when and why.
    #[must_use]
    pub fn mode_set(&self) -> Arc<SavedMode> {
        self.shared.set.load_full()
    }

    /// What no policy goes beyond.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        *self.shared.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What every order has to pass.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.shared.gate
    }

    /// Notes what a tick saw of the host and its VMs: a policy beyond that is refused from now on.
    pub fn note_seen(&self, record: &Arc<TickRecord>) {
        if record.sample.is_some() {
            self.shared.seen.store(Some(Arc::clone(record)));
        }
    }

    /// What a policy has beyond this host that the one in force does not have already; nothing while
    /// nobody has seen the host.
    #[must_use]
    pub fn beyond_host(&self, policy: &Policy) -> Vec<Fault> {
        self.shared.beyond_host(policy)
    }

    /// Changes the mode. When it returns, no order starts against it.
    ///
    /// A pause takes effect before it is written, and also where it cannot be.
    ///
    /// # Errors
    ///
    /// Refused when it cannot be made durable, unless it is a pause.
    pub fn set_mode(
        &self,
        mode: Mode,
        actor: Actor,
        reason: String,
    ) -> Result<ModeSet, ControlError> {
        let wanted = SavedMode { mode, actor, reason, eased_by: None };
        self.change_mode(wanted, Whose::Anyones)
    }

    /// The same for somebody who may make the mode more cautious, and go back after that, but not
    /// undo what others did.
    ///
    /// # Errors
    ///
    /// See [`Control::set_mode`]; refused also when somebody else made the mode more cautious.
    pub fn set_own_mode(
        &self,
        mode: Mode,
        actor: Actor,
        reason: String,
    ) -> Result<ModeSet, ControlError> {
        let wanted = SavedMode { mode, actor, reason, eased_by: None };
        self.change_mode(wanted, Whose::Own)
    }

    fn change_mode(&self, wanted: SavedMode, whose: Whose) -> Result<ModeSet, ControlError> {
        let mode = wanted.mode;
        if mode != Mode::Paused {
            let seen = self.shared.pauses();
            return self.ask(move |keeper, claim| keeper.set_mode(wanted, whose, seen, claim));
        }
        let (before, paused) = self.shared.pause(wanted);
        let saved = self.ask(move |keeper, _| Ok(keeper.pause(before, paused)));
        let unsaved = ModeSet { before, after: mode, durable: false, position: None };
        Ok(saved.unwrap_or(unsaved))
    }

    /// Changes the policy, in force from the next tick on.
    ///
    /// # Errors
    ///
    /// Refused when it makes no sense, is based on another revision, or cannot be made durable.
    pub fn update(&self, edit: PolicyEdit) -> Result<PolicySet, ControlError> {
        self.ask(move |keeper, claim| keeper.update(edit, claim))
    }

    /// Makes the trial with this etag stay.
    ///
    /// # Errors
    ///
    /// Refused when another revision is in force, when it is no trial, or when it cannot be made
    /// durable.
    pub fn confirm(&self, etag: String, actor: Actor) -> Result<Arc<Revision>, ControlError> {
        self.ask(move |keeper, claim| keeper.confirm(&etag, &actor, claim))
    }

    /// Makes the policy of an earlier revision the one in force, as a new revision. `None` is the
    /// one before the one in force.
    ///
    /// # Errors
    ///
    /// Refused when there is no such revision, when another one than that of the etag is in force,
    /// or when it cannot be made durable.
    pub fn revert(
        &self,
        revision: Option<u64>,
        etag: Option<String>,
        actor: Actor,
        reason: String,
    ) -> Result<PolicySet, ControlError> {
        let revert = Revert { to: revision, etag, actor, reason };
        self.ask(move |keeper, claim| keeper.revert(revert, claim))
    }

    /// Puts the policy and the bounds of another config file in the place of those before. The policy is in
    /// force where that of the file before it was, and counts as little as that did elsewhere; one in force
    /// that is beyond the bounds is brought within them.
    ///
    /// # Errors
    ///
    /// Refused when the policy is beyond what the host has, or when it cannot be made durable.
    pub fn rebase(
        &self,
        policy: Policy,
        bounds: Bounds,
        policy_source: String,
    ) -> Result<Rebased, ControlError> {
        self.ask(move |keeper, claim| keeper.rebase((policy, bounds), policy_source, claim))
    }

    /// Revisions with numbers below `before`, or the newest; newest first, at most 100.
    ///
    /// # Errors
    ///
    /// Fails when they cannot be read.
    pub fn revisions(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Arc<Revision>>, ControlError> {
        self.ask(move |keeper, _| keeper.revisions(before, limit))
    }

    /// Makes a reservation, in force from the next tick on. The same request makes it once.
    ///
    /// # Errors
    ///
    /// Refused when it could never be filled, when there are too many, or when it cannot be made
    /// durable.
    pub fn reserve(&self, ask: ReserveAsk) -> Result<ReserveSet, ControlError> {
        self.ask(move |keeper, claim| keeper.reserve(ask, claim))
    }

    /// Ends a reservation; one that is over stays as it ended.
    ///
    /// # Errors
    ///
    /// Refused when there is none of this number, or when it cannot be made durable.
    pub fn release(
        &self,
        id: u64,
        actor: Actor,
        reason: String,
    ) -> Result<ReserveSet, ControlError> {
        self.ask(move |keeper, claim| keeper.release(id, (actor, reason), claim))
    }

    /// Pins a VM for a while, in force from the next tick on.
    ///
    /// # Errors
    ///
    /// Refused when there are too many, when somebody else pinned it and who asks may not change that, or
    /// when it cannot be made durable.
    pub fn pin(&self, ask: PinAsk) -> Result<PinSet, ControlError> {
        self.ask(move |keeper, claim| keeper.pin(ask, claim))
    }

    /// Ends the pin of a VM before its time. `name` is what whoever asks calls it.
    ///
    /// # Errors
    ///
    /// See [`Control::pin`]; refused also when there is none.
    pub fn unpin(&self, vm: VmId, name: Arc<str>, wish: PinWish) -> Result<PinSet, ControlError> {
        self.ask(move |keeper, claim| keeper.unpin((vm, name), wish, claim))
    }

    /// Takes in how reservations stood in a tick. Never waits: where there is no room the next tick
    /// says the same.
    pub fn note_bookings(&self, record: &TickRecord) {
        self.note(self.news_of_bookings(record));
    }

    pub(super) fn note(&self, noted: Vec<Noted>) {
        if noted.is_empty() || self.noting.swap(true, Ordering::SeqCst) {
            return;
        }
        let noting = Arc::clone(&self.noting);
        let job: Job = Box::new(move |keeper| {
            noting.store(false, Ordering::SeqCst);
            keeper.note_bookings(noted);
        });
        if self.jobs.try_send(job).is_err() {
            self.noting.store(false, Ordering::SeqCst);
        }
    }

    /// The bookings of a tick that say something new.
    fn news_of_bookings(&self, record: &TickRecord) -> Vec<Noted> {
        let reservations = Arc::clone(&self.shared.in_force.load().reservations);
        let bookings = record.decision.iter().flat_map(|decision| &decision.bookings);
        let is_news = |own: &&Booking| {
            let known = reservations.find(own.id.0);
            known.is_some_and(|known| match own.handed_to {
                Some(_) => known.may_be_handed_over(),
                None => known.end.is_none() && known.filled != own.filled,
            })
        };
        let name = |vm| Some(Arc::clone(&record.sample.as_ref()?.vms.get(&vm)?.name));
        bookings.filter(is_news).map(|own| (*own, own.handed_to.and_then(name))).collect()
    }

    /// Ends a trial that has run out, now rather than when the keeper looks by itself.
    ///
    /// # Errors
    ///
    /// Fails when the keeper is stuck.
    pub fn expire(&self) -> Result<(), ControlError> {
        self.ask(|_, _| Ok(()))
    }

    /// Ends the thread, and with it the hold on the storage. False when it is stuck for longer than
    /// `patience`.
    pub fn close(&self, patience: Duration) -> bool {
        // Where there is no room the thread is stuck, and the wait below says so.
        let _ = self.jobs.try_send(Box::new(Keeper::stop));
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected)
    }

    fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Keeper, &Claim) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<T, ControlError> {
        let (reply, answer) = mpsc::sync_channel(1);
        let claim = Arc::new(Claim::default());
        let theirs = Arc::clone(&claim);
        let job: Job = Box::new(move |keeper| {
            // The caller may have lost patience.
            let _ = reply.try_send(work(keeper, &theirs));
        });
        if self.jobs.try_send(job).is_err() {
            return Err(stuck(self.patience));
        }
        match answer.recv_timeout(self.patience) {
            Ok(result) => result,
            Err(_) if claim.give_up() => Err(stuck(self.patience)),
            // It is done and only the answer is missing.
            Err(_) => answer.recv().unwrap_or_else(|_| Err(stuck(self.patience))),
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("in_force", &self.in_force()).finish_non_exhaustive()
    }
}

/// What the keeper changes and everybody reads.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) in_force: ArcSwap<InForce>,
    pub(super) gate: Gate,
    /// What no policy goes beyond.
    bounds: Mutex<Bounds>,
    /// Who set the mode.
    set: ArcSwap<SavedMode>,
    /// The last tick that saw the host.
    seen: ArcSwapOption<TickRecord>,
    pauses: Mutex<Pauses>,
}

/// Whose caution a change of the mode may undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Its maker's alone.
    Own,
    /// Anybody's.
    Anyones,
}

/// Pauses so far. They jump the queue, so a change of the mode that was asked for before has to see
/// that it is outdated.
#[derive(Debug, Default)]
struct Pauses {
    count: u64,
    last: Option<SavedMode>,
    /// As of the mode in force.
    eased_by: Option<Eased>,
}

impl Pauses {
    /// Who may ease the mode once somebody has changed it, which may be from one to the same.
    fn eased_by(&self, who: &str, before: Mode, after: Mode) -> Option<Eased> {
        let own = self.eased_by.clone().filter(|own| own.who == who);
        match after.caution().cmp(&before.caution()) {
            cmp::Ordering::Greater => {
                own.or_else(|| Some(Eased { who: who.to_owned(), to: before }))
            }
            cmp::Ordering::Equal => own,
            cmp::Ordering::Less => own.filter(|own| after.caution() > own.to.caution()),
        }
    }
}

impl Shared {
    pub(super) fn new(
        set: SavedMode,
        policy: Arc<Revision>,
        bounds: Bounds,
        freeze_file: Option<PathBuf>,
    ) -> Self {
        let bounds = Mutex::new(bounds);
        let gate = Gate::new(set.mode).frozen_by(freeze_file);
        let in_force = ArcSwap::from_pointee(InForce::beginning(set.mode, policy));
        let pauses = Mutex::new(Pauses { eased_by: set.eased_by.clone(), ..Pauses::default() });
        let (set, seen) = (ArcSwap::from_pointee(set), ArcSwapOption::empty());
        Self { in_force, gate, bounds, set, seen, pauses }
    }

    /// What the host has; `None` while nobody has seen it.
    pub(super) fn host_total(&self) -> Option<ByteCount> {
        self.seen.load().as_ref()?.sample.as_ref().map(|sample| sample.host.total)
    }

    /// What the VMs that were seen last would be guaranteed by this policy beyond what there is for them, where
    /// it is more than the policy in force has too much already: who takes some of that back may.
    pub(super) fn guarantees_too_much(&self, policy: &Policy) -> Option<Fault> {
        let seen = self.seen.load_full()?;
        let (sample, in_force) = (seen.sample.as_ref()?, self.in_force.load());
        let excess = |policy: &Policy| {
            let mut acting = policy.clone();
            in_force.pins.lay_over(&mut acting);
            Overcommitment::of(&acting, sample)
        };
        // Who leaves a VM alone guarantees it nothing.
        let mut before = in_force.policy.policy.clone();
        for (key, _) in policy.vms.iter().filter(|(_, vm)| vm.pinned == Some(true)) {
            before.vms.entry(key.clone()).or_default().pinned = Some(true);
        }
        let known = excess(&before).map_or(ByteCount::ZERO, |own| own.excess());
        let own = excess(policy).filter(|own| own.excess() > known)?;
        Some(own.fault(&in_force.policy.policy, policy))
    }

    /// See [`Control::beyond_host`]: who mends one of two values is not kept from it by the other.
    pub(super) fn beyond_host(&self, policy: &Policy) -> Vec<Fault> {
        let Some(total) = self.host_total() else { return Vec::new() };
        let known = beyond_host(&self.in_force.load().policy.policy, total);
        let faults = beyond_host(policy, total).into_iter();
        faults.filter(|fault| !known.contains(fault)).collect()
    }

    pub(super) fn mode(&self) -> Mode {
        self.in_force.load().mode
    }

    pub(super) fn put_bounds(&self, bounds: Bounds) {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner) = bounds;
    }

    /// Pauses at once. The mode before, and the pause that is in force.
    pub(super) fn pause(&self, wanted: SavedMode) -> (Mode, SavedMode) {
        let mut pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        pauses.count = pauses.count.saturating_add(1);
        let before = self.mode();
        pauses.eased_by = pauses.eased_by(&wanted.actor.id, before, Mode::Paused);
        self.gate.set(Mode::Paused);
        // Who pauses what somebody has paused already does not make it begin anew.
        let set = self.set.load_full();
        let is_first = before != Mode::Paused || set.actor.id == super::FILE;
        let paused = if is_first { wanted } else { SavedMode::clone(&set) };
        let paused = SavedMode { eased_by: pauses.eased_by.clone(), ..paused };
        pauses.last = Some(paused.clone());
        self.set.store(Arc::new(paused.clone()));
        self.show(Mode::Paused);
        (before, paused)
    }

    /// The mode that somebody wants, with who may ease it then.
    pub(super) fn with_ease(&self, wanted: SavedMode) -> SavedMode {
        let pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        let eased_by = pauses.eased_by(&wanted.actor.id, self.mode(), wanted.mode);
        SavedMode { eased_by, ..wanted }
    }

    /// Who paused last, where that was since the start.
    pub(super) fn last_pause(&self) -> Option<SavedMode> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner).last.clone()
    }

    /// How often somebody has paused.
    pub(super) fn pauses(&self) -> u64 {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// Refuses a mode that would undo what somebody else did.
    pub(super) fn check_own(&self, wanted: &SavedMode) -> Result<(), ControlError> {
        let pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        let (from, to) = (self.mode(), wanted.mode);
        let goes_back =
            |own: &Eased| own.who == wanted.actor.id && to.caution() >= own.to.caution();
        if to.caution() >= from.caution() || pauses.eased_by.as_ref().is_some_and(goes_back) {
            return Ok(());
        }
        let set_by = self.set.load().actor.clone();
        Err(ControlError::NotYours { from, to, set_by })
    }

    /// Enters a mode unless somebody has paused since `seen`.
    pub(super) fn enter(&self, wanted: &SavedMode, seen: u64) -> bool {
        let mut pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        if pauses.count != seen {
            return false;
        }
        pauses.eased_by.clone_from(&wanted.eased_by);
        self.set.store(Arc::new(wanted.clone()));
        self.show(wanted.mode);
        self.gate.set(wanted.mode);
        true
    }

    fn show(&self, mode: Mode) {
        self.in_force.rcu(|now| InForce { mode, ..InForce::clone(now) });
    }

    pub(super) fn put(&self, policy: &Arc<Revision>) {
        self.in_force.rcu(|now| now.with_policy(policy));
    }

    pub(super) fn put_pins(&self, pins: Pins) {
        let pins = Arc::new(pins);
        self.in_force.rcu(|now| now.with_pins(&pins));
    }

    pub(super) fn put_reservations(&self, reservations: Reservations) {
        let reservations = Arc::new(reservations);
        self.in_force
            .rcu(|now| InForce { reservations: Arc::clone(&reservations), ..InForce::clone(now) });
    }
}

/// Whose word counts when a caller loses patience: the keeper takes the claim right after the
/// change is durable; a caller who gives up before that has the change taken back.
#[derive(Debug, Default)]
pub(super) struct Claim(AtomicU8);

impl Claim {
    pub(super) fn take(&self) -> bool {
        self.settle(TAKEN)
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.0.load(Ordering::SeqCst) == GIVEN_UP
    }

    fn give_up(&self) -> bool {
        self.settle(GIVEN_UP)
    }

    fn settle(&self, to: u8) -> bool {
        self.0.compare_exchange(OPEN, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// What the keeper's thread is given to do.
pub(super) type Job = Box<dyn FnOnce(&mut Keeper) + Send>;

pub(super) fn stuck(patience: Duration) -> ControlError {
    ControlError::NotDurable(format!(
        "the disk under the state directory has not answered within {patience:?}; nothing was \
         changed"
    ))
}

/// How long a caller waits for the disk, unless told otherwise: well below the deadlines of RPCs.
pub const PATIENCE: Duration = Duration::from_secs(5);
const OPEN: u8 = 0;
const TAKEN: u8 = 1;
const GIVEN_UP: u8 = 2;
/// More changes than this do not wait for a disk at the same time.
const QUEUE: usize = 32;
