//! [`Link`]: what a line knows of its end, for whoever is told only that it broke.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::failure::{Code, Failure};

/// Why a line ended, as far as it knows.
#[derive(Debug, Default)]
pub(crate) struct Link {
    cause: watch::Sender<Option<Failure>>,
    /// Whether a cause is about to be known.
    ending: AtomicBool,
}

impl Link {
    /// Notes why the line ended; the first cause counts.
    pub(super) fn note(&self, cause: Failure) {
        self.cause.send_if_modified(|noted| {
            let first = noted.is_none();
            if first {
                *noted = Some(cause);
            }
            first
        });
    }

    /// Notes that the line ended, and that a cause follows.
    pub(super) fn ends(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// `failure`, or what is behind it.
    pub(crate) async fn explained(&self, failure: Failure) -> Failure {
        let broken = [Code::Unavailable, Code::Cancelled, Code::Unknown, Code::Internal];
        if !broken.contains(&failure.code) {
            return failure;
        }
        let mut cause = self.cause.subscribe();
        if self.ending.load(Ordering::Relaxed) {
            // Without a cause in time there is none.
            let _ = tokio::time::timeout(PATIENCE, cause.wait_for(Option::is_some)).await;
        }
        let known = cause.borrow_and_update().clone();
        known.unwrap_or(failure)
    }
}

/// A process that closed its output ends soon.
const PATIENCE: Duration = Duration::from_secs(1);
