//! What a person at a terminal sees while hosts are waited for: a line on stderr that comes after a
//! second and goes again. Never in a pipe.

use std::future::Future;
use std::io::{IsTerminal as _, Write as _};
use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;

use crate::render::text::safe;

/// What is waited for.
pub(crate) struct Progress {
    /// None where nobody looks.
    waits: Option<Waits>,
    /// When the next line is due.
    due: Instant,
    /// Whether a line stands there now.
    stands: bool,
}

/// What a line tells of.
enum Waits {
    /// Hosts, and whether each is still waited for.
    Hosts(Vec<(String, bool)>),
    /// Something else, in words.
    Words(String),
}

impl Progress {
    /// For these hosts, where `wanted` and stderr is a terminal.
    pub(crate) fn new<'a>(wanted: bool, names: impl Iterator<Item = &'a str>) -> Self {
        Self::of(wanted, || Waits::Hosts(names.map(|name| (name.to_owned(), true)).collect()))
    }

    /// For something that is told in words, where `wanted` and stderr is a terminal.
    pub(crate) fn in_words(wanted: bool) -> Self {
        Self::of(wanted, || Waits::Words(String::new()))
    }

    fn of(wanted: bool, waits: impl FnOnce() -> Waits) -> Self {
        let looks = wanted && std::io::stderr().is_terminal();
        Self { waits: looks.then(waits), due: Instant::now() + SILENCE, stands: false }
    }

    /// How it stands now. Only asked for where somebody looks.
    pub(crate) fn say(&mut self, words: impl FnOnce() -> String) {
        if let Some(Waits::Words(said)) = &mut self.waits {
            *said = words();
        }
    }

    /// Awaits `work`, and shows meanwhile what is waited for.
    pub(crate) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        if self.waits.is_none() {
            return work.await;
        }
        let mut work = pin!(work);
        loop {
            match tokio::time::timeout_at(self.due, &mut work).await {
                Ok(done) => return done,
                Err(_) => self.show(),
            }
            self.due = Instant::now() + BETWEEN;
        }
    }

    /// The host at this place is waited for no longer.
    pub(crate) fn done(&mut self, index: usize) {
        if let Some(Waits::Hosts(names)) = &mut self.waits
            && let Some(name) = names.get_mut(index)
        {
            name.1 = false;
        }
    }

    fn show(&mut self) {
        let line = match &self.waits {
            Some(Waits::Hosts(names)) => line(names),
            Some(Waits::Words(words)) => safe(words).into_owned(),
            None => String::new(),
        };
        self.stands = true;
        // Who cannot be shown it misses nothing.
        let _ = write!(std::io::stderr().lock(), "\r\u{1b}[K{line}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.stands {
            let _ = write!(std::io::stderr().lock(), "\r\u{1b}[K");
        }
    }
}

/// "waiting for 3 of 100 hosts: node7, node9, node12"
fn line(names: &[(String, bool)]) -> String {
    let open: Vec<&str> =
        names.iter().filter(|(_, waits)| *waits).map(|(name, _)| name.as_str()).collect();
    let few = open.get(..MOST_NAMES).unwrap_or(&open).join(", ");
    let more = if open.len() > MOST_NAMES { ", ..." } else { "" };
    format!("waiting for {} of {} hosts: {}{more}", open.len(), names.len(), safe(&few))
}

/// What takes less needs no word.
const SILENCE: Duration = Duration::from_secs(1);
const BETWEEN: Duration = Duration::from_millis(250);
/// More would not fit on a line.
const MOST_NAMES: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_the_first_that_are_waited_for() {
        let name = |n: usize, waits| (format!("n{n}"), waits);
        let names: Vec<_> = (0..9).map(|n| name(n, n > 4)).collect();
        assert_eq!(line(&names), "waiting for 4 of 9 hosts: n5, n6, n7, ...");
        assert_eq!(line(&[name(1, true)]), "waiting for 1 of 1 hosts: n1");
    }

    #[tokio::test]
    async fn without_a_terminal_there_is_only_the_work() {
        let mut progress = Progress { waits: None, due: Instant::now(), stands: false };
        assert_eq!(progress.beside(async { 7 }).await, 7);
        assert!(!progress.stands);
    }
}
