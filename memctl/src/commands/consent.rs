//! Asks before several hosts are changed. One host is changed unasked; so is anything with --yes.
//! Knows no command.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use super::Stop;
use crate::failure::{Code, Failure};
use crate::session::Session;

/// Shows what is to be done and asks, where there is more than one host. Without a terminal there
/// is nobody to ask: that is refused.
pub(crate) fn ask(what: &str, hosts: usize, session: &Session) -> Result<(), Stop> {
    if hosts < 2 || session.global.yes {
        return Ok(());
    }
    let no_terminal = !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal();
    if no_terminal || session.global.no_input {
        let why =
            if no_terminal { "there is no terminal to ask on" } else { "nobody is to be asked" };
        let what = format!("this changes {hosts} hosts, and {why}");
        return Err(Failure::usage(what).hint("say -y to change them unasked").into());
    }
    if agreed(what, hosts)? {
        return Ok(());
    }
    Err(Failure::new(Code::Cancelled, "NOT_CONFIRMED", "nothing was changed").into())
}

fn agreed(what: &str, hosts: usize) -> std::io::Result<bool> {
    let mut err = std::io::stderr().lock();
    write!(err, "{what}Change {hosts} hosts? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
