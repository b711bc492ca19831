//! What may follow on the command line, for the shell: names of hosts and groups as configured, VMs
//! as the hosts have them now. Bounded in time, and silent where something is wrong: a person is
//! typing.

use std::ffi::OsStr;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};
use clap_complete::CompletionCandidate;

use crate::args::{Cli, Global};
use crate::columns::Fields;
use crate::commands::vms;
use crate::fleet::{Bounds, ask_all};
use crate::policy_book::BOOK;
use crate::session::{ConfigNeed, Session};

/// Configured hosts and groups, each word of a list by itself.
pub(crate) fn hosts(current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let (before, word) = match current.rsplit_once(',') {
        Some((before, word)) => (format!("{before},"), word),
        None => (String::new(), current.as_ref()),
    };
    let Some(session) = session() else { return Vec::new() };
    let config = &session.config;
    let groups = config.groups.keys().map(|group| format!("@{group}"));
    let names = config.hosts.iter().map(|host| host.name.clone());
    let fitting = names.chain(groups).filter(|name| name.starts_with(word));
    fitting.map(|name| CompletionCandidate::new(format!("{before}{name}"))).collect()
}

/// Configured hosts.
pub(crate) fn host_names(current: &OsStr) -> Vec<CompletionCandidate> {
    let names = hosts(current).into_iter();
    names.filter(|name| !name.get_value().to_string_lossy().starts_with('@')).collect()
}

/// VMs that run now on the hosts that the command would ask.
pub(crate) fn vm_names(current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let mut names = session().map(running).unwrap_or_default();
    names.sort_unstable();
    names.dedup();
    let fitting = names.into_iter().filter(|name| name.starts_with(current.as_ref()));
    fitting.map(CompletionCandidate::new).collect()
}

/// Fields of what the command lists, each of a list by itself.
pub(crate) fn columns(current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let (before, word) = match current.rsplit_once(',') {
        Some((before, word)) => (format!("{before},"), word),
        None => (String::new(), current.as_ref()),
    };
    let names = Fields::of_command(&command_typed()).map(|fields| fields.names());
    let fitting = names.unwrap_or_default().into_iter().filter(|name| name.starts_with(word));
    fitting.map(|name| CompletionCandidate::new(format!("{before}{name}"))).collect()
}

/// The same to sort by, where the largest may be wanted first.
pub(crate) fn sort_columns(current: &OsStr) -> Vec<CompletionCandidate> {
    let typed = current.to_string_lossy();
    let (sign, word) = typed.strip_prefix('-').map_or(("", &*typed), |word| ("-", word));
    let names = columns(OsStr::new(word)).into_iter();
    names
        .map(|name| {
            CompletionCandidate::new(format!("{sign}{}", name.get_value().to_string_lossy()))
        })
        .collect()
}

/// Keys of the policy; those of VMs have a name of their own.
pub(crate) fn policy_keys(current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let general = BOOK.iter().filter(|entry| !entry.key.starts_with("vm."));
    let fitting = general.filter(|entry| entry.key.starts_with(current.as_ref()));
    fitting.map(|entry| CompletionCandidate::new(entry.key)).collect()
}

/// The same, with what follows them in `policy set`.
pub(crate) fn assignments(current: &OsStr) -> Vec<CompletionCandidate> {
    let keys = policy_keys(current).into_iter();
    keys.map(|key| CompletionCandidate::new(format!("{}=", key.get_value().to_string_lossy())))
        .collect()
}

fn running(mut session: Session) -> Vec<String> {
    session.output.quiet = true;
    let Ok(hosts) = session.hosts() else { return Vec::new() };
    let bounds = Bounds { timeout: PATIENCE, tells: false, ..session.bounds() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return Vec::new() };
    let asked = async {
        let asking = ask_all(&hosts, bounds, vms::list);
        tokio::time::timeout(PATIENCE, asking).await.unwrap_or_default()
    };
    let answers = runtime.block_on(asked);
    // A name that is still being looked up must not hold up who types.
    runtime.shutdown_background();
    let listed = answers.into_iter().filter_map(|answer| answer.result.ok());
    listed.flat_map(|listed| listed.vms).map(|own| own.vm.label().to_owned()).collect()
}

/// The words of the command on the unfinished command line.
fn command_typed() -> String {
    let words: Vec<String> = std::env::args().skip_while(|word| word != "--").skip(2).collect();
    command_of(&words)
}

/// The words that are those of a command and of commands below it.
fn command_of(words: &[String]) -> String {
    let whole = Cli::command();
    let (mut at, mut command) = (&whole, Vec::new());
    for word in words {
        if let Some(inner) = at.find_subcommand(word) {
            (at, command) = (inner, [command, vec![inner.get_name()]].concat());
        }
    }
    command.join(" ")
}

/// As the options on the unfinished command line say.
fn session() -> Option<Session> {
    let global = typed(std::env::args().skip_while(|word| word != "--").skip(2))?;
    Session::open(global, ConfigNeed::MayLack).ok()
}

/// The options that choose hosts; all else is not finished yet.
fn typed(words: impl Iterator<Item = String>) -> Option<Global> {
    let words: Vec<String> = words.collect();
    let mut line = vec!["memctl".to_owned(), "status".to_owned()];
    for (at, word) in words.iter().enumerate() {
        match word.as_str() {
            "-A" | "--all-hosts" => line.push(word.clone()),
            "-H" | "--host" | "--config" | "--ca" | "--cert" | "--key" => {
                // The last word is what is being typed.
                let value = words.get(at + 1).filter(|_| at + 2 < words.len());
                line.extend(value.map(|value| [word.clone(), value.clone()]).into_iter().flatten());
            }
            _ if word.starts_with("--host=") || word.starts_with("--config=") => {
                line.extend((at + 1 < words.len()).then(|| word.clone()));
            }
            _ => {}
        }
    }
    Cli::try_parse_from(line).ok().map(|cli| cli.global)
}

/// Who types does not wait longer for a name.
const PATIENCE: Duration = Duration::from_millis(800);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_of_an_unfinished_line_are_those_that_are_named_in_full() {
        let hosts = |line: &str| typed(line.split(' ').map(str::to_owned)).unwrap().hosts;
        assert_eq!(hosts("vms -H node1 we"), ["node1"]);
        assert_eq!(hosts("vms --host=node1 --host node2 "), ["node1", "node2"]);
        assert!(hosts("vms -H no").is_empty());
        assert!(typed("vms -A -x --y we".split(' ').map(str::to_owned)).unwrap().all_hosts);
    }
}
