//! `memctl completion SHELL`: a script for the shell. It asks memctl itself for what may follow, so
//! that hosts and VMs are completed as they are.

use clap::{Args, ValueEnum};
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Zsh};

use super::Ended;
use crate::exit::Exit;
use crate::session::Session;

/// Options of `memctl completion`.
#[derive(Args, Debug)]
pub(crate) struct CompletionArgs {
    /// The shell. For bash: memctl completion bash > ~/.local/share/bash-completion/completions/memctl
    shell: ShellName,
}

/// A shell that can complete.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ShellName {
    Bash,
    Elvish,
    Fish,
    #[value(name = "powershell")]
    PowerShell,
    Zsh,
}

/// Writes the script.
pub(crate) fn run(args: &CompletionArgs, session: &Session) -> Ended {
    let shell: &dyn EnvCompleter = match args.shell {
        ShellName::Bash => &Bash,
        ShellName::Elvish => &Elvish,
        ShellName::Fish => &Fish,
        ShellName::PowerShell => &Powershell,
        ShellName::Zsh => &Zsh,
    };
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "memctl", "memctl", "memctl", &mut script)?;
    session.output.data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// Set where memctl is asked by such a script.
pub(crate) const VARIABLE: &str = "COMPLETE";
