//! [`Bell`]: what ends the wait from one tick to the next before its time.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Rung by anybody, heard by the thread of the tick alone. Ringing never blocks, and ringing twice before it is
/// heard is ringing once.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Mutex<Rung>,
    heard: Condvar,
}

/// Why it was rung.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// It was not.
    #[default]
    No,
    /// Something happened that is not to wait for the next tick.
    Look,
    /// The turn under way is the last one. Once rung so, it stays so.
    Stop,
}

impl Bell {
    /// Has the next tick come at once.
    pub fn look(&self) {
        self.ring(Rung::Look);
    }

    /// Has no further tick come.
    pub fn stop(&self) {
        self.ring(Rung::Stop);
    }

    /// Waits until it is rung, for so long at most.
    pub fn wait(&self, patience: Duration) -> Rung {
        let waited = self.heard.wait_timeout_while(self.lock(), patience, |rung| *rung == Rung::No);
        let (mut rung, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let why = *rung;
        if why == Rung::Look {
            *rung = Rung::No;
        }
        why
    }

    fn ring(&self, why: Rung) {
        let mut rung = self.lock();
        *rung = why.max(*rung);
        self.heard.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Rung> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn what_was_rung_before_is_heard_once_and_a_stop_for_ever() {
        let bell = Bell::default();
        assert_eq!(bell.wait(Duration::ZERO), Rung::No);
        bell.look();
        bell.look();
        assert_eq!([bell.wait(LONG), bell.wait(Duration::ZERO)], [Rung::Look, Rung::No]);
        bell.stop();
        bell.look();
        assert_eq!([bell.wait(LONG), bell.wait(LONG)], [Rung::Stop, Rung::Stop]);
    }

    #[test]
    fn who_waits_is_woken() {
        let bell = Arc::new(Bell::default());
        let waiting = thread::spawn({
            let bell = Arc::clone(&bell);
            move || bell.wait(LONG)
        });
        bell.look();
        assert_eq!(waiting.join().unwrap(), Rung::Look);
    }
}
