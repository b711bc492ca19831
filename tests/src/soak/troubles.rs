//! [`Troubles`]: which VMs a fault meets, has met, or has left alone again.

use std::collections::BTreeMap;
use std::time::Duration;

use agentd::hypervisor::sim::{Behaviour, Kind};
use agentd_core::vm::VmId;

/// What VMs do in a run that cooperative ones would not.
#[derive(Clone, Debug, Default)]
pub(super) struct Troubles(BTreeMap<VmId, Vec<Behaviour>>);

impl Troubles {
    /// Those of these VMs.
    pub(super) fn new(all: impl IntoIterator<Item = (VmId, Vec<Behaviour>)>) -> Self {
        Self(all.into_iter().filter(|(_, own)| !own.is_empty()).collect())
    }

    /// No fault ever meets it.
    pub(super) fn is_sound(&self, id: VmId) -> bool {
        !self.0.contains_key(&id)
    }

    /// No fault has met it so far.
    pub(super) fn none_so_far(&self, id: VmId, now: Duration) -> bool {
        self.of(id).all(|own| own.during.from > now)
    }

    /// No fault meets it now, nor did lately, and none that is remembered ever did: what a VM said
    /// that lied is part of what is known of it.
    pub(super) fn is_over(&self, id: VmId, now: Duration) -> bool {
        self.of(id).all(|own| {
            let ended = own.during.until.is_some_and(|until| until.saturating_add(AFTER) <= now);
            own.during.from > now || ended && own.kind != Kind::Lying
        })
    }

    /// No fault meets it now, nor did lately, but for what it is made of, which is known.
    pub(super) fn is_quiet(&self, id: VmId, now: Duration) -> bool {
        self.of(id).all(|own| {
            let ended = own.during.until.is_some_and(|until| until.saturating_add(AFTER) <= now);
            own.during.from > now || ended || KNOWN.contains(&own.kind)
        })
    }

    fn of(&self, id: VmId) -> impl Iterator<Item = &Behaviour> {
        self.0.get(&id).into_iter().flatten()
    }
}

/// What a definition says, and does not change.
const KNOWN: [Kind; 5] =
    [Kind::Vfio, Kind::HugePages, Kind::Locked, Kind::Confidential, Kind::NoBalloon];
/// What is left of a fault shows by then: figures are proven anew, an order without answer is over.
const AFTER: Duration = Duration::from_secs(40);

#[cfg(test)]
mod tests {
    use agentd::hypervisor::sim::Window;

    use super::super::fixture::{GIVER, TAKER};
    use super::*;

    fn second(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn a_fault_is_over_a_while_after_its_end_and_a_lie_never() {
        let during = Window { from: second(100), until: Some(second(110)) };
        let of = |kind| {
            let own = vec![Behaviour { during, ..Behaviour::of(kind) }];
            Troubles::new([(GIVER, own), (TAKER, Vec::new())])
        };
        let stuck = of(Kind::Stuck);
        let over = |troubles: &Troubles, at| troubles.is_over(GIVER, second(at));
        assert_eq!([99, 100, 149, 150].map(|at| over(&stuck, at)), [true, false, false, true]);
        assert!(!over(&of(Kind::Lying), 500) && of(Kind::Lying).is_quiet(GIVER, second(500)));
        assert!(stuck.none_so_far(GIVER, second(99)) && !stuck.none_so_far(GIVER, second(500)));
        assert!(stuck.is_sound(TAKER) && !stuck.is_sound(GIVER));
        let always = Window::ALWAYS;
        let made = |kind| {
            let own = vec![Behaviour { during: always, ..Behaviour::of(kind) }];
            Troubles::new([(GIVER, own)])
        };
        assert!(made(Kind::Vfio).is_quiet(GIVER, second(500)), "it is known");
        assert!(!made(Kind::HiddenVfio).is_quiet(GIVER, second(500)));
    }
}
