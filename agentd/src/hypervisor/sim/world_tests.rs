//! What the simulated world promises: memory is conserved, a seed replays, figures are as stale as
//! on real hosts, and each fault is what it says.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use agentd_core::{
    bytes::ByteCount,
    sample::{Obstacle, Reading, Reported, RunState, Share, VmReading},
    vm::VmId,
};

use super::{Numbers, Onlooker, Scenario, Sim, VmFacts, rng::Rng};
use crate::{
    clock::{Clock, VirtualClock},
    hypervisor::{
        Answer, Hypervisor, Target,
        contract::{Subject, hold},
    },
};

/// A world under test, with its time.
struct Rig {
    sim: Sim,
    truth: Onlooker,
    clock: Arc<VirtualClock>,
}

impl Rig {
    fn new(text: &str) -> Self {
        let scenario = Scenario::parse("test.toml", text).unwrap_or_else(|error| panic!("{error}"));
        let clock = Arc::new(VirtualClock::default());
        let sim = Sim::new(Path::new("test.toml"), &scenario, clock.clone());
        Self { truth: sim.onlooker(), sim, clock }
    }

    /// One VM of 1 GiB that holds 512 MiB and wants 100 MiB, without noise, with these keys too.
    fn with(vm: &str) -> Self {
        Self::new(&format!("[sim]\nnoise_percent = 0\n{HOST}{VM}{vm}"))
    }

    fn pass(&self, millis: u64) -> &Self {
        self.clock.sleep(Duration::from_millis(millis));
        self
    }

    fn reading(&mut self) -> Reading {
        self.sim.read(&BTreeSet::new(), WAIT).unwrap()
    }

    fn vm(&mut self) -> VmReading {
        self.reading().vms.remove(0)
    }

    fn live(&mut self) -> Option<ByteCount> {
        self.sim.read_actuals(&[ID], WAIT).first().map(|live| live.actual)
    }

    fn order(&mut self, mib: u32) -> Answer {
        let orders = [Target { vm: ID, target: ByteCount::mib(mib) }];
        self.sim.set_targets(&orders, WAIT).remove(0)
    }

    fn facts(&self) -> VmFacts {
        *self.truth.facts().vms.get(&ID).unwrap()
    }
}

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
fn balloons_that_do_not_follow_do_so_each_in_its_way() {
    // After an order from 512 to 300 MiB, seen 4 s later.
    for (behaviour, holds) in [
        ("\"stuck\"", 512),
        ("\"no-driver\"", 512),
        ("{ kind = \"slow\", rate = \"8MiB\" }", 480),
        ("{ kind = \"partial\", percent = 25 }", 459),
        ("{ kind = \"hidden-floor\", amount = \"400MiB\" }", 400),
        ("{ kind = \"stuck\", until = \"1s\" }", 300),
        ("{ kind = \"foreign-order\", from = \"1s\", amount = \"700MiB\" }", 700),
        ("\"lying\"", 300),
    ] {
        let mut rig = Rig::with(&format!("behaviour = {behaviour}\n"));
        assert_eq!(rig.order(300), Answer::Accepted);
        rig.pass(4_000);
        assert_eq!(rig.live().map(ByteCount::mib_floor), Some(holds), "{behaviour}");
    }
    let mut rig = Rig::with("behaviour = { kind = \"intermittent\", every = \"2s\" }\n");
    rig.pass(2_500);
    rig.order(300);
    rig.pass(1_000);
    assert_eq!(rig.live(), Some(mib(512)));
    rig.pass(2_000);
    assert_eq!(rig.live(), Some(mib(300)));
}

#[test]
fn figures_that_mislead_do_so_each_in_its_way() {
    let unused = |behaviour: &str| {
        let mut rig = Rig::with(&format!("cache = \"0B\"\nbehaviour = {behaviour}\n"));
        rig.pass(1_500);
        rig.vm().guest.unused
    };
    assert_eq!(unused("[]"), Some(mib(412)));
    assert_eq!(unused("\"lying\""), Some(ByteCount::ZERO));
    assert_eq!(unused("{ kind = \"lying\", claims = \"all-unused\" }"), Some(mib(512)));
    assert_eq!(unused("{ kind = \"lying\", claims = \"absurd\" }"), Some(ByteCount::MAX));
    assert_eq!(unused("{ kind = \"lying\", claims = \"absent\" }"), None);
    let mut rig = Rig::with("behaviour = { kind = \"lying\", claims = \"garbage\" }\n");
    let garbage = (0..20).map(|_| format!("{:?}", rig.pass(1_000).facts().report.unwrap().figures));
    assert_eq!(garbage.collect::<BTreeSet<_>>().len(), 20, "other figures every time");
    assert_eq!(unused("\"no-driver\""), None);
    let mut frozen = Rig::with("behaviour = \"frozen-stats\"\n");
    let before = frozen.vm();
    frozen.order(300);
    frozen.pass(5_000);
    let after = frozen.vm();
    assert_eq!((before.guest, before.reported), (after.guest, after.reported));
    assert_ne!(before.actual, after.actual);
}

#[test]
fn programs_that_want_ever_more_and_files_that_fill_everything() {
    let leak = Rig::with("behaviour = { kind = \"leaks\", until = \"20s\" }\n");
    assert_eq!(leak.pass(10_000).facts().demand, mib(200));
    assert_eq!(leak.pass(50_000).facts().demand, mib(300));
    let cache = Rig::with("behaviour = \"cache-holder\"\n");
    assert_eq!(cache.pass(10_000).facts().cache, mib(512 - 100 - 48));
    let vfio = Rig::with("behaviour = \"vfio\"\n");
    assert_eq!(vfio.facts().rss, mib(1_024 + 64));
}

#[test]
fn without_swap_the_kernel_kills() {
    let rig = Rig::with("swap = \"0B\"\nbehaviour = { kind = \"leaks\", rate = \"100MiB\" }\n");
    assert_eq!(rig.pass(1_000).facts().oom_kills, 0);
    assert!(rig.pass(9_000).facts().oom_kills > 0);
}

#[test]
fn a_paused_vm_stands_still_and_does_what_it_was_told_when_it_goes_on() {
    let mut rig = Rig::with("behaviour = { kind = \"pauses\", from = \"1s\", until = \"9s\" }\n");
    rig.pass(2_000);
    let before = rig.vm();
    assert_eq!(before.run, RunState::Paused);
    assert_eq!(rig.order(300), Answer::Accepted);
    rig.pass(6_000);
    assert_eq!((rig.live(), rig.vm().reported), (Some(mib(512)), before.reported));
    rig.pass(3_000);
    assert_eq!((rig.live(), rig.vm().run), (Some(mib(300)), RunState::Running));
}

#[test]
fn an_order_to_a_hanging_vm_is_in_doubt_and_taken_late() {
    let mut rig = Rig::with("behaviour = { kind = \"hangs\", from = \"1s\", until = \"9s\" }\n");
    rig.pass(2_000);
    let waited = rig.clock.now();
    assert_eq!(rig.vm().run, RunState::Unresponsive);
    assert_eq!(rig.clock.now() - waited, WAIT / 2, "it takes waiting to find out who hangs");
    assert_eq!(rig.order(300), Answer::InDoubt);
    assert_eq!(rig.clock.now() - waited, WAIT * 3 / 2);
    assert_eq!(rig.order(200), Answer::InDoubt, "not passed on: the first has no answer yet");
    assert_eq!(rig.live(), None);
    rig.pass(10_000);
    assert_eq!(rig.live(), Some(mib(300)));
    assert_eq!(rig.order(200), Answer::Accepted);
}

#[test]
fn what_keeps_a_vm_from_orders_has_a_state_of_its_own_and_orders_wait() {
    for (kind, run, executes) in [
        ("busy", RunState::Busy, true),
        ("saves", RunState::Saving, false),
        ("restores", RunState::Restoring, false),
        ("migrates-out", RunState::MigratingOut, true),
        ("migrates-in", RunState::MigratingIn, false),
    ] {
        let during = "from = \"1s\", until = \"9s\"";
        let mut rig = Rig::with(&format!("behaviour = {{ kind = \"{kind}\", {during} }}\n"));
        rig.pass(2_000);
        let before = rig.vm();
        assert_eq!(before.run, run, "{kind}");
        assert_eq!(rig.order(300), Answer::InDoubt, "{kind}");
        assert_eq!(rig.facts().late, Some(mib(300)), "{kind}");
        rig.pass(4_000);
        assert_eq!(rig.vm().reported != before.reported, executes, "{kind}");
        rig.pass(5_000);
        let after = (rig.live(), rig.vm().run, rig.facts().late);
        assert_eq!(after, (Some(mib(300)), RunState::Running, None), "{kind}");
    }
}

#[test]
fn an_order_gives_up_waiting_for_a_job_and_never_for_a_hanging_vm() {
    let until = "from = \"1s\", until = \"60s\"";
    let mut rig = Rig::with(&format!("behaviour = {{ kind = \"busy\", {until} }}\n"));
    rig.pass(2_000);
    rig.order(300);
    rig.pass(60_000);
    assert_eq!((rig.live(), rig.sim.parked()), (Some(mib(512)), 0));
    let mut rig = Rig::with(&format!("behaviour = {{ kind = \"hangs\", {until} }}\n"));
    rig.pass(2_000);
    rig.order(300);
    assert_eq!(rig.sim.parked(), 0);
    rig.pass(40_000);
    assert_eq!(rig.sim.parked(), 1);
    rig.pass(30_000);
    assert_eq!((rig.live(), rig.sim.parked()), (Some(mib(300)), 0));
}

#[test]
fn a_crashed_vm_starts_anew_and_one_that_shut_down_is_gone() {
    let when = "from = \"1s\", until = \"5s\"";
    let boot = "boot_time = \"1s\"\n";
    let mut rig = Rig::with(&format!("{boot}behaviour = {{ kind = \"crashes\", {when} }}\n"));
    rig.pass(2_000);
    let before = rig.vm();
    assert_eq!((before.run, before.generation), (RunState::Crashed, 0));
    rig.pass(3_100);
    let after = rig.vm();
    assert_eq!((after.run, after.generation, rig.live()), (RunState::Running, 1, Some(mib(1_024))));
    let mut rig = Rig::with(&format!("behaviour = {{ kind = \"shuts-down\", {when} }}\n"));
    rig.pass(2_000);
    assert_eq!(rig.vm().run, RunState::ShuttingDown);
    rig.pass(4_000);
    assert!(rig.reading().vms.is_empty());
}

#[test]
fn a_vm_says_what_it_is_made_of_unless_that_is_hidden() {
    for (kind, obstacle, rss) in [
        ("vfio", Some(Obstacle::Device), 1_024),
        ("hidden-vfio", None, 1_024),
        ("huge-pages", Some(Obstacle::HugePages), 1_024),
        ("locked", Some(Obstacle::Locked), 1_024),
        ("confidential", Some(Obstacle::Confidential), 1_024),
        ("no-balloon", Some(Obstacle::NoBalloon), 512),
    ] {
        let mut rig = Rig::with(&format!("behaviour = \"{kind}\"\n"));
        let traits = rig.vm().traits.unwrap();
        assert_eq!((traits.obstacle, traits.takes_back_on_oom), (obstacle, false), "{kind}");
        let answer = rig.order(300);
        assert_eq!(matches!(answer, Answer::Refused(_)), kind == "no-balloon", "{answer:?}");
        rig.pass(3_000);
        assert_eq!(rig.facts().rss, mib(rss + 64), "{kind}: the host got something back");
    }
}

#[test]
fn a_balloon_that_takes_back_saves_programs() {
    let vm = |own: &str| {
        let leak = "{ kind = \"leaks\", rate = \"100MiB\", until = \"6s\" }";
        Rig::with(&format!("swap = \"0B\"\nbehaviour = [{leak}{own}]\n"))
    };
    assert!(vm("").pass(9_000).facts().oom_kills > 0);
    let mut rig = vm(", \"takes-back\"");
    let facts = rig.pass(9_000).facts();
    assert_eq!(facts.oom_kills, 0);
    assert!(facts.actual > mib(512) && facts.target == mib(512), "{facts:?}");
    assert!(rig.vm().traits.unwrap().takes_back_on_oom);
}

#[test]
fn the_maximum_changes_live_and_stamps_go_back() {
    let change = "{ kind = \"max-changes\", from = \"1s\", until = \"9s\", amount = ";
    let mut rig = Rig::with(&format!("behaviour = {change}\"2GiB\" }}\n"));
    assert!(matches!(rig.order(1_500), Answer::Refused(_)));
    rig.pass(2_000);
    assert_eq!((rig.vm().max, rig.order(1_500)), (mib(2_048), Answer::Accepted));
    rig.pass(10_000);
    assert_eq!((rig.vm().max, rig.live()), (mib(1_500), Some(mib(1_500))), "what is in use stays");
    let mut rig = Rig::with(&format!("behaviour = {change}\"256MiB\" }}\n"));
    rig.pass(2_000);
    assert_eq!(rig.vm().max, mib(512), "not below what it holds");

    let mut rig = Rig::with("behaviour = { kind = \"clock-back\", from = \"5s\" }\n");
    rig.pass(4_000);
    let Reported::At(before) = rig.vm().reported else { panic!("never reported") };
    rig.pass(4_000);
    let Reported::At(after) = rig.vm().reported else { panic!("never reported") };
    assert!(after < before - 3_000, "{before} {after}");
}

#[test]
fn a_vm_of_the_same_name_and_another_uuid_is_a_new_one() {
    let twin =
        VM.replace("00000000-0000-0000-0000-000000000001\"", &format!("{ANEW}\"\nstart = \"6s\""));
    let mut rig = Rig::new(&format!("{HOST}{VM}stop = \"5s\"\n{twin}"));
    let first = rig.vm();
    rig.pass(5_500);
    assert!(rig.reading().vms.is_empty());
    rig.pass(1_000);
    let second = rig.vm();
    assert_eq!(first.name, second.name);
    assert_eq!((second.id.to_string(), second.reported), (ANEW.to_owned(), Reported::Never));
}

#[test]
fn work_on_the_host_waits_for_memory_when_the_scenario_says_so_or_all_is_taken() {
    let spell = "pressure = [{ from = \"1s\", until = \"2s\", some = 40, full = 10 }]\n";
    let hog = "other = [{ at = \"0s\", used = \"1GiB\" }, { at = \"3s\", used = \"1GiB\" }, \
               { at = \"4s\", used = \"8GiB\" }]\n";
    let mut rig = Rig::new(&format!("[host]\ntotal = \"4GiB\"\n{hog}{spell}{VM}"));
    let mut pressure = |millis| {
        rig.pass(millis);
        let pressure = rig.reading().host.pressure.unwrap();
        (pressure.some, pressure.full)
    };
    let percent = |some, full| (Share::percent(some), Share::percent(full));
    assert_eq!(pressure(500), percent(0, 0));
    assert_eq!(pressure(1_000), percent(40, 10));
    assert_eq!(pressure(1_000), percent(0, 0));
    assert_eq!(pressure(2_000), percent(90, 70));
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
fn a_vm_that_refuses_and_one_that_vanishes() {
    let mut rig = Rig::with("behaviour = \"refuses\"\n");
    assert!(matches!(rig.order(300), Answer::Refused(why) if why.contains("refuses orders")));
    let mut rig = Rig::with("behaviour = \"vanishes\"\n");
    rig.pass(9_900);
    let before = rig.reading().host.usable;
    rig.pass(200);
    let after = rig.reading();
    assert_eq!((after.vms.len(), rig.order(300)), (0, Answer::VmGone));
    assert_eq!(after.host.usable, before.saturating_add(mib(512 + 64)));
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
const ANEW: &str = "00000000-0000-0000-0000-000000000002";

const fn mib(count: u32) -> ByteCount {
    ByteCount::mib(count)
}

const HOST: &str = "[host]\ntotal = \"4GiB\"\nother = \"1GiB\"\n";
const VM: &str = "[[vm]]\nname = \"web1\"\nuuid = \"00000000-0000-0000-0000-000000000001\"\n\
                  max = \"1GiB\"\nactual = \"512MiB\"\ndemand = \"100MiB\"\n";
const ID: VmId = VmId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
const WAIT: Duration = Duration::from_millis(100);
