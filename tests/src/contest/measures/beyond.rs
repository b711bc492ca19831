//! What VMs hold beyond the pool: memory that was given out twice. It is there as long as some of it is not
//! touched, and hurts once it is.
//!
//! A VM that has just started holds its maximum until its balloon driver has brought it to what it was told to
//! hold: until then it counts with that, for nobody gave it more.

use super::{Run, gib, spans};
use crate::contest::bound::pool;
use crate::contest::workload::Workload;

/// What was held beyond the pool: GiB·s, and the most at one time in MiB.
pub(super) fn of(load: &Workload, run: &Run) -> (f64, f64) {
    let mut arrived = vec![false; load.members.len()];
    let (mut sum, mut worst) = (0.0, 0.0_f64);
    for (frame, time) in spans(run) {
        let mut held = 0_u64;
        for (arrived, shot) in arrived.iter_mut().zip(&frame.vms) {
            let Some(shot) = shot.filter(|shot| shot.works) else {
                *arrived = false;
                continue;
            };
            *arrived |= shot.actual <= shot.target;
            held += if *arrived { shot.actual } else { shot.actual.min(shot.target) };
        }
        let beyond = gib(held.saturating_sub(pool(load, frame)));
        sum += beyond * time;
        worst = worst.max(beyond * 1_024.0);
    }
    (sum, worst)
}
