//! [`Calls`]: since when the calls into libvirt run that have not returned, over all links, those
//! that were given up included.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::crew::lock;
use crate::clock::Clock;

/// All calls in flight.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    clock: Arc<dyn Clock>,
    begun: Arc<Mutex<Begun>>,
}

#[derive(Debug, Default)]
struct Begun {
    /// Numbers given out.
    numbers: u64,
    calls: BTreeMap<u64, Duration>,
}

/// A call in flight, until it is dropped.
#[derive(Debug)]
pub(super) struct Call {
    calls: Calls,
    number: u64,
}

impl Calls {
    /// Counts by this clock.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, begun: Arc::default() }
    }

    /// A call begins.
    pub(super) fn begin(&self) -> Call {
        let now = self.clock.now();
        let mut begun = lock(&self.begun);
        begun.numbers = begun.numbers.saturating_add(1);
        let number = begun.numbers;
        begun.calls.insert(number, now);
        Call { calls: self.clone(), number }
    }

    /// How many have run for so long that nothing but the VM that they wait for ends them.
    pub(super) fn parked(&self) -> usize {
        let now = self.clock.now();
        let parked = |begun: &&Duration| now.saturating_sub(**begun) >= PARKED;
        lock(&self.begun).calls.values().filter(parked).count()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        lock(&self.calls.begun).calls.remove(&self.number);
    }
}

/// Keepalive ends the calls to a libvirtd that hangs after 20 s, and libvirtd those that wait for
/// others on the same VM after 30 s.
const PARKED: Duration = Duration::from_secs(35);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;

    #[test]
    fn only_what_nothing_else_ends_is_parked() {
        let clock = Arc::new(VirtualClock::default());
        let calls = Calls::new(clock.clone());
        let first = calls.begin();
        clock.sleep(Duration::from_secs(20));
        let second = calls.begin();
        clock.sleep(Duration::from_millis(14_999));
        assert_eq!(calls.parked(), 0);
        clock.sleep(Duration::from_millis(1));
        assert_eq!(calls.parked(), 1);
        clock.sleep(Duration::from_secs(20));
        assert_eq!(calls.parked(), 2);
        drop(first);
        assert_eq!(calls.parked(), 1);
        drop(second);
        assert_eq!(calls.parked(), 0);
    }
}
