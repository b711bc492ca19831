//! [`Past`]: the history on disk, read for whoever calls: one at a time, on a thread that may wait for the
//! disk. Who waits for a turn delays nobody but those who read history too.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time};
use tokio_util::task::TaskTracker;
use tonic::{Code, Status};

use super::fault::{self, failed};
use crate::{
    record::{HISTORY_CHECKING, HistoryError},
    store::{HistoryReader, Reading, Shelf, Snapshot},
};

/// The history on disk.
#[derive(Clone, Debug)]
pub(super) struct Past {
    shelf: Shelf,
    turn: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Past {
    pub(super) fn new(shelf: Shelf, tasks: TaskTracker) -> Self {
        Self { shelf, turn: Arc::new(Semaphore::new(1)), tasks }
    }

    /// Reads it, as it is at one moment; `None` where there is none. Goes on to its end also when the caller
    /// goes away.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Snapshot<'_>) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<Option<T>, Status> {
        let Some(reader) = self.reader().await? else { return Ok(None) };
        let stopping = || failed(Code::Unavailable, "STOPPING", "agentd is stopping", []);
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| stopping())?;
        let task = self.tasks.spawn_blocking(move || {
            let _turn = turn;
            reader.read(work)
        });
        let read = task.await.map_err(|_| stopping())?;
        read.map(Some).map_err(|error| unreadable(&error))
    }

    /// Who reads it, which is waited for as long as most histories take to be opened.
    async fn reader(&self) -> Result<Option<Arc<HistoryReader>>, Status> {
        let mut news = self.shelf.subscribe();
        let is_known = |reading: &Reading| !matches!(reading, Reading::Checking);
        let known = time::timeout(PATIENCE, news.wait_for(is_known)).await;
        match known.map(|known| known.map(|reading| reading.clone())) {
            Ok(Ok(Reading::Open(reader))) => Ok(Some(reader)),
            Ok(Ok(Reading::Nothing)) => Ok(None),
            // It has not become known in time, or never will as agentd stops.
            Ok(Ok(Reading::Checking) | Err(_)) | Err(_) => Err(checking()),
        }
    }
}

/// Whether something was refused because the history is still being checked.
pub(super) fn is_checking(refused: &Status) -> bool {
    fault::reason(refused) == HISTORY_CHECKING
}

fn checking() -> Status {
    let message = "the history is still being checked after the start of agentd, and cannot be read until \
                   that is done: try again in a moment; the condition HISTORY_CHECKING in its status ends then";
    failed(Code::Unavailable, HISTORY_CHECKING, message, [])
}

fn unreadable(error: &HistoryError) -> Status {
    let message = format!(
        "the history cannot be read: {error}; look at history.db and the disk under the state directory"
    );
    failed(Code::Unavailable, "HISTORY_UNREADABLE", message, [])
}

/// Most histories are open this long after a start, also on a busy machine. Well below the five seconds that
/// memctl gives a call, so that it hears why.
const PATIENCE: Duration = Duration::from_secs(2);
