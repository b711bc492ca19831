//! [`Shadow`]: a second policy that decides along without acting, and what it would have done
//! differently.
//!
//! It looks at a tick that is over, on the thread that records it: no tick waits for it, nothing that is
//! decided, ordered or remembered depends on it, and whether there is one the tick does not know. After
//! every look it rests nine times as long, so that it has a tenth of that thread's time at most. Not kept
//! over a restart: what is to be there after one stands in the config.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use agentd_core::{
    check::Finding,
    decision::Decision,
    policy::{Algorithm, Policy},
    sample::Sample,
    state::State,
};

use crate::{
    clock::Clock,
    control::{Actor, FieldChange, Revision, changes},
    difference::{Compared, Tally},
    event::TickRecord,
    mind::Shade,
};

/// Makes the shadow's policy of the one in force, or says why it cannot.
pub type Vary = Arc<dyn Fn(&Policy) -> Result<Policy, String> + Send + Sync>;

/// Decides as [`Shade::think`] does; tests have others.
type Think = fn(&mut Shade, &Policy, &State, &Sample) -> (Decision, Vec<Finding>);

/// What somebody wants to decide along.
#[derive(Clone)]
pub struct Wish {
    /// Its policy.
    pub vary: Vary,
    /// Who wants it, and since when.
    pub actor: Actor,
    /// Why, as they said.
    pub reason: String,
}

/// The shadow, or the place for one.
pub struct Shadow {
    clock: Arc<dyn Clock>,
    think: Think,
    shared: Mutex<Shared>,
    /// Held while it thinks; nobody else needs it.
    thinker: Mutex<Thinker>,
}

/// What is asked for and what came of it.
#[derive(Default)]
struct Shared {
    wish: Option<Wish>,
    /// Counts wishes, so that what was thought for an earlier one is not told of a later one.
    number: u64,
    /// Number of the revision of the policy in force that all looks are beside.
    beside: u64,
    looks: VecDeque<Arc<Compared>>,
    /// Differences in all of them.
    differences: usize,
    skipped: u64,
    slowest: Duration,
}

/// Who thinks.
#[derive(Default)]
struct Thinker {
    shade: Shade,
    number: u64,
    /// The policy for one that was acting.
    policy: Option<(Arc<Revision>, Result<Policy, String>)>,
    /// The last tick that the shade knows of; `None` before the first.
    seen: Option<u64>,
    /// It rests until then, monotonic.
    rests_until: Duration,
}

/// What a shadow says of one tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Who decided.
    pub algorithm: Algorithm,
    /// What it decided otherwise.
    pub compared: Compared,
}

/// A shadow, and what it would have done differently.
#[derive(Clone, Debug)]
pub struct Report {
    /// How its policy differs from the one in force; why it cannot be made of it.
    pub changes: Result<Vec<FieldChange>, String>,
    /// Who wants it.
    pub actor: Actor,
    /// Why, as they said.
    pub reason: String,
    /// Differences in sum, over the ticks that were asked for. Begins anew with every other policy in force.
    pub tally: Tally,
    /// When the first of these ticks began; `None` where there is none.
    pub since: Option<SystemTime>,
    /// Ticks that it left out while it rested, since the sum began.
    pub skipped: u64,
    /// The longest that it took for a tick.
    pub slowest: Duration,
}

impl Shadow {
    /// A place with no shadow in it.
    #[must_use]
    pub fn none(clock: Arc<dyn Clock>) -> Self {
        let (shared, thinker) = Default::default();
        Self { clock, think: Shade::think, shared, thinker }
    }

    /// Puts a shadow in the place of any before it; it begins with the next tick.
    pub fn set(&self, wish: Wish) {
        let mut shared = self.shared();
        *shared = Shared { number: shared.number.saturating_add(1), ..Shared::default() };
        shared.wish = Some(wish);
    }

    /// Takes the shadow away. False where there was none.
    pub fn clear(&self) -> bool {
        let mut shared = self.shared();
        let was = shared.wish.is_some();
        *shared = Shared { number: shared.number.saturating_add(1), ..Shared::default() };
        was
    }

    /// Looks at a tick that is over, and hands what it says of it to `tell`, whose time counts as its
    /// own. `None` where there is no shadow, nothing was decided, or it rests.
    pub fn look<T>(&self, record: &TickRecord, tell: impl FnOnce(&Look) -> T) -> Option<T> {
        let (wish, number) = {
            let shared = self.shared();
            (shared.wish.clone()?, shared.number)
        };
        let mut thinker = self.thinker.lock().unwrap_or_else(PoisonError::into_inner);
        if thinker.number != number {
            *thinker = Thinker { number, ..Thinker::default() };
        }
        thinker.follow(record);
        let (Some(sample), Some(acting)) = (&record.sample, &record.decision) else {
            if record.sample.is_none() {
                thinker.shade.lose_sight();
            }
            thinker.seen = Some(record.tick);
            return None;
        };
        let start = self.clock.now();
        if start < thinker.rests_until {
            let mut shared = self.shared();
            shared.skipped = shared.skipped.saturating_add(1);
            return None;
        }
        let mut policy = thinker.policy(&wish, &record.policy)?;
        record.pins.lay_over(&mut policy);
        let other = (self.think)(&mut thinker.shade, &policy, &record.before, sample);
        thinker.seen = Some(record.tick);
        let compared = Compared::new(sample, record.began, acting, &policy, &other);
        let look = Look { algorithm: policy.algorithm, compared };
        let told = tell(&look);
        let kept = look.compared.without_words();
        let end = self.clock.now();
        let took = end.saturating_sub(start);
        thinker.rests_until = end.saturating_add(took.saturating_mul(REST));
        self.shared().keep((number, record.policy.number), kept, took);
        Some(told)
    }

    /// The shadow beside this policy in force, and what it would have done differently in the last so many ticks
    /// that it looked at, [`MOST_TICKS`] at most. `None` where there is none.
    #[must_use]
    pub fn report(&self, in_force: &Revision, ticks: usize) -> Option<Report> {
        let shared = self.shared();
        let wish = shared.wish.clone()?;
        // Until the next tick all looks are beside the policy that was in force before.
        let is_beside = shared.beside == in_force.number;
        let ticks = if is_beside { ticks } else { 0 };
        let skip = shared.looks.len().saturating_sub(ticks);
        let looks: Vec<_> = shared.looks.iter().skip(skip).cloned().collect();
        let skipped = if is_beside { shared.skipped } else { 0 };
        let slowest = shared.slowest;
        // Whoever looks at ticks does not wait until it is all added up.
        drop(shared);
        let mut tally = Tally::default();
        looks.iter().for_each(|compared| tally.add(compared));
        let since = looks.first().map(|compared| compared.began);
        let base = &in_force.policy;
        let changes = (wish.vary)(base).map(|policy| changes(base, &policy));
        let Wish { actor, reason, .. } = wish;
        Some(Report { changes, actor, reason, tally, since, skipped, slowest })
    }

    /// Why it could not decide beside this policy; `None` where it could, and where there is no shadow.
    #[must_use]
    pub fn objection(&self, policy: &Policy) -> Option<String> {
        let wish = self.shared().wish.clone()?;
        (wish.vary)(policy).err()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Thinker {
    /// Brings the shade to the tick: where it does not know the one before, time has passed.
    fn follow(&mut self, record: &TickRecord) {
        let before = record.tick.checked_sub(1);
        if record.anew || self.seen != before {
            self.shade.begin_anew();
        }
    }

    /// The shadow's policy beside the one that was acting; `None` where none can be made of it.
    fn policy(&mut self, wish: &Wish, acting: &Arc<Revision>) -> Option<Policy> {
        if !self.policy.as_ref().is_some_and(|(known, _)| known.says_as(acting)) {
            self.policy = Some((Arc::clone(acting), (wish.vary)(&acting.policy)));
        }
        self.policy.as_ref()?.1.as_ref().ok().cloned()
    }
}

impl Shared {
    /// Keeps what was thought for the wish with this number beside the revision with that one.
    fn keep(&mut self, (number, beside): (u64, u64), compared: Compared, took: Duration) {
        if self.number != number {
            return;
        }
        if self.beside != beside {
            self.looks.clear();
            (self.beside, self.differences, self.skipped) = (beside, 0, 0);
        }
        self.slowest = self.slowest.max(took);
        self.differences = self.differences.saturating_add(compared.vms.len());
        self.looks.push_back(Arc::new(compared));
        while self.looks.len() > MOST_TICKS || self.differences > MOST_DIFFERENCES {
            let Some(oldest) = self.looks.pop_front() else { return };
            self.differences = self.differences.saturating_sub(oldest.vms.len());
        }
    }
}

impl fmt::Debug for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wish")
            .field("actor", &self.actor)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shadow").field("wish", &self.shared().wish).finish_non_exhaustive()
    }
}

/// Ticks that are kept for the summary: an hour of them, at one every two seconds.
pub const MOST_TICKS: usize = 1800;
/// Differences that are kept in them: about ten MiB.
const MOST_DIFFERENCES: usize = 65_536;
/// After a look it rests for so many times as long.
const REST: u32 = 9;

#[cfg(test)]
mod tests;
