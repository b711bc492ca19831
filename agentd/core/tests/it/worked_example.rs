//! The worked example of docs/WORKING_SET.md: its figures are what is really decided.

use std::{collections::BTreeMap, fs, path::Path};

use agentd_core::{
    bytes::ByteCount,
    decision::Decision,
    plan::Party,
    policy::{Algorithm, Policy, VmPolicy},
    reserve::{Reservation, ReservationId},
    state::State,
    verdict::{Reason, VerdictKind},
    vm::VmId,
};

use crate::world::{Vm, World};

/// Name, what it holds, what its programs work with.
const VMS: [(&str, u32, u32); 3] = [("db1", 900, 890), ("web1", 800, 780), ("batch", 700, 600)];

/// A host of 3 GiB on which others take 472 MiB: beside its reserve it has 2400 MiB for VMs, and they
/// hold all of it.
fn world(weight: Option<u32>) -> World {
    let mut policy = Policy { algorithm: Algorithm::WorkingSet, ..Policy::default() };
    policy.vms.insert("db1".into(), VmPolicy { weight, ..VmPolicy::default() });
    let min = Some(ByteCount::mib(800));
    policy.vms.insert("web1".into(), VmPolicy { min, ..VmPolicy::default() });
    assert_eq!(policy.validate(), []);
    let vm = |(number, (name, holds, works)): (u8, (&str, u32, u32))| {
        let vm = Vm {
            name: name.to_owned(),
            actual: ByteCount::mib(holds),
            max: ByteCount::gib(2),
            demand: vec![ByteCount::mib(works)],
            life: 0..u64::MAX,
        };
        (VmId::from_bytes([number; 16]), vm)
    };
    World {
        total: ByteCount::gib(3),
        other: ByteCount::mib(472),
        policy,
        vms: (1..).zip(VMS).map(vm).collect(),
        state: State::default(),
        tick: 0,
        reservations: Vec::new(),
    }
}

/// To the nearest MiB: the host keeps a byte more than its reserve.
fn mib(amount: ByteCount) -> u64 {
    (amount.as_u64() + (1 << 19)) >> 20
}

/// What a VM asks for, by the words of the page.
fn asks(policy: &Policy, demand: ByteCount) -> ByteCount {
    let own = &policy.working_set;
    let percent = demand.fraction(u64::from(own.headroom_percent), 100);
    demand.saturating_add(percent.max(own.headroom))
}

fn entitled(decision: &Decision, world: &World) -> BTreeMap<String, u64> {
    let verdicts = decision.verdicts.iter();
    let of = |(id, verdict): (&VmId, &agentd_core::verdict::Verdict)| {
        (world.vms[id].name.clone(), mib(verdict.entitled.unwrap()))
    };
    verdicts.map(of).collect()
}

#[test]
fn the_page_tells_what_is_decided() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/WORKING_SET.md");
    let page = fs::read_to_string(page).unwrap();
    let mut world = world(Some(300));
    let before = world.clone();
    let (_, decision) = world.turn();
    let mut rows = Vec::new();
    for (id, verdict) in &decision.verdicts {
        let vm = &before.vms[id];
        let demand = verdict.demand.unwrap();
        let rules = before.policy.rules(*id, &vm.name, vm.max);
        let amount = mib(verdict.amount);
        let does = match verdict.kind {
            VerdictKind::Grow => format!("gets {amount}"),
            VerdictKind::Shrink => format!("gives {amount}"),
            VerdictKind::Hold => "holds".to_owned(),
        };
        rows.push(format!(
            "| `{}` | {} | {} | {} | {} | {} | {} | {does} | `{}` |",
            vm.name,
            rules.weight,
            mib(rules.limits.min),
            mib(vm.actual),
            mib(demand),
            mib(asks(&before.policy, demand)),
            mib(verdict.entitled.unwrap()),
            verdict.reason,
        ));
    }
    let missing: Vec<_> = rows.iter().filter(|row| !page.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "docs/WORKING_SET.md lacks\n{}", rows.join("\n"));

    let reasons: Vec<Reason> = decision.verdicts.values().map(|verdict| verdict.reason).collect();
    assert_eq!(reasons, [Reason::NeedsMemory, Reason::FairShare, Reason::GivesToVm]);
    let to_db1 =
        decision.transfers.iter().filter(|one| one.to == Party::Vm(VmId::from_bytes([1; 16])));
    assert_eq!(to_db1.map(|one| mib(one.amount)).sum::<u64>(), 79);

    // It is settled by that: what is asked for beyond the pool is nobody's.
    let (_, next) = world.turn();
    assert!(next.verdicts.values().all(|verdict| verdict.kind == VerdictKind::Hold), "{next:?}");
}

#[test]
fn the_page_tells_what_weights_change() {
    let equal = world(None);
    let decision = equal.clone().turn().1;
    let shares = entitled(&decision, &equal);
    assert_eq!((shares["db1"], shares["web1"], shares["batch"]), (890, 846, 664));
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/WORKING_SET.md");
    let page = fs::read_to_string(page).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    let said =
        "With equal weights `db1` would be entitled to 890, `web1` to 846 and `batch` to 664.";
    assert!(page.contains(said), "docs/WORKING_SET.md lacks: {said}");
}

/// `batch` is entitled to what it works with, and cannot give the last 16 MiB beyond that: `db1`, which is
/// entitled to more, gives them.
#[test]
fn what_is_reserved_is_filled_by_whoever_can_give_it() {
    let mut world = world(Some(300));
    world.turn();
    let size = ByteCount::mib(64);
    world.reservations = vec![Reservation { id: ReservationId(1), min: size, max: size, vm: None }];
    let (_, decision) = (0..20).map(|_| world.turn()).last().unwrap();
    let booking = decision.bookings[0];
    assert_eq!((booking.filled, booking.held), (true, size), "{:?}", world.vms);
    let holds: Vec<u64> = world.vms.values().map(|vm| mib(vm.actual)).collect();
    assert_eq!(holds, [920, 800, 616]);
}
