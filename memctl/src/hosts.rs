//! Which hosts a command asks: `--host` names, globs, groups and URIs, or the default. Pure but for
//! one look whether the local socket is there.

use std::path::PathBuf;

use crate::address::Address;
use crate::config::{Config, HostEntry};
use crate::failure::{Code, Failure};
use crate::suggest::did_you_mean;

/// One host to ask.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// How it is called in all output.
    pub(crate) name: String,
    /// Where its agent listens.
    pub(crate) address: Address,
    /// Whether plain TCP to another machine was allowed.
    pub(crate) insecure: bool,
}

/// What the command line says of hosts.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    /// `--host`, as typed.
    pub(crate) typed: &'a [String],
    /// `--all-hosts`.
    pub(crate) all: bool,
    /// `--insecure`.
    pub(crate) insecure: bool,
    /// Where the local agent may listen, the likeliest first. Never empty.
    pub(crate) sockets: &'a [PathBuf],
}

/// The hosts to ask, each once, in the order of the selection. Never empty.
pub(crate) fn select(selection: &Selection<'_>, config: &Config) -> Result<Vec<Host>, Failure> {
    let mut hosts: Vec<Host> = Vec::new();
    for host in candidates(selection, config)? {
        let host = Host { insecure: host.insecure || selection.insecure, ..host };
        if !hosts.iter().any(|h| h.name == host.name) {
            hosts.push(host);
        }
    }
    match hosts.iter().find(|h| h.address.is_exposed() && !h.insecure) {
        Some(host) => Err(exposed(host)),
        None => Ok(hosts),
    }
}

/// What to say when plain TCP would leave this machine without leave to do so.
pub(crate) fn exposed(host: &Host) -> Failure {
    Failure::new(
        Code::Usage,
        "INSECURE_ADDRESS",
        format!("host {}: {} is not encrypted and leaves this machine", host.name, host.address),
    )
    .hint(
        "forward the agent's socket (ssh -N -L /tmp/HOST.sock:/run/agentd/agentd.sock HOST, then \
         --host unix:///tmp/HOST.sock), or accept the risk: --insecure, or insecure = true in the \
         host's entry of the configuration",
    )
}

fn candidates(selection: &Selection<'_>, config: &Config) -> Result<Vec<Host>, Failure> {
    if selection.all {
        let all: Vec<Host> = config.hosts.iter().map(host_of).collect();
        return if all.is_empty() { Err(none_configured()) } else { Ok(all) };
    }
    let words: Vec<&str> = words(selection.typed);
    if !words.is_empty() {
        return resolve(&words, config);
    }
    if !selection.typed.is_empty() {
        return Err(Failure::usage("--host names nothing").hint("give a name or a URI"));
    }
    if !config.current.is_empty() {
        return resolve(&config.current.iter().map(String::as_str).collect::<Vec<_>>(), config);
    }
    local(selection.sockets, config)
}

fn words(typed: &[String]) -> Vec<&str> {
    typed.iter().flat_map(|t| t.split(',')).map(str::trim).filter(|w| !w.is_empty()).collect()
}

fn resolve(words: &[&str], config: &Config) -> Result<Vec<Host>, Failure> {
    let mut hosts = Vec::new();
    for word in words {
        hosts.extend(resolve_word(word, config)?);
    }
    Ok(hosts)
}

fn resolve_word(word: &str, config: &Config) -> Result<Vec<Host>, Failure> {
    if word.contains("://") {
        let address = Address::parse(word)?;
        return Ok(vec![Host { name: address.to_string(), address, insecure: false }]);
    }
    if let Some(group) = word.strip_prefix('@') {
        let members = config.groups.get(group).filter(|names| !names.is_empty());
        let names = members.ok_or_else(|| unknown("group", group, config.groups.keys()))?;
        return Ok(names.iter().filter_map(|n| config.host(n)).map(host_of).collect());
    }
    let matching: Vec<Host> =
        config.hosts.iter().filter(|h| glob_matches(word, &h.name)).map(host_of).collect();
    if matching.is_empty() {
        return Err(unknown("host", word, config.hosts.iter().map(|h| &h.name)));
    }
    Ok(matching)
}

fn local(sockets: &[PathBuf], config: &Config) -> Result<Vec<Host>, Failure> {
    let there = sockets.iter().find(|socket| socket.exists());
    let address = Address::Unix(there.ok_or_else(|| no_host(sockets, config))?.clone());
    Ok(vec![Host { name: "local".to_owned(), address, insecure: false }])
}

fn no_host(sockets: &[PathBuf], config: &Config) -> Failure {
    let sockets: Vec<String> = sockets.iter().map(|s| s.display().to_string()).collect();
    let (sockets, verb) = (sockets.join(" and "), if sockets.len() > 1 { "are" } else { "is" });
    let failure = |which: &str| {
        let what = format!("no host was named, {which}, and {sockets} {verb} not there");
        Failure::new(Code::Unavailable, "NO_HOST", what)
    };
    if config.hosts.is_empty() {
        return failure("none is configured").hint(
            "start the agent on this machine (agentd run, see its --help), or name another one: \
             memctl host add NAME tcp://HOST:PORT --current, or memctl --host URI",
        );
    }
    let names: Vec<&str> = config.hosts.iter().map(|host| host.name.as_str()).collect();
    let which = format!("none is current (configured: {})", names.join(", "));
    let first = names.first().copied().unwrap_or("NAME");
    failure(&which).hint(format!(
        "use -H NAME, -A for all of them, or write current = [\"{first}\"] into the configuration"
    ))
}

fn host_of(entry: &HostEntry) -> Host {
    let HostEntry { name, address, insecure } = entry.clone();
    Host { name, address, insecure }
}

fn none_configured() -> Failure {
    Failure::new(Code::NotFound, "NO_HOST", "--all-hosts, and no host is configured")
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
hosts.node2.uri = "tcp://127.0.0.1:2"
hosts.far = { uri = "tcp://192.0.2.1:7433" }
"#;

    fn pick(typed: &[&str], all: bool, insecure: bool) -> Result<Vec<String>, Failure> {
        let config = Config::parse(CONFIG, "c").unwrap();
        let typed: Vec<String> = typed.iter().map(ToString::to_string).collect();
        let sockets = [PathBuf::from("/nonexistent/agentd.sock")];
        select(&Selection { typed: &typed, all, insecure, sockets: &sockets }, &config)
            .map(|hosts| hosts.into_iter().map(|h| h.name).collect())
    }

    #[test]
    fn names_lists_globs_groups_and_uris_are_resolved_each_host_once() {
        assert_eq!(pick(&["node2,node1", "node1"], false, false).unwrap(), ["node2", "node1"]);
        assert_eq!(pick(&["node*"], false, false).unwrap(), ["node1", "node2"]);
        assert_eq!(pick(&["n?de1"], false, false).unwrap(), ["node1"]);
        assert_eq!(pick(&["@rack1"], false, false).unwrap(), ["node2", "node1"]);
        assert_eq!(pick(&["unix:///x.sock"], false, false).unwrap(), ["unix:///x.sock"]);
        assert_eq!(pick(&[], false, false).unwrap(), ["node2", "node1"]);
    }

    #[test]
    fn an_empty_selection_is_an_error() {
        for typed in ["zzz*", "@none", "", ",", "node9"] {
            assert!(pick(&[typed], false, false).is_err(), "{typed} was taken");
        }
        let hint = pick(&["nod1"], false, false).unwrap_err().hint.unwrap();
        assert_eq!(hint, "did you mean \"node1\"?");
    }

    #[test]
    fn plain_tcp_leaves_the_machine_only_when_allowed() {
        let failure = pick(&["far"], false, false).unwrap_err();
        assert_eq!(failure.reason, "INSECURE_ADDRESS");
        assert_eq!(pick(&["far"], false, true).unwrap(), ["far"]);
        assert!(pick(&[], true, false).is_err());
    }

    #[test]
    fn without_any_host_the_error_says_how_to_get_one() {
        let sockets = [PathBuf::from("/nonexistent/1"), PathBuf::from("/nonexistent/2")];
        let selection = Selection { typed: &[], all: false, insecure: false, sockets: &sockets };
        let failure = select(&selection, &Config::default()).unwrap_err();
        let hint = failure.hint.unwrap();
        assert!(hint.contains("memctl host add") && hint.contains("agentd run"));
        assert!(failure.message.contains("/nonexistent/1 and /nonexistent/2 are not there"));
        let idle = "schema = 1\nhosts.a.uri = \"unix:///a\"\nhosts.b.uri = \"unix:///b\"\n";
        let failure = select(&selection, &Config::parse(idle, "c").unwrap()).unwrap_err();
        assert!(failure.message.contains("none is current (configured: a, b)"));
        assert!(failure.hint.unwrap().contains("use -H NAME, -A"));
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
