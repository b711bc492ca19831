//! What libvirt's figures mean: its keys, tags and KiB become ours.
//!
//! Pure. A figure that libvirt left out stays absent: it is not zero.

use std::sync::Arc;

use agentd_core::{
    bytes::ByteCount,
    sample::{GuestFigures, Reported},
    vm::VmId,
};
use virt::domain::{DomainInfo, MemoryStat};
use virt_sys as sys;

use super::standing::State;
use crate::hypervisor::stamp::stamp;

/// One VM of the bulk statistics.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Which VM.
    pub(super) id: VmId,
    /// Its name.
    pub(super) name: Arc<str>,
    /// libvirt's number of its start; `None` when it did not say.
    pub(super) start: Option<u32>,
    /// libvirt's state of it.
    pub(super) state: State,
    /// Its figures.
    pub(super) figures: Figures,
}

/// How much a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completeness {
    /// All there is.
    Whole,
    /// Only what libvirt remembers: it was busy with the VM.
    Remembered,
    /// Nothing of memory: this hypervisor has to be asked VM by VM.
    Bare,
}

impl Record {
    /// A record without figures.
    pub(super) fn new(id: VmId, name: &str) -> Self {
        let (start, state, figures) = Default::default();
        Self { id, name: name.into(), start, state, figures }
    }

    /// Takes in one field. Fields that nobody needs, and amounts beyond all memory, are left out.
    pub(super) fn note(&mut self, key: &str, value: u64) {
        let figures = &mut self.figures;
        let guest = &mut figures.guest;
        let kib = ByteCount::from_kib(value);
        match key {
            "state.state" => self.state.state = Some(value),
            "state.reason" => self.state.reason = Some(value),
            "balloon.current" => figures.actual = some_memory(kib),
            "balloon.maximum" => figures.max = some_memory(kib),
            "balloon.rss" => figures.host_rss = kib,
            "balloon.last-update" => figures.last_update = value,
            "balloon.unused" => guest.unused = kib,
            "balloon.usable" => guest.usable = kib,
            "balloon.swap_in" => guest.swap_in = kib,
            "balloon.swap_out" => guest.swap_out = kib,
            "balloon.major_fault" => guest.major_faults = Some(value),
            _ => {}
        }
    }

    /// How much it tells. The resident memory is there whenever libvirt could look at the VM, with
    /// or without a balloon driver.
    pub(super) fn completeness(&self) -> Completeness {
        if self.figures.actual.is_none() || self.figures.max.is_none() {
            Completeness::Bare
        } else if self.figures.host_rss.is_none() {
            Completeness::Remembered
        } else {
            Completeness::Whole
        }
    }
}

/// Figures of one VM, from the bulk statistics or from asking it alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// Memory that it holds.
    pub(super) actual: Option<ByteCount>,
    /// Most memory that libvirt lets it hold.
    pub(super) max: Option<ByteCount>,
    /// What its kernel says of itself.
    pub(super) guest: GuestFigures,
    /// When it said so; 0 for never.
    pub(super) last_update: u64,
    /// Resident memory of its process.
    pub(super) host_rss: Option<ByteCount>,
}

impl Figures {
    /// The figures of libvirt's live memory statistics. Their order is not fixed, and tags that
    /// nobody needs may come.
    pub(super) fn of_stats(stats: &[MemoryStat]) -> Self {
        let mut figures = Self::default();
        for stat in stats {
            let kib = ByteCount::from_kib(stat.val);
            let guest = &mut figures.guest;
            match stat.tag {
                sys::VIR_DOMAIN_MEMORY_STAT_ACTUAL_BALLOON => figures.actual = some_memory(kib),
                sys::VIR_DOMAIN_MEMORY_STAT_RSS => figures.host_rss = kib,
                sys::VIR_DOMAIN_MEMORY_STAT_LAST_UPDATE => figures.last_update = stat.val,
                sys::VIR_DOMAIN_MEMORY_STAT_UNUSED => guest.unused = kib,
                sys::VIR_DOMAIN_MEMORY_STAT_USABLE => guest.usable = kib,
                sys::VIR_DOMAIN_MEMORY_STAT_SWAP_IN => guest.swap_in = kib,
                sys::VIR_DOMAIN_MEMORY_STAT_SWAP_OUT => guest.swap_out = kib,
                sys::VIR_DOMAIN_MEMORY_STAT_MAJOR_FAULT => guest.major_faults = Some(stat.val),
                _ => {}
            }
        }
        figures
    }

    /// Adds what libvirt remembers of the VM where the statistics did not say it.
    pub(super) fn complete(&mut self, info: &DomainInfo) {
        self.actual = self.actual.or_else(|| some_memory(ByteCount::from_kib(info.memory)));
        self.max = some_memory(ByteCount::from_kib(info.max_mem));
    }

    /// When the VM's kernel last reported.
    pub(super) fn reported(&self) -> Reported {
        match self.last_update {
            0 => Reported::Never,
            second => Reported::At(stamp(second, &self.guest)),
        }
    }
}

/// A VM without memory is none: that is a figure which nobody has.
fn some_memory(amount: Option<ByteCount>) -> Option<ByteCount> {
    amount.filter(|amount| !amount.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VM: VmId = VmId::from_bytes([1; 16]);

    fn record(fields: &[(&str, u64)]) -> Record {
        let mut record = Record::new(VM, "web1");
        for (key, value) in fields {
            record.note(key, *value);
        }
        record
    }

    #[test]
    fn absent_is_not_zero() {
        let record = record(&[("balloon.current", 1024), ("balloon.unused", 0)]);
        assert_eq!(record.figures.actual, Some(ByteCount::mib(1)));
        assert_eq!(record.figures.guest.unused, Some(ByteCount::ZERO));
        assert_eq!(record.figures.guest.usable, None);
        assert_eq!(record.figures.guest.major_faults, None);
        assert_eq!(record.figures.reported(), Reported::Never);
    }

    #[test]
    fn an_update_at_zero_was_never() {
        assert_eq!(record(&[("balloon.last-update", 0)]).figures.reported(), Reported::Never);
        assert_ne!(record(&[("balloon.last-update", 7)]).figures.reported(), Reported::Never);
    }

    #[test]
    fn reports_are_told_apart_by_their_second_and_within_one_by_what_they_say() {
        let said = |second, unused, faults| {
            let fields = [
                ("balloon.last-update", second),
                ("balloon.unused", unused),
                ("balloon.major_fault", faults),
            ];
            record(&fields).figures.reported()
        };
        let others = [said(8, 1000, 3), said(7, 996, 3), said(7, 1000, 4), said(7, 3, 1000)];
        assert!(others.iter().all(|other| *other != said(7, 1000, 3)), "{others:?}");
        // The same, asked for alone.
        let stats = [(9, 7), (4, 1000), (2, 3)].map(|(tag, val)| MemoryStat { tag, val });
        assert_eq!(Figures::of_stats(&stats).reported(), said(7, 1000, 3));
    }

    #[test]
    fn tells_a_busy_vm_from_one_without_a_driver() {
        let remembered = [("state.state", 1), ("balloon.current", 1024), ("balloon.maximum", 2048)];
        assert_eq!(record(&remembered).completeness(), Completeness::Remembered);
        let mut silent = remembered.to_vec();
        silent.extend([("balloon.rss", 900), ("balloon.last-update", 0)]);
        assert_eq!(record(&silent).completeness(), Completeness::Whole);
        assert_eq!(record(&[("state.state", 1)]).completeness(), Completeness::Bare);
    }

    #[test]
    fn reads_live_statistics_in_any_order_and_past_unknown_tags() {
        let stat = |tag, val| MemoryStat { tag, val };
        let stats = [stat(9, 77), stat(250, 1), stat(6, 512), stat(4, 100), stat(2, 5)];
        let figures = Figures::of_stats(&stats);
        assert_eq!(figures.actual, Some(ByteCount::kib(512)));
        assert_eq!(figures.guest.unused, Some(ByteCount::kib(100)));
        assert_eq!(figures.guest.major_faults, Some(5));
        assert_eq!(figures.last_update, 77);
        assert_eq!(figures.guest.swap_in, None);
    }

    #[test]
    fn an_amount_beyond_all_memory_is_no_amount() {
        assert_eq!(record(&[("balloon.unused", u64::MAX)]).figures.guest.unused, None);
        assert_eq!(record(&[("balloon.current", 0)]).figures.actual, None, "nor is none at all");
    }
}
