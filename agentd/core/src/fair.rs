//! [`share`]: weighted max–min fairness: who gets how much of a pool that is too small for all.
//!
//! Everybody gets `level × weight`, but never less than its least and never more than its most, and
//! the level is as high as the pool allows. So nobody can get more without somebody getting less who
//! has less for its weight already. Weighted max–min is what Bertsekas and Gallager (Data Networks,
//! 1992, §6.5.2) describe as filling from the bottom.

use std::cmp::Ordering;

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

/// The sums of what is claimed at each step.
#[must_use]
pub fn plus<const STEPS: usize>(
    sums: [ByteCount; STEPS],
    steps: &[ByteCount; STEPS],
) -> [ByteCount; STEPS] {
    let mut steps = steps.iter();
    sums.map(|sum| sum.saturating_add(steps.next().copied().unwrap_or_default()))
}

/// How many steps a pool has room for, of what all together claim at each. The last does not count: it is the
/// one that is shared where all others fit.
#[must_use]
pub fn steps_that_fit<const STEPS: usize>(pool: ByteCount, asked: &[ByteCount; STEPS]) -> usize {
    let last = STEPS.saturating_sub(1);
    asked.iter().take(last).take_while(|asked| **asked <= pool).count()
}

impl Claim {
    /// A claim in steps, each at least the one before, of which so many fit for all: nobody has anything of a
    /// step as long as somebody lacks something of the one before. The first is guaranteed, whether it fits or not.
    #[must_use]
    pub fn in_steps<const STEPS: usize>(
        steps: &[ByteCount; STEPS],
        fit: usize,
        weight: u32,
    ) -> Self {
        let step = |number: usize| steps.get(number).copied().unwrap_or_default();
        Self { least: step(fit.saturating_sub(1)), most: step(fit), weight }
    }

    fn top(&self) -> ByteCount {
        self.most.max(self.least)
    }

    fn weight(&self) -> u64 {
        u64::from(self.weight.max(1))
    }
}

/// How high the pool fills everybody: so much for so much weight.
#[derive(Clone, Copy, Debug)]
struct Level {
    amount: ByteCount,
    weight: u64,
}

impl Level {
    const ZERO: Self = Self { amount: ByteCount::ZERO, weight: 1 };

    /// The level at which a claim has its least, and the one at which it has its most.
    fn bounds(claim: &Claim) -> [Self; 2] {
        [claim.least, claim.top()].map(|amount| Self { amount, weight: claim.weight() })
    }

    fn of(&self, claim: &Claim) -> ByteCount {
        self.amount.fraction(claim.weight(), self.weight).clamp(claim.least, claim.top())
    }

    /// What claims get together, times the level's weight, so that nothing is rounded.
    fn scaled(&self, claims: &[Claim]) -> u128 {
        let scaled = |claim: &Claim| {
            let exact = product(self.amount, claim.weight());
            exact.clamp(product(claim.least, self.weight), product(claim.top(), self.weight))
        };
        claims.iter().map(scaled).fold(0, u128::saturating_add)
    }

    fn cmp(&self, other: &Self) -> Ordering {
        product(self.amount, other.weight).cmp(&product(other.amount, self.weight))
    }

    fn is_below(&self, other: &Self) -> bool {
        self.cmp(other).is_lt()
    }
}

fn product(amount: ByteCount, weight: u64) -> u128 {
    u128::from(amount.as_u64()).saturating_mul(u128::from(weight))
}

/// The claims of which it is known already what they get at the level that is sought.
#[derive(Clone, Copy, Debug, Default)]
struct Settled {
    /// What those get together that have their least or their most.
    fixed: ByteCount,
    /// The weight of the others: they get as much as the level says.
    rising: u64,
}

impl Settled {
    /// Takes in a claim when the level is at least `fits` and below `exceeds`, where these are known;
    /// false where it may have less than its most as well as more than its least.
    fn take(&mut self, claim: &Claim, fits: &Level, exceeds: Option<&Level>) -> bool {
        let [least, most] = Level::bounds(claim);
        let (starts, ends) = (!fits.is_below(&least), !fits.is_below(&most));
        let is_beyond = |bound: &Level| exceeds.is_some_and(|exceeds| !bound.is_below(exceeds));
        if ends {
            self.fixed = self.fixed.saturating_add(claim.top());
        } else if is_beyond(&least) {
            self.fixed = self.fixed.saturating_add(claim.least);
        } else if starts && is_beyond(&most) {
            self.rising = self.rising.saturating_add(claim.weight());
        } else {
            return false;
        }
        true
    }

    /// True when what these and the others get at a level is in the pool.
    fn fits(&self, level: &Level, pool: ByteCount, open: &[Claim]) -> bool {
        let settled =
            product(self.fixed, level.weight).saturating_add(product(level.amount, self.rising));
        settled.saturating_add(level.scaled(open)) <= product(pool, level.weight)
    }
}

/// The highest level that fits. Between two neighbouring levels at which a claim reaches its least
/// or its most, what all ask for grows evenly: find those two by halving, then divide. Whose bounds
/// are both outside of what is left is reckoned with once and for all, so that each step costs half as
/// much as the one before.
fn level(pool: ByteCount, claims: &[Claim]) -> Level {
    let mut settled = Settled::default();
    if !settled.fits(&Level::ZERO, pool, claims) {
        return Level::ZERO;
    }
    let mut open = claims.to_vec();
    let mut between: Vec<Level> = claims.iter().flat_map(Level::bounds).collect();
    let (mut fits, mut exceeds) = (Level::ZERO, None);
    while !between.is_empty() {
        let middle = between.len() / 2;
        let (_, pivot, _) = between.select_nth_unstable_by(middle, Level::cmp);
        let pivot = *pivot;
        if settled.fits(&pivot, pool, &open) {
            fits = pivot;
            between.retain(|bound| pivot.is_below(bound));
        } else {
            exceeds = Some(pivot);
            between.retain(|bound| bound.is_below(&pivot));
        }
        open.retain(|claim| !settled.take(claim, &fits, exceeds.as_ref()));
    }
    let Settled { fixed, rising } = settled;
    if rising == 0 { fits } else { Level { amount: pool.saturating_sub(fixed), weight: rising } }
}
