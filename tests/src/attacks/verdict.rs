//! [`Ratio`]: how much longer ticks took in one scene than in another, and what can be told of that.
//!
//! The p99 of some hundred ticks is what a handful of them took, and two quiets differ, too. So a ratio is also taken
//! of rounds drawn anew from those there were, as often as it takes to see how far another run may have come.

use std::fmt;
use std::time::Duration;

use super::ticks::percentile;
use super::trial::{Round, Scene};

/// How much longer ticks took, at their 99th percentile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Of all rounds.
    pub times: f64,
    /// What nine of ten draws do not fall below.
    pub low: f64,
    /// What nine of ten draws do not exceed.
    pub high: f64,
}

/// What can be told of a ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is within the goal, and so it is in nine of ten draws.
    Meets,
    /// It is beyond the goal, and so it is in nine of ten draws.
    Misses,
    /// Another run might have come out either way.
    Unclear,
}

impl Ratio {
    /// Of one scene by another, over these rounds.
    pub fn of(rounds: &[Round], some: Scene, others: Scene) -> Self {
        let all: Vec<_> = rounds.iter().collect();
        let mut draws: Vec<f64> = draws(rounds).map(|drawn| times(&drawn, some, others)).collect();
        draws.sort_unstable_by(f64::total_cmp);
        let at = |tenths: usize| draws.get(draws.len() * tenths / 10).copied().unwrap_or(f64::NAN);
        Self { times: times(&all, some, others), low: at(1), high: at(9) }
    }

    /// What can be told of it.
    pub fn verdict(self) -> Verdict {
        if self.times <= GOAL && self.high <= GOAL {
            Verdict::Meets
        } else if self.times > GOAL && self.low > GOAL {
            Verdict::Misses
        } else {
            Verdict::Unclear
        }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2}–{:.2})", self.times, self.low, self.high)
    }
}

impl Verdict {
    /// It in a word or two.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meets => "meets",
            Self::Misses => "**misses**",
            Self::Unclear => "in the noise",
        }
    }
}

/// The longer p99 of one half of the quiet blocks by that of the other half: as much may come of nothing.
pub fn noise(rounds: &[Round]) -> f64 {
    let half = |rest| {
        let own = rounds.iter().enumerate().filter(|(at, _)| at % 2 == rest);
        p99(own.map(|(_, round)| round), Scene::Quiet)
    };
    let ratio = half(0) / half(1);
    ratio.max(ratio.recip())
}

/// The 99th percentile of all ticks of a scene in these rounds, in seconds.
pub fn p99<'a>(rounds: impl IntoIterator<Item = &'a Round>, scene: Scene) -> f64 {
    let ticks = rounds.into_iter().flat_map(|round| round.ticks(scene)).copied();
    percentile(&ticks.collect::<Vec<Duration>>(), 99).as_secs_f64()
}

fn times(rounds: &[&Round], some: Scene, others: Scene) -> f64 {
    let [some, others] = [some, others].map(|scene| p99(rounds.iter().copied(), scene));
    if others > 0.0 { some / others } else { f64::NAN }
}

/// As many rounds as there are, each of them any, again and again; the same ones every time.
fn draws(rounds: &[Round]) -> impl Iterator<Item = Vec<&Round>> {
    let mut state = 1_u64;
    let mut next = move || {
        // Knuth's generator, whose high bits are good.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or_default()
    };
    (0..DRAWS).map(move |_| {
        let one = |_| rounds.get(next() % rounds.len().max(1));
        (0..rounds.len()).filter_map(one).collect()
    })
}

/// What an attack may cost a tick at most.
pub const GOAL: f64 = 1.1;
const DRAWS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds of a hundred ticks, all of which took so many microseconds.
    fn rounds(of: &[[u64; 3]]) -> Vec<Round> {
        let ticks = |micros| vec![Duration::from_micros(micros); 100];
        of.iter().map(|all| Round::of(all.map(ticks))).collect()
    }

    fn verdict(of: &[[u64; 3]]) -> Verdict {
        Ratio::of(&rounds(of), Scene::Attacked, Scene::Quiet).verdict()
    }

    #[test]
    fn what_every_round_shows_is_told_and_what_one_shows_is_not() {
        assert_eq!(verdict(&[[100, 0, 105]; 6]), Verdict::Meets);
        assert_eq!(verdict(&[[100, 0, 150]; 6]), Verdict::Misses);
        // Half of the rounds are disturbed, and no more under attack than without one.
        assert_eq!(verdict(&[[100, 0, 300], [300, 0, 100]].repeat(3)), Verdict::Meets);
        let one = [[100, 0, 300], [100, 0, 100], [100, 0, 100], [100, 0, 100]];
        assert_eq!(verdict(&one), Verdict::Unclear);
    }

    #[test]
    fn noise_is_what_two_halves_of_the_quiet_differ_by() {
        assert!((noise(&rounds(&[[100, 0, 0], [250, 0, 0]])) - 2.5).abs() < 0.001);
        assert!((noise(&rounds(&[[250, 0, 0], [100, 0, 0]])) - 2.5).abs() < 0.001);
    }
}
