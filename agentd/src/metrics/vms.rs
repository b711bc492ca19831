//! The VMs as the last tick saw them. What it did not see has no series: a VM that is gone is gone from
//! the next scrape on.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use agentd_core::{
    bytes::ByteCount,
    sample::{Sample, VmSample},
    vm::{Limits, VmId},
};

use super::{
    catalogue::{self as the, Metric},
    host::bytes,
    page::{Labels, Page, Value, labels},
};
use crate::event::TickRecord;

/// One VM with all that is told of it.
struct Shown<'a> {
    id: VmId,
    vm: &'a VmSample,
    record: &'a TickRecord,
    limits: Limits,
    labels: Labels,
}

/// Tells of the VMs; nothing where the tick could not read them. Those beyond the first
/// [`MOST_VMS`], by UUID, are only counted.
pub(super) fn tell(record: &TickRecord, page: &mut Page) {
    let Some(sample) = &record.sample else { return };
    count(record, sample, page);
    let shown: Vec<Shown<'_>> =
        sample.vms.iter().take(MOST_VMS).map(|(id, vm)| Shown::new(*id, vm, record)).collect();
    let mut each = |metric: &'static Metric, value: fn(&Shown<'_>) -> Option<Value>| {
        let told = shown.iter().filter_map(|own| Some((Arc::clone(&own.labels), value(own)?)));
        page.tell_all(metric, told);
    };
    each(&the::VM_ACTUAL, |own| Some(bytes(own.vm.actual)));
    each(&the::VM_TARGET, |own| own.record.targets.get(&own.id).copied().map(bytes));
    each(&the::VM_AVAILABLE, |own| own.vm.guest.usable.map(bytes));
    each(&the::VM_UNUSED, |own| own.vm.guest.unused.map(bytes));
    each(&the::VM_FIGURES_AGE, |own| Some(Value::Real(own.vm.figures_age?.as_secs_f64())));
    each(&the::VM_USED, |own| own.vm.used().map(bytes));
    each(&the::VM_MIN, |own| Some(bytes(own.limits.min)));
    each(&the::VM_MAX, |own| Some(bytes(own.limits.max)));
    each(&the::VM_EXPOSURE, |own| own.record.exposures.get(&own.id).copied().map(bytes));
    each(&the::VM_RSS, |own| own.vm.host_rss.map(|rss: ByteCount| bytes(rss)));
    page.tell_all(&the::VM_STATE, shown.iter().filter_map(Shown::state));
    page.tell_all(&the::VM_VERDICT, shown.iter().filter_map(Shown::verdict));
}

fn count(record: &TickRecord, sample: &Sample, page: &mut Page) {
    let mut states: BTreeMap<&'static str, u64> = BTreeMap::new();
    for life in record.lives.values() {
        let count = states.entry(life.name()).or_default();
        *count = count.saturating_add(1);
    }
    let states = states.into_iter();
    page.tell_all(&the::VMS, states.map(|(name, n)| (labels(&the::VMS, [name]), Value::Whole(n))));
    let beyond = sample.vms.len().saturating_sub(MOST_VMS);
    page.tell(&the::VMS_NOT_SHOWN, Value::Whole(u64::try_from(beyond).unwrap_or(u64::MAX)));
}

impl<'a> Shown<'a> {
    fn new(id: VmId, vm: &'a VmSample, record: &'a TickRecord) -> Self {
        let limits = record.policy.policy.rules(id, &vm.name, vm.max).limits;
        let labels = labels(&the::VM_ACTUAL, [short(&vm.name), id.to_string()]);
        Self { id, vm, record, limits, labels }
    }

    fn state(&self) -> Option<(Labels, Value)> {
        let life = self.record.lives.get(&self.id)?;
        Some((self.with("state", life.name()), Value::Whole(1)))
    }

    fn verdict(&self) -> Option<(Labels, Value)> {
        let verdict = self.record.decision.as_ref()?.verdicts.get(&self.id)?;
        let [verdict, reason] = [verdict.kind.name(), verdict.reason.name()];
        let more = [("verdict", verdict.into()), ("reason", reason.into())];
        Some((self.labels.iter().cloned().chain(more).collect(), Value::Whole(1)))
    }

    fn with(&self, name: &'static str, value: &'static str) -> Labels {
        let more = (name, Cow::Borrowed(value));
        self.labels.iter().cloned().chain([more]).collect()
    }
}

/// A name as a label: its beginning where it is longer than any that people use.
fn short(name: &str) -> String {
    let ends = name.char_indices().map(|(at, own)| at.saturating_add(own.len_utf8()));
    let end = ends.take_while(|end| *end <= LONGEST).last().unwrap_or_default();
    name.get(..end).unwrap_or_default().to_owned()
}

/// More VMs than one host has; a scrape of so many is about 4 MB.
const MOST_VMS: usize = 2048;
/// Bytes of a name.
const LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_between_its_characters() {
        assert_eq!(short("web1"), "web1");
        let long = "ä".repeat(200);
        assert_eq!(short(&long), "ä".repeat(128));
        let odd = format!("x{long}");
        assert_eq!(short(&odd).len(), 255);
    }
}
