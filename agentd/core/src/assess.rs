//! How each VM stands before an algorithm looks at it: what bounds it, and what bars it from
//! taking part. Every algorithm gets its VMs through here, so that no rule of safety is forgotten.

use std::time::Duration;

use crate::{
    bytes::ByteCount,
    conduct::Standing,
    decision::Pool,
    distress::Distress,
    host::HostView,
    known::{Known, Progress},
    plan::sums,
    policy::{Policy, Rules},
    reserve::{Booked, Booking, booked},
    sample::{Freshness, Sample, VmSample},
    state::State,
    verdict::Reason,
    vm::{Limits, VmId},
};

/// One VM as an algorithm sees it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Which VM.
    pub id: VmId,
    /// Its figures.
    pub vm: &'a VmSample,
    /// Memory that it holds.
    pub actual: ByteCount,
    /// What could be had of it without hurting anybody in it, as far as it says.
    pub idle: ByteCount,
    /// What bounds it.
    pub limits: Limits,
    /// Its share of memory that is short, beside that of others.
    pub weight: u32,
    /// What it may hold already: its actual, or a larger target in force.
    pub holds: ByteCount,
    /// What it may come to hold without another order: S1 counts this.
    pub exposure: ByteCount,
    /// What it was given at earlier ticks and has not got yet.
    pub owed: ByteCount,
    /// Most that it may give in one tick within its limits and its step.
    pub give_limit: ByteCount,
    /// What it is to be left with because less made it suffer.
    pub spared: ByteCount,
    /// The last sign that it suffers for want of memory; `None` when there was none lately.
    pub distress: Option<Distress>,
    /// It suffers so much that it needs memory, whatever its figures say.
    pub starves: bool,
    /// Why it can neither give nor get; `None` when it can.
    pub bar: Option<Reason>,
    /// It can be told to take more: nothing bars it, or only that it is getting memory already.
    pub takes: bool,
    /// Why it cannot give; `None` when it can.
    pub give_bar: Option<Reason>,
    /// It is to be told to hold what it holds, unless it is told to hold something else.
    pub stays: bool,
}

impl View<'_> {
    /// True for one that does not give what it is told to, or whose host gets nothing of it.
    pub const fn is_stuck(&self) -> bool {
        matches!(
            self.give_bar,
            Some(Reason::NotFollowing | Reason::Uncooperative | Reason::ReclaimIneffective)
        )
    }

    /// Most that it may give in one tick and be left with what it is spared.
    pub fn gives_unhurt(&self) -> ByteCount {
        self.give_limit.min(self.actual.saturating_sub(self.spared))
    }
}

/// What all VMs come to together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// What they hold.
    actual: ByteCount,
    /// What they may come to hold, or hold already by what the host shows.
    exposed: ByteCount,
    /// What they may still take.
    promised: ByteCount,
    /// What of that those may take that start.
    starting: ByteCount,
}

impl Totals {
    fn add(&mut self, view: &View<'_>) {
        let add = |sum: &mut ByteCount, amount| *sum = sum.saturating_add(amount);
        add(&mut self.actual, view.vm.actual);
        // A limit counts what a balloon may have freed nothing of.
        add(&mut self.exposed, view.exposure.max(view.vm.shown().held()));
        let may_take = view.exposure.saturating_sub(view.vm.surely_taken());
        add(&mut self.promised, may_take);
        if matches!(view.bar, Some(Reason::Booting | Reason::Rebooting)) {
            add(&mut self.starting, may_take);
        }
    }
}

/// Every VM of the sample, in the order of their ids.
#[must_use]
pub fn assess<'a>(policy: &Policy, state: &State, sample: &'a Sample) -> (Vec<View<'a>>, Totals) {
    let mut totals = Totals::default();
    let owed_to = sums(&state.owed, |transfer| transfer.to);
    let mut owed_to = owed_to.beside();
    let mut views = Vec::with_capacity(sample.vms.len());
    for ((id, vm), (_, known)) in sample.vms.iter().zip(state.each(sample)) {
        let owed = owed_to.of(*id).copied().unwrap_or_default();
        views.push(view(policy, sample, (*id, vm), known, owed));
        if let Some(view) = views.last() {
            totals.add(view);
        }
    }
    (views, totals)
}

fn view<'a>(
    policy: &Policy,
    sample: &Sample,
    (id, vm): (VmId, &'a VmSample),
    known: Known<'_>,
    owed: ByteCount,
) -> View<'a> {
    let Rules { limits, weight, pinned } = policy.rules(id, &vm.name, vm.max);
    let spared = known.followed.map_or(ByteCount::ZERO, |followed| followed.spared(vm, sample.now));
    let distress = known.distress(sample.now);
    let (standing, progress) = (known.standing(sample.now), known.progress(sample));
    let life = known.life(sample.now);
    let bar =
        if pinned { Some(Reason::Pinned) } else { life.bar().or_else(|| settling(vm, progress)) };
    View {
        id,
        vm,
        actual: vm.actual,
        idle: vm.guest.idle().unwrap_or_default(),
        limits,
        weight,
        holds: known.holds(),
        exposure: known.exposure(pinned, sample),
        owed,
        give_limit: policy.give_limit(vm).min(vm.actual.saturating_sub(limits.min)),
        spared,
        distress,
        starves: distress.is_some_and(|distress| distress.is_acute()),
        bar,
        takes: bar.is_none() || bar == Some(Reason::Settling) && !known.shrinks(),
        give_bar: give_bar(standing, distress, owed),
        stays: !sample.ideal && stays(&known, bar, distress.is_some(), sample.now),
    }
}

/// Who is to be told to hold what it holds: a VM that suffers while it is still to give; one that was
/// given up on, so that it does not take up its order when nobody reckons with it; and once each VM
/// that this agent has not ordered anything yet, so that no order of before can be in force unseen.
fn stays(known: &Known<'_>, bar: Option<Reason>, suffers: bool, now: Duration) -> bool {
    let Some(followed) = known.followed else { return false };
    let is_new = !followed.adopted && known.order.is_none_or(|order| order.in_doubt);
    if followed.standing(now) == Standing::Quarantined {
        return false;
    }
    match bar {
        None => is_new || followed.conduct.gave_up(now) || known.is_to_stop(now),
        Some(Reason::Settling) => known.is_to_stop(now) || is_new && suffers,
        // A balloon goes on with what it was told before its kernel began anew.
        Some(
            Reason::Booting | Reason::Rebooting | Reason::FiguresUnproven | Reason::FiguresStale,
        ) => {
            let seen = known.vm.figures_age.is_some();
            seen && suffers && (is_new || known.is_to_stop(now))
        }
        Some(_) => false,
    }
}

/// The pool that these VMs share.
#[must_use]
pub fn measure(
    policy: &Policy,
    state: &State,
    sample: &Sample,
    totals: &Totals,
    host: &HostView,
) -> Pool {
    let usable = sample.host.usable;
    let Totals { actual, mut exposed, mut promised, starting } = *totals;
    // What is on its way to the host already is asked of nobody again.
    let on_its_way = if starting.is_zero() { starting } else { state.coming(sample) };
    let starting = starting.saturating_sub(on_its_way);
    let needs = policy.host_reserve.saturating_add(promised).saturating_add(state.returned(sample));
    let (room, debt) = (usable.saturating_sub(needs), needs.saturating_sub(usable));
    // What a giver has let go of for others is free on the host, and theirs all the same.
    let spoken_for = state.spoken_for(sample);
    exposed = exposed.saturating_add(spoken_for);
    promised = promised.saturating_add(spoken_for);
    let by_host = usable.saturating_sub(promised);
    let by_limit = policy.pool_limit.map_or(by_host, |limit| limit.saturating_sub(exposed));
    let kept = by_host.min(by_limit);
    Pool {
        limit: policy.pool_limit,
        actual,
        exposed,
        promised,
        kept,
        usable,
        starting,
        room,
        debt,
        reserve: policy.host_reserve,
        stop: host.stop(),
        booked: Booked::default(),
    }
}

/// Books the reservations of a sample into its pool, and notes in the state how they fare. `before`
/// is the state of the tick before.
#[must_use]
pub fn book(
    before: &State,
    state: &mut State,
    (sample, views): (&Sample, &[View<'_>]),
    pool: &mut Pool,
) -> Vec<Booking> {
    let free = pool.kept.saturating_sub(pool.reserve);
    let is_known = |vm| before.followed.contains_key(&vm);
    let (bookings, memory) = before.reserve.book(sample, is_known, free);
    state.reserve = memory;
    if !bookings.is_empty() {
        let hidden: ByteCount = views.iter().map(hidden).sum();
        pool.booked = booked(&bookings, state.coming(sample).saturating_add(hidden));
    }
    bookings
}

/// What counts as a VM's only because it is not known yet what it was told before, as after a restart
/// or a gap: nobody has to give that, for it shows as free in a few ticks. What a VM may really come
/// to hold, one that boots for example, is not of that kind.
fn hidden(view: &View<'_>) -> ByteCount {
    let passes = matches!(view.bar, None | Some(Reason::Settling | Reason::FiguresUnproven));
    let holds = view.holds.max(view.vm.surely_held());
    let doubt = view.exposure.saturating_sub(holds);
    if passes && view.vm.boot.is_none() { doubt } else { ByteCount::ZERO }
}

fn settling(vm: &VmSample, progress: Progress) -> Option<Reason> {
    let moves = progress == Progress::Moving || vm.freshness != Freshness::Fresh;
    moves.then_some(Reason::Settling)
}

fn give_bar(standing: Standing, distress: Option<Distress>, owed: ByteCount) -> Option<Reason> {
    match standing {
        Standing::Inactive => Some(Reason::NotFollowing),
        Standing::Uncooperative | Standing::Quarantined => Some(Reason::Uncooperative),
        Standing::Ineffective => Some(Reason::ReclaimIneffective),
        Standing::Cooperative if distress.is_some() => Some(Reason::Distressed),
        Standing::Cooperative if !owed.is_zero() => Some(Reason::Awaiting),
        Standing::Cooperative => None,
    }
}
