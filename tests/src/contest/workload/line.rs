//! [`Line`]: a demand through time, written down piece by piece.

use std::time::Duration;

use agentd::hypervisor::sim::{Curve, Point};

use crate::dice::mib;

/// A demand through time. Times are in milliseconds, amounts in MiB.
#[derive(Clone, Debug)]
pub(super) struct Line {
    points: Vec<(u64, u64)>,
    at: u64,
    used: u64,
}

impl Line {
    /// One that begins with so much.
    pub(super) fn from(used: u64) -> Self {
        Self { points: vec![(0, used)], at: 0, used }
    }

    /// It stays so for a time.
    pub(super) fn hold(self, time: u64) -> Self {
        let used = self.used;
        self.ramp(time, used)
    }

    /// It goes evenly to another amount.
    pub(super) fn ramp(mut self, time: u64, to: u64) -> Self {
        (self.at, self.used) = (self.at + time, to);
        self.points.push((self.at, self.used));
        self
    }

    /// It is another amount at once.
    pub(super) fn step(self, to: u64) -> Self {
        self.ramp(0, to)
    }

    /// It stays so until a time since the beginning.
    pub(super) fn until(self, at: u64) -> Self {
        let time = at.saturating_sub(self.at);
        self.hold(time)
    }

    /// How far it goes.
    pub(super) const fn end(&self) -> u64 {
        self.at
    }

    /// What it is last.
    pub(super) const fn last(&self) -> u64 {
        self.used
    }

    /// The most that it ever is.
    pub(super) fn peak(&self) -> u64 {
        self.points.iter().map(|(_, used)| *used).max().unwrap_or(0)
    }

    pub(super) fn curve(&self) -> Curve {
        let point =
            |(at, used): &(u64, u64)| Point { at: Duration::from_millis(*at), used: mib(*used) };
        Curve::new(self.points.iter().map(point).collect())
    }
}
