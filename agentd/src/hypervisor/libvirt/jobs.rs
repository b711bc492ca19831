//! [`Jobs`]: which VMs libvirt is at a long job on, and which job that is.
//!
//! libvirt's cheap answer, `virDomainGetControlInfo`, shows a job only in the moments when it talks
//! to the VM for it (libvirt 9.0: "ok" all through a save and a migration). Its job statistics
//! always do. They wait for a VM that hangs or is being restored, so only a VM that libvirt could
//! just look at is asked.

use std::collections::{BTreeMap, BTreeSet};

use agentd_core::vm::VmId;

use super::{question::AskError, scatter::Fate, standing::Job};
use crate::hypervisor::turn::Turn;

/// What became of asking one VM for its job; `None` is no job.
pub(super) type AskedJob = Fate<Result<Option<Job>, AskError>>;

/// The jobs that are known.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    vms: BTreeMap<VmId, Job>,
    /// Among those whose job is known or suspected.
    busy: Turn,
    /// Among the others.
    others: Turn,
}

impl Jobs {
    /// Whom to ask: VMs known to be in a job, those of `suspects`, and of the others some in turn.
    /// All of them are among `at_hand`, and no more than a reading has time for.
    pub(super) fn questions(
        &mut self,
        at_hand: &BTreeSet<VmId>,
        suspects: &BTreeSet<VmId>,
    ) -> Vec<VmId> {
        let first = |vm: &VmId| self.vms.contains_key(vm) || suspects.contains(vm);
        let (known, others): (BTreeSet<VmId>, BTreeSet<VmId>) =
            at_hand.iter().copied().partition(first);
        let mut asked = self.busy.take(&known, MOST);
        asked.extend(self.others.take(&others, MOST.saturating_sub(asked.len())));
        asked
    }

    /// Takes in what became of asking. Without an answer what was known stays.
    pub(super) fn learn(&mut self, answers: impl IntoIterator<Item = (VmId, AskedJob)>) {
        for (vm, fate) in answers {
            match fate {
                Fate::Answered(Ok(Some(job))) => drop(self.vms.insert(vm, job)),
                Fate::Answered(Ok(None) | Err(AskError::Gone)) => drop(self.vms.remove(&vm)),
                Fate::Answered(Err(AskError::Failed(words))) => {
                    tracing::debug!("libvirt does not tell what it does with VM {vm}: {words}");
                }
                Fate::Unanswered | Fate::Taken | Fate::NotAsked => {}
            }
        }
    }

    /// The job of a VM, where one is known.
    pub(super) fn of(&self, vm: VmId) -> Option<Job> {
        self.vms.get(&vm).copied()
    }

    /// Forgets all other VMs.
    pub(super) fn forget_all_but(&mut self, vms: &BTreeSet<VmId>) {
        self.vms.retain(|vm, _| vms.contains(vm));
    }
}

/// VMs asked in one reading: less than half a millisecond each, on three connections side by side.
/// An order asks for itself.
const MOST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(number: u8) -> VmId {
        VmId::from_bytes([number; 16])
    }

    fn vms(numbers: std::ops::Range<u8>) -> BTreeSet<VmId> {
        numbers.map(vm).collect()
    }

    #[test]
    fn everyone_is_asked_in_turn_and_the_busy_always() {
        let mut jobs = Jobs::default();
        let (all, nobody) = (vms(0..200), BTreeSet::new());
        jobs.learn([(vm(150), Fate::Answered(Ok(Some(Job::Save))))]);
        let mut asked = BTreeSet::new();
        for _ in 0..4 {
            let now = jobs.questions(&all, &BTreeSet::from([vm(160)]));
            assert_eq!(now.len(), MOST);
            assert_eq!(now[..2], [vm(150), vm(160)]);
            asked.extend(now);
        }
        assert_eq!(asked, all);
        assert_eq!(jobs.questions(&vms(0..3), &nobody).len(), 3);
        assert_eq!(jobs.questions(&nobody, &vms(0..3)), [], "who is not at hand is not asked");
        let many = vms(0..200).into_iter().map(|vm| (vm, Fate::Answered(Ok(Some(Job::Other)))));
        jobs.learn(many);
        assert_eq!(jobs.questions(&all, &nobody).len(), MOST, "there is a bound on the busy too");
    }

    #[test]
    fn a_job_is_known_until_it_is_said_to_be_over() {
        let mut jobs = Jobs::default();
        jobs.learn([(vm(1), Fate::Answered(Ok(Some(Job::MigrationOut))))]);
        let failed = AskError::Failed("busy".to_owned());
        jobs.learn([(vm(1), Fate::Unanswered), (vm(1), Fate::Answered(Err(failed)))]);
        assert_eq!(jobs.of(vm(1)), Some(Job::MigrationOut));
        jobs.learn([(vm(1), Fate::Answered(Ok(None)))]);
        assert_eq!(jobs.of(vm(1)), None);
        jobs.learn([(vm(1), Fate::Answered(Ok(Some(Job::Other))))]);
        jobs.forget_all_but(&BTreeSet::new());
        assert_eq!(jobs.of(vm(1)), None);
    }
}
