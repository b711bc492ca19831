//! agentd itself: what runs, how its ticks and its server fare, and what is wrong.

use std::time::SystemTime;

use super::{
    About, catalogue as the,
    page::{Page, Value, labels},
};
use crate::{
    control::Mode,
    event::TickRecord,
    publish::{Counted, Lost, Publisher},
};

/// Tells what runs, what is wrong, and who reads along.
pub(super) fn tell(about: &About, publisher: &Publisher, page: &mut Page) {
    let build = labels(&the::BUILD, [about.version.clone(), about.commit.clone()]);
    page.tell_all(&the::BUILD, [(build, Value::Whole(1))]);
    page.tell(&the::TICK_INTERVAL, Value::Real(about.tick_interval.as_secs_f64()));
    conditions(publisher, page);
    page.tell(&the::WATCHERS, Value::Whole(publisher.meters().watchers()));
    counted(&publisher.meters().counted(), page);
    page.tell(&the::LINES_LEFT_OUT, Value::Whole(crate::log::left_out()));
    page.tell(&the::LINES_LOST, Value::Whole(crate::log::lost()));
}

/// Tells of the last tick, however long ago it was.
pub(super) fn last_tick(record: &TickRecord, page: &mut Page) {
    let ended = record.began.checked_add(record.took).unwrap_or(record.began);
    page.tell(&the::LAST_TICK, since_epoch(ended));
    page.tell(&the::HYPERVISOR, Value::Whole(u64::from(record.sample.is_some())));
    let modes = [Mode::Active, Mode::Observe, Mode::Paused].map(|mode| {
        (labels(&the::MODE, [mode.name()]), Value::Whole(u64::from(mode == record.mode)))
    });
    page.tell_all(&the::MODE, modes);
    page.tell(&the::REVISION, Value::Whole(record.policy.number));
}

fn conditions(publisher: &Publisher, page: &mut Page) {
    let all = publisher.conditions().all();
    let is = all.iter().map(|(reason, _)| (labels(&the::CONDITION, [*reason]), Value::Whole(1)));
    page.tell_all(&the::CONDITION, is);
    let since = all.iter().map(|(reason, condition)| {
        (labels(&the::CONDITION_SINCE, [*reason]), since_epoch(condition.since))
    });
    page.tell_all(&the::CONDITION_SINCE, since);
}

/// Of what is lost and reloaded there is a series from the start on: what is not there cannot be
/// seen to grow.
fn counted(counted: &Counted, page: &mut Page) {
    let lost = Lost::ALL.map(|who| {
        let entries = counted.lost.get(who.name()).copied().unwrap_or_default();
        (labels(&the::LOST, [who.name()]), Value::Whole(entries))
    });
    page.tell_all(&the::LOST, lost);
    let reloads = ["done", "failed"].map(|result| {
        let reloads = counted.reloads.get(result).copied().unwrap_or_default();
        (labels(&the::RELOADS, [result]), Value::Whole(reloads))
    });
    page.tell_all(&the::RELOADS, reloads);
    let expiries = counted.expiries.iter();
    let expiries =
        expiries.map(|(which, until)| (labels(&the::EXPIRY, [*which]), since_epoch(*until)));
    page.tell_all(&the::EXPIRY, expiries);
    let calls = counted.calls.iter().map(|((method, code), calls)| {
        (labels(&the::CALLS, [*method, *code]), Value::Whole(*calls))
    });
    page.tell_all(&the::CALLS, calls);
    let times = counted.call_times.iter();
    let times =
        times.map(|(method, times)| (labels(&the::CALL_TIME, [*method]), Value::Times(*times)));
    page.tell_all(&the::CALL_TIME, times);
}

/// A moment in seconds since 1970; before that, it is then.
fn since_epoch(time: SystemTime) -> Value {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Value::Real(since.as_secs_f64())
}
