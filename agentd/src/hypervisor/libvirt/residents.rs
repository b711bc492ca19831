//! [`Residents`]: what is resident of VMs that have a control group of their own.
//!
//! The kernel adds a group's figures up when they are asked for, so not all are in one reading: VMs
//! whose memory moves are, and others in turn. For a VM without a group libvirt's figure counts.
//! Which of both it is stays for the whole life of a VM: they differ in what they count.

use std::collections::{BTreeMap, BTreeSet};

use agentd_core::{bytes::ByteCount, vm::VmId};

use super::{
    group::{Group, Untold},
    turn::Turn,
};

/// What was last read.
#[derive(Debug, Default)]
pub(super) struct Residents {
    vms: BTreeMap<VmId, Resident>,
    turn: Turn,
}

#[derive(Debug)]
struct Resident {
    group: Group,
    /// `None` when it was never read, or never can be again.
    last: Option<ByteCount>,
}

impl Residents {
    /// Reads the `groups` of VMs in `live`, of those never read before, and of others in turn.
    pub(super) fn read(&mut self, groups: BTreeMap<VmId, Group>, live: &BTreeSet<VmId>) {
        self.vms.retain(|vm, resident| groups.get(vm) == Some(&resident.group));
        for (vm, group) in groups {
            self.vms.entry(vm).or_insert(Resident { group, last: None });
        }
        let now = |vm: &VmId| live.contains(vm) || self.of(*vm).flatten().is_none();
        let (now, others): (BTreeSet<VmId>, BTreeSet<VmId>) =
            self.vms.keys().copied().partition(now);
        let others = self.turn.take(&others, IN_TURN);
        for vm in now.into_iter().chain(others) {
            self.read_one(vm);
        }
    }

    /// Reads one VM now, when it has a group: `Some(None)` says that the group is gone.
    pub(super) fn read_one(&mut self, vm: VmId) -> Option<Option<ByteCount>> {
        let resident = self.vms.get_mut(&vm)?;
        resident.read();
        Some(resident.last)
    }

    /// What was last read of a VM, when it has a group.
    pub(super) fn of(&self, vm: VmId) -> Option<Option<ByteCount>> {
        self.vms.get(&vm).map(|resident| resident.last)
    }
}

impl Resident {
    /// What cannot be read this time is as it was: without a figure a VM that gives would count as
    /// one whose memory has arrived.
    fn read(&mut self) {
        match self.group.resident() {
            Ok(resident) => self.last = Some(resident),
            Err(Untold::Gone) => self.last = None,
            Err(Untold::Now) => {}
        }
    }
}

/// Besides those that are read at once: some 30 µs each.
const IN_TURN: usize = 64;

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::hypervisor::libvirt::group::Places;

    const LIVE: VmId = VmId::from_bytes([0xff; 16]);

    fn vm(number: u8) -> VmId {
        VmId::from_bytes([number; 16])
    }

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    /// Sets what is resident of the VM called `name`, and gives its group.
    fn group(folder: &Path, name: &str, mib: u64) -> Group {
        let scope = format!("machine-qemu-{name}.scope");
        write(&folder.join("cgroup.controllers"), "memory");
        write(&folder.join(&scope).join("memory.stat"), &format!("anon {}\nshmem 0\n", mib << 20));
        write(&folder.join(format!("{name}.pid")), "7");
        write(&folder.join("7/cgroup"), &format!("0::/{scope}\n"));
        let at = || folder.to_owned();
        let places = Places { groups: at(), processes: at(), pids: at() };
        places.group_of(name).expect("it has a group of its own")
    }

    #[test]
    fn the_live_are_read_always_and_the_others_in_turn() {
        let folder = tempfile::tempdir().expect("a folder");
        let named = |number: u8| format!("vm{number}");
        let set = |mib| {
            let others = (0..100).map(|n| (vm(n), group(folder.path(), &named(n), mib)));
            let live = (LIVE, group(folder.path(), "live", mib));
            others.chain([live]).collect::<BTreeMap<_, _>>()
        };
        let live = BTreeSet::from([LIVE]);
        let mut residents = Residents::default();
        residents.read(set(1), &live);
        let (one, two) = (Some(Some(ByteCount::mib(1))), Some(Some(ByteCount::mib(2))));
        assert!((0..100).all(|n| residents.of(vm(n)) == one), "the first time all are read");
        let groups = set(2);
        residents.read(groups.clone(), &live);
        assert_eq!(residents.of(LIVE), two);
        assert_eq!((0..100).filter(|n| residents.of(vm(*n)) == two).count(), IN_TURN);
        residents.read(groups, &live);
        assert!((0..100).all(|n| residents.of(vm(n)) == two));
    }

    #[test]
    fn what_cannot_be_read_this_time_is_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut residents = Residents::default();
        let groups = BTreeMap::from([(LIVE, group(folder.path(), "vm1", 1))]);
        residents.read(groups.clone(), &BTreeSet::new());
        write(&folder.path().join("machine-qemu-vm1.scope/memory.stat"), "");
        residents.read(groups, &BTreeSet::from([LIVE]));
        let known = Some(Some(ByteCount::mib(1)));
        assert_eq!((residents.of(LIVE), residents.read_one(LIVE)), (known, known));
    }

    #[test]
    fn a_group_that_is_gone_tells_nothing_and_another_one_is_read_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut residents = Residents::default();
        let first = group(folder.path(), "first", 1);
        residents.read(BTreeMap::from([(LIVE, first)]), &BTreeSet::new());
        assert_eq!(residents.read_one(LIVE), Some(Some(ByteCount::mib(1))));
        fs::remove_dir_all(folder.path().join("machine-qemu-first.scope")).expect("it is there");
        // libvirt's figure is no stand-in: it counts something else.
        assert_eq!(residents.read_one(LIVE), Some(None));
        let second = group(folder.path(), "second", 3);
        residents.read(BTreeMap::from([(LIVE, second)]), &BTreeSet::new());
        assert_eq!(residents.of(LIVE), Some(Some(ByteCount::mib(3))));
        residents.read(BTreeMap::new(), &BTreeSet::new());
        assert_eq!((residents.of(LIVE), residents.read_one(LIVE)), (None, None));
    }
}
