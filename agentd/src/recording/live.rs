//! [`Recording`]: writes every tick into a file, on a thread of its own.
//!
//! A tick never waits here. A recording is only worth something whole, for every decision depends on
//! all ticks before it: where it is full, the disk refuses it or does not keep up, it ends there,
//! agentd says so and goes on without.

use std::{
    fs::{self, File, FileType, OpenOptions},
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

/// A new file, for no more eyes than the state. One that is there already is kept under the same name
/// with `.before` at its end, in the place of the one before it.
///
/// # Errors
///
/// When the disk refuses it, or what is there is no file that can be moved away.
pub(crate) fn create(file: &Path) -> Result<File, WriteError> {
    match fs::symlink_metadata(file) {
        Ok(there) if !there.is_file() => return Err(WriteError::NoFile(kind(there.file_type()))),
        Ok(_) => {
            let mut before = file.as_os_str().to_owned();
            before.push(".before");
            fs::rename(file, before)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    Ok(OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(file)?)
}

/// How people call what is no regular file.
fn kind(there: FileType) -> &'static str {
    if there.is_dir() {
        "a directory"
    } else if there.is_symlink() {
        "a symbolic link"
    } else {
        "a device, a pipe or a socket"
    }
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

#[cfg(test)]
mod tests {
    use agentd_core::policy::Policy;

    use super::*;
    use crate::{
        clock::VirtualClock, hypervisor::sim::Scenario, recording::Reader, simulate::Simulation,
    };

    fn publisher() -> Arc<Publisher> {
        Arc::new(Publisher::new(Arc::new(VirtualClock::default()), 1 << 20))
    }

    fn records(ticks: u64) -> Vec<Arc<TickRecord>> {
        let scenario = Scenario::parse("test.toml", "[host]\ntotal = \"1GiB\"\n").unwrap();
        let (name, policy) = (Path::new("test.toml"), Policy::default());
        let mut records = Vec::new();
        let simulation = Simulation { name, scenario: &scenario, policy, ticks };
        let run: Result<(), ()> = simulation.run_each(|record| {
            records.push(Arc::new(record.clone()));
            Ok(())
        });
        run.unwrap();
        records
    }

    fn head() -> Head {
        let began = std::time::SystemTime::UNIX_EPOCH;
        let text = || "test".to_owned();
        Head { agent_version: text(), host: text(), hypervisor: text(), began }
    }

    fn ticks(file: &Path) -> usize {
        let mut reader = Reader::open(file).unwrap();
        std::iter::from_fn(|| reader.next_tick().unwrap()).count()
    }

    #[test]
    fn a_disk_that_does_not_keep_up_ends_it_and_delays_no_tick() {
        let publisher = publisher();
        let (inbox, never_read) = mpsc::sync_channel(1);
        let (_running, ended) = mpsc::sync_channel(0);
        let (file, shown) = (PathBuf::from("x.rec"), Arc::clone(&publisher));
        let mut recording = Recording { file, publisher: shown, inbox: Some(inbox), ended };
        for record in records(3) {
            recording.tick(&record);
        }
        let (_, condition) = publisher.conditions().all().remove(0);
        assert!(condition.message.contains("no room for tick 1"), "{}", condition.message);
        assert!(publisher.conditions().has(RECORDING_STOPPED));
        // Tick 2 would have had room again, behind a hole.
        assert_eq!(never_read.try_iter().count(), 1);
    }

    #[test]
    fn it_is_whole_when_it_ends_and_the_one_before_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (file, publisher) = (folder.path().join("x.rec"), publisher());
        for count in [5, 2] {
            let most = ByteCount::gib(1);
            let mut recording = Recording::start(&file, head(), most, Arc::clone(&publisher));
            records(count).iter().for_each(|record| recording.tick(record));
            drop(recording);
        }
        assert_eq!((ticks(&folder.path().join("x.rec.before")), ticks(&file)), (5, 2));
        assert_eq!(publisher.conditions().all(), []);
    }

    #[test]
    fn what_is_no_file_stays_where_it_is_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (place, link) = (folder.path().join("x.rec"), folder.path().join("link.rec"));
        fs::create_dir(&place).unwrap();
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        let told = [(&place, "a directory"), (&link, "a symbolic link")];
        for (file, what) in told {
            let publisher = publisher();
            drop(Recording::start(file, head(), ByteCount::gib(1), Arc::clone(&publisher)));
            let (_, condition) = publisher.conditions().all().remove(0);
            let message = condition.message;
            assert!(message.contains(&file.display().to_string()), "{message}");
            assert!(message.contains(&format!("{what} is there")), "{message}");
        }
        let device = create(Path::new("/dev/null")).unwrap_err();
        assert!(matches!(device, WriteError::NoFile("a device, a pipe or a socket")), "{device}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing was moved or made");
    }

    #[test]
    fn a_full_one_says_so_and_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let (file, publisher) = (folder.path().join("x.rec"), publisher());
        let most = ByteCount::bytes(2000);
        let mut recording = Recording::start(&file, head(), most, Arc::clone(&publisher));
        records(60).iter().for_each(|record| recording.tick(record));
        drop(recording);
        let (_, condition) = publisher.conditions().all().remove(0);
        assert!(condition.message.contains("is all that it may have"), "{}", condition.message);
        assert!(fs::metadata(&file).unwrap().len() <= most.as_u64());
        let kept = ticks(&file);
        assert!(kept > 0 && kept < 60, "{kept}");
    }
}
