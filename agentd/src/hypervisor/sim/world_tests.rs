//! What the simulated world promises: memory is conserved, a seed replays, and figures are as stale
//! as on real hosts.

use std::{collections::BTreeSet, time::Duration};

use agentd_core::{bytes::ByteCount, sample::Reported, vm::VmId};

use super::{
    Numbers, Scenario, VmFacts,
    rng::Rng,
    test_rig::{HOST, ID, Rig, VM, WAIT, mib},
};
use crate::{
    clock::Clock,
    hypervisor::{
        Answer, Hypervisor, Target,
        contract::{Subject, hold},
    },
};

#[test]
fn in_an_ideal_world_memory_arrives_at_once_and_figures_are_exact() {
    let mut rig = Rig::new(&format!("[sim]\nideal = true\n{HOST}{VM}"));
    let before = rig.vm();
    assert_eq!((before.guest.unused, before.guest.usable), (Some(mib(412)), Some(mib(412))));
    assert_eq!((before.reported, before.host_rss), (Reported::Now, Some(mib(512))));
    let odd = ByteCount::bytes(99_999_999);
    let orders = [Target { vm: ID, target: odd }];
    assert_eq!(rig.sim.set_targets(&orders, WAIT), [Answer::Accepted]);
    assert_eq!(rig.live(), Some(odd));
    let after = rig.reading();
    assert_eq!(after.host.usable, mib(4096 - 1024).saturating_sub(odd));
    // It wants 100 MiB: the rest swaps.
    assert_eq!((after.vms[0].actual, after.vms[0].guest.unused), (odd, Some(ByteCount::ZERO)));
    assert!(matches!(rig.order(1025), Answer::Refused(why) if why.contains("its maximum, 1 GiB")));
    assert!(matches!(rig.order(0), Answer::Refused(_)));
    let unknown = [Target { vm: VmId::from_bytes([9; 16]), target: odd }];
    assert_eq!(rig.sim.set_targets(&unknown, WAIT), [Answer::VmGone]);
    assert_eq!(rig.live(), Some(odd), "what was refused changes nothing");
}

#[test]
fn a_world_with_physics_keeps_the_contract() {
    let mut rig = Rig::new(&format!("[sim]\ncall_latency = \"5ms\"\n{HOST}{VM}"));
    hold(&mut Subject {
        hypervisor: &mut rig.sim,
        clock: rig.clock.as_ref(),
        timeout: WAIT,
        settle: Duration::from_secs(5),
    });
}

#[test]
fn memory_is_conserved_under_any_orders_and_every_behaviour() {
    for seed in 0..4 {
        let mut rng = Rng::new(seed, 99);
        let mut rig = Rig::new(&crowd(seed));
        let scenario = Scenario::parse("test.toml", &crowd(seed)).unwrap();
        for _ in 0..150 {
            rig.pass(rng.below(700));
            let vm = &scenario.vms[usize::try_from(rng.below(scenario.vms.len() as u64)).unwrap()];
            let target = ByteCount::bytes(rng.below(vm.max.as_u64()));
            rig.sim.set_targets(&[Target { vm: vm.id, target }], WAIT);
            let facts = rig.truth.facts();
            assert_eq!(facts.host.usable, facts.host.total.saturating_sub(facts.taken));
            let rss: ByteCount = facts.vms.values().map(|vm| vm.rss).sum();
            assert_eq!(facts.taken, rss.saturating_add(scenario.host.other.at(facts.now)));
            for vm in &scenario.vms {
                if let Some(facts) = facts.vms.get(&vm.id) {
                    conserves(facts, vm.max, &vm.numbers, &vm.name);
                }
            }
        }
    }
}

fn conserves(facts: &VmFacts, max: ByteCount, numbers: &Numbers, name: &str) {
    let in_use = facts.resident.saturating_add(facts.cache);
    assert!(in_use <= facts.actual && facts.actual <= max, "{name}: {facts:?}");
    assert!(facts.swapped <= numbers.swap, "{name}: {facts:?}");
    // Who stands still lets go of nothing either.
    let has = facts.resident.saturating_add(facts.swapped);
    assert!(has <= facts.demand || STILL.contains(&name), "{name}: {facts:?}");
    let held = if name.ends_with("vfio") { max } else { facts.actual };
    assert!(facts.rss <= held.saturating_add(numbers.process_overhead), "{name}: {facts:?}");
}

#[test]
fn a_seed_replays_exactly_and_another_one_does_not() {
    let history = |seed| {
        let mut rig = Rig::new(&crowd(seed));
        let mut readings = Vec::new();
        for turn in 0..60 {
            rig.pass(173);
            let vms: Vec<VmId> = rig.truth.facts().vms.keys().copied().collect();
            let orders: Vec<_> =
                vms.iter().map(|vm| Target { vm: *vm, target: mib(300 + turn) }).collect();
            rig.sim.set_targets(&orders, WAIT);
            readings.push(rig.reading());
        }
        readings
    };
    assert_eq!(history(1), history(1));
    assert_ne!(history(1), history(2));
}

#[test]
fn a_report_that_was_asked_for_is_paired_with_what_a_vm_at_rest_holds() {
    let mut rig = Rig::new(&format!("[sim]\nnoise_percent = 0\nprompts = true\n{HOST}{VM}"));
    let read = |rig: &mut Rig, live: &[VmId]| {
        rig.pass(20);
        let live = live.iter().copied().collect();
        rig.sim.read(&live, WAIT).unwrap().vms.remove(0)
    };
    assert!(read(&mut rig, &[ID]).paired);
    assert!(!read(&mut rig, &[]).paired, "its actual may be late");
    rig.order(400);
    let seen = read(&mut rig, &[ID]);
    assert!(seen.actual > mib(400) && !seen.paired, "it moves");
    rig.pass(2000);
    let seen = read(&mut rig, &[ID]);
    let facts = rig.facts();
    let used = facts.resident.saturating_add(facts.cache);
    assert_eq!((seen.actual, seen.paired), (mib(400), true));
    assert_eq!(seen.guest.unused, Some(mib(400).saturating_sub(used)));
    let mut rig = Rig::with("");
    assert!(!read(&mut rig, &[ID]).paired, "nobody asked it");
}

/// The trap that made a real host give away 18 GiB where 3 were due.
#[test]
fn without_live_the_actual_is_of_the_last_balloon_event() {
    let mut rig = Rig::with("");
    rig.order(500);
    rig.pass(20);
    let first = rig.vm().actual;
    assert!(first < mib(512), "the first event comes at once");
    rig.order(400);
    rig.pass(500);
    assert_eq!((rig.vm().actual, rig.live()), (first, Some(mib(400))));
    let all = BTreeSet::from([ID]);
    assert_eq!(rig.sim.read(&all, WAIT).unwrap().vms[0].actual, mib(400));
    rig.pass(500);
    assert_eq!(rig.vm().actual, mib(400), "a second later the next event has come");
}

#[test]
fn figures_are_reported_once_in_a_period_with_a_stamp_in_seconds() {
    let mut rig = Rig::with("");
    let reports: BTreeSet<String> = (0..50)
        .map(|_| {
            rig.pass(100);
            format!("{:?}", rig.vm().reported)
        })
        .collect();
    assert!((5..=6).contains(&reports.len()), "{reports:?}");
    let mut frozen = Rig::with("stats_period = \"0s\"\n");
    frozen.pass(2_000);
    let stamp = frozen.vm().reported;
    frozen.pass(60_000);
    assert_eq!(frozen.vm().reported, stamp);
}

#[test]
fn gives_free_memory_fast_swaps_slowly_and_keeps_its_working_set() {
    // It wants 100 MiB, 50 of them all the time.
    let mut rig = Rig::with("cache = \"0B\"\n");
    assert_eq!(rig.facts().resident, mib(100));
    rig.order(200);
    rig.pass(100);
    let given = mib(512).saturating_sub(rig.facts().actual);
    assert_eq!(given.mib_floor(), 70, "700 MiB a second");
    rig.pass(1_000);
    assert_eq!((rig.facts().actual, rig.facts().swapped), (mib(200), ByteCount::ZERO));

    rig.order(100);
    rig.pass(300);
    let swapped = rig.facts().swap_out;
    assert!((mib(10)..=mib(30)).contains(&swapped), "100 MiB a second: {swapped}");
    rig.pass(30_000);
    rig.order(16);
    rig.pass(60_000);
    let facts = rig.facts();
    assert!(facts.resident >= mib(50) && facts.actual > mib(50), "{facts:?}");
    assert!(rig.vm().guest.swap_in > Some(ByteCount::ZERO));
}

#[test]
fn caches_fill_free_memory_count_as_usable_and_go_first() {
    let mut rig = Rig::with("cache = \"300MiB\"\n");
    rig.pass(2_000);
    let vm = rig.vm();
    assert_eq!(vm.guest.unused, Some(mib(112)));
    assert_eq!(vm.guest.usable, Some(mib(112 - 48 + 300)));
    rig.order(212);
    rig.pass(2_000);
    let facts = rig.facts();
    assert_eq!((facts.actual, facts.swapped), (mib(212), ByteCount::ZERO));
    assert_eq!(facts.cache, mib(212 - 100).saturating_sub(mib(212).fraction(1, 8)));
}

/// A kernel that thrashes has next to nothing usable: it gave up its files first.
#[test]
fn files_give_way_to_what_programs_read_back_from_swap() {
    let mut rig = Rig::with("cache = \"300MiB\"\n");
    rig.pass(2_000);
    rig.order(100);
    rig.pass(5_000);
    assert!(rig.facts().swapped > mib(5), "{:?}", rig.facts());
    // Room for what was swapped, but not for files beside.
    rig.order(120);
    rig.pass(5_000);
    let facts = rig.facts();
    assert_eq!((facts.resident, facts.swapped), (mib(100), ByteCount::ZERO));
    assert!(facts.cache <= mib(5), "{facts:?}");
}

#[test]
fn granted_memory_is_taken_from_the_host_only_as_it_is_touched() {
    let mut rig = Rig::with("");
    rig.order(1_024);
    rig.pass(2_000);
    let facts = rig.facts();
    assert_eq!((facts.actual, facts.rss), (mib(1_024), mib(512 + 64)));
    rig.order(256);
    rig.pass(3_000);
    assert!(rig.facts().rss <= mib(256 + 64));
}

#[test]
fn a_vm_that_starts_reports_nothing_until_its_driver_works() {
    let mut rig = Rig::with("start = \"2s\"\nboot_time = \"3s\"\n");
    assert!(rig.reading().vms.is_empty());
    assert_eq!(rig.order(300), Answer::VmGone);
    rig.pass(4_000);
    let booting = rig.vm();
    assert_eq!((booting.actual, booting.reported), (mib(1_024), Reported::Never));
    rig.pass(5_000);
    let up = rig.vm();
    assert!(up.actual == mib(512) && up.guest.unused.is_some(), "{up:?}");
}

#[test]
fn a_reboot_empties_the_balloon_until_the_driver_works_again() {
    let mut rig = Rig::with("boot_time = \"3s\"\nbehaviour = \"reboots\"\n");
    rig.pass(9_000);
    assert_eq!(rig.live(), Some(mib(512)));
    let stamp = rig.vm().reported;
    rig.pass(1_500);
    assert_eq!(rig.live(), Some(mib(1_024)));
    rig.pass(1_000);
    assert_ne!(rig.vm().reported, Reported::Never, "the last figures stay: {stamp:?}");
    rig.pass(5_000);
    assert_eq!(rig.live(), Some(mib(512)));
}

#[test]
fn the_world_moves_in_whole_steps() {
    let mut rig = Rig::new(&format!("[sim]\nstep = \"500ms\"\n{HOST}{VM}"));
    rig.order(300);
    rig.pass(499);
    assert_eq!(rig.live(), Some(mib(512)));
    rig.pass(1);
    assert!(rig.live() < Some(mib(512)));
}

#[test]
fn a_lost_connection_fails_at_once_and_a_silent_one_after_the_timeout() {
    let text = "[sim]\nconnection_lost = [{ from = \"1s\", until = \"2s\" }]\n\
                silent = [{ from = \"3s\", until = \"4s\" }]\n";
    let mut rig = Rig::new(&format!("{text}{HOST}{VM}"));
    assert!(!rig.sim.take_reconnected());
    rig.pass(1_500);
    let lost = rig.sim.read(&BTreeSet::new(), WAIT).unwrap_err().to_string();
    assert!(lost.starts_with("cannot reach sim:test.toml: the connection is lost"), "{lost}");
    assert_eq!(rig.clock.now(), Duration::from_millis(1_500));
    assert!(matches!(rig.order(300), Answer::Refused(_)));
    assert!(rig.live().is_none() && !rig.sim.take_reconnected());
    rig.pass(1_000);
    rig.reading();
    assert!(rig.sim.take_reconnected() && !rig.sim.take_reconnected());

    rig.pass(600);
    let silent = rig.sim.read(&BTreeSet::new(), WAIT).unwrap_err().to_string();
    assert_eq!(silent, "sim:test.toml does not answer within 100ms");
    assert_eq!(rig.order(300), Answer::InDoubt);
    rig.pass(3_000);
    assert_eq!(rig.live(), Some(mib(300)), "what was in doubt was taken late");
}

#[test]
fn calls_take_as_long_as_the_scenario_says() {
    let mut rig = Rig::new(&format!("[sim]\ncall_latency = \"30ms\"\n{HOST}{VM}"));
    rig.reading();
    rig.live();
    rig.order(300);
    assert_eq!(rig.clock.now(), Duration::from_millis(90));
    let slow = rig.sim.read(&BTreeSet::new(), Duration::from_millis(20));
    assert!(slow.is_err());
    assert_eq!(rig.clock.now(), Duration::from_millis(110));
}

#[test]
fn what_the_host_itself_uses_comes_and_goes() {
    let host = "[host]\ntotal = \"4GiB\"\nother = [{ at = \"0s\", used = \"1GiB\" }, \
                { at = \"1s\", used = \"4GiB\" }]\n";
    let mut rig = Rig::new(&format!("{host}{VM}"));
    assert_eq!(rig.reading().host.usable, mib(4096 - 1024 - 512 - 64));
    rig.pass(1_000);
    assert_eq!(rig.reading().host.usable, ByteCount::ZERO);
    assert_eq!(rig.truth.facts().taken, mib(4096 + 512 + 64));
}

/// Every behaviour, each in a VM of its own that is named after it, with demand that comes and
/// goes.
fn crowd(seed: u64) -> String {
    let behaviours = [
        "stuck",
        "slow",
        "partial",
        "intermittent",
        "no-driver",
        "lying",
        "frozen-stats",
        "reboots",
        "pauses",
        "hangs",
        "vanishes",
        "hidden-floor",
        "vfio",
        "leaks",
        "cache-holder",
        "takes-back",
        "busy",
        "saves",
        "migrates-out",
        "migrates-in",
        "crashes",
        "shuts-down",
        "no-balloon",
        "hidden-vfio",
    ];
    let vm = |name: &&str| {
        format!(
            "[[vm]]\nname = \"{name}\"\nmax = \"1000001KiB\"\nactual = \"500001KiB\"\n\
             behaviour = \"{name}\"\ndemand = [{{ at = \"0s\", used = \"100MiB\" }}, \
             {{ at = \"20s\", used = \"1200MiB\" }}, {{ at = \"40s\", used = \"50MiB\" }}]\n"
        )
    };
    let vms: String = behaviours.iter().map(vm).collect();
    let host = HOST.replace("4GiB", "32GiB");
    format!("seed = {seed}\n{host}{vms}")
}

/// Those that stand still.
const STILL: [&str; 6] = ["pauses", "hangs", "saves", "migrates-in", "crashes", "shuts-down"];
