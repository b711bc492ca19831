//! [`share`]: weighted max–min fairness, by which the contest says what is whose. By halving, and
//! without the code that agentd divides with, which it is held against.

use agentd_core::bytes::ByteCount;

/// What one VM has a claim on.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Its share beside that of others.
    pub weight: u64,
    /// What it gets before anybody gets more.
    pub least: ByteCount,
    /// What it can use.
    pub most: ByteCount,
}

/// Divides an amount: each gets the same for its weight, but never less than its least and never
/// more than its most. Where not even the leasts fit, they are what is divided.
#[must_use]
pub fn share(amount: ByteCount, claims: &[Claim]) -> Vec<ByteCount> {
    let least: ByteCount = claims.iter().map(|claim| claim.least).sum();
    if least > amount {
        let bare = |claim: &Claim| Claim { most: claim.least, least: ByteCount::ZERO, ..*claim };
        return fill(amount, &claims.iter().map(bare).collect::<Vec<_>>());
    }
    fill(amount, claims)
}

/// Raises a level, like water, until the amount is used up.
fn fill(amount: ByteCount, claims: &[Claim]) -> Vec<ByteCount> {
    let at = |level: u128| {
        claims.iter().map(move |claim| {
            let part = level.saturating_mul(claim.weight.into()) >> FINE;
            let part = ByteCount::bytes(u64::try_from(part).unwrap_or(u64::MAX));
            part.max(claim.least).min(claim.most.max(claim.least))
        })
    };
    let most = claims.iter().map(|claim| claim.most).max().unwrap_or_default();
    let (mut low, mut high) = (0, (u128::from(most.as_u64()) + 1) << FINE);
    while high - low > 1 {
        let middle = u128::midpoint(low, high);
        if at(middle).sum::<ByteCount>() <= amount { low = middle } else { high = middle }
    }
    at(low).collect()
}

/// Binary places of the level behind the byte.
const FINE: u32 = 10;

#[cfg(test)]
mod tests {
    use agentd_core::fair;

    use super::*;
    use crate::dice::Dice;

    fn divided(amount: u32, claims: &[(u64, u32, u32)]) -> Vec<u64> {
        let claim = |(weight, least, most): &(u64, u32, u32)| Claim {
            weight: *weight,
            least: ByteCount::mib(*least),
            most: ByteCount::mib(*most),
        };
        let claims: Vec<_> = claims.iter().map(claim).collect();
        let shares = share(ByteCount::mib(amount), &claims);
        shares.iter().map(|share| (share.as_u64() + (1 << 19)) >> 20).collect()
    }

    #[test]
    fn divides_by_weight_between_least_and_most() {
        assert_eq!(divided(300, &[(100, 0, 500), (200, 0, 500)]), [100, 200]);
        assert_eq!(divided(300, &[(100, 0, 50), (100, 0, 500), (100, 0, 500)]), [50, 125, 125]);
        assert_eq!(divided(300, &[(100, 200, 500), (100, 0, 500)]), [200, 100]);
        // More than anybody can use is left over; less than is guaranteed is shared, too.
        assert_eq!(divided(900, &[(100, 0, 50), (300, 10, 100)]), [50, 100]);
        assert_eq!(divided(100, &[(100, 100, 500), (100, 100, 500)]), [50, 50]);
        assert_eq!(divided(100, &[]), [] as [u64; 0]);
    }

    /// Where what is guaranteed fits: else agentd gives it all the same.
    #[test]
    fn agentd_divides_in_the_same_way() {
        let mut divided = 0;
        for seed in 0..2_000 {
            let mut dice = Dice::new(seed, 0);
            let count = dice.between(1, 12);
            let claims: Vec<Claim> = (0..count)
                .map(|_| {
                    let most = dice.size(1, 8192);
                    let least = dice.share(most, 0, 60);
                    let weight = dice.pick(&[1, 50, 100, 200, 10_000], 100);
                    Claim { weight, least, most }
                })
                .collect();
            let sum = |of: fn(&Claim) -> ByteCount| claims.iter().map(of).sum::<ByteCount>();
            let (least, most) = (sum(|claim| claim.least), sum(|claim| claim.most));
            let pool = least.saturating_add(most.saturating_sub(least).fraction(seed % 120, 100));
            divided += u32::from(pool < most);
            let fair = |claim: &Claim| fair::Claim {
                least: claim.least,
                most: claim.most,
                weight: u32::try_from(claim.weight).unwrap(),
            };
            let theirs = fair::share(pool, &claims.iter().map(fair).collect::<Vec<_>>());
            for ((own, theirs), claim) in share(pool, &claims).iter().zip(theirs).zip(&claims) {
                // A level is as fine as a 1024th of a byte.
                let rounded = ByteCount::bytes(2 + (claim.weight >> FINE));
                assert!(own.abs_diff(theirs) <= rounded, "seed {seed}: {own} {theirs} {claim:?}");
            }
        }
        assert!(divided > 1_000, "{divided}");
    }
}
