//! [`Qmemman`]: the memory daemon of Qubes OS, from a description of it.
//!
//! A VM prefers to hold 1.3 times what it uses, swapped memory included. When there is enough for
//! all, all of it is handed out in proportion to what each prefers; when there is not, whoever has
//! more than it prefers gives that, and the others share what is there. Small changes are left
//! undone. Who gives does so first, and nobody gets what is not there yet.
//!
//! A program in every VM looks ten times a second and tells when used memory changed much; each such
//! report is acted on at once. So its VMs report by themselves here, every 100 ms, which is also its
//! turn. Before a VM is raised it waits for the memory, five times 100 ms at most: then it gives what is
//! there, leaves out from now on who was to give and gave nothing, and begins anew.
//!
//! Used is `actual - usable` and what lies on the swap device (see `swapped`); the VM's minimum stands
//! for its 200 MiB and the host reserve for its 50 MiB. The host is no VM here, so nothing stands
//! for its dom0, and nothing for what Xen needs beside the memory of VMs. A slow giver is not marked:
//! the mark changes nothing. Memory for a VM about to start is `admission`; the contest does not ask.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

use super::figures::{MIB, committed, forget_gone, order, real, spare, within};
use super::swapped::Swapped;
use super::usage::Usage;
use crate::contest::rival::{Rival, Seen, SeenVm};

#[cfg(test)]
mod admission;

/// The memory daemon of Qubes OS.
#[derive(Clone, Debug, Default)]
pub struct Qmemman {
    usage: Usage,
    swapped: Swapped,
    known: BTreeMap<VmId, Known>,
    /// A VM told something since the last round began.
    has_news: bool,
    /// What is under way: it waits for memory.
    round: Option<Round>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    /// What it uses, as it last told.
    used: f64,
    /// What it held when the round began.
    began: f64,
    /// It was to give, and gave nothing at all.
    is_stuck: bool,
}

/// What is still to be ordered, those who give first.
#[derive(Clone, Debug)]
struct Round {
    plan: VecDeque<(VmId, f64)>,
    /// How often the first of it waited.
    waits: u32,
}

/// What a VM has and would like.
#[derive(Clone, Copy, Debug)]
struct Wish {
    /// What it prefers to hold, in whole bytes.
    preferred: f64,
    /// What it holds, or was told to hold if that is more.
    actual: f64,
    /// Most that it may hold.
    max: f64,
}

impl Rival for Qmemman {
    fn name(&self) -> &'static str {
        "qmemman"
    }

    fn interval(&self) -> Duration {
        SAMPLE
    }

    fn pushes(&self) -> Option<Duration> {
        Some(SAMPLE)
    }

    fn turn(&mut self, seen: &Seen) -> Vec<(VmId, ByteCount)> {
        self.hear(seen);
        if let Some(round) = self.round.take() {
            return self.go_on(round, seen);
        }
        if !std::mem::take(&mut self.has_news) {
            return Vec::new();
        }
        let plan = self.plan(seen);
        for vm in &seen.vms {
            if let Some(known) = self.known.get_mut(&vm.id) {
                known.began = real(vm.actual);
            }
        }
        self.go_on(Round { plan, waits: 0 }, seen)
    }
}

impl Qmemman {
    /// Takes in what VMs told.
    fn hear(&mut self, seen: &Seen) {
        self.usage.read(seen);
        self.swapped.read(seen);
        forget_gone(&mut self.known, seen);
        for vm in &seen.vms {
            if let Some(used) = self.usage.of(vm) {
                self.take_in(vm, used.used + self.swapped.of(vm.id));
            }
        }
    }

    /// Takes in what a VM uses, where it would tell.
    fn take_in(&mut self, vm: &SeenVm, used: f64) {
        let actual = real(vm.actual);
        let known = self.known.entry(vm.id).or_insert_with(|| {
            self.has_news = true;
            Known { used, began: actual, is_stuck: false }
        });
        let rise = used - known.used;
        if rise.abs() > TOLD || (used * MARGIN > actual && rise > TOLD / 2.0) {
            known.used = used;
            self.has_news = true;
        }
        let missing = actual - real(vm.target);
        if missing <= NEARLY || wish(vm, known.used).preferred > actual {
            known.is_stuck = false;
        }
    }

    /// The VMs that are asked, and what each has and would like. Who is silent or stuck is left out.
    fn wishes<'a>(&self, seen: &'a Seen) -> (Vec<&'a SeenVm>, Vec<Wish>) {
        let wish = |vm: &'a SeenVm| {
            let known = self.known.get(&vm.id).filter(|known| !known.is_stuck)?;
            Some((vm, wish(vm, known.used)))
        };
        seen.vms.iter().filter_map(wish).unzip()
    }

    /// What is to be ordered, if that is worth the trouble.
    fn plan(&self, seen: &Seen) -> VecDeque<(VmId, f64)> {
        let (vms, wishes) = self.wishes(seen);
        let free = spare(seen);
        let plan: Vec<_> = divide(&wishes, free)
            .into_iter()
            .filter_map(|(which, target)| Some((*vms.get(which)?, wishes.get(which)?, target)))
            .collect();
        let significant = is_significant(&plan, free);
        let orders = plan.into_iter().map(|(vm, _, target)| (vm.id, target));
        orders.filter(|_| significant).collect()
    }

    /// Orders what memory is there for, and waits for the rest.
    fn go_on(&mut self, mut round: Round, seen: &Seen) -> Vec<(VmId, ByteCount)> {
        let mut free = spare(seen) + SLACK;
        let mut orders = Vec::new();
        while let Some((id, target)) = round.plan.front().copied() {
            let Some(vm) = seen.vms.iter().find(|vm| vm.id == id) else {
                round.plan.pop_front();
                continue;
            };
            let growth = target - committed(vm);
            if growth <= 0.0 || growth <= free {
                orders.extend(order(vm, target));
                free -= growth.max(0.0);
                round.plan.pop_front();
                round.waits = 0;
            } else if round.waits < WAITS {
                round.waits += 1;
                self.round = Some(round);
                break;
            } else {
                if free > 0.0 {
                    orders.extend(order(vm, committed(vm) + free));
                }
                self.mark_stuck(seen);
                self.has_news = true;
                break;
            }
        }
        orders
    }

    /// Whoever was to give and gave nothing at all.
    fn mark_stuck(&mut self, seen: &Seen) {
        for vm in &seen.vms {
            let actual = real(vm.actual);
            if let Some(known) = self.known.get_mut(&vm.id) {
                known.is_stuck |= actual - real(vm.target) > NEARLY && actual >= known.began;
            }
        }
    }
}

fn wish(vm: &SeenVm, used: f64) -> Wish {
    let preferred = within(used * MARGIN, real(vm.min), real(vm.max)).floor();
    Wish { preferred, actual: committed(vm), max: real(vm.max) }
}

/// What whom to tell to hold, those who give first; `free` is what the host has above its reserve.
fn divide(wishes: &[Wish], free: f64) -> Vec<(usize, f64)> {
    let need: f64 = wishes.iter().map(|wish| wish.preferred - wish.actual).sum();
    if free - need > 0.0 { divide_plenty(wishes, free - need) } else { divide_little(wishes, free) }
}

/// All of it goes out, in proportion to what is preferred; what is too much for one goes to the
/// others in equal parts.
fn divide_plenty(wishes: &[Wish], available: f64) -> Vec<(usize, f64)> {
    let sum: f64 = wishes.iter().map(|wish| wish.preferred).sum::<f64>().max(1.0);
    let fair = |wish: &Wish| wish.preferred + wish.preferred / sum * available;
    let mut targets: Vec<f64> = wishes.iter().map(|wish| (CAUTION * fair(wish)).floor()).collect();
    // Every round but the last fills one.
    for _ in 0..=wishes.len() {
        let mut excess = 0.0;
        for (target, wish) in targets.iter_mut().zip(wishes) {
            excess += (*target - wish.max).max(0.0);
            *target = target.min(wish.max);
        }
        let open = targets.iter().zip(wishes).filter(|(target, wish)| **target < wish.max).count();
        if excess < 1.0 || open == 0 {
            break;
        }
        let part = (CAUTION * excess / open as f64).floor();
        let below = targets.iter_mut().zip(wishes).filter(|(target, wish)| **target < wish.max);
        below.for_each(|(target, _)| *target += part);
    }
    let mut plan: Vec<_> = targets.into_iter().enumerate().collect();
    plan.sort_by_key(|(which, target)| {
        wishes.get(*which).is_none_or(|wish| *target >= wish.actual)
    });
    plan
}

/// Who has more than it prefers gives that; the others share what is there once that has come.
fn divide_little(wishes: &[Wish], free: f64) -> Vec<(usize, f64)> {
    let gives = |wish: &Wish| wish.preferred < wish.actual || wish.actual >= wish.max;
    let (donors, acceptors): (Vec<_>, Vec<_>) =
        wishes.iter().enumerate().partition(|(_, wish)| gives(wish));
    let donors: Vec<_> =
        donors.into_iter().filter(|(_, wish)| wish.actual - wish.preferred >= SURPLUS).collect();
    let surplus: f64 = donors.iter().map(|(_, wish)| wish.actual - wish.preferred).sum();
    let mut plan: Vec<_> = donors.iter().map(|(which, wish)| (*which, wish.preferred)).collect();
    let squeezed = free - surplus;
    if squeezed < 0.0 {
        return plan;
    }
    let sum: f64 = acceptors.iter().map(|(_, wish)| wish.preferred).sum::<f64>().max(1.0);
    plan.extend(acceptors.iter().map(|(which, wish)| {
        let fair = CAUTION * (wish.actual + wish.preferred / sum * squeezed);
        (*which, fair.floor().min(wish.max))
    }));
    plan
}

/// Whether the plan is worth the trouble.
fn is_significant(plan: &[(&SeenVm, &Wish, f64)], free: f64) -> bool {
    let gain = |vm: &SeenVm, target: f64| target - real(vm.target);
    let helps = |(vm, wish, target): &(&SeenVm, &Wish, f64)| {
        let lacks = !vm.target.is_zero() && real(vm.target) < wish.preferred;
        lacks && gain(vm, *target) > 15.0 * MIB
    };
    let moved: f64 = plan.iter().map(|(vm, _, target)| gain(vm, *target).abs()).sum();
    free < -15.0 * MIB || plan.iter().any(helps) || moved + free.abs() > 150.0 * MIB
}

/// How often its VMs look at themselves, and it at them.
const SAMPLE: Duration = Duration::from_millis(100);
/// How often it waits for memory before it goes on with what there is.
const WAITS: u32 = 5;
/// What a VM likes to hold for each byte that it uses.
const MARGIN: f64 = 1.3;
/// It never hands out the last thousandth.
const CAUTION: f64 = 0.999;
/// A change of used memory that a VM tells: 30000 KB.
const TOLD: f64 = 30_000.0 * 1024.0;
/// Less than this is not worth taking.
const SURPLUS: f64 = 10.0 * MIB;
/// Who is within this of its target has arrived.
const NEARLY: f64 = 12.5 * MIB;
/// So much of the host's reserve it may take for a moment.
const SLACK: f64 = 5.0 * MIB;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::rivals::scenes::{given, id, mib, reports, scene, vm};

    /// One of its test VMs; MiB used, most, held, and what the host gets more.
    pub(super) fn wished(used: u32, max: u32, actual: u32, boost: u32) -> Wish {
        let preferred = (mib(used) * MARGIN + mib(boost)).min(mib(max)).max(mib(200)).floor();
        Wish { preferred, actual: mib(actual), max: mib(max) }
    }

    /// Those of its own tests, of which the host holds so much.
    fn five(host: u32) -> [Wish; 5] {
        [
            wished(1024, 4096, host, 350),
            wished(1024, 4096, 1536, 0),
            wished(4096, 4096, 4096, 0),
            wished(1536, 4096, 1536, 0),
            wished(512, 1024, 768, 0),
        ]
    }

    #[test]
    fn a_vm_prefers_more_than_it_uses() {
        let wish = |used, holds| wish(&vm(1, 200, 4096, holds), mib(used));
        assert_eq!(wish(1024, 1024).preferred, (1331.2 * MIB).floor());
        assert_eq!(wish(5000, 1024).preferred, mib(4096));
        assert_eq!(wish(100, 1024).preferred, mib(200));
        let need = |holds| wish(1024, holds).preferred - wish(1024, holds).actual;
        assert_eq!(need(1024), (307.2 * MIB).floor());
        assert_eq!(need(2024), (-692.8 * MIB).floor());
        assert_eq!(wished(1024, 4096, 0, 350).preferred, (1681.2 * MIB).floor());
    }

    #[test]
    fn when_memory_is_short_those_who_have_it_give_first() {
        let wishes = five(768);
        assert_eq!(divide(&wishes, mib(50)), [(1, 1_395_864_371.0), (4, 697_932_185.0)]);
    }

    #[test]
    fn when_memory_abounds_all_of_it_is_handed_out() {
        let wishes = five(1736);
        let need: f64 = wishes.iter().map(|wish| wish.preferred - wish.actual).sum();
        let targets =
            [3_068_708_976.0, 2_548_378_128.0, 4_294_967_296.0, 3_537_898_734.0, 1_073_741_824.0];
        let mut plan = divide(&wishes, mib(4096) + need);
        plan.sort_by_key(|(which, _)| *which);
        assert_eq!(plan.iter().map(|(_, target)| *target).collect::<Vec<_>>(), targets);
    }

    /// The first prefers 390 of its 1200 MiB, the second 1170 of its 900; nothing is free.
    fn short(holds: u32, target: u32) -> Seen {
        let vm = reports(vm(1, 100, 2000, holds), 0, holds - 300);
        let giver = SeenVm { target: ByteCount::mib(target), ..vm };
        scene(4000, 1300 - holds, 100, vec![giver, getter()])
    }

    fn getter() -> SeenVm {
        reports(vm(2, 100, 2000, 900), 0, 0)
    }

    fn next(qubes: &mut Qmemman, tenth: u64, seen: Seen) -> Vec<(u8, u64)> {
        let now = Duration::from_millis(100 * tenth);
        given(&qubes.turn(&Seen { now, ..seen }))
    }

    #[test]
    fn nobody_gets_what_has_not_arrived() {
        let mut qubes = Qmemman::default();
        assert_eq!(next(&mut qubes, 1, short(1200, 1200)), [(1, 524)]);
        for tenth in 2..=5 {
            assert_eq!(next(&mut qubes, tenth, short(1200, 524)), [], "{tenth}");
        }
        // What arrived by then is handed on.
        assert_eq!(next(&mut qubes, 6, short(900, 524)), [(2, 900 + 305)]);
        // It goes on with who moved.
        assert!(!qubes.known.values().any(|known| known.is_stuck));
    }

    #[test]
    fn who_gives_nothing_is_left_out() {
        let mut qubes = Qmemman::default();
        assert_eq!(next(&mut qubes, 1, short(1200, 1200)), [(1, 524)]);
        let orders: Vec<_> =
            (2..=6).flat_map(|tenth| next(&mut qubes, tenth, short(1200, 524))).collect();
        assert_eq!(orders, [(2, 905)]);
        assert!(qubes.known[&id(1)].is_stuck && !qubes.known[&id(2)].is_stuck);
        // What it keeps is no longer counted on.
        assert_eq!(next(&mut qubes, 7, short(1200, 524)), []);
        // It has given enough when it is within 12.5 MiB.
        next(&mut qubes, 8, short(537, 524));
        assert!(qubes.known[&id(1)].is_stuck);
        next(&mut qubes, 9, short(536, 524));
        assert!(!qubes.known[&id(1)].is_stuck);
    }

    #[test]
    fn it_acts_when_a_vm_tells() {
        let mut qubes = Qmemman::default();
        let host = |usable: u32| scene(4000, 100 + usable, 100, vec![getter()]);
        assert_eq!(next(&mut qubes, 1, host(0)), []);
        assert_eq!(next(&mut qubes, 2, host(900)), []);
        // It uses a third more.
        let more = Seen { vms: vec![reports(vm(2, 100, 2000, 1200), 0, 0)], ..host(900) };
        assert_eq!(next(&mut qubes, 3, more), [(2, 2000)]);
    }

    #[test]
    fn a_change_is_worth_it_when_somebody_lacks_or_much_moves() {
        let is_worth = |preferred, target, free: f64| {
            let vm = vm(1, 100, 4000, 1000);
            let wish = Wish { preferred: mib(preferred), actual: mib(1000), max: mib(4000) };
            is_significant(&[(&vm, &wish, mib(target))], free * MIB)
        };
        assert!(is_worth(900, 1000, -16.0) && !is_worth(900, 1000, -15.0));
        assert!(is_worth(1100, 1016, 0.0) && !is_worth(1100, 1015, 0.0));
        assert!(!is_worth(900, 1016, 0.0), "it has what it prefers");
        assert!(is_worth(900, 1100, 51.0) && !is_worth(900, 1100, 50.0));
        assert!(is_worth(800, 900, 51.0) && !is_worth(800, 900, 50.0));
    }

    #[test]
    fn small_changes_are_left_undone() {
        let near = |actual| vec![reports(vm(1, 100, 4000, actual), 0, actual - 1000)];
        assert!(Qmemman::default().turn(&scene(4000, 150, 100, near(1400))).is_empty());
        let orders = Qmemman::default().turn(&scene(4000, 300, 100, near(1400)));
        assert_eq!(given(&orders), [(1, 1598)]);
    }
}
