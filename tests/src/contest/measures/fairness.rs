//! How alike VMs are served while there is too little: Jain's index of what each has of what is
//! its own by weighted max–min.

use agentd_core::bytes::ByteCount;

use super::super::shares::{Claim, share};
use super::{Frame, Run};
use crate::contest::workload::Workload;

/// The mean over the time in which there is too little; none where there is enough.
pub(super) fn mean(load: &Workload, run: &Run) -> Option<f64> {
    let looks: Vec<f64> =
        run.frames.iter().step_by(EVERY).filter_map(|frame| of_frame(load, frame)).collect();
    (!looks.is_empty()).then(|| looks.iter().sum::<f64>() / looks.len() as f64)
}

fn of_frame(load: &Workload, frame: &Frame) -> Option<f64> {
    let vms: Vec<_> = load
        .members
        .iter()
        .zip(&frame.vms)
        .filter_map(|(member, shot)| Some((member, shot.filter(|shot| shot.works)?)))
        .collect();
    let claims: Vec<Claim> = vms
        .iter()
        .map(|(member, shot)| {
            let kept = member.watermark.as_u64();
            let most = ByteCount::bytes(shot.demand.saturating_add(kept)).min(member.max);
            Claim { weight: member.weight, least: member.min.min(most), most }
        })
        .collect();
    let wanted: ByteCount = claims.iter().map(|claim| claim.most).sum();
    if wanted <= load.pool {
        return None;
    }
    let owns = share(load.pool, &claims);
    let parts = vms.iter().zip(owns).filter_map(|((member, shot), own)| {
        let own = own.saturating_sub(member.watermark).as_u64().min(shot.demand);
        (own > 0).then(|| (shot.resident as f64 / own as f64).min(1.0))
    });
    jain(&parts.collect::<Vec<_>>())
}

/// Jain's index: 1 where all have the same, 1/n where one has everything.
fn jain(parts: &[f64]) -> Option<f64> {
    let sum: f64 = parts.iter().sum();
    let squares: f64 = parts.iter().map(|part| part * part).sum();
    (squares > 0.0).then(|| sum * sum / (squares * parts.len() as f64))
}

/// Every second of frames.
const EVERY: usize = 10;
