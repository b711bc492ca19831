//! [`share`]: weighted max–min fairness: who gets how much of a pool that is too small for all.
//!
//! Everybody gets `level × weight`, but never less than its least and never more than its most, and
//! the level is as high as the pool allows. So nobody can get more without somebody getting less who
//! has less for its weight already. Weighted max–min is what Bertsekas and Gallager (Data Networks,
//! 1992, §6.5.2) describe as filling from the bottom.

use crate::bytes::ByteCount;

/// What somebody may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What it is guaranteed.
    pub least: ByteCount,
    /// What it wants; its least where that is more.
    pub most: ByteCount,
    /// Its share beside that of others; 0 counts as 1.
    pub weight: u32,
}

/// What each gets of a pool, in the order of the claims, rounded down to bytes.
///
/// All guarantees together may be more than the pool: then each gets its guarantee, and nobody more.
#[must_use]
pub fn share(pool: ByteCount, claims: &[Claim]) -> Vec<ByteCount> {
    let most: ByteCount = claims.iter().map(Claim::top).sum();
    if most <= pool {
        return claims.iter().map(Claim::top).collect();
    }
    let level = level(pool, claims);
    claims.iter().map(|claim| level.of(claim)).collect()
}

impl Claim {
    fn top(&self) -> ByteCount {
        self.most.max(self.least)
    }

    fn weight(&self) -> u128 {
        u128::from(self.weight.max(1))
    }
}

/// How high the pool fills everybody: so much for so much weight.
#[derive(Clone, Copy, Debug)]
struct Level {
    amount: u128,
    weight: u128,
}

impl Level {
    const ZERO: Self = Self { amount: 0, weight: 1 };

    /// The level at which a claim reaches an amount.
    fn at(amount: ByteCount, claim: &Claim) -> Self {
        Self { amount: u128::from(amount.as_u64()), weight: claim.weight() }
    }

    fn of(&self, claim: &Claim) -> ByteCount {
        let exact = self.amount.saturating_mul(claim.weight()).checked_div(self.weight);
        let bytes = u64::try_from(exact.unwrap_or(0)).unwrap_or(u64::MAX);
        ByteCount::bytes(bytes).clamp(claim.least, claim.top())
    }

    /// What a claim gets, times the level's weight, so that nothing is rounded.
    fn scaled(&self, claim: &Claim) -> u128 {
        let scale = |amount: ByteCount| u128::from(amount.as_u64()).saturating_mul(self.weight);
        let exact = self.amount.saturating_mul(claim.weight());
        exact.clamp(scale(claim.least), scale(claim.top()))
    }

    fn fits(&self, pool: ByteCount, claims: &[Claim]) -> bool {
        let pool = u128::from(pool.as_u64()).saturating_mul(self.weight);
        let asked = claims.iter().map(|claim| self.scaled(claim));
        asked.fold(0, u128::saturating_add) <= pool
    }

    fn is_below(&self, other: &Self) -> bool {
        self.amount.saturating_mul(other.weight) < other.amount.saturating_mul(self.weight)
    }
}

/// The highest level that fits. Between two neighbouring levels at which a claim reaches its least
/// or its most, what all ask for grows evenly: find those two by halving, then divide.
fn level(pool: ByteCount, claims: &[Claim]) -> Level {
    if !Level::ZERO.fits(pool, claims) {
        return Level::ZERO;
    }
    let bounds = |claim: &Claim| [Level::at(claim.least, claim), Level::at(claim.top(), claim)];
    let mut between: Vec<Level> = claims.iter().flat_map(bounds).collect();
    let (mut fits, mut exceeds) = (Level::ZERO, None);
    while !between.is_empty() {
        let middle = between.len() / 2;
        let (_, pivot, _) = between.select_nth_unstable_by(middle, |a, b| {
            let left = a.amount.saturating_mul(b.weight);
            left.cmp(&b.amount.saturating_mul(a.weight))
        });
        let pivot = *pivot;
        if pivot.fits(pool, claims) {
            fits = pivot;
            between.retain(|bound| pivot.is_below(bound));
        } else {
            exceeds = Some(pivot);
            between.retain(|bound| bound.is_below(&pivot));
        }
    }
    let rises = |claim: &&Claim| {
        let starts = !fits.is_below(&Level::at(claim.least, claim));
        let top = Level::at(claim.top(), claim);
        starts && exceeds.is_some_and(|exceeds: Level| !top.is_below(&exceeds))
    };
    let rising: u128 = claims.iter().filter(rises).map(Claim::weight).sum();
    let fixed = claims.iter().filter(|claim| !rises(claim)).map(|claim| fits.of(claim));
    let left = pool.saturating_sub(fixed.sum());
    if rising == 0 { fits } else { Level { amount: u128::from(left.as_u64()), weight: rising } }
}
