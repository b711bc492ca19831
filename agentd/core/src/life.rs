//! [`Life`]: where a VM is in its life, as far as its memory is concerned, and what that bars it
//! from.

use std::time::Duration;

use crate::{
    conduct::Standing,
    sample::{Boot, Freshness, RunState, VmSample},
    verdict::Reason,
};

/// Where a VM is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Life {
    /// It runs, and its figures count: it takes part.
    Running,
    /// It runs, and its figures do not count yet: it is looked at before anything is done.
    Unproven,
    /// It has started, and its driver has not settled yet.
    Booting,
    /// Its kernel has started anew, and its driver has not settled yet.
    Rebooting,
    /// It has no balloon driver that reports.
    NoDriver,
    /// Its figures have not changed for too long.
    Frozen,
    /// The hypervisor is at a long job on it.
    Busy,
    /// It is paused.
    Paused,
    /// It is being saved.
    Saving,
    /// It is being brought back from a save.
    Restoring,
    /// It is being migrated to another host.
    MigratingOut,
    /// It is being migrated to this host.
    MigratingIn,
    /// It is shutting down.
    ShuttingDown,
    /// It has crashed.
    Crashed,
    /// The hypervisor does not answer for it.
    Unresponsive,
    /// Somebody else moved its balloon: it is left to them for a while.
    Quarantined,
    /// The host would get back nothing of what it gives.
    Unreclaimable,
    /// It runs, and does not follow orders to shrink, or frees nothing by them.
    Uncooperative,
}

impl Life {
    /// Where a VM is in its life, given how it stands with those who order it.
    #[must_use]
    pub fn of(vm: &VmSample, standing: Standing) -> Self {
        match vm.run {
            RunState::Running => Self::of_running(vm, standing),
            RunState::Busy => Self::Busy,
            RunState::Paused => Self::Paused,
            RunState::Saving => Self::Saving,
            RunState::Restoring => Self::Restoring,
            RunState::MigratingOut => Self::MigratingOut,
            RunState::MigratingIn => Self::MigratingIn,
            RunState::ShuttingDown => Self::ShuttingDown,
            RunState::Crashed => Self::Crashed,
            RunState::Unresponsive => Self::Unresponsive,
        }
    }

    fn of_running(vm: &VmSample, standing: Standing) -> Self {
        if vm.obstacle().is_some() {
            return Self::Unreclaimable;
        }
        match (vm.freshness, vm.boot) {
            (Freshness::Absent, boot) if vm.silent_for >= patience(boot) => Self::NoDriver,
            (Freshness::Stale, None) => Self::Frozen,
            (Freshness::Fresh | Freshness::Unsettled, _) => match standing {
                Standing::Quarantined => Self::Quarantined,
                Standing::Uncooperative | Standing::Ineffective => Self::Uncooperative,
                Standing::Cooperative | Standing::Inactive => Self::Running,
            },
            (_, Some(Boot::Start)) => Self::Booting,
            (_, Some(Boot::Reboot)) => Self::Rebooting,
            (Freshness::Absent | Freshness::Unproven, None) => Self::Unproven,
        }
    }

    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Unproven => "unproven",
            Self::Booting => "booting",
            Self::Rebooting => "rebooting",
            Self::NoDriver => "no-driver",
            Self::Frozen => "frozen",
            Self::Busy => "busy",
            Self::Paused => "paused",
            Self::Saving => "saving",
            Self::Restoring => "restoring",
            Self::MigratingOut => "migrating-out",
            Self::MigratingIn => "migrating-in",
            Self::ShuttingDown => "shutting-down",
            Self::Crashed => "crashed",
            Self::Unresponsive => "unresponsive",
            Self::Quarantined => "quarantined",
            Self::Unreclaimable => "unreclaimable",
            Self::Uncooperative => "uncooperative",
        }
    }

    /// Why a VM at this point can neither give nor get; `None` where it can.
    #[must_use]
    pub const fn bar(self) -> Option<Reason> {
        match self {
            Self::Running | Self::Uncooperative => None,
            Self::Unproven => Some(Reason::FiguresUnproven),
            Self::Booting => Some(Reason::Booting),
            Self::Rebooting => Some(Reason::Rebooting),
            Self::NoDriver => Some(Reason::FiguresAbsent),
            Self::Frozen => Some(Reason::FiguresStale),
            Self::Busy => Some(Reason::Busy),
            Self::Paused => Some(Reason::Paused),
            Self::Saving => Some(Reason::Saving),
            Self::Restoring => Some(Reason::Restoring),
            Self::MigratingOut | Self::MigratingIn => Some(Reason::Migrating),
            Self::ShuttingDown => Some(Reason::ShuttingDown),
            Self::Crashed => Some(Reason::Crashed),
            Self::Unresponsive => Some(Reason::Unresponsive),
            Self::Quarantined => Some(Reason::Quarantined),
            Self::Unreclaimable => Some(Reason::Unreclaimable),
        }
    }
}

/// After so long without a word there is no driver. A kernel that has just begun is given the time
/// that a large server takes.
const fn patience(boot: Option<Boot>) -> Duration {
    match boot {
        None => Duration::from_secs(5),
        Some(Boot::Start | Boot::Reboot) => Duration::from_secs(120),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixture,
        sample::{Obstacle, Traits},
    };

    fn vm(freshness: Freshness, boot: Option<Boot>, silent_for: u64) -> VmSample {
        let silent_for = Duration::from_secs(silent_for);
        VmSample { boot, silent_for, freshness, ..fixture::vm() }
    }

    fn life(vm: &VmSample) -> Life {
        Life::of(vm, Standing::Cooperative)
    }

    #[test]
    fn a_kernel_that_begins_is_booting_until_its_driver_has_settled() {
        assert_eq!(life(&vm(Freshness::Absent, Some(Boot::Start), 3)), Life::Booting);
        assert_eq!(life(&vm(Freshness::Unproven, Some(Boot::Reboot), 0)), Life::Rebooting);
        assert_eq!(life(&vm(Freshness::Stale, Some(Boot::Reboot), 9)), Life::Rebooting);
        assert_eq!(life(&vm(Freshness::Absent, Some(Boot::Start), 120)), Life::NoDriver);
        assert_eq!(life(&vm(Freshness::Fresh, None, 0)), Life::Running);
    }

    #[test]
    fn a_vm_that_never_reports_has_no_driver_and_one_that_stopped_is_frozen() {
        assert_eq!(life(&vm(Freshness::Absent, None, 4)), Life::Unproven);
        assert_eq!(life(&vm(Freshness::Absent, None, 5)), Life::NoDriver);
        assert_eq!(life(&vm(Freshness::Unproven, None, 0)), Life::Unproven);
        assert_eq!(life(&vm(Freshness::Stale, None, 9)), Life::Frozen);
    }

    #[test]
    fn what_it_is_made_of_counts_before_how_it_follows() {
        let obstacle = Some(Obstacle::Device);
        let traits = Some(Traits { obstacle, ..Traits::default() });
        let pinned = VmSample { traits, ..vm(Freshness::Fresh, None, 0) };
        assert_eq!(Life::of(&pinned, Standing::Uncooperative), Life::Unreclaimable);
        let fresh = vm(Freshness::Fresh, None, 0);
        assert_eq!(Life::of(&fresh, Standing::Quarantined), Life::Quarantined);
        assert_eq!(Life::of(&fresh, Standing::Ineffective), Life::Uncooperative);
        let paused = VmSample { run: RunState::Paused, ..fresh };
        assert_eq!(Life::of(&paused, Standing::Quarantined), Life::Paused);
    }
}
