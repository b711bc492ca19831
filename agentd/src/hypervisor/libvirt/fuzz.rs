//! Feeds what decodes the statistics of libvirt and the kernel: see `crate::fuzz`.
//!
//! The input is text in sections, each after a line "---": first the kernel's meminfo, then a VM
//! each, with lines "KEY NUMBER" of the bulk statistics and "#TAG NUMBER" of the live ones.

use std::time::Duration;

use agentd_core::{
    bytes::ByteCount,
    check::check,
    decide::decide,
    policy::Policy,
    sample::{HostMemory, Reading, Traits, VmReading},
    state::State,
    track::{Moment, Tracks},
    vm::VmId,
};
use virt::domain::MemoryStat;

use super::{
    GRANULE, meminfo, reading,
    record::{Figures, Record},
    scatter::Fate,
};

/// No figures, however odd, break a decision or make one that its check objects to.
pub(crate) fn statistics(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut sections = text.split("---\n");
    let host = meminfo::parse(sections.next().unwrap_or_default());
    let total = ByteCount::gib(8);
    let host = host.unwrap_or(HostMemory { total, usable: total, pressure: None });
    let vms: Vec<(u8, &str)> = (1..=MOST_VMS).zip(sections).collect();

    let (policy, mut tracks, mut state) = (Policy::default(), Tracks::default(), State::default());
    for tick in 0..TICKS {
        let now = Duration::from_secs(2 * tick);
        let vms = vms.iter().filter_map(|(number, lines)| {
            let (record, live) = record(*number, lines, tick);
            let asked = live.map(|figures| Fate::Answered(Ok(figures)));
            let vm = reading::settle(&record, asked, None, None)?;
            // Figures of a VM of which it is not known what it is made of do not count.
            Some(VmReading { traits: Some(Traits::default()), ..vm })
        });
        let reading = Reading { host, granule: GRANULE, ideal: false, vms: vms.collect() };
        let stale_after = Duration::from_secs(5);
        let sample = tracks.observe(reading, Moment { tick, now, stale_after });
        let (decision, after) = decide(&policy, &state, &sample);
        let findings = check(&policy, &after, &sample, &decision);
        assert!(findings.is_empty(), "{findings:?}");
        state = after;
    }
}

/// A VM's lines, at a tick of which the stamp and every guest figure are some more.
fn record(number: u8, lines: &str, tick: u64) -> (Record, Option<Figures>) {
    let mut record = Record::new(VmId::from_bytes([number; 16]), &format!("vm{number}"));
    let mut stats = Vec::new();
    for (key, value) in lines.lines().filter_map(|line| line.rsplit_once(' ')) {
        let Ok(value) = value.parse::<u64>() else { continue };
        match key.strip_prefix('#').map(str::parse) {
            Some(Ok(tag)) => stats.push(MemoryStat { tag, val: value }),
            Some(Err(_)) => {}
            None if key.ends_with("last-update") => record.note(key, value.wrapping_add(tick)),
            None => record.note(key, value),
        }
    }
    let live = (!stats.is_empty()).then(|| Figures::of_stats(&stats));
    (record, live)
}

const MOST_VMS: u8 = 12;
/// Enough for figures to be proven and acted on.
const TICKS: u64 = 5;
