//! [`Register`]: what is remembered of VMs from one reading to the next.

use std::collections::{BTreeMap, BTreeSet};

use agentd_core::{
    bytes::ByteCount,
    sample::{RunState, Traits, VmReading},
    vm::VmId,
};

use super::{
    arming::Arming,
    chore::Chore,
    events::Event,
    group::{Group, Places},
    jobs::{AskedJob, Jobs},
    link::{Bulk, Link},
    lives::{Lives, Present},
    prompt::Prompt,
    question::AskError,
    reading::{Asked, Known},
    record::{Completeness, Record},
    residents::Residents,
    scatter::Fate,
    standing::Job,
    traits::traits,
};
use crate::hypervisor::prompts::Prompts;

/// All that is known of VMs.
#[derive(Debug)]
pub(super) struct Register {
    /// The VMs of the last reading.
    pub(super) known: Known,
    jobs: Jobs,
    lives: Lives,
    residents: Residents,
    places: Places,
    arming: Arming,
    prompts: Prompts,
    period: i32,
    makeups: Chore<Makeup>,
    /// What came of it, for each VM as long as it is the same process.
    made: BTreeMap<VmId, Makeup>,
}

/// What a VM is made of.
#[derive(Clone, Debug)]
struct Makeup {
    traits: Traits,
    group: Option<Group>,
}

impl Register {
    /// Nobody is known. VMs are to report every `period` seconds.
    pub(super) fn new(period: i32, places: Places) -> Self {
        Self {
            known: Known::new(),
            jobs: Jobs::default(),
            lives: Lives::default(),
            residents: Residents::new(),
            arming: Arming::new(period),
            prompts: Prompts::default(),
            period,
            makeups: makeups(places.clone()),
            places,
            made: BTreeMap::new(),
        }
    }

    /// Anything may have happened meanwhile: VMs are learned anew, but those that show that they are
    /// the same live on.
    pub(super) fn start_over(&mut self) {
        self.lives.question_all();
        self.arming.restart_all();
        self.makeups.restart_all();
    }

    /// Takes in what happened to VMs.
    pub(super) fn notice(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Started(vm) => {
                    self.lives.end(vm);
                    self.arming.restart(vm);
                    self.makeups.restart(vm);
                }
                Event::Rebuilt(vm) => self.makeups.restart(vm),
                Event::Stopped(vm) => {
                    self.lives.forget(vm);
                    self.known.remove(&vm);
                }
                Event::Actual { vm, kib } => self.note_actual(vm, ByteCount::from_kib(kib)),
            }
        }
    }

    /// Notes what a VM was seen to hold.
    pub(super) fn note_actual(&mut self, vm: VmId, actual: Option<ByteCount>) {
        if let (Some(known), Some(actual)) = (self.known.get_mut(&vm), actual) {
            known.actual = actual;
        }
    }

    /// The VMs that a background call may hang on.
    pub(super) fn pending(&self) -> BTreeSet<VmId> {
        self.arming.pending()
    }

    /// Whom to have report at once, of those that run and were armed, and what that takes.
    pub(super) fn prompts(&mut self, live: &BTreeSet<VmId>) -> Vec<(VmId, Prompt)> {
        let (arming, period) = (&self.arming, self.period);
        let runs = self.known.values().filter(|known| known.run == RunState::Running);
        let armed = runs.map(|known| known.id).filter(|vm| arming.is_armed(*vm));
        let chosen = self.prompts.choose(armed, live);
        let prompt = |vm| {
            let is_live = live.contains(&vm);
            (vm, Prompt { period, is_live, arming: arming.chore() })
        };
        chosen.into_iter().map(prompt).collect()
    }

    /// These were late with it: a VM that is slow, or hangs, is not asked again for a while.
    pub(super) fn spare(&mut self, late: impl Iterator<Item = VmId>) {
        self.prompts.spare(late);
    }

    /// Whom to ask for the job that libvirt is at: only those that it could look at just now.
    pub(super) fn job_questions(
        &mut self,
        bulk: &Bulk,
        asked: &BTreeMap<VmId, Asked>,
        hung: &BTreeSet<VmId>,
    ) -> Vec<(VmId, ())> {
        let silent = |vm: &VmId| {
            let fate = asked.get(vm);
            hung.contains(vm) || fate.is_some_and(|fate| !matches!(fate, Fate::Answered(Ok(_))))
        };
        let records = bulk.records.iter().filter(|record| is_whole(record));
        let records: Vec<&Record> = records.filter(|record| !silent(&record.id)).collect();
        let at_hand = records.iter().map(|record| record.id).collect();
        let idle = records.iter().filter(|one| one.state.run(None, true) != RunState::Running);
        let suspects = idle.map(|record| record.id).collect();
        self.jobs.questions(&at_hand, &suspects).into_iter().map(|vm| (vm, ())).collect()
    }

    /// Takes in what became of asking for jobs.
    pub(super) fn learn_jobs(&mut self, answers: impl IntoIterator<Item = (VmId, AskedJob)>) {
        self.jobs.learn(answers);
    }

    /// The job that libvirt is known to be at.
    pub(super) fn job(&self, vm: VmId) -> Option<Job> {
        self.jobs.of(vm)
    }

    /// Adds to the VMs of a reading what is known of them beside their figures.
    pub(super) fn complete(
        &mut self,
        records: &[Record],
        vms: &mut [VmReading],
        live: &BTreeSet<VmId>,
    ) {
        let starts: BTreeMap<VmId, u32> =
            records.iter().filter_map(|record| Some((record.id, record.start?))).collect();
        for vm in vms.iter_mut() {
            let (start, process) =
                (starts.get(&vm.id).copied(), || self.places.process_of(&vm.name));
            let present = self.lives.of(vm.id, start, process, &vm.guest);
            vm.generation = present.generation;
            vm.traits = self.makeup(vm.id, present).map(|makeup| makeup.traits);
        }
        let makeups = vms.iter().filter_map(|vm| Some((vm.id, self.made.get(&vm.id)?)));
        let groups = makeups.filter_map(|(vm, makeup)| Some((vm, makeup.group.clone()?)));
        let figures = records.iter().filter_map(|one| Some((one.id, one.figures.host_rss?)));
        let by_libvirt: BTreeMap<VmId, ByteCount> = figures.collect();
        self.residents.read(groups.collect(), live, &by_libvirt);
        for vm in vms {
            // Which figure counts is not known before the VM's makeup is.
            vm.host_rss = vm.traits.and_then(|_| {
                let known = || self.known.get(&vm.id)?.host_rss;
                let resident = self.residents.of(vm.id, by_libvirt.get(&vm.id).copied());
                resident.unwrap_or_else(|| vm.host_rss.or_else(known))
            });
        }
    }

    /// What a VM is made of, as far as was found out. While that is looked up again, what was known
    /// counts, as long as it is the same process.
    fn makeup(&mut self, vm: VmId, present: Present) -> Option<&Makeup> {
        if present.is_another_process {
            self.made.remove(&vm);
            self.makeups.restart(vm);
        } else if let Some(makeup) = self.makeups.outcome(vm) {
            let traits = makeup.traits;
            // Where its memory is counted stays: two ways to count are not to be compared.
            self.made.entry(vm).or_insert(makeup).traits = traits;
        }
        self.made.get(&vm)
    }

    /// What is resident of a VM of the last reading, of which libvirt says `by_libvirt` now.
    pub(super) fn resident_now(
        &mut self,
        vm: VmId,
        by_libvirt: Option<ByteCount>,
    ) -> Option<ByteCount> {
        let known = self.known.get(&vm).filter(|known| known.traits.is_some())?;
        self.residents.read_one(vm, by_libvirt).unwrap_or_else(|| by_libvirt.or(known.host_rss))
    }

    /// Keeps what the next reading needs, and has new VMs report and examined.
    pub(super) fn remember(&mut self, vms: &[VmReading], link: Option<&Link>) {
        self.known = vms.iter().map(|vm| (vm.id, vm.clone())).collect();
        let there: BTreeSet<VmId> = self.known.keys().copied().collect();
        self.jobs.forget_all_but(&there);
        self.lives.forget_all_but(&there);
        self.made.retain(|vm, _| there.contains(vm));
        self.makeups.sight(&there);
        if let Some(link) = link {
            link.forget_all_but(&there);
            // First what cannot hang.
            self.makeups.run(link.chores_desk());
            self.arming.run(&there, link.chores_desk());
        }
    }
}

fn is_whole(record: &Record) -> bool {
    record.completeness() == Completeness::Whole
}

/// Finds out what VMs are made of.
fn makeups(places: Places) -> Chore<Makeup> {
    Chore::new("read the XML of", move |wire, vm| {
        let (name, xml) = super::question::definition(wire, vm)?;
        let traits = traits(&xml).map_err(AskError::Failed)?;
        Ok(Makeup { traits, group: places.group_of(&name) })
    })
}
