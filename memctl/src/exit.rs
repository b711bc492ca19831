//! Exit codes: what a script learns from memctl without reading its output. Part of the
//! interface; `memctl --help` prints the table.

use std::process::ExitCode;

use crate::failure::Failure;

/// What memctl says with its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Everything asked for was done.
    Done = 0,
    /// It was done and the answer is "no".
    No = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Any other failure, or failures of several kinds.
    Failed = 3,
    /// No agent answered.
    Unreachable = 4,
    /// The agent does not allow it.
    Denied = 5,
    /// What was named does not exist.
    NotFound = 6,
    /// Something else changed in between, or the state does not allow it.
    Conflict = 7,
    /// The agent or memctl found a value that makes no sense.
    Invalid = 8,
    /// Some hosts did it, others did not.
    Partial = 9,
    /// The agent could not write the change to its disk, and did not make it.
    NotDurable = 10,
    /// SIGINT.
    Interrupted = 130,
    /// The reader of stdout went away.
    BrokenPipe = 141,
    /// SIGTERM.
    #[cfg_attr(not(unix), allow(dead_code, reason = "there is no such signal"))]
    Terminated = 143,
}

/// The table that `--help` prints.
pub(crate) const HELP: &str = "\
Exit codes:
  0    done
  1    done, and the answer is no (policy diff: differences; status --check: not
       healthy, or not in the mode of --expect-mode; reserve: the memory was not
       there in time; wait: it was not so in time; doctor, config check: something
       does not work)
  2    the command line makes no sense
  3    any other failure, or hosts that failed for different reasons
  4    unreachable (no agent answers, or not in time)
  5    denied (by the agent, or because of a certificate or of ssh)
  6    not found
  7    conflict (the policy was changed in between; the state does not allow it;
       reserve: it can never fit)
  8    invalid value
  9    partial: some hosts did it, others did not
  10   not made: the agent could not write the change to its disk
  130  interrupted (Ctrl-C); 143 by SIGTERM
  141  the reader of stdout went away

Environment:
  MEMCTL_CONFIG  configuration file (default $XDG_CONFIG_HOME/memctl/config.toml)
  MEMCTL_SYSTEM_CONFIG
                 the one for all who use this machine (default /etc/memctl/config.toml)
  MEMCTL_HOST    hosts to ask where no --host is given
  MEMCTL_CA, MEMCTL_CERT, MEMCTL_KEY
                 files of the identity where no --ca, --cert or --key is given
  VISUAL, EDITOR editor of policy edit
  MEMCTL_OUTPUT  output format where no --output is given
  MEMCTL_SOCKET  where the local agent listens (default /run/agentd/agentd.sock, then
                 $XDG_RUNTIME_DIR/agentd/agentd.sock)
  NO_COLOR, CLICOLOR_FORCE, TERM=dumb are respected";

impl Exit {
    /// The code of a command that asked several hosts: `done` of them did it.
    pub(crate) fn of_hosts<'a>(done: usize, failures: impl Iterator<Item = &'a Failure>) -> Self {
        let mut codes: Vec<Self> = failures.map(Failure::exit).collect();
        codes.dedup();
        match (done, codes.as_slice()) {
            (_, []) => Self::Done,
            (0, [code]) => *code,
            (0, _) => Self::Failed,
            _ => Self::Partial,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Code;

    fn exit_of(done: usize, codes: &[Code]) -> Exit {
        let failures: Vec<Failure> = codes.iter().map(|&c| Failure::new(c, "R", "m")).collect();
        Exit::of_hosts(done, failures.iter())
    }

    #[test]
    fn all_hosts_done_is_zero() {
        assert_eq!(exit_of(3, &[]), Exit::Done);
    }

    #[test]
    fn some_hosts_failed_is_partial() {
        assert_eq!(exit_of(1, &[Code::Unavailable]), Exit::Partial);
    }

    #[test]
    fn hosts_that_fail_alike_give_their_own_code() {
        assert_eq!(exit_of(0, &[Code::Unavailable, Code::DeadlineExceeded]), Exit::Unreachable);
        assert_eq!(exit_of(0, &[Code::PermissionDenied]), Exit::Denied);
    }

    #[test]
    fn hosts_that_fail_differently_give_the_general_code() {
        assert_eq!(exit_of(0, &[Code::NotFound, Code::Unavailable]), Exit::Failed);
        assert_eq!(exit_of(0, &[Code::NotFound, Code::Unavailable, Code::NotFound]), Exit::Failed);
    }
}
