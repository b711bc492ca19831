//! [`Short`]: VMs that swap and are given nothing, said when that lasts and not at every wave of it.

use std::{collections::BTreeMap, time::Duration};

use agentd_core::{
    bytes::ByteCount,
    distress::{Distress, Sign},
    verdict::{Reason, Verdict, VerdictKind},
    vm::VmId,
};

use super::named;
use crate::event::TickRecord;

/// VMs that swapped for want of memory lately. As many as there are VMs, at most.
#[derive(Debug, Default)]
pub(super) struct Short {
    vms: BTreeMap<VmId, Spell>,
    /// When VMs were last looked at, monotonic.
    at: Duration,
}

/// How long a VM suffers in vain.
#[derive(Debug, Default)]
struct Spell {
    /// When it last swapped for want of memory, monotonic.
    swapped: Duration,
    /// Why it was given nothing, when it last was not.
    why: &'static str,
    /// What it was found to be when it was last looked at.
    last: Look,
    /// How long it swapped and was given nothing, of late: a sixth of the time in which that was not so has
    /// leaked away, or all of it where it was given some.
    in_vain: Duration,
    /// That was so for long enough to be said, and has not leaked away since.
    is_said: bool,
}

impl Short {
    /// Who swaps for want of memory and is given none, by this tick and those before it; `None` where nobody
    /// does, and where nothing is decided.
    pub(super) fn look(&mut self, record: &TickRecord) -> Option<String> {
        let now = record.now;
        let passed = now.saturating_sub(std::mem::replace(&mut self.at, now));
        let Some(decision) = &record.decision else {
            self.vms.clear();
            return None;
        };
        for (id, verdict) in &decision.verdicts {
            if let Some(age) = swapped(verdict) {
                self.vms.entry(*id).or_default().swapped = now.saturating_sub(age);
            }
        }
        self.vms.retain(|id, spell| {
            let Some(verdict) = decision.verdicts.get(id) else { return false };
            let swapped = now.saturating_sub(spell.swapped) < Distress::REMEMBERED;
            let holds = record.vm(*id).map(|vm| vm.actual).unwrap_or_default();
            let why = in_vain(verdict, holds).filter(|_| swapped);
            spell.why = why.unwrap_or(spell.why);
            let look = match why {
                Some(_) => Look::InVain,
                None if verdict.kind == VerdictKind::Grow => Look::Given,
                None => Look::Well,
            };
            spell.pass(look, passed);
            swapped || spell.is_said
        });
        self.in_words(record)
    }

    /// Who it is, by what they wait for.
    fn in_words(&self, record: &TickRecord) -> Option<String> {
        let mut said: BTreeMap<&str, Vec<VmId>> = BTreeMap::new();
        for (id, spell) in self.vms.iter().filter(|(_, spell)| spell.is_said) {
            said.entry(spell.why).or_default().push(*id);
        }
        let each = said.iter().map(|(why, vms)| format!("{} ({why})", named(record, vms)));
        let who = each.collect::<Vec<_>>().join(", ");
        (!who.is_empty()).then(|| {
            format!("swaps for want of memory, and is given none: {who}; \"memctl explain VM\" says more")
        })
    }
}

/// What one tick shows of a VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Look {
    /// It is short of nothing.
    #[default]
    Well,
    /// It is given memory.
    Given,
    /// It swaps, and is given nothing.
    InVain,
}

impl Spell {
    /// Takes in what it is found to be so long after it was last looked at.
    fn pass(&mut self, look: Look, passed: Duration) {
        let last = std::mem::replace(&mut self.last, look);
        self.in_vain = match (last, look) {
            // Nobody knows what was so while nobody looked.
            (Look::InVain, Look::InVain) => self.in_vain.saturating_add(passed.min(SAID_AFTER / 2)),
            // What was said stays said through waves of it.
            (_, Look::Given) if !self.is_said => self.in_vain.saturating_sub(passed),
            _ => self.in_vain.saturating_sub(passed / LEAK),
        };
        self.in_vain = self.in_vain.min(SAID_AFTER);
        self.is_said = self.in_vain >= SAID_AFTER || self.is_said && !self.in_vain.is_zero();
    }
}

/// How long ago a VM swapped for want of memory; `None` where it did not lately, or a later sign hides it.
fn swapped(verdict: &Verdict) -> Option<Duration> {
    let swaps = |own: &Distress| matches!(own.sign, Sign::SwapsOut(_) | Sign::TookBack);
    verdict.distress.filter(swaps).map(|own| own.age)
}

/// Why a VM that holds so much and suffers is given nothing, and what would help; `None` where it is given some.
fn in_vain(verdict: &Verdict, holds: ByteCount) -> Option<&'static str> {
    // It may have recovered, and lack nothing but headroom. Who swaps on, or swaps at its maximum, shows less than
    // it works with; and `two-pointer` knows of no demand.
    let suffers = verdict.distress.is_some_and(|own| own.is_acute());
    let has_enough = |demand| demand <= holds && !suffers;
    let has_recovered = verdict.reason != Reason::AtMaximum
        && verdict.demand.map_or(verdict.reason == Reason::Distressed, has_enough);
    if verdict.kind != VerdictKind::Hold || has_recovered {
        return None;
    }
    WAITS.iter().find(|(reason, _)| *reason == verdict.reason).map(|(_, why)| *why)
}

/// What those wait for who get nothing, with what would help.
const WAITS: [(Reason, &str); 8] = [
    (Reason::AtMaximum, "at the maximum: raise that"),
    (Reason::Reserved, "what is left is reserved: release a reservation"),
    (Reason::FairShare, ITS_SHARE),
    (Reason::Distressed, ITS_SHARE),
    (Reason::PoolEmpty, NOTHING_LEFT),
    (Reason::Full, NOTHING_LEFT),
    (Reason::HostLow, HOST_LACKS),
    (Reason::HostUnexplained, HOST_LACKS),
];
const ITS_SHARE: &str = "has its share: raise its min, add memory, or move a VM";
const NOTHING_LEFT: &str = "nobody has any to spare: add memory, raise pool-limit, or move a VM";
const HOST_LACKS: &str = "the host gives none: see what is wrong with that";
/// A burst waits for a tick or two, and nobody has to do anything about that.
const SAID_AFTER: Duration = Duration::from_secs(10);
/// Who is given some and is short again comes in waves: what was said is over after a minute.
const LEAK: u32 = 6;

#[cfg(test)]
mod tests {
    use agentd_core::policy::Algorithm;

    use super::*;
    use crate::tick::bench::Bench;

    /// What is said at each tick of a host of 8 GiB with this policy and these VMs.
    fn said(interval: u64, ticks: usize, policy: &str, vms: &str) -> Vec<Option<String>> {
        let text = format!("[host]\ntotal = \"8GiB\"\nother = \"1GiB\"\n[policy]\n{policy}\n{vms}");
        let mut bench = Bench::every(Duration::from_secs(interval), &text);
        let mut short = Short::default();
        bench.turns(ticks).iter().map(|turn| short.look(&turn.record)).collect()
    }

    fn vm(name: &str, max: &str, actual: &str, more: &str) -> String {
        format!(
            "[[vm]]\nname = \"{name}\"\nmax = \"{max}\"\nactual = \"{actual}\"\ncache = \"0MiB\"\n{more}\n"
        )
    }

    /// It works with 800 MiB from the fifteenth second to the thirtieth.
    fn burst(max: &str, algorithm: Algorithm, interval: u64) -> Vec<Option<String>> {
        let demand = "demand = [{ at = \"10s\", used = \"300MiB\" }, { at = \"15s\", used = \"800MiB\" }, \
                      { at = \"30s\", used = \"800MiB\" }, { at = \"31s\", used = \"200MiB\" }]";
        let policy = format!("algorithm = \"{algorithm}\"");
        let ticks = usize::try_from(160 / interval).unwrap();
        said(interval, ticks, &policy, &vm("db1", max, "512MiB", demand))
    }

    #[test]
    fn who_swaps_and_gets_nothing_is_told_and_no_more_once_it_has_recovered() {
        for (algorithm, interval) in
            Algorithm::ALL.into_iter().zip([1, 2]).chain(Algorithm::ALL.into_iter().zip([2, 1]))
        {
            let at = |second: u64| usize::try_from(second / interval).unwrap();
            let told = burst("512MiB", algorithm, interval);
            let who = format!("{algorithm:?}, every {interval} s");
            assert!(told[..at(20)].iter().all(Option::is_none), "{who}: {told:?}");
            let words = told[at(30)].as_ref().unwrap_or_else(|| panic!("{who}: {told:?}"));
            assert!(words.contains("db1 ("), "{words}");
            assert_eq!(told.last().unwrap(), &None, "{who}");
            let helped = burst("4GiB", algorithm, interval);
            assert!(helped.iter().all(Option::is_none), "{who}: {helped:?}");
        }
    }

    /// In a pool that holds it all the while, but not the headroom that it would have at last.
    #[test]
    fn who_is_given_what_it_works_with_is_short_of_nothing() {
        for (seconds, pool) in [(1, 2200), (4, 2300), (10, 2300), (20, 2300)] {
            let until = 10 + seconds;
            let demand = format!(
                "demand = [{{ at = \"10s\", used = \"300MiB\" }}, {{ at = \"{until}s\", used = \"1900MiB\" }}]"
            );
            let policy = format!("algorithm = \"working-set\"\npool_limit = \"{pool}MiB\"");
            let said = said(1, 200, &policy, &vm("takes", "4GiB", "400MiB", &demand));
            assert!(said.iter().all(Option::is_none), "{seconds} s, {pool} MiB: {said:?}");
        }
    }

    /// What it swapped out is forgotten over time, and nothing but swapping says that it is short still.
    #[test]
    fn who_swaps_on_has_not_recovered() {
        let swaps = |age| {
            let sign = Sign::SwapsOut(ByteCount::mib(20));
            let demand = Some(ByteCount::mib(1060));
            let distress = Some(Distress { sign, age: Duration::from_secs(age) });
            let verdict = Verdict { demand, distress, ..Verdict::hold(Reason::FairShare) };
            in_vain(&verdict, ByteCount::mib(1100))
        };
        assert_eq!((swaps(0), swaps(30)), (Some(ITS_SHARE), None));
    }

    /// How often it begins to be said.
    fn raises(said: &[Option<String>]) -> usize {
        let begins = |pair: &&[Option<String>]| pair[0].is_none() && pair[1].is_some();
        said.windows(2).filter(begins).count()
    }

    /// Three VMs whose waves come by turns in a pool that holds two of them.
    #[test]
    fn waves_of_it_are_one_spell() {
        let wave = |phase: u32| {
            let at = |second: u32| second + 20 * phase;
            let point =
                |second, mib: u32| format!("{{ at = \"{}s\", used = \"{mib}MiB\" }}", at(second));
            let waves = (0..5).flat_map(|round| {
                let from = 60 * round;
                [
                    point(from + 5, 200),
                    point(from + 15, 900),
                    point(from + 40, 900),
                    point(from + 45, 200),
                ]
            });
            format!("demand = [{}]", waves.collect::<Vec<_>>().join(", "))
        };
        let vms: String = (0..3)
            .map(|number| vm(&format!("web{number}"), "1GiB", "512MiB", &wave(number)))
            .collect();
        let policy =
            "algorithm = \"working-set\"\npool_limit = \"1600MiB\"\nhost_reserve = \"0MiB\"";
        let said = said(1, 300, policy, &vms);
        assert_eq!(raises(&said), 1, "{said:?}");
    }

    /// At which of its looks, which are so many seconds apart, something is said of a VM.
    fn spell(every: u64, looks: &[(usize, Look)]) -> Vec<usize> {
        let all = looks.iter().flat_map(|(count, look)| std::iter::repeat_n(*look, *count));
        let mut spell = Spell::default();
        let said = all.map(|look| {
            spell.pass(look, Duration::from_secs(every));
            spell.is_said
        });
        said.enumerate().filter(|(_, said)| *said).map(|(number, _)| number).collect()
    }

    #[test]
    fn it_is_said_after_ten_seconds_of_it_and_is_over_a_minute_later() {
        use Look::{Given, InVain, Well};
        let bursts = [(2, InVain), (38, Well), (2, InVain), (60, Well)];
        assert!(spell(1, &bursts).is_empty(), "two bursts");
        let said = spell(1, &[(16, InVain), (1000, Well)]);
        assert_eq!((said.first(), said.last()), (Some(&10), Some(&75)));
        // Looks that are far apart tell less, and are as soon forgotten.
        let said = spell(10, &[(4, InVain), (1000, Well)]);
        assert_eq!((said.first(), said.last()), (Some(&2), Some(&9)));
        assert_eq!(spell(60, &[(4, InVain), (1000, Well)]).last(), Some(&3));
        for given in [1, 2] {
            let some: Vec<_> = [(2, InVain), (given, Given)].repeat(100);
            assert!(spell(1, &some).is_empty(), "it is given some again and again");
        }
        let waves: Vec<_> = [(6, InVain), (6, Well)].repeat(20);
        let said = spell(1, &waves);
        assert_eq!(said.last().unwrap() - said[0], said.len() - 1, "one spell: {said:?}");
        assert!(said[0] < 40, "{said:?}");
    }
}
