//! What may follow on the command line, for the shell: names of hosts and groups as configured, VMs,
//! reservations and revisions as the hosts have them now. Bounded in time, and silent where something is wrong: a person is
//! typing.

use std::ffi::OsStr;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};
use clap_complete::CompletionCandidate;

use crate::args::{Cli, Global};
use crate::client::Connection;
use crate::columns::Fields;
use crate::commands::policy::revise;
use crate::commands::{reserve, vms};
use crate::failure::Failure;
use crate::fleet::{Bounds, ask_all};
use crate::policy_book::BOOK;
use crate::policy_keys::Key;
use crate::quantity::{Units, format_size};
use crate::render::text::safe;
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
    fitting(running(), current)
}

/// Reservations that are not over, with how they stand.
pub(crate) fn reservation_ids(current: &OsStr) -> Vec<CompletionCandidate> {
    let found = asked(reserve::list_one).into_iter().flatten();
    let told = found.map(|own| {
        let vm = own.vm.map(|vm| format!(" for {vm}")).unwrap_or_default();
        (
            own.id.to_string(),
            format!("{} {}{vm}", format_size(own.min_bytes, Units::Iec), own.state),
        )
    });
    explained(told, current)
}

/// The last revisions of the policy, with who made them and why.
pub(crate) fn revisions(current: &OsStr) -> Vec<CompletionCandidate> {
    let found = asked(|connection| revise::revisions(connection, MOST_REVISIONS));
    let told = found.into_iter().flatten().map(|own| {
        let by = own.actor.map(|actor| actor.label()).unwrap_or_default();
        let why = if own.reason.is_empty() { "" } else { ": " };
        (own.revision.to_string(), format!("{by}{why}{}", own.reason))
    });
    explained(told, current)
}

/// What `memctl wait --for` takes, of VMs and reservations that there are now.
pub(crate) fn conditions(current: &OsStr) -> Vec<CompletionCandidate> {
    let typed = current.to_string_lossy();
    let mut all: Vec<String> = ["ready", "healthy", "mode=active", "mode=observe", "mode=paused"]
        .map(str::to_owned)
        .into();
    let begins =
        |word: &str| !typed.is_empty() && (word.starts_with(&*typed) || typed.starts_with(word));
    if begins("vm=") {
        let wishes = ["running", "gone", "at-target", "actual<=", "actual>="];
        let of_vm = |vm: String| wishes.map(|wish| format!("vm={vm}:{wish}"));
        all.extend(running().into_iter().flat_map(of_vm));
    }
    if begins("reservation=") {
        let found = asked(reserve::list_one).into_iter().flatten();
        all.extend(found.map(|own| format!("reservation={}", own.id)));
    }
    fitting(all, current)
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

/// Keys of the policy; those of VMs that run now where one is begun.
pub(crate) fn policy_keys(current: &OsStr) -> Vec<CompletionCandidate> {
    fitting(keys(current), current)
}

/// The same, with what follows them in `policy set`.
pub(crate) fn assignments(current: &OsStr) -> Vec<CompletionCandidate> {
    let all = keys(current).into_iter().map(|key| match Key::parse(&key) {
        Ok(Key::WholeVm(_)) => format!("{key}=unset"),
        Ok(Key::General(_) | Key::Vm(..)) | Err(_) => format!("{key}="),
    });
    fitting(all.collect(), current)
}

fn keys(current: &OsStr) -> Vec<String> {
    let typed = current.to_string_lossy();
    let mut all: Vec<String> = Key::general().map(str::to_owned).collect();
    if !typed.is_empty() && (typed.starts_with(VM) || VM.starts_with(&*typed)) {
        let of_vm = |vm: String| {
            BOOK.iter().filter_map(move |entry| {
                let rest = entry.key.strip_prefix("vm.NAME")?;
                Some(format!("{VM}{vm}{rest}"))
            })
        };
        all.extend(running().into_iter().flat_map(of_vm));
    }
    all
}

/// Those that begin as typed, each once.
fn fitting(mut words: Vec<String>, current: &OsStr) -> Vec<CompletionCandidate> {
    let typed = current.to_string_lossy();
    words.retain(|word| word.starts_with(&*typed));
    words.sort_unstable();
    words.dedup();
    words.into_iter().map(CompletionCandidate::new).collect()
}

/// The same with what each is, for shells that show that, in their order.
fn explained(
    told: impl Iterator<Item = (String, String)>,
    current: &OsStr,
) -> Vec<CompletionCandidate> {
    let typed = current.to_string_lossy().into_owned();
    let fitting = told.filter(|(word, _)| word.starts_with(&typed));
    fitting
        .map(|(word, about)| {
            CompletionCandidate::new(word).help(Some(safe(&about).into_owned().into()))
        })
        .collect()
}

fn running() -> Vec<String> {
    let listed = asked(vms::list).into_iter().flat_map(|listed| listed.vms);
    listed.map(|own| own.vm.label().to_owned()).collect()
}

/// What the hosts answer that the command would ask, as far as they do in time.
fn asked<T, Ask, Asked>(ask: Ask) -> Vec<T>
where
    T: Send + 'static,
    Ask: Fn(Connection) -> Asked + Clone + Send + 'static,
    Asked: Future<Output = Result<T, Failure>> + Send,
{
    let Some(mut session) = session() else { return Vec::new() };
    session.output.quiet = true;
    let Ok(hosts) = session.hosts() else { return Vec::new() };
    let bounds = Bounds { timeout: PATIENCE, tells: false, ..session.bounds() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return Vec::new() };
    let asked = async {
        let asking = ask_all(&hosts, bounds, ask);
        tokio::time::timeout(PATIENCE, asking).await.unwrap_or_default()
    };
    let answers = runtime.block_on(asked);
    // A name that is still being looked up must not hold up who types.
    runtime.shutdown_background();
    answers.into_iter().filter_map(|answer| answer.result.ok()).collect()
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

/// What keys of a VM begin with.
const VM: &str = "vm.";
/// Nobody goes back further by what the shell offers.
const MOST_REVISIONS: usize = 20;
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
