//! How a VM stands, from libvirt's state of it, the reason for that, and the job that libvirt is at.
//!
//! Pure. Only some states say all by themselves: a VM that executes may be migrated away, and one
//! that is paused may be saved, and what libvirt is at has to be asked ([`Jobs`](super::jobs)).

use agentd_core::sample::RunState;
use virt_sys as sys;

/// What libvirt said of a VM's state; `None` where it said nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// One of `VIR_DOMAIN_RUNNING` and its like.
    pub(super) state: Option<u64>,
    /// Why; what the numbers mean depends on the state.
    pub(super) reason: Option<u64>,
}

/// A long job of libvirt on one VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// It is saved.
    Save,
    /// It is brought back from a save.
    Restore,
    /// It comes from another host.
    MigrationIn,
    /// It goes to another host.
    MigrationOut,
    /// Its disks are copied. libvirt goes on to take orders meanwhile.
    Backup,
    /// A dump, a snapshot, a start, or what a later libvirt may have.
    Other,
}

impl Job {
    /// The job with libvirt's number of the operation.
    pub(super) fn of(operation: Option<i32>) -> Self {
        match operation.and_then(|operation| u32::try_from(operation).ok()) {
            Some(sys::VIR_DOMAIN_JOB_OPERATION_SAVE) => Self::Save,
            Some(sys::VIR_DOMAIN_JOB_OPERATION_RESTORE) => Self::Restore,
            Some(sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN) => Self::MigrationIn,
            Some(sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT) => Self::MigrationOut,
            Some(sys::VIR_DOMAIN_JOB_OPERATION_BACKUP) => Self::Backup,
            Some(_) | None => Self::Other,
        }
    }

    /// Why an order would have to wait for it; `None` when it would not.
    pub(super) fn obstacle(self) -> Option<&'static str> {
        match self {
            Self::Save => Some("libvirt is saving the VM"),
            Self::Restore => Some("libvirt is restoring the VM"),
            Self::MigrationIn => Some("the VM is being migrated to this host"),
            Self::MigrationOut => Some("the VM is being migrated to another host"),
            Self::Backup => None,
            Self::Other => Some("libvirt is at a dump, a snapshot or another long job on the VM"),
        }
    }

    fn run(self, executes: RunState) -> RunState {
        match self {
            Self::Save => RunState::Saving,
            Self::Restore => RunState::Restoring,
            Self::MigrationIn => RunState::MigratingIn,
            Self::MigrationOut => RunState::MigratingOut,
            Self::Backup => executes,
            Self::Other if executes == RunState::Running => RunState::Busy,
            Self::Other => executes,
        }
    }
}

impl State {
    /// Whether the VM executes, and if not, why. A VM whose state is not known counts as executing:
    /// it may take memory.
    ///
    /// `job` is what libvirt is at, where that is known; `at_hand` says that libvirt could look at
    /// the VM just now.
    pub(super) fn run(self, job: Option<Job>, at_hand: bool) -> RunState {
        let by_itself = match self.state.map(small) {
            None | Some(sys::VIR_DOMAIN_RUNNING | sys::VIR_DOMAIN_BLOCKED) => self.executing(),
            Some(sys::VIR_DOMAIN_PAUSED) => self.paused(at_hand),
            Some(sys::VIR_DOMAIN_SHUTDOWN) => RunState::ShuttingDown,
            Some(sys::VIR_DOMAIN_CRASHED) => RunState::Crashed,
            Some(_) => RunState::Paused,
        };
        match (by_itself, job) {
            (RunState::Running | RunState::Paused, Some(job)) => job.run(by_itself),
            _ => by_itself,
        }
    }

    fn executing(self) -> RunState {
        match self.reason.map(small) {
            // It executes here while its memory still arrives.
            Some(sys::VIR_DOMAIN_RUNNING_POSTCOPY | sys::VIR_DOMAIN_RUNNING_POSTCOPY_FAILED) => {
                RunState::MigratingIn
            }
            _ => RunState::Running,
        }
    }

    fn paused(self, at_hand: bool) -> RunState {
        match self.reason.map(small) {
            Some(sys::VIR_DOMAIN_PAUSED_SAVE) => RunState::Saving,
            // While memory arrives libvirt looks at nothing. A VM that came to be paused, or was
            // restored to be, keeps the reason.
            Some(sys::VIR_DOMAIN_PAUSED_MIGRATION) if !at_hand => RunState::MigratingIn,
            Some(sys::VIR_DOMAIN_PAUSED_POSTCOPY | sys::VIR_DOMAIN_PAUSED_POSTCOPY_FAILED) => {
                RunState::MigratingOut
            }
            // The whole way from a save; every other start passes here in a moment.
            Some(sys::VIR_DOMAIN_PAUSED_STARTING_UP) => RunState::Restoring,
            Some(sys::VIR_DOMAIN_PAUSED_SHUTTING_DOWN) => RunState::ShuttingDown,
            Some(sys::VIR_DOMAIN_PAUSED_CRASHED) => RunState::Crashed,
            _ => RunState::Paused,
        }
    }
}

/// Numbers that no libvirt has become the largest, which has no meaning either.
fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(state: u64, reason: u64, job: Option<Job>, at_hand: bool) -> RunState {
        State { state: Some(state), reason: Some(reason) }.run(job, at_hand)
    }

    #[test]
    fn what_is_not_known_executes() {
        assert_eq!(State::default().run(None, false), RunState::Running);
        assert_eq!([run(1, 1, None, true), run(2, 0, None, true)], [RunState::Running; 2]);
        let odd = [run(0, 0, None, true), run(99, 0, None, true), run(u64::MAX, 7, None, true)];
        assert_eq!(odd, [RunState::Paused; 3]);
    }

    #[test]
    fn paused_says_why() {
        let paused = |reason| run(3, reason, None, true);
        // User, dump, I/O error, watchdog, snapshot, API error, and what nobody knows.
        for reason in [0, 1, 4, 5, 6, 7, 9, 14, 99, u64::MAX] {
            assert_eq!(paused(reason), RunState::Paused, "reason {reason}");
        }
        assert_eq!(paused(3), RunState::Saving);
        assert_eq!(paused(8), RunState::ShuttingDown);
        assert_eq!(paused(10), RunState::Crashed);
        assert_eq!(paused(11), RunState::Restoring);
        assert_eq!(paused(12), RunState::MigratingOut);
        assert_eq!(
            [run(4, 0, None, true), run(6, 1, None, true), run(7, 0, None, true)],
            [RunState::ShuttingDown, RunState::Crashed, RunState::Paused,]
        );
    }

    #[test]
    fn a_migration_has_two_ends() {
        assert_eq!(run(3, 2, None, false), RunState::MigratingIn);
        assert_eq!(run(3, 2, Some(Job::MigrationOut), true), RunState::MigratingOut);
        assert_eq!(run(3, 2, None, true), RunState::Paused, "it was restored to be paused");
        assert_eq!(run(1, 5, Some(Job::MigrationOut), true), RunState::MigratingOut);
        assert_eq!(run(1, 10, None, true), RunState::MigratingIn);
    }

    #[test]
    fn a_job_is_told_unless_orders_pass_it() {
        assert_eq!(run(1, 1, Some(Job::Save), true), RunState::Saving);
        assert_eq!(run(1, 1, Some(Job::Other), true), RunState::Busy);
        assert_eq!(run(3, 4, Some(Job::Other), true), RunState::Paused);
        assert_eq!(run(1, 1, Some(Job::Backup), true), RunState::Running);
        assert_eq!(run(6, 1, Some(Job::Other), true), RunState::Crashed);
    }

    #[test]
    fn operations_that_nobody_knows_are_jobs_all_the_same() {
        let jobs = [Some(2), Some(8), Some(77), Some(-1), None].map(Job::of);
        assert_eq!(jobs, [Job::Save, Job::Other, Job::Other, Job::Other, Job::Other]);
    }
}
