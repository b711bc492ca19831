//! The hosts on which XAPI tests its daemon, by the figures of those tests: VMs whose balloons do not do as they are
//! told, and an amount that is to be free. There they are of so many KiB, here of MiB.
//!
//! Its scenarios f and g are e and a without the two steps and without what memory can be counted in: they show that
//! it takes these, and have nothing to run here.

use super::reservation::Reply;
use super::*;
use crate::contest::rivals::figures::{MIB, whole};
use crate::contest::rivals::scenes::{at, id, mib, scene, vm};

/// What a balloon does beside moving at its rate.
#[derive(Clone, Copy, Debug)]
enum Quirk {
    None,
    /// It gives nothing below this.
    Floor(u32),
    /// It takes nothing above this.
    Ceiling(u32),
    /// It does not move at all.
    Stuck,
    /// For so many milliseconds it moves, and for as many it does not.
    Sticky(u64),
}

/// A VM that moves by so many MiB a second.
#[derive(Clone, Copy, Debug)]
struct Ballooned {
    vm: SeenVm,
    rate: u32,
    quirk: Quirk,
}

impl Ballooned {
    /// How much more it holds after a step, in bytes.
    fn change(&self, now: u64) -> f64 {
        let (actual, target) = (real(self.vm.actual), real(self.vm.target));
        let moves = |at: u64, period: u64| (at / period).is_multiple_of(2);
        let step = match self.quirk {
            Quirk::Stuck => 0.0,
            Quirk::Sticky(period) if !moves(now, period) || !moves(now + STEP, period) => 0.0,
            Quirk::None | Quirk::Floor(_) | Quirk::Ceiling(_) | Quirk::Sticky(_) => {
                mib(self.rate) * STEP as f64 / 1000.0
            }
        };
        let (low, high) = match self.quirk {
            Quirk::Floor(low) => (mib(low).min(actual), f64::MAX),
            Quirk::Ceiling(high) => (0.0, mib(high).max(actual)),
            Quirk::None | Quirk::Stuck | Quirk::Sticky(_) => (0.0, f64::MAX),
        };
        within(within(target, actual - step, actual + step), low, high) - actual
    }
}

fn ballooned(vm: SeenVm, rate: u32, quirk: Quirk) -> Ballooned {
    Ballooned { vm, rate, quirk }
}

/// A host with so much free, in bytes.
#[derive(Clone, Debug)]
struct Host {
    free: f64,
    vms: [Ballooned; 2],
}

impl Host {
    fn new(free: u32, vms: [Ballooned; 2]) -> Self {
        Self { free: mib(free), vms }
    }

    fn seen(&self, second: u64) -> Seen {
        let seen = scene(100_000, 0, 0, self.vms.iter().map(|one| one.vm).collect());
        at(Seen { host_usable: whole(self.free), ..seen }, second)
    }

    /// VMs do as they are told for a second, each in its way.
    fn pass(&mut self, second: u64, orders: &[(VmId, ByteCount)]) {
        for (vm, target) in orders {
            self.vms
                .iter_mut()
                .filter(|one| one.vm.id == *vm)
                .for_each(|one| one.vm.target = *target);
        }
        // Whatever they do, what they may take is there.
        let growth = |one: &Ballooned| (real(one.vm.target) - real(one.vm.actual)).max(0.0);
        let promised: f64 = self.vms.iter().map(growth).sum();
        assert!(promised <= self.free, "{second}: {promised} of {}", self.free);
        for step in 0..1000 / STEP {
            for one in &mut self.vms {
                let change = one.change(second * 1000 + step * STEP);
                one.vm.actual = whole(real(one.vm.actual) + change);
                self.free -= change;
            }
        }
    }

    /// What VMs hold and are to hold, in MiB.
    fn held(&self) -> [(u64, u64); 2] {
        let near = |amount: ByteCount| whole(real(amount) + MIB / 2.0).mib_floor();
        self.vms.map(|one| (near(one.vm.actual), near(one.vm.target)))
    }
}

/// What comes of asking for so much, and what VMs hold then.
fn asked(amount: u32, vms: [Ballooned; 2]) -> (Reply, [u64; 2]) {
    let (mut xapi, mut host) = (Squeezed::default(), Host::new(0, vms));
    for second in 0..SECONDS {
        let reply = xapi.reserve(ByteCount::mib(amount), &host.seen(second));
        let Reply::Wait(orders) = reply else {
            return (reply, host.held().map(|(holds, _)| holds));
        };
        host.pass(second, &orders);
    }
    panic!("it waits for ever: {host:?}");
}

#[test]
fn a_hidden_floor_beside_one_that_sticks() {
    let small = ballooned(vm(1, 1000, 2000, 1500), 100, Quirk::Floor(1250));
    let large = ballooned(vm(2, 2500, 4500, 3500), 500, Quirk::Sticky(250));
    assert_eq!(asked(1000, [small, large]), (Reply::Granted, [1250, 2750]), "a");
}

#[test]
fn two_that_stick_for_different_times() {
    let one = ballooned(vm(1, 500, 4500, 3500), 100, Quirk::Sticky(3000));
    let other = ballooned(vm(2, 500, 2500, 1500), 100, Quirk::Sticky(1500));
    let (reply, held) = asked(1000, [one, other]);
    assert_eq!((reply, held.iter().sum::<u64>()), (Reply::Granted, 4000), "b");
}

#[test]
fn what_minima_do_not_leave_is_too_much() {
    let one = ballooned(vm(1, 1000, 2000, 1500), 100, Quirk::None);
    let other = ballooned(vm(2, 2000, 3000, 2500), 100, Quirk::None);
    let (reply, _) = asked(1500, [one, other]);
    let Reply::TooMuch(free) = reply else { panic!("{reply:?}") };
    assert_eq!(free.mib_floor(), 999, "c, but for some pages");
    assert_eq!(asked(1000, [one, other]), (Reply::Granted, [1000, 2000]));
}

#[test]
fn who_does_not_give_is_named() {
    let one = ballooned(vm(1, 1000, 2000, 1500), 100, Quirk::None);
    let other = ballooned(vm(2, 2000, 3000, 2500), 100, Quirk::Floor(2250));
    assert_eq!(asked(1000, [one, other]), (Reply::Refused(vec![id(2)]), [1000, 2250]), "d");
}

/// It is to grow until it turns out that the other gives nothing; waiting does not count as being stuck.
#[test]
fn who_waits_for_a_stuck_one_gives_in_its_place() {
    let stuck = ballooned(vm(1, 5000, 7000, 7000), 100, Quirk::Stuck);
    let works = ballooned(vm(2, 5000, 11_000, 6000), 100, Quirk::None);
    assert_eq!(asked(1000, [stuck, works]), (Reply::Granted, [7000, 5000]), "e");
}

#[test]
fn what_one_does_not_take_goes_to_the_other() {
    let hindered = ballooned(vm(1, 1000, 2000, 1500), 100, Quirk::Ceiling(1500));
    let works = ballooned(vm(2, 1000, 2000, 1500), 100, Quirk::None);
    let (mut xapi, mut host) = (Squeezed::default(), Host::new(1000, [hindered, works]));
    for second in 0..SECONDS {
        let orders = xapi.turn(&host.seen(second));
        host.pass(second, &orders);
    }
    assert_eq!(host.held(), [(1500, 1500), (2000, 2000)], "h");
}

/// Whoever moves at all is active, as its own authors found; and whoever moves again.
#[test]
fn a_page_every_five_seconds_is_enough() {
    let mut xapi = Squeezed::default();
    let mut is_active = |second: u32, given: u32| {
        let target = ByteCount::mib(1500);
        let actual = ByteCount::mib(1800).saturating_sub(ByteCount::kib(4 * given));
        let slow = SeenVm { target, actual, ..vm(1, 1000, 2000, 0) };
        xapi.follow(&at(scene(8000, 100, 100, vec![slow]), second.into()));
        xapi.is_active(id(1))
    };
    assert!((0..60).all(|second| is_active(second, second / 5)));
    assert!(is_active(60, 11));
    assert!(!is_active(61, 11));
    assert!(is_active(62, 12));
}

/// So long is a host looked at.
const SECONDS: u64 = 120;
/// Milliseconds from one move to the next.
const STEP: u64 = 100;
