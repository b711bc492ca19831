//! What agentd asks of the kernel for itself: memory that is not paged out, a late place in the OOM
//! killer's list, and enough descriptors. It works without any of them, only worse: what is refused
//! is logged.

use std::{fs, io};

use rustix::{
    mm::{MlockAllFlags, mlockall},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

/// Takes as many descriptors as this process may have. What serves clients keeps to a part of them.
pub fn take_descriptors() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, ?current, "the limit of open files stays as it is");
    }
}

/// Makes this process the last one to be killed where memory runs out: it is small, and the host
/// needs it most just then.
pub fn be_spared() {
    if let Err(error) = be_killed_late(OOM_SCORE_ADJ) {
        tracing::warn!(
            "agentd's oom_score_adj is not {OOM_SCORE_ADJ} ({error}): where memory runs out, the \
             kernel kills it as soon as any other process. Let it have OOMScoreAdjust={OOM_SCORE_ADJ}"
        );
    }
}

/// Keeps this process in memory: on a host that swaps, the one who can end it must not wait for the
/// disk. Pages that are never touched take no memory.
pub fn stay_in_memory() {
    match lock_memory() {
        Ok(()) => tracing::debug!("agentd's memory is locked"),
        Err(why) => tracing::warn!(
            "agentd's memory is not locked and may be swapped out: {why}. Let it have \
             LimitMEMLOCK=infinity, or set lock_memory = false in [process]"
        ),
    }
}

fn be_killed_late(score: i32) -> io::Result<()> {
    let current = fs::read_to_string(SCORE_FILE)?;
    // Whoever started it may know better.
    if current.trim().parse::<i32>().is_ok_and(|current| current <= score) {
        return Ok(());
    }
    fs::write(SCORE_FILE, score.to_string())
}

/// Only where no limit applies: below one, what is allocated later would fail in the middle of a
/// tick.
fn lock_memory() -> Result<(), String> {
    let limit = getrlimit(Resource::Memlock);
    if limit.current.is_some() && !is_above_limits() {
        let unlimited = Rlimit { current: None, maximum: None };
        let raised = setrlimit(Resource::Memlock, unlimited);
        raised.map_err(|error| format!("its limit of locked memory cannot be lifted: {error}"))?;
    }
    // What is there now is read in; what comes stays from its first use on.
    mlockall(MlockAllFlags::CURRENT)
        .and_then(|()| mlockall(MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT))
        .map_err(|error| error.to_string())
}

/// True with CAP_IPC_LOCK outside of user namespaces, within which it counts for nothing here.
fn is_above_limits() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let rights = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let rights = rights.and_then(|rights| u64::from_str_radix(rights.trim(), 16).ok());
    let users = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let is_first = users.split_whitespace().eq(EVERY_USER);
    is_first && rights.is_some_and(|rights| rights & CAP_IPC_LOCK != 0)
}

/// Bit 14 of capabilities(7).
const CAP_IPC_LOCK: u64 = 1 << 14;
/// The map of the first user namespace: every user is itself.
const EVERY_USER: [&str; 3] = ["0", "0", "4294967295"];
const SCORE_FILE: &str = "/proc/self/oom_score_adj";
/// What OpenSSH and udev, which an administrator needs as much, have too: -1000 is never.
const OOM_SCORE_ADJ: i32 = -900;

#[cfg(test)]
mod tests {
    use std::{
        env,
        io::{self, Write as _},
        process::Command,
    };

    use super::*;

    const CHILD: &str = "AGENTD_TEST_CHILD_RESOURCES";

    fn field(name: &str) -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn again(test: &str, limit: &str) -> std::process::Output {
        let me = format!("resources::tests::{test}");
        let script = format!("{limit} exec \"$0\" --exact {me} --nocapture");
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(env::current_exe().unwrap()).env(CHILD, "1");
        command.output().unwrap()
    }

    /// Runs itself again as the process that asks, so that this one stays as it is.
    #[test]
    fn its_memory_is_locked_and_it_is_killed_late_where_that_is_allowed() {
        if env::var_os(CHILD).is_some() {
            let before = fs::read_to_string(SCORE_FILE).unwrap();
            be_spared();
            let score = fs::read_to_string(SCORE_FILE).unwrap();
            let locked = lock_memory();
            let mut tell = format!("score {} then {}\n", before.trim(), score.trim());
            match locked {
                Ok(()) => {
                    let before = field("VmLck");
                    let memory = vec![1_u8; 32 << 20];
                    assert!(field("VmLck") >= before + (32 << 10), "what comes later is locked");
                    assert!(memory.iter().all(|byte| *byte == 1));
                    tell += "locked\n";
                }
                Err(why) => tell += &format!("refused: {why}\n"),
            }
            print!("{tell}");
            return;
        }
        let test = "its_memory_is_locked_and_it_is_killed_late_where_that_is_allowed";
        let child = again(test, "");
        let said = String::from_utf8_lossy(&child.stdout).into_owned();
        assert!(child.status.success(), "{said}");
        // Both depend on who runs this; root may where it was left its rights.
        for (what, refusal) in [("locked\n", "refused: "), ("then -900\n", "")] {
            if !said.contains(what) {
                assert!(said.contains(refusal), "{said}");
                let skipped = format!("skipped a part of {test}: no right to {what}");
                io::stderr().write_all(skipped.as_bytes()).unwrap();
            }
        }
    }

    #[test]
    fn takes_all_descriptors_that_it_may_have() {
        if env::var_os(CHILD).is_some() {
            take_descriptors();
            let limit = getrlimit(Resource::Nofile);
            assert_eq!((limit.current, limit.maximum), (Some(300), Some(300)));
            return;
        }
        let child =
            again("takes_all_descriptors_that_it_may_have", "ulimit -Sn 200 && ulimit -Hn 300 &&");
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    }
}
