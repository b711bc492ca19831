//! [`Play`]: a recording's ticks, decided once more.

use std::path::Path;

use agentd_core::{decision::Decision, policy::Policy, sample::Sample, verdict::Verdict};

use super::{Other, ReplayError};
use crate::{
    control::{Mode, beyond_host},
    difference::Compared,
    mind::{Mind, Shade, Thought},
    recording::Recorded,
};

/// A recording under way.
pub(super) struct Play<'a> {
    file: &'a Path,
    recorded_by: String,
    /// The policy in force, and the other one in its place.
    policy: Option<(Policy, Policy)>,
    other: Option<&'a Other>,
    /// Who decided then.
    mind: Mind,
    /// Who decides along under another policy.
    shade: Shade,
    next: Option<u64>,
    astray: Option<(u64, String)>,
}

/// One tick, decided once more.
pub(super) struct Played {
    /// Number of the tick.
    pub(super) tick: u64,
    /// Whether anything was decided in it.
    pub(super) decided: bool,
    /// What the other policy decides otherwise; `None` where there is none, or nothing was decided.
    pub(super) compared: Option<Compared>,
}

impl<'a> Play<'a> {
    pub(super) fn new(file: &'a Path, other: Option<&'a Other>, recorded_by: &str) -> Self {
        let recorded_by = recorded_by.to_owned();
        let (mind, shade) = Default::default();
        Self { file, recorded_by, policy: None, other, mind, shade, next: None, astray: None }
    }

    /// The first tick on which this agentd decides something else than was recorded, and what; only
    /// told where another policy is asked for, for it is an error where not.
    pub(super) fn astray(&self) -> Option<&(u64, String)> {
        self.astray.as_ref()
    }

    /// Decides a tick once more.
    pub(super) fn tick(&mut self, recorded: &Recorded) -> Result<Played, ReplayError> {
        let tick = recorded.tick;
        let wanted = self.next.unwrap_or(0);
        if tick != wanted {
            return Err(ReplayError::Hole { file: self.file.to_owned(), wanted, found: tick });
        }
        self.next = tick.checked_add(1);
        if let Some(policy) = &recorded.policy {
            let other =
                self.other.map(|other| other.instead_of(policy, &recorded.pinned)).transpose()?;
            self.policy = Some((policy.clone(), other.unwrap_or_else(|| policy.clone())));
        }
        if recorded.anew {
            self.mind.begin_anew();
            self.shade.begin_anew();
        }
        let Some(sample) = &recorded.sample else {
            self.mind.lose_sight();
            self.shade.lose_sight();
            return Ok(Played { tick, decided: false, compared: None });
        };
        if recorded.mode == Mode::Paused {
            return Ok(Played { tick, decided: false, compared: None });
        }
        let compared = self.decide(sample, recorded)?;
        Ok(Played { tick, decided: true, compared })
    }

    fn decide(
        &mut self,
        sample: &Sample,
        recorded: &Recorded,
    ) -> Result<Option<Compared>, ReplayError> {
        let Some((recorded_policy, policy)) = &self.policy else {
            return Err(self.lacks(recorded, "policy"));
        };
        let Some(then) = &recorded.decision else { return Err(self.lacks(recorded, "decision")) };
        let known = beyond_host(recorded_policy, sample.host.total);
        let beyond = beyond_host(policy, sample.host.total);
        if let Some(fault) = beyond.into_iter().find(|fault| !known.contains(fault)) {
            let (file, tick) = (self.file.to_owned(), recorded.tick);
            return Err(ReplayError::BeyondHost { file, tick, what: fault.to_string() });
        }
        let before = self.mind.state();
        let Thought { decision, state, .. } = self.mind.think(recorded_policy, sample);
        let compared = self.other.map(|_| {
            let thought = self.shade.think(policy, &before, sample);
            Compared::new(sample, recorded.began, then, policy, &thought)
        });
        self.mind.settle(state, (&then.plan, &recorded.applied), sample, recorded.settled);
        let what = difference(sample, then, &decision);
        match (what, self.other) {
            (None, _) => Ok(compared),
            (Some(what), None) => Err(ReplayError::Differs {
                file: self.file.to_owned(),
                tick: recorded.tick,
                what,
                recorded_by: self.recorded_by.clone(),
            }),
            (Some(what), Some(_)) => {
                self.astray.get_or_insert((recorded.tick, what));
                Ok(compared)
            }
        }
    }

    /// A tick that was decided holds all that a decision is made of.
    fn lacks(&self, recorded: &Recorded, what: &'static str) -> ReplayError {
        ReplayError::Incomplete { file: self.file.to_owned(), tick: recorded.tick, what }
    }
}

/// The first thing in which two decisions on a sample differ, with both; `None` where they are equal.
fn difference(sample: &Sample, recorded: &Decision, replayed: &Decision) -> Option<String> {
    if recorded == replayed {
        return None;
    }
    let words = |verdict: Option<&Verdict>| match verdict {
        None => "nothing".to_owned(),
        Some(verdict) => {
            format!("{} {} ({})", verdict.kind.name(), verdict.amount, verdict.reason)
        }
    };
    let of_vm = sample.vms.iter().find_map(|(id, vm)| {
        let (then, now) = (recorded.verdicts.get(id), replayed.verdicts.get(id));
        let told = (words(then), words(now));
        let (then, now) = if told.0 == told.1 && then != now {
            (format!("{then:?}"), format!("{now:?}"))
        } else {
            told
        };
        (then != now)
            .then(|| format!("{}: recorded {then}, replayed {now}", vm.name.escape_debug()))
    });
    let parts = [
        ("the transfers", format!("{:?}", recorded.transfers), format!("{:?}", replayed.transfers)),
        ("the plan", format!("{:?}", recorded.plan), format!("{:?}", replayed.plan)),
        ("the pool", format!("{:?}", recorded.pool), format!("{:?}", replayed.pool)),
        ("the host", format!("{:?}", recorded.host), format!("{:?}", replayed.host)),
    ];
    let of_part = || {
        let (part, then, now) = parts.iter().find(|(_, then, now)| then != now)?;
        Some(format!("{part}: recorded {then}, replayed {now}"))
    };
    let other = || format!("recorded {recorded:?}, replayed {replayed:?}");
    Some(of_vm.or_else(of_part).unwrap_or_else(other))
}
