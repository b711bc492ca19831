//! Calls into the control: on threads of their own, few at a time, and finished even when the
//! caller goes away. Refusals become statuses here.

use std::sync::Arc;

use agentd_core::policy::Fault;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tonic::{Code, Status};

use super::{
    fault::{Violations, exhausted, failed},
    limits, mask, reservation,
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

    /// Runs a call that blocks until the disk has answered.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Control) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<T, Status> {
        let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() else {
            let most = limits::CHANGES;
            let message = format!("{most} calls like this are under way, which is all that may be");
            return Err(exhausted("TOO_MANY_CHANGES", message, limits::RETRY));
        };
        let control = Arc::clone(&self.control);
        let task = self.tasks.spawn_blocking(move || {
            let _permit = permit;
            work(&control)
        });
        match task.await {
            Ok(result) => result.map_err(refusal),
            Err(_) => Err(failed(Code::Unavailable, "STOPPING", "agentd is stopping", [])),
        }
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
        ControlError::NothingToConfirm => {
            failed(Code::FailedPrecondition, "NOTHING_TO_CONFIRM", message, [])
        }
        ControlError::UnknownRevision(revision) => {
            let facts = [("revision", revision.to_string())];
            failed(Code::NotFound, "UNKNOWN_REVISION", message, facts)
        }
        ControlError::NotDurable(_) => failed(Code::Unavailable, "NOT_DURABLE", message, []),
        ControlError::Reserve(error) => reservation::refusal(&error),
    }
}

pub(super) fn violations(faults: Vec<Fault>) -> Violations {
    let mut violations = Violations::default();
    for Fault { path, value, problem } in faults {
        violations.add(mask::wire_path(&path), format!("{value}: {problem}"));
    }
    violations
}
