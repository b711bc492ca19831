//! Properties of [`share`], and an allocator that comes to the same another way.

use agentd_core::{
    bytes::ByteCount,
    fair::{Claim, share},
};
use proptest::{collection::vec, prelude::*};

/// Sizes of VMs, small numbers in which ties and roundings are frequent, and nonsense.
fn amount() -> impl Strategy<Value = u64> {
    let huge = prop_oneof![Just(u64::MAX), 0..=u64::MAX];
    prop_oneof![4 => 0..40_u64, 6 => 0..1_u64 << 42, 1 => huge]
}

fn claim() -> impl Strategy<Value = Claim> {
    let weight = prop_oneof![Just(100), 1..=10_000_u32, Just(1), Just(0)];
    (amount(), amount(), weight).prop_map(|(one, other, weight)| Claim {
        // The most may be below the least: then the least counts.
        least: ByteCount::bytes(one / 2),
        most: ByteCount::bytes(other),
        weight,
    })
}

/// What VMs ask for: no more than hosts have, so that sums are exact.
fn sane() -> impl Strategy<Value = Vec<Claim>> {
    let small = (0..30_u64, 0..60_u64, 1..5_u32);
    let real = (0..1_u64 << 34, 0..1_u64 << 36, 1..=10_000_u32);
    let own = prop_oneof![small, real].prop_map(|(least, most, weight)| Claim {
        least: ByteCount::bytes(least),
        most: ByteCount::bytes(most),
        weight,
    });
    vec(own, 1..12)
}

/// From nothing to more than all together want.
fn pool(claims: &[Claim], permille: u64) -> u64 {
    let tops: u64 = claims.iter().map(top).sum();
    u64::try_from(u128::from(tops) * u128::from(permille) / 1000).unwrap()
}

fn top(claim: &Claim) -> u64 {
    claim.most.max(claim.least).as_u64()
}

fn shared(pool: u64, claims: &[Claim]) -> Vec<u64> {
    share(ByteCount::bytes(pool), claims).into_iter().map(ByteCount::as_u64).collect()
}

/// Divides what is left by weight among all whose share is open; whoever would get less than its
/// least, or more than its most, gets that, whichever of the two is more in all; again, until nobody
/// would. This is how browsers lay out boxes that grow (CSS flexible boxes, §9.7): no level, no
/// search.
pub(crate) fn by_freezing(pool: u64, claims: &[Claim]) -> Vec<u64> {
    let (pool, total) = (u128::from(pool), |of: fn(&Claim) -> u64| {
        claims.iter().map(|claim| u128::from(of(claim))).sum::<u128>()
    });
    if total(top) <= pool {
        return claims.iter().map(top).collect();
    }
    if total(|claim| claim.least.as_u64()) >= pool {
        return claims.iter().map(|claim| claim.least.as_u64()).collect();
    }
    let mut settled: Vec<Option<u64>> = vec![None; claims.len()];
    loop {
        let given: u128 = settled.iter().flatten().map(|got| u128::from(*got)).sum();
        let left = pool.saturating_sub(given);
        let open = || (0..claims.len()).filter(|index| settled[*index].is_none());
        let weights: u128 = open().map(|index| u128::from(claims[index].weight)).sum();
        // All times `weights`, so that nothing is rounded.
        let bare = |index: usize| left * u128::from(claims[index].weight);
        let least = |index: usize| u128::from(claims[index].least.as_u64()) * weights;
        let most = |index: usize| u128::from(top(&claims[index])) * weights;
        let raised: u128 = open().map(|index| least(index).saturating_sub(bare(index))).sum();
        let cut: u128 = open().map(|index| bare(index).saturating_sub(most(index))).sum();
        if raised == 0 && cut == 0 {
            let rest = |index: usize| u64::try_from(bare(index) / weights.max(1)).unwrap();
            return (0..claims.len()).map(|i| settled[i].unwrap_or_else(|| rest(i))).collect();
        }
        let bounded: Vec<(usize, u64)> = open()
            .filter_map(|index| match raised >= cut {
                true => (least(index) > bare(index)).then(|| (index, claims[index].least.as_u64())),
                false => (most(index) < bare(index)).then(|| (index, top(&claims[index]))),
            })
            .collect();
        // Where both are equal, all who are out of bounds are in their places.
        if raised == cut {
            let over = open().filter(|index| most(*index) < bare(*index));
            let over: Vec<usize> = over.collect();
            for index in over {
                settled[index] = Some(top(&claims[index]));
            }
        }
        for (index, got) in bounded {
            settled[index] = Some(got);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    /// Two ways to the same shares, to the byte that rounding takes.
    #[test]
    fn agrees_with_an_allocator_that_freezes(claims in sane(), permille in 0..1100_u64) {
        let pool = pool(&claims, permille);
        let (got, expected) = (shared(pool, &claims), by_freezing(pool, &claims));
        let near = got.iter().zip(&expected).all(|(got, expected)| got.abs_diff(*expected) <= 1);
        prop_assert!(near, "{got:?} is not {expected:?} of {pool}: {claims:?}");
    }

    /// Nobody can get more without somebody getting less who has less for its weight already.
    #[test]
    fn nobody_gets_more_at_the_cost_of_one_who_has_less(
        claims in sane(),
        permille in 0..1100_u64,
    ) {
        let pool = pool(&claims, permille);
        let got = shared(pool, &claims);
        let all = || claims.iter().zip(&got);
        for (wants, has) in all().filter(|(claim, got)| **got < top(claim)) {
            for (gives, gave) in all().filter(|(claim, got)| **got > claim.least.as_u64()) {
                let richer = u128::from(*gave) * u128::from(wants.weight);
                let poorer = (u128::from(*has) + 1) * u128::from(gives.weight);
                prop_assert!(
                    richer <= poorer,
                    "{gives:?} has {gave} while {wants:?} has {has}, of {pool}"
                );
            }
        }
    }

    /// Guarantees are kept to the byte, also where the pool has not as much, and nobody gets more
    /// than it asked for; whatever the figures are.
    #[test]
    fn keeps_guarantees_and_bounds_exactly(claims in vec(claim(), 0..12), pool in amount()) {
        let got = shared(pool, &claims);
        prop_assert_eq!(got.len(), claims.len());
        for (claim, got) in claims.iter().zip(&got) {
            let bounds = claim.least.as_u64()..=top(claim);
            prop_assert!(bounds.contains(got), "{got} of {claim:?}");
        }
    }

    /// What is there is given out, but for less than a byte for each.
    #[test]
    fn uses_up_the_pool(claims in sane(), permille in 0..1100_u64) {
        let pool = pool(&claims, permille);
        let given: u64 = shared(pool, &claims).iter().sum();
        let least: u64 = claims.iter().map(|claim| claim.least.as_u64()).sum();
        let tops: u64 = claims.iter().map(top).sum();
        let due = pool.clamp(least, tops);
        prop_assert!(given <= due, "{given} of {due}: {claims:?}");
        prop_assert!(due - given < claims.len() as u64, "{given} of {due}: {claims:?}");
    }

    /// Who comes first gets no more for it.
    #[test]
    fn the_order_of_the_claims_does_not_matter(
        claims in vec(claim(), 0..12),
        pool in amount(),
        keys in vec(any::<u64>(), 12),
    ) {
        let mut order: Vec<usize> = (0..claims.len()).collect();
        order.sort_by_key(|index| keys[*index]);
        let shuffled: Vec<Claim> = order.iter().map(|index| claims[*index]).collect();
        let got = shared(pool, &claims);
        let expected: Vec<u64> = order.iter().map(|index| got[*index]).collect();
        prop_assert_eq!(shared(pool, &shuffled), expected);
    }

    /// A larger pool takes from nobody.
    #[test]
    fn more_to_share_is_less_for_nobody(claims in sane(), permille in 0..1100_u64, more in amount()) {
        let pool = pool(&claims, permille);
        let (before, after) = (shared(pool, &claims), shared(pool.saturating_add(more), &claims));
        let kept = before.iter().zip(&after).all(|(before, after)| before <= after);
        prop_assert!(kept, "{before:?}, {after:?} of {more} more: {claims:?}");
    }
}
