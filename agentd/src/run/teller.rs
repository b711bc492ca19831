//! [`Teller`]: tells of what the loop does, on the loop's own thread: the log, the conditions, the
//! recorder. Nothing here waits for anybody.

use std::sync::Arc;

use agentd_core::life::Life;

use crate::{
    alarm::alarms,
    control::Gate,
    event::{Event, TickRecord, VmChange},
    frozen,
    log::{self, Refusals},
    publish::Publisher,
    record::Recorder,
    recording::Recording,
    tick::Turn,
};

/// Tells of what the loop does.
pub(super) struct Teller {
    recorder: Arc<Recorder>,
    publisher: Arc<Publisher>,
    /// `None` where nothing is recorded for a replay.
    recording: Option<Recording>,
    refusals: Refusals,
}

impl Teller {
    pub(super) fn new(
        recorder: Arc<Recorder>,
        publisher: Arc<Publisher>,
        recording: Option<Recording>,
    ) -> Self {
        Self { recorder, publisher, recording, refusals: Refusals::default() }
    }

    pub(super) fn tell(&mut self, turn: Turn, gate: &Gate) {
        log::tell_left_out();
        self.refusals.look(&turn.record);
        for change in turn.changes {
            log_vm(&change);
            self.recorder.note(Event::Vm(change));
        }
        self.judge(&turn.record, gate);
        if let Some(recording) = &mut self.recording {
            recording.tick(&turn.record);
        }
        self.recorder.tick(turn.record);
    }

    fn judge(&self, record: &TickRecord, gate: &Gate) {
        frozen::look(gate, &self.publisher);
        for (condition, alarm) in alarms(record) {
            self.publisher.tell(condition, alarm);
        }
    }
}

fn log_vm(change: &VmChange) {
    let (vm, name) = (change.vm, change.name.as_ref());
    match (change.before.map(Life::name), change.after.map(Life::name)) {
        (None, after) => tracing::info!(%vm, name, state = after, "VM came"),
        (_, None) => tracing::info!(%vm, name, "VM went"),
        (before, after) => tracing::info!(%vm, name, before, state = after, "VM changed"),
    }
}
