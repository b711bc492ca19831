use std::process::Command;

use agentd_tests::lab::{Process, clock};
use serde_json::Value;

use crate::coordinator::{PATIENCE, kills};
use crate::faults_rig::{Rig, Setup, brief, grows, vm_in};

/// A process on the host takes a third of its memory within seconds, and the host falls below its
/// reserve: from that reading on it gives nothing. When the process goes, it gives again.
#[test]
fn a_memory_hog_on_the_host_stops_growth_until_it_goes() {
    // Nobody but the host has anything to give.
    let policy = ["vm.vm2.min=512MiB", "vm.vm3.min=512MiB", "pool-limit=unset"];
    let setup = Setup { policy: policy.map(str::to_owned).to_vec(), ..Setup::default() };
    let Some(mut rig) = Rig::open_as("a_memory_hog_on_the_host", setup) else { return };
    let usable_kib = rig.host.available_kib().unwrap();
    let reserve_kib = usable_kib * RESERVE_PERCENT / 100;
    rig.memctl().done(&["policy", "set", &format!("host-reserve={reserve_kib}KiB")]).unwrap();
    gives(&mut rig);

    let hog = Hog::take(&rig, reserve_kib);
    rig.need();
    rig.feed.skip().unwrap();
    // It may have been under way when the host was not short yet.
    let before = rig.feed.tick().unwrap();
    let ticks = rig.feed.ticks(8).unwrap();
    // Others use this machine too: what counts is what the tick itself read.
    let is_short =
        |tick: &&Value| tick["memory"]["usable_bytes"].as_u64() <= Some(reserve_kib * 1024);
    let short: Vec<&Value> = ticks.iter().filter(is_short).collect();
    assert!(short.len() > 4, "the host was never short: {}", brief(&ticks));
    assert!(rig.conditions().contains(&"HOST_LOW".to_owned()), "{}", rig.status());
    for tick in short {
        assert!(!grows(tick, "vm1"), "the host gave what it does not have: {tick}");
        assert_ne!(vm_in(tick, "vm1")["verdict"]["kind"], "grow", "{tick}");
    }
    let told = ticks.iter().filter(|tick| !is_short(tick)).chain([&before]);
    let told = told.filter_map(|tick| vm_in(tick, "vm1")["memory"]["target_bytes"].as_u64()).max();
    assert!(Some(rig.vms[0].actual_kib().unwrap() * 1024) <= told, "vm1 grew beyond {told:?} B");
    hog.go();

    rig.feed.skip().unwrap();
    rig.decides_again();
    gives(&mut rig);
    assert_eq!(kills(&rig.vms), [0, 0, 0], "nobody ran out of memory");
    rig.gauge_held(u64::MAX);
}

/// Waits until the host gives. What other tests take meanwhile may keep it from that for a while, and
/// need does not last for ever.
fn gives(rig: &mut Rig) {
    let given = (0..TRIES).any(|_| {
        rig.need();
        rig.feed.until("the host to give", NEED_TICKS, |tick| grows(tick, "vm1")).is_ok()
    });
    assert!(given, "the host gives nothing: {}", rig.status());
}

/// A process that holds so much memory of the host that less than the reserve is left.
struct Hog {
    process: Process,
}

impl Hog {
    fn take(rig: &Rig, reserve_kib: u64) -> Self {
        let mib = rig.host.available_kib().unwrap().saturating_sub(reserve_kib) / 1024
            + reserve_kib * OVER_PERCENT / 100 / 1024;
        // Descriptor 3 keeps the pipe open: tail, which keeps what it reads, waits for more.
        let script = format!(
            "mkfifo {PIPE} && {{ head -c {mib}M /dev/zero >{PIPE} & }} \
             && exec tail -c {mib}M 3<>{PIPE} <{PIPE}"
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        let process = rig.host.start("hog", &command).unwrap();
        clock::wait_until("the host to be short", PATIENCE, || {
            Ok(rig.host.available_kib()? < reserve_kib)
        })
        .unwrap();
        Self { process }
    }

    fn go(self) {
        drop(self.process);
    }
}

const PIPE: &str = "/run/lab/hog";
/// Of what is usable at first. agentd calls the host well again when a quarter more than the reserve
/// is usable, so that this is 90 %: what other tests take meanwhile is less than the rest.
const RESERVE_PERCENT: u64 = 72;
/// How far below its reserve the hog takes the host: what others give back meanwhile is less.
const OVER_PERCENT: u64 = 8;
const TRIES: usize = 6;
const NEED_TICKS: usize = 40;
