//! Calls into the control: on threads of their own, few at a time, and finished even when the
//! caller goes away. Every change passes the audit here. Refusals become statuses.

use std::sync::Arc;

use agentd_core::policy::Fault;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tonic::{Code, Status};

use super::{
    audited::{Ask, Made},
    fault::{Violations, exhausted, failed},
    limits, mask, pin, reservation,
};
use crate::control::{Control, ControlError};

/// The way into the control for one kind of call.
#[derive(Clone, Debug)]
pub(super) struct Entrance {
    control: Arc<Control>,
    free: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Entrance {
    pub(super) fn new(control: Arc<Control>, tasks: TaskTracker) -> Self {
        Self { control, free: Arc::new(Semaphore::new(limits::CHANGES)), tasks }
    }

    /// Makes a change, which is in the audit before and after.
    pub(super) async fn change<T: Made + Send + 'static>(
        &self,
        ask: Ask,
        work: impl FnOnce(&Control) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<T, Status> {
        let permit = ask.checked(self.permit())?;
        self.run(permit, move |control| ask.make(control, work, refusal)).await
    }

    /// Reads what only the disk knows.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Control) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<T, Status> {
        self.run(self.permit()?, move |control| work(control).map_err(refusal)).await
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(&self.free).try_acquire_owned().map_err(|_| {
            let most = limits::CHANGES;
            let message = format!("{most} calls like this are under way, which is all that may be");
            exhausted("TOO_MANY_CHANGES", message, limits::RETRY)
        })
    }

    /// Runs what blocks until the disk has answered.
    async fn run<T: Send + 'static>(
        &self,
        permit: OwnedSemaphorePermit,
        work: impl FnOnce(&Control) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let control = Arc::clone(&self.control);
        let task = self.tasks.spawn_blocking(move || {
            let _permit = permit;
            work(&control)
        });
        let stopping = |_| Err(failed(Code::Unavailable, "STOPPING", "agentd is stopping", []));
        task.await.unwrap_or_else(stopping)
    }
}

fn refusal(error: ControlError) -> Status {
    let message = error.to_string();
    match error {
        ControlError::Invalid(faults) => violations(faults).into(),
        ControlError::Conflict { current_etag } => {
            failed(Code::Aborted, "ETAG_MISMATCH", message, [("current_etag", current_etag)])
        }
        ControlError::NotYours { from, set_by, .. } => {
            let facts = [("mode", from.name().to_owned()), ("set_by", set_by.to_string())];
            failed(Code::PermissionDenied, "MODE_OF_ANOTHER", message, facts)
        }
        ControlError::TrialsTooLong { left } => {
            let facts = [("left_seconds", left.as_secs().to_string())];
            failed(Code::PermissionDenied, "TRIALS_TOO_LONG", message, facts)
        }
        ControlError::NothingToConfirm => {
            failed(Code::FailedPrecondition, "NOTHING_TO_CONFIRM", message, [])
        }
        ControlError::UnknownRevision(revision) => {
            let facts = [("revision", revision.to_string())];
            failed(Code::NotFound, "UNKNOWN_REVISION", message, facts)
        }
        ControlError::NotDurable(_) => failed(Code::Unavailable, "NOT_DURABLE", message, []),
        ControlError::Reserve(error) => reservation::refusal(&error),
        ControlError::Pin(error) => pin::refusal(&error),
    }
}

pub(super) fn violations(faults: Vec<Fault>) -> Violations {
    let mut violations = Violations::default();
    for Fault { path, value, problem } in faults {
        violations.add(mask::wire_path(&path), format!("{value}: {problem}"));
    }
    violations
}
