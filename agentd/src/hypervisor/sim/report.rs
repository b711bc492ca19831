//! [`Reporter`]: what a simulated VM says of itself, when, and whether that is true.

use std::time::Duration;

use agentd_core::{
    bytes::ByteCount,
    sample::{GuestFigures, Stamp},
};

use super::{behaviour::Claims, facts::Report, memory::Memory, numbers::Numbers, rng::Rng};
use crate::hypervisor::stamp::stamp;

/// What a VM says of itself.
#[derive(Debug)]
pub(super) struct Reporter {
    /// What its kernel last said; `None` before it said anything.
    last: Option<Report>,
    next: Duration,
}

/// What there is to say, and how it is said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matter<'a> {
    pub(super) memory: &'a Memory,
    pub(super) numbers: &'a Numbers,
    /// What is said instead of the truth.
    pub(super) lie: Option<Claims>,
    /// Its clock is an hour slow.
    pub(super) back: bool,
}

impl Reporter {
    /// One that has said nothing.
    pub(super) fn new(period: Duration, rng: &mut Rng) -> Self {
        Self { last: None, next: phase(period, rng) }
    }

    /// Says what the kernel said just before the world began.
    pub(super) fn begin(&mut self, matter: Matter<'_>, rng: &mut Rng) {
        self.last = Some(report(Duration::ZERO, WALL - 1, matter, rng));
    }

    /// Forgets all that was said: it was another process.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// Says nothing before `from`.
    pub(super) fn wait(&mut self, from: Duration, period: Duration, rng: &mut Rng) {
        self.next = from.saturating_add(phase(period, rng));
    }

    /// True when a report is due.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        now >= self.next
    }

    /// Reports.
    pub(super) fn speak(&mut self, now: Duration, matter: Matter<'_>, rng: &mut Rng) {
        let second = WALL + now.as_secs() - if matter.back { HOUR } else { 0 };
        self.last = Some(report(now, second, matter, rng));
        let period = matter.numbers.stats_period;
        self.next = if period.is_zero() {
            Duration::MAX
        } else {
            let missed = now.saturating_sub(self.next).as_nanos() / period.as_nanos();
            let turns = u32::try_from(missed).unwrap_or(u32::MAX).saturating_add(1);
            self.next.saturating_add(period.saturating_mul(turns))
        };
    }

    /// Reports because it is asked to, and next a period later.
    pub(super) fn answer(&mut self, now: Duration, matter: Matter<'_>, rng: &mut Rng) {
        self.next = now;
        self.speak(now, matter, rng);
    }

    /// What it last said; nothing where it said nothing.
    pub(super) fn figures(&self) -> GuestFigures {
        self.last.map_or_else(GuestFigures::default, |report| report.figures)
    }

    /// What tells that from what it said before.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        self.last.map(|report| report.stamp)
    }

    /// What is really so of its last report.
    pub(super) const fn facts(&self) -> Option<Report> {
        self.last
    }
}

fn report(at: Duration, second: u64, matter: Matter<'_>, rng: &mut Rng) -> Report {
    let figures = claimed(at, matter, rng);
    let stamp = stamp(second, &figures);
    let used = matter.memory.resident;
    Report { figures, stamp, at, is_true: matter.lie.is_none(), used }
}

/// What a kernel says, true or not.
fn claimed(now: Duration, matter: Matter<'_>, rng: &mut Rng) -> GuestFigures {
    let Matter { memory, numbers, lie, .. } = matter;
    let truth = memory.figures(numbers);
    let both = |amount| GuestFigures { unused: Some(amount), usable: Some(amount), ..truth };
    let Some(claims) = lie else {
        return truth;
    };
    match claims {
        Claims::NothingUnused => both(ByteCount::ZERO),
        Claims::AllUnused => both(memory.actual),
        Claims::Sawtooth if (now.as_secs() / 2).is_multiple_of(2) => both(ByteCount::ZERO),
        Claims::Sawtooth => both(memory.actual),
        Claims::Absurd => GuestFigures {
            unused: Some(ByteCount::MAX),
            usable: Some(ByteCount::ZERO),
            swap_in: Some(ByteCount::ZERO),
            swap_out: Some(ByteCount::MAX),
            major_faults: Some(u64::MAX),
        },
        Claims::Garbage => GuestFigures {
            unused: garbage(rng),
            usable: garbage(rng),
            swap_in: garbage(rng),
            swap_out: garbage(rng),
            major_faults: garbage(rng).map(ByteCount::as_u64),
        },
        Claims::Absent => GuestFigures::default(),
    }
}

/// Nothing, something of any size, or more than there is.
fn garbage(rng: &mut Rng) -> Option<ByteCount> {
    let bits = rng.below(65);
    let amount = rng.next();
    (bits > 0).then(|| ByteCount::bytes(amount >> (64 - bits)))
}

/// When within a period a VM reports: each at its own time.
fn phase(period: Duration, rng: &mut Rng) -> Duration {
    let nanos = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(rng.below(nanos))
}

/// Wall-clock time, in seconds, at which every simulated world begins.
const WALL: u64 = 1_000_000_000;
const HOUR: u64 = 3_600;
