//! How the process begins and ends: signals, and what a panic does.

use std::{io, panic, process};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::{SignalsInfo, exfiltrator::WithOrigin},
};

use crate::log;

/// The signals that agentd was told to stop by.
#[derive(Debug)]
pub struct StopSignals {
    signals: SignalsInfo<WithOrigin>,
}

impl StopSignals {
    /// Takes over SIGTERM, SIGINT and SIGHUP. Has to come before anything else, because a SIGHUP
    /// before it ends the process.
    ///
    /// # Errors
    ///
    /// Fails when the system refuses.
    pub fn take_over() -> io::Result<Self> {
        Ok(Self { signals: SignalsInfo::new([SIGTERM, SIGINT, SIGHUP])? })
    }

    /// Waits until somebody wants agentd to stop; SIGHUP has `read_again` called with the user who sent
    /// it, `None` where no process did.
    pub fn wait(&mut self, mut read_again: impl FnMut(Option<u32>)) {
        for origin in self.signals.forever() {
            if origin.signal != SIGHUP {
                return;
            }
            tracing::info!("SIGHUP: the config is to be read again");
            read_again(origin.process.map(|sender| sender.uid));
        }
    }
}

/// A thread that panics ends the whole process: half an agentd must not look alive.
pub fn end_on_panic() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        // Standard error may be a pipe that nobody reads.
        if log::flush() {
            tell(what);
        }
        process::exit(EXIT_BROKEN);
    }));
}

/// Ends the process for its supervisor to start it again, without waiting for anything that hangs in
/// it. Whatever was acknowledged is on disk, and every VM keeps what it has.
pub fn end_broken(why: &str) -> ! {
    tracing::error!("{why}; exit code {EXIT_BROKEN}");
    log::flush();
    signal_hook::low_level::exit(EXIT_BROKEN)
}

/// agentd found itself broken: EX_SOFTWARE of sysexits.h.
pub const EXIT_BROKEN: i32 = 70;
/// Another agentd is at work: EX_TEMPFAIL of sysexits.h.
pub const EXIT_BUSY: u8 = 75;

#[cfg(test)]
mod tests {
    use std::{env, process::Command, sync::mpsc, thread};

    use super::*;

    const CHILD: &str = "AGENTD_TEST_CHILD_PANICS";

    /// Runs itself again as the process that panics.
    #[test]
    fn a_panic_in_any_thread_ends_the_process() {
        if env::var_os(CHILD).is_some() {
            end_on_panic();
            thread::spawn(|| panic!("on purpose"));
            // Nobody sends: without the hook this would wait for ever.
            let (_nobody, nothing) = mpsc::channel::<()>();
            let _ = nothing.recv();
        }
        let me = "lifecycle::tests::a_panic_in_any_thread_ends_the_process";
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", me, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert_eq!(child.status.code(), Some(EXIT_BROKEN));
        assert!(String::from_utf8_lossy(&child.stderr).contains("on purpose"));
    }
}
