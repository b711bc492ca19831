//! [`Throttle`]: of one kind of line, so many in a while; the others are counted, and it is said how many
//! they were.

use std::{
    fmt::{Debug, Write as _},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tracing::{
    Event, Level, Metadata,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Filter};

use crate::clock::Clock;

/// Lets so many lines of a kind through in a while. A kind is a place in the program, so that their
/// number is bounded by it. Errors are never left out.
#[derive(Debug)]
pub(super) struct Throttle {
    clock: Arc<dyn Clock>,
    kinds: Mutex<Vec<Kind>>,
    left_out: AtomicU64,
}

/// Lines of one kind.
#[derive(Debug)]
struct Kind {
    place: Identifier,
    /// When the while began.
    began: Duration,
    let_through: u32,
    left_out: u64,
    /// What the last one that was left out said.
    message: String,
}

impl Throttle {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, kinds: Mutex::default(), left_out: AtomicU64::new(0) }
    }

    /// What was left out of each kind in a while that is over: what the last one said, and how many.
    pub(super) fn take_left_out(&self) -> Vec<(String, u64)> {
        let now = self.clock.now();
        let mut kinds = self.kinds();
        let over = kinds.iter_mut().filter(|kind| kind.left_out > 0 && kind.is_over(now));
        over.map(|kind| (mem::take(&mut kind.message), mem::take(&mut kind.left_out))).collect()
    }

    /// How many lines were left out in all.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// True for a line that is to be seen.
    fn admit(&self, place: Identifier, message: impl FnOnce() -> String) -> bool {
        let now = self.clock.now();
        let mut kinds = self.kinds();
        let at = kinds.iter().position(|kind| kind.place == place).unwrap_or_else(|| {
            kinds.push(Kind::new(place, now));
            kinds.len().saturating_sub(1)
        });
        let Some(kind) = kinds.get_mut(at) else { return true };
        if kind.is_over(now) {
            (kind.began, kind.let_through) = (now, 0);
        }
        if kind.let_through < MOST {
            kind.let_through = kind.let_through.saturating_add(1);
            return true;
        }
        kind.left_out = kind.left_out.saturating_add(1);
        kind.message = message();
        self.left_out.fetch_add(1, Ordering::Relaxed);
        false
    }

    fn kinds(&self) -> MutexGuard<'_, Vec<Kind>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kind {
    const fn new(place: Identifier, now: Duration) -> Self {
        Self { place, began: now, let_through: 0, left_out: 0, message: String::new() }
    }

    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.began) >= WHILE
    }
}

impl<S> Filter<S> for Throttle {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let message = || {
            let mut message = Message::default();
            event.record(&mut message);
            message.0
        };
        *metadata.level() == Level::ERROR || self.admit(metadata.callsite(), message)
    }
}

/// What a line says, without its fields.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            // Writing to a string does not fail.
            let _ = write!(self.0, "{value:?}");
        }
    }
}

/// Lines of a kind in a [`WHILE`]: a line for each VM of a host that starts with all of its VMs.
const MOST: u32 = 100;
const WHILE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use tracing_subscriber::{Layer, Registry, layer::SubscriberExt as _};

    use super::*;
    use crate::clock::VirtualClock;

    /// Counts what comes through.
    #[derive(Clone, Default)]
    struct Count(Arc<AtomicU64>);

    impl<S: tracing::Subscriber> Layer<S> for Count {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_flood_of_one_kind_is_counted_and_other_lines_are_seen() {
        let clock = Arc::new(VirtualClock::default());
        let throttle = Arc::new(Throttle::new(clock.clone()));
        let seen = Count::default();
        let few: Arc<dyn Filter<Registry> + Send + Sync> = throttle.clone();
        let lines = seen.clone().with_filter(few);
        let seen = || seen.0.swap(0, Ordering::Relaxed);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            let flood = || (0..MOST + 7).for_each(|vm| tracing::info!(vm, "VM changed"));
            flood();
            assert_eq!(seen(), u64::from(MOST));
            tracing::info!("agentd starts");
            (0..MOST + 7).for_each(|_| tracing::error!("broken"));
            assert_eq!(seen(), u64::from(MOST + 8), "another kind, and errors");
            assert_eq!(throttle.take_left_out(), [], "the while is not over");
            clock.advance_to(WHILE);
            assert_eq!(throttle.take_left_out(), [("VM changed".to_owned(), 7)]);
            assert_eq!(throttle.take_left_out(), []);
            flood();
            assert_eq!(seen(), u64::from(MOST), "a while later there is room again");
            assert_eq!(throttle.left_out(), 14);
        });
    }
}
