//! [`Past`]: the history on disk, read for whoever calls: one at a time, on a thread that may wait for the
//! disk. Who waits for a turn delays nobody but those who read history too.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tonic::{Code, Status};

use super::fault::failed;
use crate::{record::HistoryError, store::HistoryReader};

/// The history on disk.
#[derive(Clone, Debug)]
pub(super) struct Past {
    /// `None` where there is none.
    reader: Option<Arc<HistoryReader>>,
    turn: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Past {
    pub(super) fn new(reader: Option<Arc<HistoryReader>>, tasks: TaskTracker) -> Self {
        Self { reader, turn: Arc::new(Semaphore::new(1)), tasks }
    }

    /// Reads it; `None` where there is none. Goes on to its end also when the caller goes away.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&HistoryReader) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<Option<T>, Status> {
        let Some(reader) = self.reader.clone() else { return Ok(None) };
        let stopping = || failed(Code::Unavailable, "STOPPING", "agentd is stopping", []);
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| stopping())?;
        let task = self.tasks.spawn_blocking(move || {
            let _turn = turn;
            work(&reader)
        });
        let read = task.await.map_err(|_| stopping())?;
        read.map(Some).map_err(|error| unreadable(&error))
    }
}

fn unreadable(error: &HistoryError) -> Status {
    let message = format!(
        "the history cannot be read: {error}; look at history.db and the disk under the state directory"
    );
    failed(Code::Unavailable, "HISTORY_UNREADABLE", message, [])
}
