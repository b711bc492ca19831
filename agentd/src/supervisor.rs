//! [`Supervisor`]: whoever started this process is told how it fares, in the words of sd_notify(3).
//!
//! It is ready once its first tick is over, and lives as long as ticks end: nothing else says so to the
//! watchdog, least of all a timer. Nothing here waits: a supervisor that does not listen costs no tick any
//! time, and where there is none nothing is said.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// Whoever started this process.
#[derive(Debug, Default)]
pub struct Supervisor {
    /// Where it listens; `None` where nobody does.
    line: Option<(UnixDatagram, SocketAddr)>,
    /// How long it waits for the next sign of life; `None` where it does not.
    watchdog: Option<Duration>,
    is_ready: AtomicBool,
    /// It was told that agentd stops.
    has_stopped: AtomicBool,
    status: Mutex<Status>,
}

/// What agentd is at, for people.
#[derive(Debug, Default)]
struct Status {
    now: String,
    /// What is wrong with the config file; empty where nothing is.
    config: String,
    told: String,
}

impl Supervisor {
    /// The one that this process' environment names.
    #[must_use]
    pub fn of_environment() -> Self {
        let line = variable("NOTIFY_SOCKET").and_then(|name| match dial(&name) {
            Ok(line) => Some(line),
            Err(error) => {
                tracing::warn!(%error, name, "the service manager cannot be told anything");
                None
            }
        });
        let is_for_us = variable("WATCHDOG_PID").is_none_or(|pid| pid == process::id().to_string());
        let watchdog = variable("WATCHDOG_USEC").filter(|_| is_for_us);
        let watchdog = watchdog.and_then(|text| text.parse().ok()).map(Duration::from_micros);
        Self { line, watchdog, ..Self::default() }
    }

    /// Says that the first tick begins, which may take so long: nobody is to lose patience before it is over.
    pub fn begins(&self, longest: Duration) {
        self.say(&[format!("EXTEND_TIMEOUT_USEC={}", longest.saturating_mul(3).as_micros())]);
    }

    /// Says that a tick is over: that it is ready, after the first, and that it lives. `longest` is how
    /// long one may take, and the time to the next: a watchdog that would not wait for three of them is
    /// made to.
    pub fn tick_is_over(&self, longest: Duration) {
        let mut words = Vec::new();
        let is_first = !self.is_ready.load(Ordering::Relaxed);
        if is_first {
            words.push("READY=1".to_owned());
        }
        if let Some(patience) = self.watchdog {
            let needed = longest.saturating_mul(3);
            if is_first && needed > patience {
                words.push(format!("WATCHDOG_USEC={}", needed.as_micros()));
            }
            words.push("WATCHDOG=1".to_owned());
        }
        if !words.is_empty() && self.say(&words) && is_first {
            self.is_ready.store(true, Ordering::Relaxed);
        }
    }

    /// Says what agentd is at, where that is news.
    pub fn is_at(&self, now: String) {
        self.change_status(|status| status.now = now);
    }

    /// Says that the config is being read again.
    pub fn reloads(&self) {
        // Before it is ready a supervisor knows of no reload.
        if self.is_ready.load(Ordering::Relaxed) {
            let now = clock_gettime(ClockId::Monotonic);
            let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
            self.say(&["RELOADING=1".to_owned(), format!("MONOTONIC_USEC={micros}")]);
        }
    }

    /// Says that it was read, and what is wrong with it where something is.
    pub fn has_reloaded(&self, problem: Option<&str>) {
        let first_line = problem.and_then(|problem| problem.lines().next()).unwrap_or_default();
        self.change_status(|status| first_line.clone_into(&mut status.config));
        if self.is_ready.load(Ordering::Relaxed) {
            self.say(&["READY=1".to_owned()]);
        }
    }

    /// Says that agentd stops. Nothing else is said after it: what is still at work is left behind.
    pub fn stops(&self) {
        self.has_stopped.store(true, Ordering::SeqCst);
        self.send(&[
            "STOPPING=1".to_owned(),
            "STATUS=stopping; every VM keeps what it has".to_owned(),
        ]);
    }

    fn change_status(&self, change: impl FnOnce(&mut Status)) {
        let mut status = self.lock();
        change(&mut status);
        let text = match status.config.as_str() {
            "" => status.now.clone(),
            problem => format!("{}; {problem}", status.now),
        };
        if text != status.told && self.say(&[format!("STATUS={text}")]) {
            status.told = text;
        }
    }

    /// True when it was said.
    fn say(&self, words: &[String]) -> bool {
        !self.has_stopped.load(Ordering::SeqCst) && self.send(words)
    }

    fn send(&self, words: &[String]) -> bool {
        let Some((socket, address)) = &self.line else { return false };
        // A line break would begin another word.
        let words: Vec<String> = words.iter().map(|word| word.replace('\n', " ")).collect();
        let said = socket.send_to_addr(words.join("\n").as_bytes(), address);
        if let Err(error) = &said {
            tracing::debug!(%error, "the service manager was not told {words:?}");
        }
        said.is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn dial(name: &str) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A supervisor that listens, and this process' line to it.
    fn pair(watchdog: Option<Duration>) -> (UnixDatagram, Supervisor) {
        let name = format!("@agentd-test-{}-{watchdog:?}", process::id());
        let (_, address) = dial(&name).unwrap();
        let listener = UnixDatagram::bind_addr(&address).unwrap();
        listener.set_nonblocking(true).unwrap();
        (listener, Supervisor { line: dial(&name).ok(), watchdog, ..Supervisor::default() })
    }

    fn heard(listener: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 1000];
        let length = listener.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
    }

    #[test]
    fn the_first_tick_makes_it_ready_and_every_tick_is_a_sign_of_life() {
        let (listener, supervisor) = pair(Some(Duration::from_secs(30)));
        supervisor.reloads();
        assert_eq!(heard(&listener), None, "there is nothing to reload yet");
        let tick = Duration::from_secs(2);
        supervisor.tick_is_over(tick);
        assert_eq!(heard(&listener).unwrap(), "READY=1\nWATCHDOG=1");
        supervisor.tick_is_over(tick);
        assert_eq!(heard(&listener).unwrap(), "WATCHDOG=1");
        assert_eq!(heard(&listener), None);
    }

    #[test]
    fn a_start_may_take_three_of_the_longest_ticks() {
        let (listener, supervisor) = pair(Some(Duration::from_secs(26)));
        supervisor.begins(Duration::from_secs(3600));
        assert_eq!(heard(&listener).unwrap(), "EXTEND_TIMEOUT_USEC=10800000000");
    }

    #[test]
    fn a_watchdog_waits_for_three_of_the_longest_ticks() {
        let (listener, supervisor) = pair(Some(Duration::from_secs(29)));
        supervisor.tick_is_over(Duration::from_secs(3600));
        let said = "READY=1\nWATCHDOG_USEC=10800000000\nWATCHDOG=1";
        assert_eq!(heard(&listener).unwrap(), said);
    }

    #[test]
    fn without_a_watchdog_there_are_no_signs_of_life_and_a_status_is_said_once() {
        let (listener, supervisor) = pair(None);
        supervisor.tick_is_over(Duration::from_secs(2));
        assert_eq!(heard(&listener).unwrap(), "READY=1");
        supervisor.tick_is_over(Duration::from_secs(2));
        for _ in 0..2 {
            supervisor.is_at("mode active".to_owned());
        }
        assert_eq!(heard(&listener).unwrap(), "STATUS=mode active");
        assert_eq!(heard(&listener), None);
        supervisor.has_reloaded(Some("agentd.toml:3: no\nagentd.toml:4: no"));
        assert_eq!(heard(&listener).unwrap(), "STATUS=mode active; agentd.toml:3: no");
        assert_eq!(heard(&listener).unwrap(), "READY=1");
    }

    #[test]
    fn a_stop_is_the_last_word() {
        let (listener, supervisor) = pair(Some(Duration::from_secs(27)));
        supervisor.tick_is_over(Duration::from_secs(2));
        supervisor.reloads();
        supervisor.stops();
        supervisor.has_reloaded(None);
        supervisor.tick_is_over(Duration::from_secs(2));
        supervisor.is_at("mode active".to_owned());
        let mut last = String::new();
        while let Some(said) = heard(&listener) {
            last = said;
        }
        assert_eq!(last, "STOPPING=1\nSTATUS=stopping; every VM keeps what it has");
    }

    #[test]
    fn a_supervisor_that_does_not_listen_is_not_waited_for() {
        let (listener, supervisor) = pair(Some(Duration::from_secs(28)));
        // More than its queue takes.
        for _ in 0..2000 {
            supervisor.tick_is_over(Duration::from_secs(2));
        }
        drop(listener);
        supervisor.tick_is_over(Duration::from_secs(2));
    }
}
