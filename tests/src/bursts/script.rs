//! The plain script: once a second, every VM is told to hold what it uses and an equal part of what
//! is left. It follows figures as they come, takes and gives at once, and looks at nothing else.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentd::clock::{Clock, RealClock};
use anyhow::{Context, Result};

use super::stage::Stage;
use crate::lab::Vm;

/// Shares memory until it is told to stop.
pub(super) fn run(stage: &Stage, stop: &AtomicBool) -> Result<()> {
    let clock = RealClock::start();
    while !stop.load(Ordering::Relaxed) {
        let began = clock.now();
        turn(stage)?;
        clock.sleep(PERIOD.saturating_sub(clock.now().saturating_sub(began)));
    }
    Ok(())
}

/// Has every VM report once a second.
pub(super) fn arm(stage: &Stage) -> Result<()> {
    stage.vms().iter().try_for_each(|vm| {
        stage.host().virsh(&["dommemstat", vm.name(), "--period", "1", "--live"]).map(drop)
    })
}

fn turn(stage: &Stage) -> Result<()> {
    let used = stage.vms().iter().map(used_kib).collect::<Result<Vec<u64>>>()?;
    let mut script = String::new();
    for (vm, target) in stage.vms().iter().zip(targets(&used, stage)) {
        let _ = write!(script, "setmem {} {target} --live; ", vm.name());
    }
    stage.host().virsh(&[&script]).map(drop)
}

fn used_kib(vm: &Vm) -> Result<u64> {
    let stats = vm.memory_stats_kib()?;
    let actual = stats.get("actual").with_context(|| format!("{} has no actual", vm.name()))?;
    Ok(actual.saturating_sub(stats.get("usable").copied().unwrap_or(0)))
}

fn targets(used: &[u64], stage: &Stage) -> Vec<u64> {
    let plot = stage.plot();
    share(used, plot.pool_mib * 1024, plot.max_mib * 1024)
}

/// What each uses and an equal part of the rest, at most `max`.
fn share(used: &[u64], pool: u64, max: u64) -> Vec<u64> {
    let rest = pool.saturating_sub(used.iter().sum());
    let part = rest / u64::try_from(used.len().max(1)).unwrap_or(u64::MAX);
    used.iter().map(|used| used.saturating_add(part).min(max)).collect()
}

const PERIOD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn each_is_told_what_it_uses_and_a_part_of_the_rest() {
        assert_eq!(share(&[300, 100, 100], 800, 768), [400, 200, 200]);
        assert_eq!(share(&[700, 100, 100], 800, 768), [700, 100, 100]);
        assert_eq!(share(&[0, 0], 2000, 768), [768, 768]);
    }
}
