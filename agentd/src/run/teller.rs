//! [`Teller`]: tells of what the loop does, on the loop's own thread: the log, the conditions, the
//! recorder, the supervisor. Nothing here waits for anybody.

use std::{sync::Arc, time::Duration};

use agentd_core::life::Life;

use crate::{
    alarm::Alarms,
    config::Config,
    control::Gate,
    event::{TickRecord, VmChange},
    frozen,
    log::{self, Refusals},
    publish::Publisher,
    record::Recorder,
    recording::Recording,
    supervisor::Supervisor,
    tick::Turn,
};

/// Tells of what the loop does.
pub(super) struct Teller {
    pub(super) recorder: Arc<Recorder>,
    pub(super) publisher: Arc<Publisher>,
    /// `None` where nothing is recorded for a replay.
    pub(super) recording: Option<Recording>,
    pub(super) refusals: Refusals,
    pub(super) alarms: Alarms,
    pub(super) supervisor: Arc<Supervisor>,
    /// How long a tick may take, and the time to the next.
    pub(super) longest: Duration,
}

impl Teller {
    /// Says what is wrong or unusual after a turn, and notes it in its record, which nobody else has yet.
    pub(super) fn judge(&mut self, turn: &mut Turn, gate: &Gate) {
        frozen::look(gate, &self.publisher);
        for (condition, alarm) in self.alarms.of(&turn.record) {
            self.publisher.tell(condition, alarm);
        }
        if let Some(record) = Arc::get_mut(&mut turn.record) {
            let all = self.publisher.conditions().all();
            record.conditions = all.into_iter().map(|(name, _)| name).collect();
        }
    }

    /// Tells of a turn that was judged.
    pub(super) fn tell(&mut self, turn: Turn) {
        log::tell_left_out();
        self.refusals.look(&turn.record);
        turn.changes.iter().for_each(log_vm);
        self.supervisor.is_at(in_words(&turn.record));
        if let Some(recording) = &mut self.recording {
            recording.tick(&turn.record);
        }
        self.recorder.turn(turn.changes, turn.record);
        self.supervisor.tick_is_over(self.longest);
    }
}

/// What a tick came to, in a line for the supervisor's status.
fn in_words(record: &TickRecord) -> String {
    let mode = record.mode.name();
    match (&record.sample, &record.frozen) {
        (_, Some(file)) => format!("frozen by {file}"),
        (Some(sample), None) => format!("mode {mode}, {} VMs", sample.vms.len()),
        (None, None) => format!("mode {mode}, {}", record.error.as_deref().unwrap_or("no VM read")),
    }
}

/// The longest time from one tick to the next: read once and once more, settled, ordered, waited.
pub(super) fn longest_tick(config: &Config) -> Duration {
    config.tick.interval + config.tick.settle() + 4 * config.tick.call_timeout()
}

fn log_vm(change: &VmChange) {
    let (vm, name) = (change.vm, change.name.as_ref());
    match (change.before.map(Life::name), change.after.map(Life::name)) {
        (None, after) => tracing::info!(%vm, name, state = after, "VM came"),
        (_, None) => tracing::info!(%vm, name, "VM went"),
        (before, after) => tracing::info!(%vm, name, before, state = after, "VM changed"),
    }
}
