//! [`Residents`]: what is resident of VMs that have a control group of their own.
//!
//! For a VM without a group libvirt's figure counts, that of its process. Which of both it is stays
//! for the whole life of a VM: they differ in what they count.
//!
//! The kernel adds a group's figures up when they are asked for, so beyond a bound not all are read
//! at once: VMs whose memory moves are, and others in turn. What is told of the others is older than
//! the host's usable memory, and errs to one side:
//!
//! - Too much is not safe. What a VM may still take is its exposure less what is resident of it.
//!   Memory that it has let go of since, by reporting free pages or to a swap, is usable on the host
//!   by now, and would count as taken as well: it would be promised twice. And a giver would seem to
//!   have delivered by its order what was gone before.
//! - Too little is safe. Memory that it has taken since is no longer usable, and counts as still to
//!   be taken as well: less is granted until its turn comes. That a balloon freed nothing is seen of
//!   VMs with an order, and those are always read.
//! - None is not safe either: it says that the host shows nothing against a VM, and as long as it is
//!   so of one the host's own use cannot be told.
//!
//! So an older figure is told less what the process has lost since, which libvirt says of this
//! moment, and not more where that grew. A VM of which libvirt does not say it is read at once.

use std::collections::{BTreeMap, BTreeSet};

use agentd_core::{bytes::ByteCount, vm::VmId};

use super::group::{Group, Untold};
use crate::hypervisor::turn::Turn;

/// What was last read.
#[derive(Debug)]
pub(super) struct Residents {
    vms: BTreeMap<VmId, Resident>,
    turn: Turn,
    /// How many are read at a time, besides those that are read at once.
    in_turn: usize,
}

#[derive(Debug)]
struct Resident {
    group: Group,
    /// `None` when it was never read, or never can be again.
    last: Option<Look>,
}

#[derive(Clone, Copy, Debug)]
struct Look {
    resident: ByteCount,
    /// libvirt's figure of the same moment.
    by_libvirt: Option<ByteCount>,
}

impl Residents {
    /// Nothing was read yet.
    pub(super) fn new() -> Self {
        Self { vms: BTreeMap::new(), turn: Turn::default(), in_turn: IN_TURN }
    }

    /// Reads the `groups` of VMs in `live`, of those of which nothing is known, and of others in
    /// turn. `by_libvirt` is what libvirt says of their processes now.
    pub(super) fn read(
        &mut self,
        groups: BTreeMap<VmId, Group>,
        live: &BTreeSet<VmId>,
        by_libvirt: &BTreeMap<VmId, ByteCount>,
    ) {
        self.vms.retain(|vm, resident| groups.get(vm) == Some(&resident.group));
        for (vm, group) in groups {
            self.vms.entry(vm).or_insert(Resident { group, last: None });
        }
        let at_once = |(vm, resident): &(&VmId, &Resident)| {
            let is_known = resident.last.is_some_and(|last| last.by_libvirt.is_some());
            live.contains(vm) || !is_known || !by_libvirt.contains_key(vm)
        };
        let (at_once, others): (Vec<_>, Vec<_>) = self.vms.iter().partition(at_once);
        let others = others.into_iter().map(|(vm, _)| *vm).collect();
        let mut due: Vec<VmId> = at_once.into_iter().map(|(vm, _)| *vm).collect();
        due.extend(self.turn.take(&others, self.in_turn));
        for vm in due {
            self.read_one(vm, by_libvirt.get(&vm).copied());
        }
    }

    /// Reads one VM now, when it has a group: `Some(None)` says that the group is gone.
    pub(super) fn read_one(
        &mut self,
        vm: VmId,
        by_libvirt: Option<ByteCount>,
    ) -> Option<Option<ByteCount>> {
        let resident = self.vms.get_mut(&vm)?;
        resident.read(by_libvirt);
        Some(resident.by_now(by_libvirt))
    }

    /// What is resident of a VM, when it has a group, of which libvirt says `by_libvirt` now.
    pub(super) fn of(&self, vm: VmId, by_libvirt: Option<ByteCount>) -> Option<Option<ByteCount>> {
        self.vms.get(&vm).map(|resident| resident.by_now(by_libvirt))
    }
}

impl Resident {
    /// What cannot be read this time is as it was: without a figure a VM that gives would count as
    /// one whose memory has arrived.
    fn read(&mut self, by_libvirt: Option<ByteCount>) {
        match self.group.resident() {
            Ok(resident) => self.last = Some(Look { resident, by_libvirt }),
            Err(Untold::Gone) => self.last = None,
            Err(Untold::Now) => {}
        }
    }

    /// What was last read, less what the process has lost since.
    fn by_now(&self, by_libvirt: Option<ByteCount>) -> Option<ByteCount> {
        let last = self.last?;
        let lost = last.by_libvirt.zip(by_libvirt).map(|(then, now)| then.saturating_sub(now));
        Some(last.resident.saturating_sub(lost.unwrap_or_default()))
    }
}

/// Some 30 µs each.
const IN_TURN: usize = 1024;

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::hypervisor::libvirt::group::Places;

    const LIVE: VmId = VmId::from_bytes([0xff; 16]);

    fn vm(number: u8) -> VmId {
        VmId::from_bytes([number; 16])
    }

    /// Few enough to be all written in a moment.
    fn residents() -> Residents {
        Residents { in_turn: 4, ..Residents::new() }
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

    const VMS: u8 = 6;

    /// Groups that show so much for each VM.
    fn groups(folder: &Path, mib: u64) -> BTreeMap<VmId, Group> {
        let others = (0..VMS).map(|n| (vm(n), group(folder, &format!("vm{n}"), mib)));
        others.chain([(LIVE, group(folder, "live", mib))]).collect()
    }

    /// libvirt says so much of each.
    fn said(mib: u32) -> BTreeMap<VmId, ByteCount> {
        (0..VMS).map(vm).chain([LIVE]).map(|vm| (vm, ByteCount::mib(mib))).collect()
    }

    #[test]
    fn the_live_are_read_always_and_the_others_in_turn() {
        let folder = tempfile::tempdir().expect("a folder");
        let live = BTreeSet::from([LIVE]);
        let told = |residents: &Residents, vm, libvirt| {
            residents.of(vm, Some(ByteCount::mib(libvirt))).flatten().map(ByteCount::mib_floor)
        };
        let mut residents = residents();
        residents.read(groups(folder.path(), 10), &live, &said(20));
        let first = |n| told(&residents, vm(n), 20) == Some(10);
        assert!((0..VMS).all(first), "the first time all are read");

        // All have grown, and some are not read: too little is told of those.
        let grown = groups(folder.path(), 12);
        residents.read(grown.clone(), &live, &said(22));
        assert_eq!(told(&residents, LIVE, 22), Some(12));
        let new = |residents: &Residents| {
            (0..VMS).filter(|n| told(residents, vm(*n), 22) == Some(12)).count()
        };
        assert_eq!(new(&residents), 4);
        residents.read(grown, &live, &said(22));
        assert_eq!(new(&residents), 6);
    }

    #[test]
    fn no_more_is_told_of_a_vm_than_it_has_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let nobody = BTreeSet::new();
        let mut residents = residents();
        residents.read(groups(folder.path(), 10), &nobody, &said(20));
        // All have let go of 6 MiB, and not all are read.
        let shrunk = groups(folder.path(), 4);
        residents.read(shrunk.clone(), &nobody, &said(14));
        let told = |residents: &Residents, by_libvirt: &BTreeMap<VmId, ByteCount>| {
            let of = |vm| residents.of(vm, by_libvirt.get(&vm).copied()).flatten();
            (0..VMS).filter(|n| of(vm(*n)) == Some(ByteCount::mib(4))).count()
        };
        assert_eq!(told(&residents, &said(14)), 6);
        // Where libvirt does not say what is left, it is read.
        residents.read(groups(folder.path(), 10), &nobody, &BTreeMap::new());
        let silence = BTreeMap::new();
        residents.read(groups(folder.path(), 4), &nobody, &silence);
        assert_eq!(told(&residents, &silence), 6);
    }

    #[test]
    fn what_cannot_be_read_this_time_is_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut residents = residents();
        let groups = BTreeMap::from([(LIVE, group(folder.path(), "vm1", 1))]);
        residents.read(groups.clone(), &BTreeSet::new(), &BTreeMap::new());
        write(&folder.path().join("machine-qemu-vm1.scope/memory.stat"), "");
        residents.read(groups, &BTreeSet::from([LIVE]), &BTreeMap::new());
        let known = Some(Some(ByteCount::mib(1)));
        assert_eq!((residents.of(LIVE, None), residents.read_one(LIVE, None)), (known, known));
    }

    #[test]
    fn a_group_that_is_gone_tells_nothing_and_another_one_is_read_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut residents = residents();
        let first = group(folder.path(), "first", 1);
        residents.read(BTreeMap::from([(LIVE, first)]), &BTreeSet::new(), &BTreeMap::new());
        assert_eq!(residents.read_one(LIVE, None), Some(Some(ByteCount::mib(1))));
        fs::remove_dir_all(folder.path().join("machine-qemu-first.scope")).expect("it is there");
        // libvirt's figure is no stand-in: it counts something else.
        assert_eq!(residents.read_one(LIVE, None), Some(None));
        let second = group(folder.path(), "second", 3);
        residents.read(BTreeMap::from([(LIVE, second)]), &BTreeSet::new(), &BTreeMap::new());
        assert_eq!(residents.of(LIVE, None), Some(Some(ByteCount::mib(3))));
        residents.read(BTreeMap::new(), &BTreeSet::new(), &BTreeMap::new());
        assert_eq!((residents.of(LIVE, None), residents.read_one(LIVE, None)), (None, None));
    }
}
