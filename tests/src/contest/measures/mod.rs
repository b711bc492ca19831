//! [`Score`]: what a run did to the VMs and to the host, in figures.

mod beyond;
mod bursts;
mod fairness;
mod orders;

use std::time::Duration;

use super::arena::Run;
use super::bound::least_unmet;
use super::film::{Frame, Shot};
use super::workload::Workload;

/// What a run did. Memory is in GiB, time in seconds, memory through time in GiB·s.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// What was wanted.
    pub demand: f64,
    /// What was wanted and not in memory.
    pub unmet: f64,
    /// That as a part of what was wanted.
    pub unmet_share: f64,
    /// That of each VM, in the order of the workload.
    pub unmet_of_vms: Vec<f64>,
    /// What nobody could have met.
    pub least_unmet: f64,
    /// Written to swap devices.
    pub swapped: f64,
    /// From where a rising demand is more than is in memory until it is met: the median and the
    /// worst of all rises; none where nothing rose.
    pub burst_median: Option<f64>,
    /// The worst of them.
    pub burst_worst: Option<f64>,
    /// Programs killed for want of memory.
    pub oom_kills: f64,
    /// What was missing of the host's reserve.
    pub reserve_unkept: f64,
    /// The most that was ever missing, in MiB.
    pub reserve_worst: f64,
    /// What VMs held beyond the pool.
    pub beyond_pool: f64,
    /// The most that they ever did, in MiB.
    pub beyond_pool_worst: f64,
    /// What VMs held less than is guaranteed to them.
    pub below_min: f64,
    /// Memory that came or went.
    pub moved: f64,
    /// That for each byte of a rise in demand that was met; none where nothing rose.
    pub moved_per_use: Option<f64>,
    /// How many orders.
    pub orders: f64,
    /// How often a VM was told to shrink after it was told to grow, or the other way round.
    pub reversals: f64,
    /// How many orders came in the last third.
    pub late_orders: f64,
    /// Part of the memory that VMs held beyond what they wanted and their kernels keep.
    pub slack: f64,
    /// How alike VMs got what is theirs by weight, while there was too little: 1 is perfect; none
    /// where there was enough.
    pub fairness: Option<f64>,
    /// What a decision cost, in microseconds: the median.
    pub cost: f64,
}

impl Score {
    /// The score of a run.
    #[must_use]
    pub fn of(load: &Workload, run: &Run) -> Self {
        let mut score = Self::default();
        score.meet(run, load.members.len());
        score.count(run, load.members.len());
        score.weigh_host(load, run);
        let least = spans(run).map(|(frame, time)| least_unmet(load, frame) / GIB * time);
        score.least_unmet = least.sum();
        (score.beyond_pool, score.beyond_pool_worst) = beyond::of(load, run);
        score.weigh_movement(load, run);
        let lengths = bursts::lengths(run, load.members.len());
        score.burst_median = middle(&lengths);
        score.burst_worst = lengths.last().copied();
        score.fairness = fairness::mean(load, run);
        let mut costs: Vec<f64> = run.costs.iter().map(|cost| cost.as_secs_f64() * 1e6).collect();
        costs.sort_by(f64::total_cmp);
        score.cost = middle(&costs).unwrap_or_default();
        score
    }

    /// True for one that left the host its reserve, but for what nobody could have known: what is a
    /// process's overhead cannot be told from memory that its VM has not touched.
    #[must_use]
    pub fn keeps_reserve(&self) -> bool {
        self.reserve_worst <= OVERHEAD_MIB
    }

    /// True for one whose VMs held no more together than the pool has, with the same allowance.
    #[must_use]
    pub fn keeps_to_pool(&self) -> bool {
        self.beyond_pool_worst <= OVERHEAD_MIB
    }

    /// What was wanted and in memory, as a part of the most that can be; none where nothing can.
    #[must_use]
    pub fn met_of_bound(&self) -> Option<f64> {
        let most = self.demand - self.least_unmet;
        (most > 0.0).then(|| (self.demand - self.unmet) / most)
    }

    fn meet(&mut self, run: &Run, count: usize) {
        for index in 0..count {
            let mut own = 0.0;
            for (shot, time) in shots(run, index) {
                self.demand += gib(shot.demand) * time;
                own += gib(shot.demand.saturating_sub(shot.resident)) * time;
            }
            self.unmet_of_vms.push(own);
        }
        self.unmet = self.unmet_of_vms.iter().sum();
        self.unmet_share = if self.demand > 0.0 { self.unmet / self.demand } else { 0.0 };
    }

    /// What kernels count themselves, anew from each boot.
    fn count(&mut self, run: &Run, count: usize) {
        for index in 0..count {
            let mut last: Option<Shot> = None;
            for shot in states(run, index) {
                // What an old VM counted before the first look is not this contestant's.
                let old = (shot.generation == 0).then_some(shot);
                let same = |last: &Shot| last.generation == shot.generation;
                let since = last.map_or(old, |last| Some(last).filter(same)).unwrap_or_default();
                self.swapped += gib(shot.swap_out.saturating_sub(since.swap_out));
                self.oom_kills += shot.oom_kills.saturating_sub(since.oom_kills) as f64;
                last = Some(shot);
            }
        }
    }

    fn weigh_host(&mut self, load: &Workload, run: &Run) {
        let most = load.scenario.host.total.saturating_sub(load.reserve).as_u64();
        for (frame, time) in spans(run) {
            let missing = frame.taken.saturating_sub(most);
            self.reserve_unkept += gib(missing) * time;
            self.reserve_worst = self.reserve_worst.max(gib(missing) * 1024.0);
        }
        let (mut held, mut idle) = (0.0, 0.0);
        for (index, member) in load.members.iter().enumerate() {
            for (shot, time) in shots(run, index) {
                let kept =
                    member.watermark.min(agentd_core::bytes::ByteCount::bytes(shot.actual / 8));
                let used = shot.demand.saturating_add(kept.as_u64());
                held += gib(shot.actual) * time;
                idle += gib(shot.actual.saturating_sub(used)) * time;
                let min = member.min.as_u64().saturating_sub(PAGE);
                self.below_min += gib(min.saturating_sub(shot.actual)) * time;
            }
        }
        self.slack = if held > 0.0 { idle / held } else { 0.0 };
    }

    fn weigh_movement(&mut self, load: &Workload, run: &Run) {
        let mut rises = 0.0;
        for index in 0..load.members.len() {
            let all: Vec<Shot> = states(run, index).collect();
            if let Some(first) = all.first().filter(|first| first.generation > 0) {
                // It started in this run: all that it wants is new.
                rises += gib(first.demand);
            }
            for pair in all.windows(2) {
                if let [before, after] = pair
                    && before.generation == after.generation
                {
                    self.moved += gib(before.actual.abs_diff(after.actual));
                    rises += gib(after.demand.saturating_sub(before.demand));
                }
            }
        }
        let useful = rises * (1.0 - self.unmet_share);
        self.moved_per_use = (useful > 0.0).then(|| self.moved / useful);
        self.orders = run.orders.len() as f64;
        self.reversals = orders::reversals(load, run) as f64;
        self.late_orders = orders::late(load, run) as f64;
    }
}

/// What a measure is, for tables.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// Its name for machines.
    pub key: &'static str,
    /// Its name for people, with its unit.
    pub title: &'static str,
    /// How many decimals are told.
    pub digits: usize,
    /// What is told of many runs.
    pub over: Over,
    /// The figure of one run.
    pub of: fn(&Score) -> Option<f64>,
}

/// What is told of many runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The mean.
    Mean,
    /// The worst.
    Worst,
    /// That of the VM worse off than 99 of 100, of those of all runs: of one run it would be the worst
    /// off of a few.
    Vms,
}

/// Every measure, in the order of the tables.
pub const MEASURES: &[Measure] = &[
    measure("unmet_gib_s", "unmet GiB·s", 2, |score| Some(score.unmet)),
    measure("bound_gib_s", "bound GiB·s", 2, |score| Some(score.least_unmet)),
    measure("unmet_percent", "unmet %", 2, |score| Some(score.unmet_share * 100.0)),
    Measure {
        over: Over::Vms,
        ..measure("unmet_p99_gib_s", "p99 VM GiB·s", 2, |score| {
            Some(worse_than_99(score.unmet_of_vms.iter().copied()))
        })
    },
    measure("met_of_bound_percent", "met, % of bound", 1, |score| {
        score.met_of_bound().map(|part| part * 100.0)
    }),
    measure("swapped_out_gib", "swapped out GiB", 2, |score| Some(score.swapped)),
    measure("burst_median_s", "burst median s", 1, |score| score.burst_median),
    measure("burst_worst_s", "burst worst s", 1, |score| score.burst_worst),
    measure("oom_kills", "OOM kills", 1, |score| Some(score.oom_kills)),
    measure("reserve_unkept_gib_s", "reserve unkept GiB·s", 2, |score| Some(score.reserve_unkept)),
    worst("reserve_worst_mib", "worst MiB", |score| Some(score.reserve_worst)),
    measure("beyond_pool_gib_s", "beyond pool GiB·s", 2, |score| Some(score.beyond_pool)),
    worst("beyond_pool_worst_mib", "worst MiB", |score| Some(score.beyond_pool_worst)),
    measure("below_min_gib_s", "below min GiB·s", 2, |score| Some(score.below_min)),
    measure("moved_gib", "moved GiB", 1, |score| Some(score.moved)),
    measure("moved_per_useful_byte", "moved per useful byte", 2, |score| score.moved_per_use),
    measure("orders", "orders", 0, |score| Some(score.orders)),
    measure("reversals", "reversals", 0, |score| Some(score.reversals)),
    measure("late_orders", "orders, last third", 1, |score| Some(score.late_orders)),
    measure("slack_percent", "slack %", 1, |score| Some(score.slack * 100.0)),
    measure("fairness", "fairness", 3, |score| score.fairness),
    measure("cost_us", "µs a decision", 0, |score| Some(score.cost)),
];

const fn measure(
    key: &'static str,
    title: &'static str,
    digits: usize,
    of: fn(&Score) -> Option<f64>,
) -> Measure {
    Measure { key, title, digits, over: Over::Mean, of }
}

const fn worst(key: &'static str, title: &'static str, of: fn(&Score) -> Option<f64>) -> Measure {
    Measure { key, title, digits: 0, over: Over::Worst, of }
}

/// The figure of the VM that is worse off than 99 of 100; none of none.
#[must_use]
pub fn worse_than_99(figures: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.collect();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len() * 99).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied().unwrap_or(0.0)
}

/// Each frame with how long it is so.
fn spans(run: &Run) -> impl Iterator<Item = (&Frame, f64)> {
    run.frames.windows(2).filter_map(|pair| match pair {
        [before, after] => Some((after, seconds(after.at.saturating_sub(before.at)))),
        _ => None,
    })
}

/// A VM while its kernel works, each shot with how long it is so.
fn shots(run: &Run, index: usize) -> impl Iterator<Item = (Shot, f64)> {
    spans(run).filter_map(move |(frame, time)| {
        let shot = frame.vms.get(index).copied().flatten().filter(|shot| shot.works)?;
        Some((shot, time))
    })
}

/// A VM while its kernel works, from the first look on.
fn states(run: &Run, index: usize) -> impl Iterator<Item = Shot> {
    let of = move |frame: &Frame| frame.vms.get(index).copied().flatten();
    run.frames.iter().filter_map(of).filter(|shot| shot.works)
}

/// The middle of what is in order; the lower of two.
fn middle(sorted: &[f64]) -> Option<f64> {
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

const fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

const fn gib(bytes: u64) -> f64 {
    bytes as f64 / GIB
}

/// Half the overhead of one process.
const OVERHEAD_MIB: f64 = 32.0;
const GIB: f64 = 1_073_741_824.0;
/// Kernels count in pages: what is less is not missing.
const PAGE: u64 = 4_096;

#[cfg(test)]
mod tests;
