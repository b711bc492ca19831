//! [`Rig`]: one VM that always wants a little more memory, two that have much to spare, agentd
//! between them, and a gauge that watches all of it. Tests add the fault.

use std::path::Path;
use std::slice;

use agentd_tests::agent::{Agent, Memctl};
use agentd_tests::feed::Feed;
use agentd_tests::lab::{Gauge, Host, Vm, VmSpec};
use agentd_tests::programs::Programs;
use serde_json::Value;

use crate::coordinator::{NAMES, PATIENCE, kills, set_mode};
use crate::open_lab_with_programs;

/// A host at work.
pub(crate) struct Rig {
    // In the order in which they end: nothing of the rest waits for a host that is gone.
    pub(crate) host: Host,
    pub(crate) agent: Agent,
    pub(crate) feed: Feed,
    pub(crate) gauge: Gauge,
    pub(crate) vms: Vec<Vm>,
    pub(crate) programs: Programs,
    pub(crate) config: String,
    /// What the VMs may hold together: little more than when all begins.
    pub(crate) pool_kib: u64,
    /// What no VM may be left with less than.
    pub(crate) floor_kib: u64,
    policy: Vec<String>,
    needs: usize,
    starts: usize,
}

/// What a test changes of it.
pub(crate) struct Setup {
    /// vm1 wants memory, the others have some.
    pub(crate) vms: [VmSpec; 3],
    /// What vm1 holds at first, in MiB.
    pub(crate) first_mib: u64,
    /// What the others hold at first, in MiB.
    pub(crate) others_mib: [u64; 2],
    /// Time from tick to tick.
    pub(crate) interval: &'static str,
    /// What no VM may be left with less than.
    pub(crate) floor_kib: u64,
    /// Where agentd keeps its state.
    pub(crate) state: &'static str,
    /// The size of a file system for the state's folder and what is beside it; none of its own
    /// without.
    pub(crate) disk_kib: Option<u64>,
    /// Changes of the policy, on top of the rig's.
    pub(crate) policy: Vec<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            vms: [
                VmSpec::new("vm1", 1024).actual_mib(256).small_pages(),
                VmSpec::new("vm2", 512).small_pages(),
                VmSpec::new("vm3", 512).small_pages(),
            ],
            first_mib: 256,
            others_mib: [512, 512],
            interval: "1s",
            floor_kib: FLOOR_KIB,
            state: STATE,
            disk_kib: None,
            policy: Vec::new(),
        }
    }
}

impl Rig {
    /// As most tests want it; nothing where this machine has no lab.
    pub(crate) fn open(test: &str) -> Option<Self> {
        Self::open_as(test, Setup::default())
    }

    /// With something changed.
    pub(crate) fn open_as(test: &str, setup: Setup) -> Option<Self> {
        let (lab, programs) = open_lab_with_programs(test)?;
        let host = lab.host("node1").unwrap();
        if let Some(kib) = setup.disk_kib {
            // Below it is the state.
            let folder = Path::new(setup.state).parent().unwrap().display();
            let script = format!("mkdir {folder} && mount -t tmpfs -o size={kib}k tmpfs {folder}");
            assert!(host.command("sh").args(["-c", &script]).status().unwrap().success());
        }
        let vms = host.boot(setup.vms.clone()).unwrap();
        vms[0].wait_actual(setup.first_mib, PATIENCE).unwrap();
        let config = config(setup.interval, setup.state);
        let agent = Agent::start_with(&programs, &host, &config, &[]).unwrap();
        let feed = Feed::start(agent.memctl(), "feed").unwrap();
        let gauge = host.gauge(&NAMES).unwrap();
        let held_mib = setup.first_mib + setup.others_mib.iter().sum::<u64>();
        let pool_kib = (held_mib + SLACK_MIB) * 1024;
        let (floor_kib, policy) = (setup.floor_kib, setup.policy);
        let rig = Self {
            host,
            agent,
            feed,
            gauge,
            vms,
            programs,
            config,
            pool_kib,
            floor_kib,
            policy,
            needs: 0,
            starts: 0,
        };
        rig.set_policy();
        set_mode(rig.memctl(), "active");
        Some(rig)
    }

    /// Sets the policy of the test, as it was set first.
    pub(crate) fn set_policy(&self) {
        let change = [
            format!("pool-limit={}KiB", self.pool_kib),
            format!("floor={}KiB", self.floor_kib),
            format!("host-reserve={RESERVE_KIB}KiB"),
            "two-pointer.need-below=320MiB".to_owned(),
            "two-pointer.step=2MiB".to_owned(),
        ];
        // What comes later counts.
        let keys = |value: &String| value.split('=').next().unwrap_or_default().to_owned();
        let own: Vec<String> = self.policy.iter().map(keys).collect();
        let general = change.iter().filter(|value| !own.contains(&keys(value)));
        let mut args = vec!["policy", "set"];
        args.extend(general.chain(&self.policy).map(String::as_str));
        self.memctl().done(&args).unwrap();
    }

    /// The host gives nothing from here on: the VMs may hold together what they held in this tick.
    pub(crate) fn close_pool(&self, tick: &Value) {
        let held = &tick["pool"]["actual_bytes"];
        self.memctl().done(&["policy", "set", &format!("pool-limit={held}B")]).unwrap();
    }

    pub(crate) fn memctl(&self) -> &Memctl {
        self.agent.memctl()
    }

    /// Has vm1 use more and more for the next ticks: it is due an order in each of them. It has all
    /// of that unused, and is left with it: it runs out of memory only if agentd takes what it must
    /// not.
    pub(crate) fn need(&mut self) {
        if self.needs > 0 {
            self.vms[0].release(&format!("need{}", self.needs)).unwrap();
        }
        self.needs += 1;
        // What it was given in earlier rounds is put to use, or it would have no need any more.
        let unused_mib = self.vms[0].meminfo_kib().unwrap()["MemFree"] / 1024;
        if let Some(more) = unused_mib.checked_sub(ENOUGH_MIB) {
            let used = self.vms[0].hold(&format!("used{}", self.needs), more + LEAST_USED_MIB, 0);
            self.vms[0].finish(used.unwrap(), PATIENCE).unwrap();
        }
        self.vms[0].hold(&format!("need{}", self.needs), NEED_MIB, NEED_MIB_PER_S).unwrap();
    }

    /// Waits until memory goes to vm1, and gives the tick that did it.
    pub(crate) fn until_fed(&mut self) -> Value {
        self.ticks_until_fed(0).pop().unwrap()
    }

    /// So many ticks, and more until one of all of them gives vm1 memory. On a busy machine all that it was
    /// to need may be in use before that is seen: then it comes to need some again.
    pub(crate) fn ticks_until_fed(&mut self, least: usize) -> Vec<Value> {
        let mut ticks = self.feed.ticks(least).unwrap();
        let is_fed = |ticks: &[Value]| ticks.iter().any(|tick| grows(tick, "vm1"));
        for _ in 0..MOST_NEEDS {
            let most = ticks.len() + START_TICKS;
            while !is_fed(&ticks) && ticks.len() < most {
                ticks.push(self.feed.tick().unwrap());
            }
            if is_fed(&ticks) {
                return ticks;
            }
            self.need();
        }
        panic!("no order for vm1: {}", brief(&ticks));
    }

    /// Ends agentd by SIGKILL.
    pub(crate) fn kill_agentd(&mut self) {
        self.agent.process().signal("KILL").unwrap();
        self.agent.process().wait(PATIENCE).unwrap();
    }

    /// Starts agentd as it was started first, with a new feed: one that finds its agentd gone again
    /// and again waits ever longer.
    pub(crate) fn start_agentd(&mut self) {
        self.no_order_is_below_the_floor();
        self.agent = Agent::start_with(&self.programs, &self.host, &self.config, &[]).unwrap();
        self.starts += 1;
        self.feed = Feed::start(self.agent.memctl(), &format!("feed{}", self.starts)).unwrap();
    }

    /// The fault is over: within three ticks one reads the hypervisor and decides, and memory for vm1 is
    /// ordered as soon as its use is seen to grow, which takes some of its reports. The ticks from that
    /// first one on.
    pub(crate) fn control_returns(&mut self) -> Vec<Value> {
        self.feed.skip().unwrap();
        let first = vec![self.decides_again()];
        if grows(&first[0], "vm1") { first } else { [first, self.ticks_until_fed(0)].concat() }
    }

    /// The fault is over: within three ticks one reads the hypervisor and decides.
    pub(crate) fn decides_again(&mut self) -> Value {
        let reads = |tick: &Value| tick["error"] == "" && tick["mode"] == "active";
        let mut ticks = self.feed.until("a reading", RETURN_TICKS, reads).unwrap();
        let first = ticks.pop().unwrap();
        let told = || brief(slice::from_ref(&first));
        assert!(!first["pool"].is_null(), "it reads and decides nothing: {}", told());
        first
    }

    /// What holds whatever happens: nobody ran out of memory, nobody is below its floor, and all
    /// together hold no more than the pool.
    pub(crate) fn held(&self) {
        let consoles = || {
            let all = self.vms.iter().filter(|vm| kills(slice::from_ref(vm)) != [0]);
            all.map(|vm| vm.console().unwrap()).collect::<String>()
        };
        let killed = kills(&self.vms);
        assert_eq!(killed, vec![0; killed.len()], "a VM ran out of memory: {}", consoles());
        self.gauge_held(self.pool_kib);
    }

    /// The same of what was gauged, where the VMs may hold more.
    pub(crate) fn gauge_held(&self, pool_kib: u64) {
        self.no_order_is_below_the_floor();
        let samples = self.gauge.samples();
        assert!(!samples.is_empty(), "nothing was gauged");
        for sample in &samples {
            let low: Vec<_> = sample.iter().filter(|(_, kib)| **kib < self.floor_kib).collect();
            assert!(low.is_empty(), "below the floor: {low:?}");
        }
        let largest = self.gauge.largest_sum_kib();
        assert!(largest <= pool_kib, "{largest} KiB of {pool_kib} KiB");
        let left = self.gauge.least_available_kib().unwrap();
        assert!(left > RESERVE_KIB, "the host had {left} KiB left");
    }

    /// A gauge looks now and then; this is every order that this agentd told of.
    fn no_order_is_below_the_floor(&self) {
        let ticks = self.feed.told().unwrap();
        let all = ticks.iter().flat_map(|tick| tick["resizes"].as_array()).flatten();
        let shrinks = all.filter(|own| own["ordered_bytes"].as_u64() < own["from_bytes"].as_u64());
        let targets = shrinks.filter_map(|own| own["ordered_bytes"].as_u64());
        let least = targets.min().unwrap_or(u64::MAX);
        assert!(least >= self.floor_kib * 1024, "{least} B were ordered, below the floor");
    }

    /// The state of a VM as `memctl vms` tells it, and the reason of its verdict.
    pub(crate) fn state(&self, vm: &str) -> (String, String) {
        let vms = self.memctl().items(&["vms"]).unwrap();
        let own = vms.iter().map(|item| &item["vm"]).find(|known| known["name"] == vm);
        own.map(state_and_reason).unwrap_or_default()
    }

    /// The reasons of all conditions that `memctl status` lists.
    pub(crate) fn conditions(&self) -> Vec<String> {
        let status = self.status();
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().map(|condition| text(&condition["reason"])).collect()
    }

    pub(crate) fn status(&self) -> Value {
        self.memctl().items(&["status"]).unwrap()[0]["status"].clone()
    }
}

/// The config of an agentd with ticks at this interval. A libvirtd that answers is not taken for one that
/// hangs because the machine is busy.
pub(crate) fn config(interval: &str, state: &str) -> String {
    format!(
        "mode = \"observe\"\n[tick]\ninterval = \"{interval}\"\ncall_timeout = \"2s\"\n\
         [state]\ndir = \"{state}\"\n"
    )
}

/// The VM in a tick; null where it is not there.
pub(crate) fn vm_in<'a>(tick: &'a Value, name: &str) -> &'a Value {
    let mut vms = tick["vms"].as_array().into_iter().flatten();
    vms.find(|vm| vm["name"] == name).unwrap_or(&Value::Null)
}

/// Its state and the reason of its verdict.
pub(crate) fn state_and_reason(vm: &Value) -> (String, String) {
    (text(&vm["state"]), text(&vm["verdict"]["reason"]))
}

/// Orders that went out to the hypervisor, whatever it answered.
pub(crate) fn orders<'a>(tick: &'a Value, name: &str) -> Vec<&'a Value> {
    let resizes = tick["resizes"].as_array().into_iter().flatten();
    let own = resizes.filter(|resize| resize["vm"]["name"] == name);
    own.filter(|resize| !resize["ordered_bytes"].is_null()).collect()
}

/// Whether a tick gave a VM memory.
pub(crate) fn grows(tick: &Value, name: &str) -> bool {
    orders(tick, name).into_iter().any(|resize| {
        resize["outcome"] == "accepted"
            && resize["ordered_bytes"].as_u64() > resize["from_bytes"].as_u64()
    })
}

/// Ticks in short, for a failure.
pub(crate) fn brief(ticks: &[Value]) -> String {
    let one = |tick: &Value| {
        let vms = tick["vms"].as_array().into_iter().flatten();
        let vms: Vec<String> = vms
            .map(|vm| {
                let (state, reason) = state_and_reason(vm);
                format!("{} {state} {reason} {}", text(&vm["name"]), vm["memory"])
            })
            .collect();
        format!(
            "\ntick {} {} pool {} resizes {} vms {vms:#?}",
            tick["tick"], tick["error"], tick["pool"], tick["resizes"]
        )
    };
    ticks.iter().map(one).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Above what the idle VMs use, so that it is what bounds their gifts.
pub(crate) const FLOOR_KIB: u64 = 176 * 1024;
/// Where agentd keeps its state, unless the test says otherwise.
pub(crate) const STATE: &str = "/run/lab/agentd";
/// Of the host.
pub(crate) const RESERVE_KIB: u64 = 16 * 1024;
/// With the reserve, what the host gives when neither vm2 nor vm3 happens to have any to spare.
const SLACK_MIB: u64 = 64;
/// Less than agentd leaves unused in a VM that it takes memory from.
const NEED_MIB: u64 = 80;
/// With more unused than this vm1 is given some use for it, which leaves it [`NEED_MIB`] and more.
const ENOUGH_MIB: u64 = 230;
const LEAST_USED_MIB: u64 = 50;
/// Enough for use to grow from tick to tick, and to last over a fault and what follows.
const NEED_MIB_PER_S: u64 = 2;
/// Until all have reported, proven themselves and been seen to grow.
pub(crate) const START_TICKS: usize = 30;
/// How often vm1 comes to need memory before that it is given none is no accident.
const MOST_NEEDS: usize = 5;
/// One may be under way when a fault is over; the third after it is controlled again.
pub(crate) const RETURN_TICKS: usize = 1 + 3;
