//! [`Mind`]: who decides. What is remembered from sample to sample, and how it goes on.
//!
//! The tick owns the one that acts. A replay thinks recorded samples through another, and comes to
//! the same decisions; a [`Shade`] thinks along under another policy and never acts.

use std::{sync::Arc, time::Duration};

use agentd_core::{
    check::{Finding, check},
    decide::decide,
    decision::Decision,
    host::HostWatch,
    plan::Plan,
    policy::Policy,
    sample::Sample,
    state::{Applied, State},
    two_pointer, working_set,
};

/// What is remembered from decision to decision.
#[derive(Clone, Debug, Default)]
pub struct Mind {
    state: Arc<State>,
    /// All was begun anew since somebody last asked.
    anew: bool,
}

/// A decision that nothing has come of yet.
#[derive(Clone, Debug)]
pub struct Thought {
    /// What was decided.
    pub decision: Decision,
    /// What the judge finds wrong with it: a plan with findings is never carried out.
    pub findings: Vec<Finding>,
    /// What the plan was made of, and what its outcome is added to.
    pub state: State,
}

impl Mind {
    /// What is remembered now. Cheap: it is shared until it changes.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.state)
    }

    /// Begins anew, after time in which anything may have happened.
    pub fn begin_anew(&mut self) {
        Arc::make_mut(&mut self.state).begin_anew();
        self.anew = true;
    }

    /// True where it has begun anew since this was last asked.
    pub const fn take_anew(&mut self) -> bool {
        std::mem::replace(&mut self.anew, false)
    }

    /// Forgets what was followed from tick to tick: nothing could be seen.
    pub fn lose_sight(&mut self) {
        Arc::make_mut(&mut self.state).lose_sight();
    }

    /// Decides. Nothing is remembered of it before [`Mind::settle`].
    #[must_use]
    pub fn think(&self, policy: &Policy, sample: &Sample) -> Thought {
        think(policy, &self.state, sample)
    }

    /// Remembers what became of a plan, whose orders were over at `settled`.
    pub fn settle(
        &mut self,
        state: State,
        (plan, applied): (&Plan, &Applied),
        sample: &Sample,
        settled: Duration,
    ) {
        self.state = Arc::new(state.after(plan, applied, sample, settled));
    }
}

/// Decides on a sample beside what is remembered, and has it judged.
fn think(policy: &Policy, before: &State, sample: &Sample) -> Thought {
    let (decision, state) = decide(policy, before, sample);
    let findings = check(policy, &state, sample, &decision);
    Thought { decision, findings, state }
}

/// A policy that decides along and never acts.
///
/// Before every sample it learns what really happened: which orders are in force, what is owed, how
/// each VM follows. Its own are only what the algorithms remember and how it saw the host fare. So it
/// tells what it would do next from where the acting policy has brought the VMs, and not where it
/// would have brought them itself.
#[derive(Clone, Debug, Default)]
pub struct Shade {
    own: Option<Own>,
}

/// What a shade remembers by itself.
#[derive(Clone, Debug)]
struct Own {
    two_pointer: two_pointer::Memory,
    working_set: working_set::Memory,
    /// `None` where that one has begun anew since.
    host: Option<HostWatch>,
}

impl Shade {
    /// What it would decide on a sample on which another mind decided that remembered `before`.
    pub fn think(
        &mut self,
        policy: &Policy,
        before: &State,
        sample: &Sample,
    ) -> (Decision, Vec<Finding>) {
        let mut state = before.clone();
        if let Some(own) = self.own.take() {
            (state.two_pointer, state.working_set) = (own.two_pointer, own.working_set);
            // VMs were only ever made to give by who acts.
            state.host =
                own.host.map_or_else(|| before.host.clone(), |own| own.acted_as(&before.host));
        }
        let Thought { decision, findings, state } = think(policy, &state, sample);
        let State { two_pointer, working_set, host, .. } = state;
        self.own = Some(Own { two_pointer, working_set, host: Some(host) });
        (decision, findings)
    }

    /// Who acts has begun anew, or time has passed that the shade did not see.
    pub fn begin_anew(&mut self) {
        if let Some(own) = &mut self.own {
            own.host = None;
        }
    }

    /// Nothing could be seen.
    pub fn lose_sight(&mut self) {
        if let Some(host) = self.own.as_mut().and_then(|own| own.host.as_mut()) {
            host.interrupt();
        }
    }
}
