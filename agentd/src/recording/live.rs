//! [`Recording`]: writes every tick into a file, on a thread of its own.
//!
//! A tick never waits here. A recording is only worth something whole, for every decision depends on
//! all ticks before it: where it is full, the disk refuses it or does not keep up, it ends there,
//! agentd says so and goes on without.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread,
    time::Duration,
};

use agentd_core::bytes::ByteCount;

use super::{Head, WriteError, Writer};
use crate::{event::TickRecord, publish::Publisher};

/// A recording that is being made. Ends its thread when dropped.
#[derive(Debug)]
pub struct Recording {
    file: PathBuf,
    publisher: Arc<Publisher>,
    /// `None` once it has ended.
    inbox: Option<SyncSender<Arc<TickRecord>>>,
    /// Nothing comes through; it closes when the thread ends.
    ended: Receiver<()>,
}

impl Recording {
    /// Begins a recording of at most so many bytes, from the first tick on. One that is there already is
    /// kept under the same name with `.before` at its end, in the place of the one before it.
    ///
    /// Where it cannot be begun [`RECORDING_STOPPED`] says why.
    #[must_use]
    pub fn start(file: &Path, head: Head, most: ByteCount, publisher: Arc<Publisher>) -> Self {
        let (inbox, ticks) = mpsc::sync_channel(QUEUE);
        let (running, ended) = mpsc::sync_channel(0);
        let (place, teller) = (file.to_owned(), Arc::clone(&publisher));
        let thread = thread::Builder::new().name("recording".to_owned()).spawn(move || {
            let _running = running;
            if let Err(error) = write(&place, &head, most, &ticks) {
                tell(&teller, &place, &error.to_string());
            }
        });
        if let Err(error) = thread {
            tell(&publisher, file, &format!("the system gives it no thread: {error}"));
        }
        Self { file: file.to_owned(), publisher, inbox: Some(inbox), ended }
    }

    /// Queues a tick. Never waits.
    pub fn tick(&mut self, record: &Arc<TickRecord>) {
        let Some(inbox) = &self.inbox else { return };
        match inbox.try_send(Arc::clone(record)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                let tick = record.tick;
                let why =
                    format!("the disk did not keep up, and there was no room for tick {tick}");
                tell(&self.publisher, &self.file, &why);
                self.inbox = None;
            }
            // The thread has said why.
            Err(TrySendError::Disconnected(_)) => self.inbox = None,
        }
    }
}

/// Waits for what is queued to be written, but not for a disk that hangs.
impl Drop for Recording {
    fn drop(&mut self) {
        self.inbox = None;
        let _ = self.ended.recv_timeout(PATIENCE);
    }
}

fn write(
    file: &Path,
    head: &Head,
    most: ByteCount,
    ticks: &Receiver<Arc<TickRecord>>,
) -> Result<(), WriteError> {
    let mut writer = Writer::begin(create(file)?, head, most)?;
    ticks.iter().try_for_each(|record| writer.put(&record))
}

/// A new file, for no more eyes than the state.
fn create(file: &Path) -> io::Result<File> {
    let mut before = file.as_os_str().to_owned();
    before.push(".before");
    match fs::rename(file, before) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(file)
}

fn tell(publisher: &Publisher, file: &Path, why: &str) {
    let message = format!("the recording {} has ended: {why}", file.display());
    publisher.tell(RECORDING_STOPPED, Some(message));
}

/// Raised once a recording has ended before agentd does, until agentd is started again.
pub const RECORDING_STOPPED: &str = "RECORDING_STOPPED";
/// A minute of ticks, at one a second: longer hangs of a disk are faults.
const QUEUE: usize = 64;
/// Part of the time that a stop of agentd may take.
const PATIENCE: Duration = Duration::from_millis(300);
const FILE_MODE: u32 = 0o640;
