//! [`Lines`]: lines of the log on their way out, passed on by a thread of their own.
//!
//! Whoever logs waits for nobody: not for a journal that hangs, nor for a pipe that is not read. What finds
//! no room, or cannot be written, is lost, and counted.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Where lines end up. It may take as long as it likes for each; one that fails is lost.
pub(super) type Sink = Box<dyn FnMut(&[u8]) -> io::Result<()> + Send>;

/// Lines that wait for their [`Sink`]. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    /// Bytes of those that wait.
    bytes: usize,
    /// One is with the sink.
    is_writing: bool,
    /// The last one that was written could not be.
    is_failing: bool,
    /// Lines since the start that found no room or could not be written, and how many of them were told of.
    lost: u64,
    told: u64,
}

impl Lines {
    /// Starts the thread that passes them on; it ends with the process.
    pub(super) fn into(mut sink: Sink) -> io::Result<Self> {
        let lines = Self::default();
        let queue = Arc::clone(&lines.queue);
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            loop {
                let written = sink(&queue.next());
                queue.lock().wrote(written.is_ok());
                queue.changed.notify_all();
            }
        })?;
        Ok(lines)
    }

    /// Puts one in. Never waits.
    pub(super) fn put(&self, line: Vec<u8>) {
        let mut state = self.queue.lock();
        let bytes = state.bytes.saturating_add(line.len());
        if bytes > ROOM {
            return state.lose();
        }
        state.bytes = bytes;
        state.waiting.push_back(line);
        drop(state);
        self.queue.changed.notify_all();
    }

    /// How many were lost since the start.
    pub(super) fn lost(&self) -> u64 {
        self.queue.lock().lost
    }

    /// The same where it is more than was told, and there is room to tell it.
    pub(super) fn news_of_lost(&self) -> Option<u64> {
        let mut state = self.queue.lock();
        let is_news = state.lost > state.told && state.bytes < ROOM / 2 && !state.is_failing;
        if is_news {
            state.told = state.lost;
        }
        is_news.then_some(state.lost)
    }

    /// Waits until all are with their sink and it is done with them, but no longer than `patience`. Whether
    /// they are.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let some = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        let state = self.queue.lock();
        let waited = self.queue.changed.wait_timeout_while(state, patience, some);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

/// A line is written with one call.
impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Queue {
    /// Waits for the next line.
    fn next(&self) -> Vec<u8> {
        let none = |state: &mut State| state.waiting.is_empty();
        let state = self.lock();
        let mut state =
            self.changed.wait_while(state, none).unwrap_or_else(PoisonError::into_inner);
        let line = state.waiting.pop_front().unwrap_or_default();
        state.bytes = state.bytes.saturating_sub(line.len());
        state.is_writing = true;
        line
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    const fn wrote(&mut self, is_written: bool) {
        (self.is_writing, self.is_failing) = (false, !is_written);
        if !is_written {
            self.lose();
        }
    }

    const fn lose(&mut self) {
        self.lost = self.lost.saturating_add(1);
    }
}

/// Bytes of lines that may wait: ten thousand of them, more than a host says in an hour that starts with all
/// of its VMs.
const ROOM: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    /// A sink that is done with a line when it is told so, and says what it was given.
    fn slow() -> (Lines, Sender<()>, Receiver<Vec<u8>>) {
        let ((done, may), (tell, given)) = (mpsc::channel(), mpsc::channel());
        let sink: Sink = Box::new(move |line| {
            tell.send(line.to_vec()).unwrap();
            let _ = may.recv();
            Ok(())
        });
        (Lines::into(sink).unwrap(), done, given)
    }

    #[test]
    fn who_logs_waits_for_no_sink_and_what_finds_no_room_is_told_once_there_is_some() {
        let (lines, done, given) = slow();
        lines.put(b"first".to_vec());
        assert_eq!(given.recv_timeout(LONG).unwrap(), b"first");
        // It hangs: nobody waits for it, however much is said.
        let line = vec![b'x'; ROOM / 64];
        (0..64 + 7).for_each(|_| lines.put(line.clone()));
        assert_eq!((lines.lost(), lines.news_of_lost()), (7, None), "there is no room to say so");
        lines.flush(Duration::from_millis(1));

        drop(done);
        lines.flush(LONG);
        assert_eq!(given.try_iter().count(), 64);
        assert_eq!((lines.news_of_lost(), lines.news_of_lost()), (Some(7), None));
        lines.put(b"last".to_vec());
        lines.flush(LONG);
        assert_eq!(given.try_recv().unwrap(), b"last");
    }

    #[test]
    fn what_a_sink_refuses_is_told_once_it_takes_lines_again() {
        let sink: Sink = Box::new(|line| match line {
            b"refused" => Err(io::Error::other("nobody is there")),
            _ => Ok(()),
        });
        let lines = Lines::into(sink).unwrap();
        for _ in 0..3 {
            lines.put(b"refused".to_vec());
        }
        lines.flush(LONG);
        assert_eq!((lines.lost(), lines.news_of_lost()), (3, None), "there is nobody to tell it");
        lines.put(b"taken".to_vec());
        lines.flush(LONG);
        assert_eq!(lines.news_of_lost(), Some(3));
    }

    /// Longer than any machine that is alive takes.
    const LONG: Duration = Duration::from_secs(60);
}
