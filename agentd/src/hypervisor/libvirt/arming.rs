//! Has every VM's balloon driver report: without a statistics period its figures stay those of its
//! boot, and each start loses the period.
//!
//! Runs in the background; no reading waits for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use agentd_core::vm::VmId;

use super::{
    crew::{Wire, lock},
    question::{AskError, arm},
    scatter::Desk,
};

/// Which VMs report, and which are to.
#[derive(Debug)]
pub(super) struct Arming {
    /// Seconds between two reports.
    period: i32,
    vms: Arc<Mutex<BTreeMap<VmId, Stage>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Is to be told.
    Due,
    /// Is being told.
    Asked,
    /// Was told, or cannot be.
    Settled,
}

impl Arming {
    /// Arms VMs to report every `period` seconds.
    pub(super) fn new(period: i32) -> Self {
        Self { period, vms: Arc::default() }
    }

    /// Takes up the VMs that are new, and forgets those that are gone.
    pub(super) fn sight(&self, there: &BTreeSet<VmId>) {
        let mut vms = lock(&self.vms);
        vms.retain(|vm, _| there.contains(vm));
        for vm in there {
            vms.entry(*vm).or_insert(Stage::Due);
        }
    }

    /// Notes that a VM started or rebooted.
    pub(super) fn restart(&self, vm: VmId) {
        lock(&self.vms).insert(vm, Stage::Due);
    }

    /// Starts over with all VMs: on a new connection, or when starts may have been missed.
    pub(super) fn restart_all(&mut self) {
        // Threads that still work for the old ones must not change the new.
        self.vms = Arc::default();
    }

    /// The VMs that are being told: those that were a reading ago hang.
    pub(super) fn pending(&self) -> BTreeSet<VmId> {
        let vms = lock(&self.vms);
        let asked = vms.iter().filter(|(_, stage)| **stage == Stage::Asked);
        asked.map(|(vm, _)| *vm).collect()
    }

    /// Tells the VMs that are due, in the background.
    pub(super) fn run(&self, (crew, keep): Desk<'_>) {
        if lock(&self.vms).values().all(|stage| *stage != Stage::Due) {
            return;
        }
        let (vms, period) = (self.vms.clone(), self.period);
        // Without a free thread they wait for the next turn.
        crew.start(keep, move |wire| {
            while let Some(vm) = next(&vms) {
                arm_one(wire, vm, period, &vms);
            }
        });
    }
}

fn next(vms: &Mutex<BTreeMap<VmId, Stage>>) -> Option<VmId> {
    let mut vms = lock(vms);
    let (vm, stage) = vms.iter_mut().find(|(_, stage)| **stage == Stage::Due)?;
    *stage = Stage::Asked;
    Some(*vm)
}

fn arm_one(wire: &Wire, vm: VmId, period: i32, vms: &Mutex<BTreeMap<VmId, Stage>>) {
    match arm(wire, vm, &period) {
        Ok(None) => {}
        Ok(Some(words)) => tracing::info!("VM {vm} will not report its memory: {words}"),
        Err(AskError::Gone) => {}
        Err(AskError::Failed(words)) => {
            // The next reading takes it up again.
            tracing::debug!("cannot have VM {vm} report its memory yet: {words}");
            lock(vms).remove(&vm);
            return;
        }
    }
    if let Some(stage) = lock(vms).get_mut(&vm).filter(|stage| **stage == Stage::Asked) {
        *stage = Stage::Settled;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::libvirt::{
        crew::Crew,
        ffi::{Connection, start_event_loop},
    };

    fn connect() -> Connection {
        start_event_loop().expect("the event loop");
        Connection::open("test:///default").expect("a connection")
    }

    fn crew() -> Crew {
        Crew::new(vec![connect()]).expect("a thread")
    }

    /// The stage that a VM is in once the crew has nothing to do.
    fn stage(arming: &Arming, crew: &Crew, vm: VmId) -> Option<Stage> {
        while crew.calls() > 0 {
            std::thread::yield_now();
        }
        lock(&arming.vms).get(&vm).copied()
    }

    #[test]
    fn a_vm_is_told_once_and_again_when_it_restarts() {
        let (crew, arming) = (crew(), Arming::new(1));
        let listed = connect().list().expect("a list");
        let vm = listed[0].0;
        arming.sight(&BTreeSet::from([vm]));
        assert_eq!(stage(&arming, &crew, vm), Some(Stage::Due));
        arming.run((&crew, 0));
        assert_eq!(stage(&arming, &crew, vm), Some(Stage::Settled));
        arming.sight(&BTreeSet::from([vm]));
        assert_eq!(stage(&arming, &crew, vm), Some(Stage::Settled));
        arming.restart(vm);
        assert_eq!(stage(&arming, &crew, vm), Some(Stage::Due));
        arming.sight(&BTreeSet::new());
        assert_eq!(stage(&arming, &crew, vm), None);
    }

    #[test]
    fn a_vm_that_is_gone_is_not_told_for_ever() {
        let (crew, arming) = (crew(), Arming::new(1));
        let nobody = VmId::from_bytes([0xfe; 16]);
        arming.sight(&BTreeSet::from([nobody]));
        arming.run((&crew, 0));
        assert_eq!(stage(&arming, &crew, nobody), Some(Stage::Settled));
        assert_eq!(arming.pending(), BTreeSet::new());
    }
}
