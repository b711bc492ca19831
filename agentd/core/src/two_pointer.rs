//! The algorithm `two-pointer`: who needs memory gets it from who has some to spare, and one
//! pointer each walks over the takers and the givers.
//!
//! A VM whose use grows and that has little unused needs memory; one whose use does not grow and
//! that has much unused can spare some. Givers are drained in turn, from a place that moves on by
//! one VM each tick so that nobody is always first. When no VM can spare anything the host pays, in
//! small steps and down to its reserve. When no VM needs anything, the spare memory goes to the
//! host.
//!
//! A reservation that lacks memory of its minimum is the first taker, before any VM: its VM counts
//! as there already. What it takes beyond comes last.
//!
//! A VM that swaps hard needs memory too: what it swaps out shows as unused, and its use cannot
//! grow.

use crate::{
    assess::View,
    by_vm::ByVm,
    bytes::ByteCount,
    decision::Pool,
    plan::{Party, Transfer},
    policy::TwoPointer,
    sample::Freshness,
    verdict::{Reason, Verdict, VerdictKind},
    vm::VmId,
};

/// What the algorithm remembers from tick to tick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Where the rotation stands.
    pub offset: u64,
    /// Use of each VM at the last tick at which its figures counted.
    pub previous: ByVm<ByteCount>,
}

/// What the algorithm decided.
#[derive(Clone, Debug)]
pub struct Ruling {
    /// Where the rotation stood.
    pub offset: u64,
    /// A verdict for each VM.
    pub verdicts: ByVm<Verdict>,
    /// Who gives how much to whom.
    pub transfers: Vec<Transfer>,
    /// What to remember.
    pub memory: Memory,
}

/// Decides for VMs in the order of their ids.
#[must_use]
pub fn rule(
    constants: &TwoPointer,
    memory: &Memory,
    vms: &[View<'_>],
    pool: &Pool,
    granule: ByteCount,
) -> Ruling {
    let count = u64::try_from(vms.len()).unwrap_or(u64::MAX);
    let offset = memory.offset.checked_rem(count).unwrap_or(0);
    let previous = previous_of(memory, vms);
    let pairs = vms.iter().zip(&previous);
    let refusal = pool.refusal();
    let asks: Vec<Ask> =
        pairs.map(|(vm, used)| ask(constants, *used, vm, (refusal, granule))).collect();
    let mut round = Round::new(vms, &asks, offset, granule);

    let needed = asks.iter().any(|ask| ask.needs);
    round.give_to_reservations(pool.booked.asks());
    if needed {
        round.transfer_between_vms();
        if round.nothing_to_spare() {
            round.grant_from_host(constants.step, pool);
        }
    }
    round.give_to_reservations(pool.booked.asks_more());
    if !needed {
        round.give_to_host();
    }

    let verdict = |(ask, moved): (&Ask, &Moved)| (moved.id, ask.verdict(moved));
    let verdicts = asks.iter().zip(&round.moved).map(verdict).collect();
    let offset_next = offset.saturating_add(1).checked_rem(count).unwrap_or(0);
    let memory = Memory { offset: offset_next, previous: remember(&previous, vms) };
    Ruling { offset, verdicts, transfers: round.transfers, memory }
}

/// What one VM needs or can spare. Never both.
#[derive(Clone, Copy, Debug)]
struct Ask {
    previous: Option<ByteCount>,
    need: Option<ByteCount>,
    spare: Option<ByteCount>,
    /// It needs memory, even if all of that is owed to it already.
    needs: bool,
    /// Why it holds if nothing moves.
    hold: Reason,
}

fn ask(
    constants: &TwoPointer,
    previous: Option<ByteCount>,
    view: &View<'_>,
    (refusal, granule): (Reason, ByteCount),
) -> Ask {
    let silent = |hold| Ask { previous: None, need: None, spare: None, needs: false, hold };
    if let Some(bar) = view.bar {
        return silent(bar);
    }
    let (Some(unused), Some(used)) = (view.vm.guest.unused, view.vm.used()) else {
        return silent(Reason::FiguresAbsent);
    };
    let content = Ask { previous, ..silent(Reason::Content) };
    // All that a VM not seen before uses counts as growth.
    let previous = previous.unwrap_or(ByteCount::ZERO);

    if (used > previous && unused < constants.need_below) || view.starves {
        let wanted = constants.step.max(constants.need_below.saturating_sub(unused));
        let room = view.limits.max.saturating_sub(view.holds);
        let need = wanted.min(room).align_down(granule);
        let open = need.saturating_sub(view.owed).align_down(granule);
        let hold = match (need.is_zero(), open.is_zero()) {
            (true, _) => Reason::AtMaximum,
            (false, true) => Reason::Awaiting,
            (false, false) => refusal,
        };
        return Ask { need: Some(open), needs: !need.is_zero(), hold, ..content };
    }
    if used <= previous && unused > constants.spare_above {
        if let Some(bar) = view.give_bar {
            return Ask { hold: bar, ..content };
        }
        let wanted = constants.step.min(unused.saturating_sub(constants.spare_above));
        let spare = wanted.min(view.gives_unhurt()).align_down(granule);
        let hold = match (spare.is_zero(), view.gives_unhurt().is_zero()) {
            (true, true) => Reason::AtMinimum,
            (true, false) => Reason::Content,
            (false, _) => Reason::SpareNotNeeded,
        };
        return Ask { spare: Some(spare), hold, ..content };
    }
    let is_full = view.vm.guest.usable.is_some_and(|usable| usable < constants.step);
    if used <= previous && is_full { Ask { hold: Reason::Full, ..content } } else { content }
}

impl Ask {
    fn verdict(&self, moved: &Moved) -> Verdict {
        let gave = [moved.gave_to_vms, moved.gave_to_reservations, moved.gave_to_host];
        let gave: ByteCount = gave.into_iter().sum();
        let (kind, reason, amount) = if !moved.got.is_zero() {
            (VerdictKind::Grow, Reason::NeedsMemory, moved.got)
        } else if !moved.gave_to_vms.is_zero() {
            (VerdictKind::Shrink, Reason::GivesToVm, gave)
        } else if !moved.gave_to_reservations.is_zero() {
            (VerdictKind::Shrink, Reason::GivesToReservation, gave)
        } else if !moved.gave_to_host.is_zero() {
            (VerdictKind::Shrink, Reason::GivesToHost, gave)
        } else {
            (VerdictKind::Hold, self.hold, ByteCount::ZERO)
        };
        let (previous_used, need, spare) = (self.previous, self.need, self.spare);
        Verdict { previous_used, need, spare, amount, kind, ..Verdict::hold(reason) }
    }
}

/// What one VM got and gave so far.
#[derive(Clone, Copy, Debug)]
struct Moved {
    id: VmId,
    /// What it still needs.
    need: ByteCount,
    /// What it can still spare.
    spare: ByteCount,
    /// What it can still get before it is at its maximum.
    room: ByteCount,
    got: ByteCount,
    gave_to_vms: ByteCount,
    gave_to_reservations: ByteCount,
    gave_to_host: ByteCount,
}

/// The transfers of one tick in the making.
#[derive(Debug)]
struct Round {
    /// In the order of the views.
    moved: Vec<Moved>,
    offset: u64,
    granule: ByteCount,
    transfers: Vec<Transfer>,
}

impl Round {
    fn new(vms: &[View<'_>], asks: &[Ask], offset: u64, granule: ByteCount) -> Self {
        let start = |(view, ask): (&View<'_>, &Ask)| Moved {
            id: view.id,
            need: ask.need.unwrap_or_default(),
            spare: ask.spare.unwrap_or_default(),
            room: view.limits.max.saturating_sub(view.holds.saturating_add(view.owed)),
            got: ByteCount::ZERO,
            gave_to_vms: ByteCount::ZERO,
            gave_to_reservations: ByteCount::ZERO,
            gave_to_host: ByteCount::ZERO,
        };
        let moved = vms.iter().zip(asks).map(start).collect();
        Self { moved, offset, granule, transfers: Vec::new() }
    }

    /// Indexes of all VMs, from the offset on and round.
    fn rotation(&self) -> impl Iterator<Item = usize> + use<> {
        let count = self.moved.len();
        let offset = usize::try_from(self.offset).unwrap_or(0);
        (offset..count).chain(0..offset.min(count))
    }

    /// The two pointers: each taker draws on the givers from where the taker before it stopped.
    fn transfer_between_vms(&mut self) {
        let mut givers = self.rotation().peekable();
        for taker in self.rotation() {
            while self.need(taker) > ByteCount::ZERO
                && let Some(giver) = givers.peek().copied()
            {
                self.transfer(giver, taker);
                if self.spare(giver).is_zero() {
                    givers.next();
                }
            }
        }
    }

    fn transfer(&mut self, giver: usize, taker: usize) {
        let amount = self.need(taker).min(self.spare(giver));
        if amount.is_zero() {
            return;
        }
        let (Some(from), Some(to)) = (self.give(giver, amount), self.receive(taker, amount)) else {
            return;
        };
        self.transfers.push(Transfer { from: Party::Vm(from), to: Party::Vm(to), amount });
    }

    /// Gives one step to each VM that still needs memory, while the host keeps more than its
    /// reserve.
    fn grant_from_host(&mut self, step: ByteCount, pool: &Pool) {
        let mut kept = if pool.stop.is_some() { ByteCount::ZERO } else { pool.kept };
        for taker in self.rotation() {
            let Some(moved) = self.moved.get(taker).copied() else {
                continue;
            };
            let amount = step.min(moved.room).align_down(self.granule);
            let left = kept.saturating_sub(amount);
            if moved.need.is_zero() || amount.is_zero() || left <= pool.least() {
                continue;
            }
            kept = left;
            self.receive(taker, amount);
            self.transfers.push(Transfer { from: Party::Host, to: Party::Vm(moved.id), amount });
        }
    }

    /// Gives reservations up to so much. The host keeps it for them.
    fn give_to_reservations(&mut self, asked: ByteCount) {
        let mut open = asked.align_up(self.granule);
        for giver in self.rotation() {
            let Some(moved) = self.moved.get_mut(giver) else { continue };
            let amount = moved.spare.min(open);
            if amount.is_zero() {
                continue;
            }
            open = open.saturating_sub(amount);
            moved.spare = moved.spare.saturating_sub(amount);
            moved.gave_to_reservations = moved.gave_to_reservations.saturating_add(amount);
            self.transfers.push(Transfer { from: Party::Vm(moved.id), to: Party::Host, amount });
        }
    }

    fn give_to_host(&mut self) {
        for giver in self.rotation() {
            let Some(moved) = self.moved.get_mut(giver) else { continue };
            let amount = std::mem::take(&mut moved.spare);
            if amount.is_zero() {
                continue;
            }
            moved.gave_to_host = amount;
            self.transfers.push(Transfer { from: Party::Vm(moved.id), to: Party::Host, amount });
        }
    }

    fn nothing_to_spare(&self) -> bool {
        self.moved.iter().all(|moved| moved.spare.is_zero())
    }

    fn need(&self, vm: usize) -> ByteCount {
        self.moved.get(vm).map_or(ByteCount::ZERO, |moved| moved.need)
    }

    fn spare(&self, vm: usize) -> ByteCount {
        self.moved.get(vm).map_or(ByteCount::ZERO, |moved| moved.spare)
    }

    fn give(&mut self, vm: usize, amount: ByteCount) -> Option<VmId> {
        let moved = self.moved.get_mut(vm)?;
        moved.spare = moved.spare.saturating_sub(amount);
        moved.gave_to_vms = moved.gave_to_vms.saturating_add(amount);
        Some(moved.id)
    }

    fn receive(&mut self, vm: usize, amount: ByteCount) -> Option<VmId> {
        let moved = self.moved.get_mut(vm)?;
        moved.need = moved.need.saturating_sub(amount);
        moved.room = moved.room.saturating_sub(amount);
        moved.got = moved.got.saturating_add(amount);
        Some(moved.id)
    }
}

/// Use of each VM at the tick before; `None` for one that was not seen.
fn previous_of(memory: &Memory, vms: &[View<'_>]) -> Vec<Option<ByteCount>> {
    let mut previous = memory.previous.beside();
    vms.iter().map(|view| previous.of(view.id).copied()).collect()
}

/// Use as of this tick; as of an earlier one for VMs whose figures do not count now.
fn remember(previous: &[Option<ByteCount>], vms: &[View<'_>]) -> ByVm<ByteCount> {
    let used = |(view, previous): (&View<'_>, &Option<ByteCount>)| {
        let counts = view.vm.freshness == Freshness::Fresh && view.bar != Some(Reason::Settling);
        let used = view.vm.used().filter(|_| counts).or(*previous)?;
        Some((view.id, used))
    };
    let mut all = Vec::with_capacity(vms.len());
    all.extend(vms.iter().zip(previous).filter_map(used));
    all.into()
}
