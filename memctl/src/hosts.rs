//! Which hosts a command asks: `--host` names, globs, groups and URIs, or the default. Pure but for
//! one look whether the local socket is there.

use std::path::PathBuf;
use std::time::Duration;

use crate::address::Address;
use crate::config::{Config, HostEntry, check_name};
use crate::failure::{Code, Failure};
use crate::identity::IdentityFiles;
use crate::suggest::did_you_mean;

/// One host to ask.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// How it is called in all output.
    pub(crate) name: String,
    /// Where its agent listens.
    pub(crate) address: Address,
    /// The identity to show it; only https:// shows one.
    pub(crate) identity: IdentityFiles,
    /// The name that its certificate is to be for, where the address does not say it.
    pub(crate) server_name: Option<String>,
    /// Why its address is a guess, where it is one.
    pub(crate) guess: Option<String>,
    /// How long a connection to it may take, where that is less than all may take.
    pub(crate) connect_timeout: Option<Duration>,
}

/// The reason where nothing says whom to ask.
pub(crate) const NO_HOST: &str = "NO_HOST";

/// What the command line says of hosts.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    /// `--host`, as typed.
    pub(crate) typed: &'a [String],
    /// `--all-hosts`.
    pub(crate) all: bool,
    /// `--ca`, `--cert` and `--key`.
    pub(crate) identity: &'a IdentityFiles,
    /// `--server-name`.
    pub(crate) server_name: Option<&'a str>,
    /// Where the local agent may listen, the likeliest first. Never empty.
    pub(crate) sockets: &'a [PathBuf],
}

/// The hosts to ask, each once, in the order of the selection. Never empty.
pub(crate) fn select(selection: &Selection<'_>, config: &Config) -> Result<Vec<Host>, Failure> {
    let mut hosts: Vec<Host> = Vec::new();
    for host in candidates(selection, config)? {
        if hosts.iter().any(|h| h.name == host.name) {
            continue;
        }
        let identity = selection.identity.clone().or(&host.identity).or(&config.identity);
        let server_name = selection.server_name.map(str::to_owned).or(host.server_name);
        hosts.push(Host { identity, server_name, ..host });
    }
    Ok(hosts)
}

fn candidates(selection: &Selection<'_>, config: &Config) -> Result<Vec<Host>, Failure> {
    if selection.all {
        let all: Vec<Host> = config.hosts.iter().map(host_of).collect();
        return if all.is_empty() { Err(none_configured()) } else { Ok(all) };
    }
    let words: Vec<&str> = words(selection.typed);
    if !words.is_empty() {
        return resolve(&words, selection, config);
    }
    if !selection.typed.is_empty() {
        return Err(Failure::usage("--host names nothing").hint("give a name or a URI"));
    }
    if !config.current.is_empty() {
        let current: Vec<&str> = config.current.iter().map(String::as_str).collect();
        return resolve(&current, selection, config);
    }
    local(selection.sockets, config)
}

fn words(typed: &[String]) -> Vec<&str> {
    typed.iter().flat_map(|t| t.split(',')).map(str::trim).filter(|w| !w.is_empty()).collect()
}

fn resolve(
    words: &[&str],
    selection: &Selection<'_>,
    config: &Config,
) -> Result<Vec<Host>, Failure> {
    let mut hosts = Vec::new();
    for word in words {
        hosts.extend(resolve_word(word, selection, config)?);
    }
    Ok(hosts)
}

fn resolve_word(
    word: &str,
    selection: &Selection<'_>,
    config: &Config,
) -> Result<Vec<Host>, Failure> {
    if word.contains("://") {
        let address = Address::parse(word)?;
        return Ok(vec![at(&address.to_string(), address)]);
    }
    if let Some(group) = word.strip_prefix('@') {
        let members = config.groups.get(group).filter(|names| !names.is_empty());
        let names = members.ok_or_else(|| unknown("group", group, config.groups.keys()))?;
        return Ok(names.iter().filter_map(|n| config.host(n)).map(host_of).collect());
    }
    let matching: Vec<Host> =
        config.hosts.iter().filter(|h| glob_matches(word, &h.name)).map(host_of).collect();
    if !matching.is_empty() {
        return Ok(matching);
    }
    if word.contains(':') {
        return Err(no_scheme(word));
    }
    match check_name(word) {
        Ok(()) => Ok(vec![guessed(word, selection, config)]),
        Err(_) => Err(unknown("host", word, config.hosts.iter().map(|h| &h.name))),
    }
}

/// A name that is not configured: one that ssh knows, or https where there is an identity for it.
fn guessed(word: &str, selection: &Selection<'_>, config: &Config) -> Host {
    let identity = selection.identity.clone().or(&config.identity);
    let address = if identity.is_whole() { Address::by_https(word) } else { Address::by_ssh(word) };
    let known: Vec<&str> = config.hosts.iter().map(|h| h.name.as_str()).collect();
    let meant = did_you_mean(word, &known).map(|close| format!(" (did you mean \"{close}\"?)"));
    let guess = format!(
        "no host \"{word}\" is configured{}: dialling {address}",
        meant.unwrap_or_default()
    );
    Host { guess: Some(guess), ..at(word, address) }
}

fn no_scheme(word: &str) -> Failure {
    let address = Address::parse(&format!("https://{word}"));
    let meant = match (word.strip_prefix("unix:"), address) {
        (Some(path), _) => format!("write unix://{path}"),
        (None, Ok(address)) => format!("write {address}"),
        (None, Err(failure)) => failure.hint.unwrap_or_default(),
    };
    let what = format!("address \"{word}\": it has no scheme");
    Failure::new(Code::Usage, "ADDRESS_INVALID", what).hint(meant)
}

/// A host that is not configured.
fn at(name: &str, address: Address) -> Host {
    Host {
        name: name.to_owned(),
        address,
        identity: IdentityFiles::default(),
        server_name: None,
        guess: None,
        connect_timeout: None,
    }
}

fn local(sockets: &[PathBuf], config: &Config) -> Result<Vec<Host>, Failure> {
    let there = sockets.iter().find(|socket| socket.exists());
    let address = Address::Unix(there.ok_or_else(|| no_host(sockets, config))?.clone());
    Ok(vec![at("local", address)])
}

fn no_host(sockets: &[PathBuf], config: &Config) -> Failure {
    let sockets: Vec<String> = sockets.iter().map(|s| s.display().to_string()).collect();
    let (sockets, verb) = (sockets.join(" and "), if sockets.len() > 1 { "are" } else { "is" });
    let failure = |which: &str| {
        let what = format!("no host was named, {which}, and {sockets} {verb} not there");
        Failure::new(Code::Unavailable, NO_HOST, what)
    };
    if config.hosts.is_empty() {
        return failure("none is configured").hint(
            "start the agent on this machine (agentd run, see its --help), or name another one: \
             memctl --host NAME (as ssh knows it), or memctl host add NAME URI --current",
        );
    }
    let names: Vec<&str> = config.hosts.iter().map(|host| host.name.as_str()).collect();
    let which = format!("none is current (configured: {})", names.join(", "));
    let first = names.first().copied().unwrap_or("NAME");
    failure(&which).hint(format!(
        "memctl host use {first} has it asked from now on; -H NAME asks one once, -A all of them"
    ))
}

fn host_of(entry: &HostEntry) -> Host {
    let HostEntry { name, address, identity, server_name, .. } = entry.clone();
    Host { name, address, identity, server_name, guess: None, connect_timeout: None }
}

fn none_configured() -> Failure {
    Failure::new(Code::NotFound, NO_HOST, "--all-hosts, and no host is configured")
        .hint("add one: memctl host add NAME unix:///run/agentd/agentd.sock")
}

fn unknown<'a>(what: &str, word: &str, known: impl Iterator<Item = &'a String>) -> Failure {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let reason = if what == "host" { "UNKNOWN_HOST" } else { "UNKNOWN_GROUP" };
    let failure =
        Failure::new(Code::NotFound, reason, format!("no {what} \"{word}\" is configured"));
    if let Some(close) = did_you_mean(word, &known) {
        return failure.hint(format!("did you mean \"{close}\"?"));
    }
    if known.is_empty() {
        return failure.hint("add one: memctl host add NAME URI (or give --host a URI)");
    }
    failure.hint(format!("configured: {}", known.join(", ")))
}

/// Whether `name` matches `pattern`, in which `*` stands for any characters and `?` for one.
fn glob_matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    // One row of the usual table: whether the pattern so far matches the first n characters.
    let mut row: Vec<bool> = (0..=name.len()).map(|n| n == 0).collect();
    for &p in &pattern {
        let mut next = vec![p == '*' && row.first() == Some(&true)];
        for (at, &c) in name.iter().enumerate() {
            let (here, behind) = (row.get(at) == Some(&true), row.get(at + 1) == Some(&true));
            let matched = match p {
                '*' => behind || next.last() == Some(&true),
                '?' => here,
                _ => here && p == c,
            };
            next.push(matched);
        }
        row = next;
    }
    row.last() == Some(&true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
schema = 1
current = ["@rack1"]
groups.rack1 = ["node2", "node1"]
hosts.node1.uri = "unix:///run/1.sock"
hosts.node2 = { uri = "https://127.0.0.1:2", server_name = "n2" }
"#;

    fn selected(typed: &[&str], all: bool, config: &str) -> Result<Vec<Host>, Failure> {
        let config = Config::parse(config, "/c").unwrap();
        let typed: Vec<String> = typed.iter().map(ToString::to_string).collect();
        let sockets = [PathBuf::from("/nonexistent/agentd.sock")];
        let identity = &IdentityFiles::default();
        let typed = &typed;
        let selection = Selection { typed, all, identity, server_name: None, sockets: &sockets };
        select(&selection, &config)
    }

    fn pick(typed: &[&str], all: bool) -> Result<Vec<String>, Failure> {
        let hosts = selected(typed, all, CONFIG)?;
        Ok(hosts.into_iter().map(|h| h.name).collect())
    }

    #[test]
    fn names_lists_globs_groups_and_uris_are_resolved_each_host_once() {
        assert_eq!(pick(&["node2,node1", "node1"], false).unwrap(), ["node2", "node1"]);
        assert_eq!(pick(&["node*"], false).unwrap(), ["node1", "node2"]);
        assert_eq!(pick(&["n?de1"], false).unwrap(), ["node1"]);
        assert_eq!(pick(&["@rack1"], false).unwrap(), ["node2", "node1"]);
        assert_eq!(pick(&["unix:///x.sock"], false).unwrap(), ["unix:///x.sock"]);
        assert_eq!(pick(&[], false).unwrap(), ["node2", "node1"]);
    }

    #[test]
    fn an_empty_selection_is_an_error() {
        for typed in ["zzz*", "@none", "", ",", "no de", "node9:7433"] {
            assert!(pick(&[typed], false).is_err(), "{typed} was taken");
        }
        let hint = pick(&["node9:7433"], false).unwrap_err().hint.unwrap();
        assert_eq!(hint, "write https://node9:7433");
    }

    #[test]
    fn a_name_that_is_not_configured_is_dialled_and_said_to_be_a_guess() {
        let ssh = selected(&["nod1"], false, CONFIG).unwrap().remove(0);
        assert_eq!((ssh.name.as_str(), ssh.address), ("nod1", Address::by_ssh("nod1")));
        let want = "no host \"nod1\" is configured (did you mean \"node1\"?): dialling ssh://nod1";
        assert_eq!(ssh.guess.as_deref(), Some(want));
        let identity = "defaults = { ca = \"/ca\", cert = \"/cert\", key = \"/key\" }";
        let config = format!("{CONFIG}\n{identity}");
        let https = selected(&["node9"], false, &config).unwrap().remove(0);
        assert_eq!(https.address, Address::by_https("node9"));
        assert!(https.identity.is_whole());
    }

    #[test]
    fn what_is_typed_of_an_identity_wins_over_what_is_configured() {
        let config = "schema = 1\ndefaults = { ca = \"/ca\", cert = \"/cert\", key = \"/key\" }\n\
                      hosts.a = { uri = \"https://a\", server_name = \"x\", ca = \"/own\" }\n";
        let config = Config::parse(config, "/c").unwrap();
        let path = |text: &str| Some(PathBuf::from(text));
        let typed = IdentityFiles { ca: None, cert: path("/my"), key: path("/mine") };
        let selection = Selection {
            typed: &["a".to_owned()],
            all: false,
            identity: &typed,
            server_name: Some("y"),
            sockets: &[],
        };
        let host = select(&selection, &config).unwrap().remove(0);
        let want = IdentityFiles { ca: path("/own"), cert: path("/my"), key: path("/mine") };
        assert_eq!((host.identity, host.server_name.as_deref()), (want, Some("y")));
    }

    #[test]
    fn without_any_host_the_error_says_how_to_get_one() {
        let sockets = [PathBuf::from("/nonexistent/1"), PathBuf::from("/nonexistent/2")];
        let identity = &IdentityFiles::default();
        let selection =
            Selection { typed: &[], all: false, identity, server_name: None, sockets: &sockets };
        let failure = select(&selection, &Config::default()).unwrap_err();
        let hint = failure.hint.unwrap();
        assert!(hint.contains("memctl host add") && hint.contains("agentd run"));
        assert!(failure.message.contains("/nonexistent/1 and /nonexistent/2 are not there"));
        let idle = "schema = 1\nhosts.a.uri = \"unix:///a\"\nhosts.b.uri = \"unix:///b\"\n";
        let failure = select(&selection, &Config::parse(idle, "c").unwrap()).unwrap_err();
        assert!(failure.message.contains("none is current (configured: a, b)"));
        assert!(failure.hint.unwrap().starts_with("memctl host use a has it asked from now on"));
    }

    #[test]
    fn globs_match_as_a_shell_does() {
        for (pattern, name, matches) in [
            ("*", "", true),
            ("a*b*c", "aXbYbc", true),
            ("a*b", "abc", false),
            ("?", "", false),
            ("**", "x", true),
            ("ab", "ab", true),
            ("a", "ab", false),
        ] {
            assert_eq!(glob_matches(pattern, name), matches, "{pattern} {name}");
        }
    }
}
