//! How long a rising demand waits. Which demand rises follows from the workload alone, so that a
//! policy that never lets anybody wait is measured by the same rises.

use std::time::Duration;

use super::{Run, Shot, seconds};

/// How long each rise waited for memory at the longest, in seconds, in order.
pub(super) fn lengths(run: &Run, count: usize) -> Vec<f64> {
    let mut all: Vec<Duration> = (0..count).flat_map(|index| of_vm(run, index)).collect();
    all.sort_unstable();
    all.into_iter().map(seconds).collect()
}

fn of_vm(run: &Run, index: usize) -> Vec<Duration> {
    let mut eye = Eye::default();
    for frame in &run.frames {
        match frame.vms.get(index).copied().flatten().filter(|shot| shot.works) {
            Some(shot) => eye.see(frame.at, shot),
            None => eye.end(),
        }
    }
    eye.end();
    eye.waits
}

/// Follows one VM.
#[derive(Debug, Default)]
struct Eye {
    /// The least demand since the last rise, and when it was last so; what was in memory is not
    /// demanded anew.
    low: Option<(Duration, u64)>,
    /// The most demand of the rise, and when it came; `None` between rises.
    peak: Option<(Duration, u64)>,
    /// Since when there is too little.
    short: Option<Duration>,
    longest: Duration,
    waits: Vec<Duration>,
}

impl Eye {
    fn see(&mut self, at: Duration, shot: Shot) {
        let missing = shot.demand.saturating_sub(shot.resident);
        let is_short = missing > LITTLE.max(shot.demand / 100);
        self.short = is_short.then(|| self.short.unwrap_or(at));
        match self.peak {
            None => self.rest(at, shot),
            Some((_, most)) if shot.demand.saturating_add(RISE / 2) < most => {
                self.end();
                self.rest(at, shot);
            }
            Some((since, most)) => {
                if shot.demand > most {
                    self.peak = Some((at, shot.demand));
                } else if !is_short && at > since.saturating_add(PLATEAU) {
                    self.end();
                }
            }
        }
        if let (Some(_), Some(short), Some((low, _))) = (self.peak, self.short, self.low) {
            self.longest = self.longest.max(at.saturating_sub(short.max(low)));
        }
    }

    fn rest(&mut self, at: Duration, shot: Shot) {
        // A kernel that has just begun has nothing in memory yet.
        let (since, low) = self.low.unwrap_or_else(|| (at, shot.demand.min(shot.resident)));
        if shot.demand >= low.saturating_add(RISE) {
            self.peak = Some((at, shot.demand));
            self.low = Some((since, low));
        } else if shot.demand <= low || self.low.is_none() {
            self.low = Some((at, low.min(shot.demand)));
        }
    }

    /// The rise is over.
    fn end(&mut self) {
        if self.peak.take().is_some() {
            self.waits.push(std::mem::take(&mut self.longest));
        }
        self.low = None;
        self.short = None;
    }
}

/// Less than this is no burst.
const RISE: u64 = 128 << 20;
/// Less than this is not missing.
const LITTLE: u64 = 8 << 20;
/// A demand that has been met and does not rise for so long has risen.
const PLATEAU: Duration = Duration::from_secs(10);
