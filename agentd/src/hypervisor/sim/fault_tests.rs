//! What each fault of the simulated world is: that it does what the scenario says, and no more.

use std::collections::BTreeSet;

use agentd_core::{
    bytes::ByteCount,
    sample::{Obstacle, Reported, RunState, Share},
};

use super::test_rig::{HOST, Rig, VM, WAIT, mib};
use crate::{
    clock::Clock,
    hypervisor::{Answer, Hypervisor},
};

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
        let shown = if kind == "huge-pages" { 64 } else { rss + 64 };
        assert_eq!(rig.vm().host_rss, Some(mib(shown)), "{kind}");
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
    assert!(after.second < before.second - 3_000, "{before:?} {after:?}");
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
    let rig = Rig::with("behaviour = { kind = \"lying\", claims = \"garbage\" }\n");
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

const ANEW: &str = "00000000-0000-0000-0000-000000000002";
