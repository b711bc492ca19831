//! Makes a reading of one bulk call, and of the VMs that had to be asked alone.

use std::collections::{BTreeMap, BTreeSet};

use agentd_core::{
    sample::{RunState, VmReading},
    vm::VmId,
};

use super::{
    link::Bulk,
    question::{AskError, Want},
    record::{Completeness, Figures, Record},
    scatter::Fate,
    standing::Job,
};

/// The VMs of the last reading.
pub(super) type Known = BTreeMap<VmId, VmReading>;

/// What became of asking one VM.
pub(super) type Asked = Fate<Result<Figures, AskError>>;

/// Which VMs to ask alone, and for how much.
///
/// A VM that libvirt was busy with is asked, because that passes in milliseconds, unless it is one
/// that hangs: then the question would hang as well. `hung` are those with calls parked on them.
pub(super) fn questions(
    bulk: &Bulk,
    live: &BTreeSet<VmId>,
    known: &Known,
    hung: &BTreeSet<VmId>,
) -> Vec<(VmId, Want)> {
    let hung = |vm: &VmId| {
        bulk.retried
            || hung.contains(vm)
            || known.get(vm).is_some_and(|last| last.run == RunState::Unresponsive)
    };
    let want = |record: &Record| match record.completeness() {
        Completeness::Whole => live.contains(&record.id).then_some(Want::Live),
        Completeness::Remembered => {
            let ask = record.state.run(None, false) == RunState::Running && !hung(&record.id);
            ask.then_some(Want::Careful)
        }
        Completeness::Bare => Some(Want::Everything),
    };
    let asked = |record: &Record| Some((record.id, want(record)?));
    bulk.records.iter().filter_map(asked).collect()
}

/// One VM of the reading; `None` when it is gone, or nothing at all is known of it. `job` is what
/// libvirt is known to be at.
pub(super) fn settle(
    record: &Record,
    asked: Option<Asked>,
    job: Option<Job>,
    last: Option<&VmReading>,
) -> Option<VmReading> {
    let run = || record.state.run(job, true);
    match asked {
        None if record.completeness() == Completeness::Whole => {
            reading(record, record.figures, run())
        }
        None => remembered(record, last),
        Some(Fate::Answered(Ok(figures))) => {
            let actual = figures.actual.or(record.figures.actual);
            let max = figures.max.or(record.figures.max);
            reading(record, Figures { actual, max, ..figures }, run())
        }
        Some(Fate::Answered(Err(AskError::Gone))) => None,
        Some(Fate::Answered(Err(AskError::Failed(words)))) => {
            tracing::debug!("VM {} does not tell its memory: {words}", record.id);
            remembered(record, last)
        }
        Some(Fate::Unanswered | Fate::Taken | Fate::NotAsked) => remembered(record, last),
    }
}

/// A VM that did not answer, with what is known of it. One that does not execute need not answer.
fn remembered(record: &Record, last: Option<&VmReading>) -> Option<VmReading> {
    let idle = Some(record.state.run(None, false)).filter(|run| *run != RunState::Running);
    let run = idle.unwrap_or(RunState::Unresponsive);
    match last {
        Some(last) => Some(VmReading { name: record.name.clone(), run, ..last.clone() }),
        None => reading(record, record.figures, run),
    }
}

fn reading(record: &Record, figures: Figures, run: RunState) -> Option<VmReading> {
    let (Some(actual), Some(max)) = (figures.actual, figures.max) else {
        tracing::warn!("nothing is known of the memory of VM {} ({})", record.name, record.id);
        return None;
    };
    Some(VmReading {
        id: record.id,
        name: record.name.clone(),
        run,
        generation: 0,
        traits: None,
        actual,
        // A maximum that it holds more than is none: it may take what it holds.
        max: max.max(actual),
        guest: figures.guest,
        reported: figures.reported(),
        host_rss: figures.host_rss,
        paired: false,
    })
}

/// Whose figures are of when they held what they hold now: they held it right before they were asked to
/// report, and reported since.
pub(super) fn paired(
    before: &BTreeMap<VmId, Figures>,
    asked: &BTreeMap<VmId, Asked>,
) -> BTreeSet<VmId> {
    let is_paired = |vm: &VmId, before: &Figures| {
        let Some(Fate::Answered(Ok(now))) = asked.get(vm) else { return false };
        now.actual.is_some() && now.actual == before.actual && now.reported() != before.reported()
    };
    before.iter().filter(|(vm, before)| is_paired(vm, before)).map(|(vm, _)| *vm).collect()
}

#[cfg(test)]
mod tests {
    use agentd_core::{bytes::ByteCount, sample::Reported};
    use proptest::prelude::*;

    use super::*;

    const VM: VmId = VmId::from_bytes([1; 16]);
    const REMEMBERED: [(&str, u64); 3] =
        [("state.state", 1), ("balloon.current", 512 << 10), ("balloon.maximum", 1 << 20)];

    fn record(more: &[(&str, u64)]) -> Record {
        let mut record = Record::new(VM, "web1");
        for (key, value) in REMEMBERED.iter().chain(more) {
            record.note(key, *value);
        }
        record
    }

    fn whole() -> Record {
        record(&[("balloon.rss", 1000), ("balloon.unused", 2048), ("balloon.last-update", 7)])
    }

    fn bulk(record: Record, retried: bool) -> Bulk {
        Bulk { records: vec![record], retried }
    }

    fn known(run: RunState) -> Known {
        let mut last = settle(&whole(), None, None, None).expect("a whole record");
        last.run = run;
        last.actual = ByteCount::mib(300);
        Known::from([(VM, last)])
    }

    fn nobody() -> BTreeSet<VmId> {
        BTreeSet::new()
    }

    #[test]
    fn a_whole_record_is_a_reading() {
        let vm = settle(&whole(), None, None, None).expect("a whole record");
        assert_eq!(vm.run, RunState::Running);
        assert_eq!((vm.actual, vm.max), (ByteCount::mib(512), ByteCount::gib(1)));
        assert_eq!(vm.guest.unused, Some(ByteCount::mib(2)));
        assert_eq!(vm.guest.usable, None);
        assert_eq!(vm.reported, whole().figures.reported());
        assert_ne!(vm.reported, Reported::Never);
        assert_eq!(vm.host_rss, Some(ByteCount::kib(1000)));
    }

    #[test]
    fn figures_are_paired_with_what_a_vm_held_before_and_after_it_was_asked_to_report() {
        let before = Figures { last_update: 7, ..whole().figures };
        let is_paired = |now: Asked| {
            let asked = BTreeMap::from([(VM, now)]);
            paired(&BTreeMap::from([(VM, before)]), &asked).contains(&VM)
        };
        let after = |figures| Fate::Answered(Ok(figures));
        let reported = Figures { last_update: 8, ..before };
        assert!(is_paired(after(reported)));
        assert!(!is_paired(after(before)), "it has not reported");
        let actual = before.actual.map(|actual| actual.saturating_add(ByteCount::mib(1)));
        assert!(!is_paired(after(Figures { actual, ..reported })), "it moved meanwhile");
        assert!(!is_paired(Fate::Unanswered));
        let unseen = paired(&BTreeMap::new(), &BTreeMap::from([(VM, after(reported))]));
        assert!(unseen.is_empty(), "nobody looked before");
    }

    #[test]
    fn only_live_vms_are_asked_where_the_bulk_call_told_all() {
        let none = questions(&bulk(whole(), false), &BTreeSet::new(), &Known::new(), &nobody());
        assert!(none.is_empty());
        let live =
            questions(&bulk(whole(), false), &BTreeSet::from([VM]), &Known::new(), &nobody());
        assert_eq!(live, [(VM, Want::Live)]);
    }

    #[test]
    fn a_busy_vm_is_asked_unless_it_is_the_one_that_hangs() {
        let live = BTreeSet::from([VM]);
        let ask =
            |retried, run| questions(&bulk(record(&[]), retried), &live, &known(run), &nobody());
        assert_eq!(ask(false, RunState::Running), [(VM, Want::Careful)]);
        assert_eq!(ask(true, RunState::Running), []);
        assert_eq!(ask(false, RunState::Unresponsive), []);
        let busy = bulk(record(&[]), false);
        assert_eq!(questions(&busy, &live, &known(RunState::Running), &live), []);
        let paused = record(&[("state.state", 3)]);
        assert_eq!(questions(&bulk(paused, false), &live, &Known::new(), &nobody()), []);
    }

    #[test]
    fn a_vm_that_hangs_keeps_its_last_known_figures() {
        let known = known(RunState::Running);
        let last = known.get(&VM);
        for fate in [None, Some(Fate::Unanswered), Some(Fate::Taken), Some(Fate::NotAsked)] {
            let vm = settle(&record(&[]), fate, None, last).expect("it is known");
            assert_eq!((vm.run, vm.actual), (RunState::Unresponsive, ByteCount::mib(300)));
            assert_eq!(vm.guest.unused, Some(ByteCount::mib(2)));
        }
        let vm = settle(&record(&[]), None, None, None).expect("libvirt remembers");
        assert_eq!((vm.run, vm.actual), (RunState::Unresponsive, ByteCount::mib(512)));
        assert_eq!((vm.guest.unused, vm.reported), (None, Reported::Never));
        let paused = settle(&record(&[("state.state", 3)]), None, None, last).expect("it is known");
        assert_eq!((paused.run, paused.actual), (RunState::Paused, ByteCount::mib(300)));
        // What libvirt was at the last time says nothing of a VM that hangs now.
        let hung = settle(&record(&[]), None, Some(Job::MigrationOut), last).expect("it is known");
        assert_eq!(hung.run, RunState::Unresponsive);
        let coming = record(&[("state.state", 3), ("state.reason", 2)]);
        let coming = settle(&coming, None, None, None).expect("libvirt knows how much it holds");
        assert_eq!((coming.run, coming.actual), (RunState::MigratingIn, ByteCount::mib(512)));
    }

    #[test]
    fn a_job_is_part_of_the_reading() {
        let saved = settle(&whole(), None, Some(Job::Save), None).expect("a whole record");
        assert_eq!(saved.run, RunState::Saving);
    }

    #[test]
    fn a_maximum_below_the_actual_is_none() {
        let odd = record(&[("balloon.rss", 1), ("balloon.maximum", 1024)]);
        let vm = settle(&odd, None, None, None).expect("there are both");
        assert_eq!((vm.actual, vm.max), (ByteCount::mib(512), ByteCount::mib(512)));
    }

    /// Whatever libvirt says, nothing panics, and what is read is within its bounds.
    #[test]
    fn nonsense_stays_within_bounds() {
        let keys = [
            "state.state",
            "state.reason",
            "balloon.current",
            "balloon.maximum",
            "balloon.rss",
            "balloon.last-update",
            "balloon.unused",
            "balloon.usable",
            "balloon.swap_in",
            "balloon.swap_out",
            "balloon.major_fault",
            "vcpu.current",
            "",
        ];
        let value =
            prop_oneof![Just(0), Just(u64::MAX), Just(u64::MAX >> 10), 0..9_u64, any::<u64>()];
        let fields = prop::collection::vec((prop::sample::select(keys.to_vec()), value), 0..20);
        let job = prop::option::of(prop::num::i32::ANY.prop_map(|number| Job::of(Some(number))));
        proptest!(|(fields in fields, job in job)| {
            let mut record = Record::new(VM, "web1");
            fields.iter().for_each(|(key, value)| record.note(key, *value));
            let known = known(RunState::Running);
            for asked in [None, Some(Fate::Taken), Some(Fate::Answered(Ok(record.figures)))] {
                for last in [None, known.get(&VM)] {
                    let Some(vm) = settle(&record, asked.clone(), job, last) else { continue };
                    prop_assert!(!vm.actual.is_zero() && vm.actual <= vm.max, "{vm:?}");
                }
            }
        });
    }

    #[test]
    fn a_live_answer_replaces_the_figures_and_a_gone_vm_is_left_out() {
        let figures = Figures { actual: Some(ByteCount::mib(256)), ..Figures::default() };
        let vm =
            settle(&whole(), Some(Fate::Answered(Ok(figures))), None, None).expect("it answered");
        assert_eq!((vm.actual, vm.max), (ByteCount::mib(256), ByteCount::gib(1)));
        assert_eq!(vm.guest.unused, None, "figures of two moments are not mixed");
        let gone = Fate::Answered(Err(AskError::Gone));
        assert_eq!(settle(&whole(), Some(gone), None, known(RunState::Running).get(&VM)), None);
    }

    #[test]
    fn a_bare_record_has_to_be_asked_and_is_left_out_when_nothing_is_known() {
        let bare = Record::new(VM, "web1");
        let asked =
            questions(&bulk(bare.clone(), true), &BTreeSet::new(), &Known::new(), &nobody());
        assert_eq!(asked, [(VM, Want::Everything)]);
        assert_eq!(settle(&bare, Some(Fate::Unanswered), None, None), None);
    }
}
