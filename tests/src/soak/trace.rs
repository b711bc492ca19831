//! What one tick of a run looked like, in a line, for a person who replays it.

use std::fmt::Write;

use agentd::event::TickRecord;
use agentd::hypervisor::sim::Facts;
use agentd::hypervisor::{Answer, Target};

/// One tick: what was really so after it, what was decided, what was ordered.
pub(super) fn line(
    tick: u64,
    record: &TickRecord,
    facts: &Facts,
    orders: &[(Target, Answer)],
) -> String {
    let mut text = format!("{tick:>4} {:>9.1?} usable {}", facts.now, facts.host.usable);
    if let Some(error) = &record.error {
        let _ = write!(text, " error: {error}");
    }
    if let Some(decision) = &record.decision {
        let pool = &decision.pool;
        let _ = write!(text, " kept {} of {:?}", pool.kept, pool.limit);
    }
    for (id, vm) in &facts.vms {
        let sample = record.sample.as_ref().and_then(|sample| sample.vms.get(id));
        let verdict = record.decision.as_ref().and_then(|decision| decision.verdicts.get(id));
        let name = sample.map_or("?", |sample| &*sample.name);
        let _ = write!(
            text,
            "\n     {name} {:?} holds {} of {}, target {} late {:?}, touched {}, wants {}, swapped {}, {}",
            vm.run,
            vm.actual,
            vm.max,
            vm.target,
            vm.late,
            vm.touched,
            vm.demand,
            vm.swapped,
            verdict.map_or("no verdict", |verdict| verdict.reason.name()),
        );
        if let Some(sample) = sample {
            let _ = write!(text, ", rss {:?} overhead {:?}", sample.host_rss, sample.overhead);
        }
        for (order, answer) in orders.iter().filter(|(order, _)| order.vm == *id) {
            let _ = write!(text, " <- {} {answer:?}", order.target);
        }
    }
    text
}
