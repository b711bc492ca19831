//! Who gives how much to whom, so that VMs come nearer to what they are entitled to.

use std::cmp::Reverse;

use super::{STEPS, Stand};
use crate::{
    assess::View,
    by_vm::ByVm,
    bytes::ByteCount,
    decision::Pool,
    fair::{Claim, plus, share, steps_that_fit},
    plan::{Party, Transfer},
    verdict::{Reason, Verdict, VerdictKind},
    vm::VmId,
};

/// A verdict for each VM, and transfers. Nobody gives more than is asked for.
pub(super) fn balance(
    vms: &[View<'_>],
    stands: &[Option<Stand<'_>>],
    pool: &Pool,
    granule: ByteCount,
) -> (ByVm<Verdict>, Vec<Transfer>) {
    let mut balance = Balance::new(vms, stands, pool, granule);
    balance.take();
    balance.give();
    let transfers = balance.transfers();
    (balance.verdicts(&transfers), transfers)
}

/// What is known of one VM while memory is shared out.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// What it lacks and can be told to take.
    lacks: ByteCount,
    spare: ByteCount,
    gives: ByteCount,
    /// What of that goes to the host, for itself or for reservations.
    back: ByteCount,
    gets: ByteCount,
}

#[derive(Debug)]
struct Balance<'a> {
    vms: &'a [View<'a>],
    stands: &'a [Option<Stand<'a>>],
    /// Why the host does not give.
    refusal: Reason,
    /// Why a VM has less than it asks for.
    short: Reason,
    granule: ByteCount,
    /// In the order of the views.
    parts: Vec<Part>,
    /// What the host can give.
    free: ByteCount,
    /// What the host is to get back first, for itself and for what reservations are guaranteed.
    missing: ByteCount,
    /// What reservations take beyond when nobody else needs it.
    more: ByteCount,
    /// Reservations lack something.
    reserves: bool,
}

impl<'a> Balance<'a> {
    fn new(
        vms: &'a [View<'a>],
        stands: &'a [Option<Stand<'a>>],
        pool: &Pool,
        granule: ByteCount,
    ) -> Self {
        let part = |(view, stand): (&View<'_>, &Option<Stand<'_>>)| {
            let Some(stand) = stand else { return Part::default() };
            let lacks = if view.takes { stand.lacks } else { ByteCount::ZERO };
            Part { lacks, spare: stand.spare, ..Part::default() }
        };
        // The host keeps more than its reserve, not just that.
        let least = pool.reserve.saturating_add(granule);
        let held = !pool.booked.held.is_zero();
        let (asks, more) = (pool.booked.asks(), pool.booked.asks_more());
        let taken = least.saturating_add(pool.booked.reserved);
        let free = if pool.stop.is_some() { ByteCount::ZERO } else { pool.kept };
        Self {
            vms,
            stands,
            refusal: pool.refusal(),
            short: if held { Reason::Reserved } else { Reason::FairShare },
            granule,
            parts: vms.iter().zip(stands).map(part).collect(),
            free: free.saturating_sub(taken).align_down(granule),
            missing: least.saturating_sub(pool.left()).saturating_add(asks).align_up(granule),
            more,
            reserves: !asks.is_zero() || !more.is_zero(),
        }
    }

    /// Takes what the host cannot give from those who have most beyond their entitlement: few give
    /// much rather than many a little.
    fn take(&mut self) {
        let lacks: ByteCount = self.parts.iter().map(|part| part.lacks).sum();
        let asked = lacks.saturating_sub(self.free).saturating_add(self.missing);
        let mut asked = asked.saturating_add(self.more);
        let mut givers: Vec<&mut Part> =
            self.parts.iter_mut().filter(|part| !part.spare.is_zero()).collect();
        givers.sort_by_key(|part| Reverse(part.spare));
        for part in givers {
            part.gives = part.spare.min(asked.align_up(self.granule));
            asked = asked.saturating_sub(part.gives);
        }
    }

    /// Shares out what there is among those who lack some, in steps: nobody gets headroom while another waits
    /// for what it works with.
    fn give(&mut self) {
        let given: ByteCount = self.parts.iter().map(|part| part.gives).sum();
        let mut missing = self.missing;
        for part in &mut self.parts {
            part.back = part.gives.min(missing);
            missing = missing.saturating_sub(part.back);
        }
        let there = self.free.saturating_add(given.saturating_sub(self.missing));
        let all = self.stands.iter().zip(&mut self.parts);
        let mut lacking: Vec<_> = all
            .filter(|(_, part)| !part.lacks.is_zero())
            .filter_map(|(stand, part)| {
                let stand = stand.as_ref()?;
                Some((stand.lacks_by_step(), stand.asks.weight, part))
            })
            .collect();
        let asked =
            lacking.iter().fold([ByteCount::ZERO; STEPS], |sums, (steps, ..)| plus(sums, steps));
        let fit = steps_that_fit(there, &asked);
        let claims: Vec<Claim> =
            lacking.iter().map(|(steps, weight, _)| Claim::in_steps(steps, fit, *weight)).collect();
        for ((.., part), gets) in lacking.iter_mut().zip(share(there, &claims)) {
            part.gets = gets.align_down(self.granule);
        }
    }

    fn transfers(&self) -> Vec<Transfer> {
        let mut transfers = Vec::new();
        let parts = || self.vms.iter().map(|view| view.id).zip(&self.parts);
        let takes = |(id, part): (VmId, &Part)| (!part.gets.is_zero()).then_some((id, part.gets));
        let mut takers = parts().filter_map(takes);
        let mut taker = takers.next();
        for (giver, part) in parts().filter(|(_, part)| !part.gives.is_zero()) {
            let mut left = part.gives;
            let mut hand = |to: Party, amount: ByteCount| {
                if !amount.is_zero() {
                    transfers.push(Transfer { from: Party::Vm(giver), to, amount });
                }
            };
            left = left.saturating_sub(part.back);
            hand(Party::Host, part.back);
            while let Some((id, open)) = taker.filter(|_| !left.is_zero()) {
                let amount = left.min(open);
                hand(Party::Vm(id), amount);
                left = left.saturating_sub(amount);
                let open = open.saturating_sub(amount);
                taker = if open.is_zero() { takers.next() } else { Some((id, open)) };
            }
            // What rounding leaves over.
            hand(Party::Host, left);
        }
        while let Some((id, amount)) = taker {
            transfers.push(Transfer { from: Party::Host, to: Party::Vm(id), amount });
            taker = takers.next();
        }
        transfers
    }

    fn verdicts(&self, transfers: &[Transfer]) -> ByVm<Verdict> {
        // They are in the order of their givers.
        let mut given = transfers.iter().peekable();
        let mut helps = |id: VmId| {
            let mut helps = false;
            while let Some(own) = given.next_if(|own| own.from == Party::Vm(id)) {
                helps |= own.to != Party::Host;
            }
            helps
        };
        let all = self.vms.iter().zip(self.stands).zip(&self.parts);
        let verdict = |((view, stand), part): ((&View<'_>, &Option<Stand<'_>>), &Part)| {
            (view.id, self.verdict(view, stand.as_ref(), part, helps(view.id)))
        };
        ByVm::in_order(all.map(verdict).collect())
    }

    fn verdict(
        &self,
        view: &View<'_>,
        stand: Option<&Stand<'_>>,
        part: &Part,
        helps: bool,
    ) -> Verdict {
        let Some(stand) = stand else {
            return Verdict::hold(view.bar.unwrap_or(Reason::FiguresAbsent));
        };
        let (kind, reason, amount) = if !part.gets.is_zero() {
            (VerdictKind::Grow, Reason::NeedsMemory, part.gets)
        } else if !part.gives.is_zero() {
            (VerdictKind::Shrink, self.gives_to(helps), part.gives)
        } else {
            (VerdictKind::Hold, self.holds(view, stand, part), ByteCount::ZERO)
        };
        let (need, spare) = (Some(stand.lacks), Some(stand.spare));
        let (demand, entitled) = (Some(stand.asks.demand), Some(stand.entitled));
        Verdict { kind, reason, need, spare, demand, entitled, amount, ..Verdict::hold(reason) }
    }

    /// Whom a VM gives to that helps another one, or none.
    const fn gives_to(&self, helps: bool) -> Reason {
        if helps {
            Reason::GivesToVm
        } else if self.reserves {
            Reason::GivesToReservation
        } else {
            Reason::GivesToHost
        }
    }

    /// Why a VM keeps what it has.
    fn holds(&self, view: &View<'_>, stand: &Stand<'_>, part: &Part) -> Reason {
        if let Some(bar) = view.bar {
            return bar;
        }
        let holds = stand.asks.has;
        let short = stand.asks.soon.saturating_sub(holds);
        // Room for a burst that may never come is no need.
        if !part.lacks.is_zero() && !short.is_zero() {
            return self.refusal;
        }
        // What it works with shows less the longer it swaps.
        if holds >= view.limits.max && (view.starves || stand.asks.demand >= holds) {
            return Reason::AtMaximum;
        }
        if stand.exceeds {
            let idle = if view.give_limit.is_zero() {
                Reason::AtMinimum
            } else if stand.spare.is_zero() && !short.is_zero() {
                // It works with what it holds, and more, and is entitled to less.
                self.short
            } else {
                Reason::SpareNotNeeded
            };
            return view.give_bar.unwrap_or(idle);
        }
        match short.is_zero() {
            true => Reason::Content,
            false if stand.entitled < stand.asks.soon => self.short,
            false => Reason::Content,
        }
    }
}
