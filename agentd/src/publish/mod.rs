//! What agentd shows of itself: the latest state, the event log's newest entries, and what is
//! wrong now.
//!
//! The last step of a tick. Writers never wait for readers: the state is swapped, the [`Ring`]
//! overwrites. Nothing here knows the wire or the disk.

mod conditions;
mod entry;
mod feed;
mod meters;
mod ring;
mod spread;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;

pub use conditions::{Condition, Conditions};
pub use entry::{Entry, Epoch, Kind, Position, Stamp};
pub use feed::Feed;
pub use meters::{Counted, Lost, Meters, Watching};
pub use ring::{Missing, Next, Ring, Span, Why};
pub use spread::Spread;

use crate::{clock::Clock, event::TickRecord};

/// What agentd shows of itself.
#[derive(Debug)]
pub struct Publisher {
    clock: Arc<dyn Clock>,
    epoch: Epoch,
    ring: Ring,
    latest: ArcSwapOption<Latest>,
    logged: ArcSwapOption<Logged>,
    conditions: Conditions,
    meters: Arc<Meters>,
    feed: Feed,
}

/// The last finished tick.
#[derive(Clone, Debug)]
pub struct Latest {
    /// The tick.
    pub record: Arc<TickRecord>,
    /// When it finished, monotonic since the start of agentd.
    pub finished: Duration,
    /// The last tick that could read the hypervisor, which is the same one where all is well.
    pub seen: Option<Arc<TickRecord>>,
}

/// The last tick that could read the hypervisor and has its place in the log.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Its place.
    pub position: Position,
    /// The tick.
    pub record: Arc<TickRecord>,
}

impl Publisher {
    /// Shows nothing yet; the log's newest entries may take so many bytes.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, ring_bytes: usize) -> Self {
        Self {
            clock,
            epoch: Epoch::random(),
            ring: Ring::new(ring_bytes),
            latest: ArcSwapOption::empty(),
            logged: ArcSwapOption::empty(),
            conditions: Conditions::default(),
            meters: Arc::default(),
            feed: Feed::default(),
        }
    }

    /// Names this run of the log.
    #[must_use]
    pub const fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// The position with this seq.
    #[must_use]
    pub fn position(&self, seq: u64) -> Position {
        Position { epoch: self.epoch.clone(), seq }
    }

    /// The newest entries of the log.
    #[must_use]
    pub const fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The last finished tick; `None` before the first.
    #[must_use]
    pub fn latest(&self) -> Option<Arc<Latest>> {
        self.latest.load_full()
    }

    /// The last tick that has its place in the log and could read the hypervisor.
    #[must_use]
    pub fn logged(&self) -> Option<Arc<Logged>> {
        self.logged.load_full()
    }

    /// What is wrong or unusual now.
    #[must_use]
    pub const fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// What is counted beside the log.
    #[must_use]
    pub const fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// What happens, for one who counts it.
    #[must_use]
    pub const fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Says that something is wrong; where it was said before, only the message changes.
    pub fn raise(&self, reason: &'static str, message: String) {
        self.conditions.raise(reason, message, self.clock.wall());
    }

    /// Says that something is right again. True where it was wrong.
    pub fn clear(&self, reason: &'static str) -> bool {
        self.conditions.clear(reason)
    }

    /// Says that something is wrong, or that it is not, and logs it where that is news.
    pub fn tell(&self, reason: &'static str, alarm: Option<String>) {
        match alarm {
            Some(message) => {
                if !self.conditions.has(reason) {
                    tracing::warn!(condition = reason, "{message}");
                }
                self.raise(reason, message);
            }
            None if self.clear(reason) => tracing::info!(condition = reason, "is over"),
            None => {}
        }
    }

    /// How long ago this tick began.
    #[must_use]
    pub fn age(&self, record: &TickRecord) -> Duration {
        self.clock.now().saturating_sub(record.now)
    }

    /// Time since the last tick finished that could read the hypervisor; `None` where none could.
    #[must_use]
    pub fn last_read_age(&self) -> Option<Duration> {
        let latest = self.latest()?;
        let seen = latest.seen.as_ref()?;
        Some(self.age(seen).saturating_sub(seen.took))
    }

    /// Time since the last tick finished; `None` before the first.
    #[must_use]
    pub fn last_tick_age(&self) -> Option<Duration> {
        let latest = self.latest()?;
        Some(self.clock.now().saturating_sub(latest.finished))
    }

    /// True while ticks of this interval finish in time.
    #[must_use]
    pub fn is_ticking(&self, interval: Duration) -> bool {
        let late = interval.saturating_mul(LATE_TICKS).saturating_add(LATE);
        self.last_tick_age().is_some_and(|age| age <= late)
    }

    /// Shows a finished tick as the latest. Called for one tick at a time.
    pub(crate) fn show(&self, record: Arc<TickRecord>) {
        let finished = self.clock.now();
        let seen = if record.sample.is_some() {
            Some(Arc::clone(&record))
        } else {
            self.latest().and_then(|before| before.seen.clone())
        };
        self.latest.store(Some(Arc::new(Latest { record, finished, seen })));
    }

    /// Now, by both clocks.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { wall: self.clock.wall(), monotonic: self.clock.now() }
    }

    /// Notes the place that a tick got in the log.
    pub(crate) fn show_logged(&self, position: Position, record: Arc<TickRecord>) {
        if record.sample.is_some() {
            let logged = Logged { position, record };
            self.logged.store(Some(Arc::new(logged)));
        }
    }
}

/// Ticks stall when none has finished for so many intervals and [`LATE`].
const LATE_TICKS: u32 = 3;
/// Room for one slow tick.
const LATE: Duration = Duration::from_secs(5);
/// What the ring may hold unless the config says otherwise: about a day of one tick a second on a
/// host with two VMs.
pub const DEFAULT_RING_BYTES: usize = 64 << 20;
