//! The configuration file: which hosts there are, by which names. Reads and checks it; unknown keys
//! are refused with their line. `config_edit` changes it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::address::Address;
use crate::failure::{Code, Failure};

/// What the file says.
#[derive(Debug, Default)]
pub(crate) struct Config {
    /// Hosts that are asked when none is named.
    pub(crate) current: Vec<String>,
    /// Output format where none is named.
    pub(crate) output: Option<String>,
    /// Names for several hosts at once.
    pub(crate) groups: BTreeMap<String, Vec<String>>,
    /// Hosts in the order of the file.
    pub(crate) hosts: Vec<HostEntry>,
}

/// One host of the file.
#[derive(Clone, Debug)]
pub(crate) struct HostEntry {
    /// Its name.
    pub(crate) name: String,
    /// Where its agent listens.
    pub(crate) address: Address,
    /// Whether plain TCP to another machine was allowed.
    pub(crate) insecure: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: u32,
    #[serde(default)]
    current: Vec<String>,
    #[serde(default)]
    defaults: Defaults,
    #[serde(default)]
    groups: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    hosts: BTreeMap<String, FileHost>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Defaults {
    output: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileHost {
    uri: toml::Spanned<String>,
    #[serde(default)]
    insecure: bool,
}

/// Where the file is: `--config`, else the XDG place. None without a home.
pub(crate) fn path(given: Option<&Path>) -> Option<PathBuf> {
    if let Some(path) = given {
        return Some(path.to_owned());
    }
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let base =
        absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|h| h.join(".config")))?;
    Some(base.join("memctl/config.toml"))
}

impl Config {
    /// Reads the file. A missing one is empty, unless `must_exist`.
    pub(crate) fn load(path: &Path, must_exist: bool) -> Result<Self, Failure> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &path.display().to_string()),
            Err(error) if error.kind() == ErrorKind::NotFound && !must_exist => Ok(Self::default()),
            Err(error) => Err(Failure::new(
                Code::InvalidArgument,
                "CONFIG_UNREADABLE",
                format!("cannot read the configuration {}: {error}", path.display()),
            )),
        }
    }

    /// Reads the text of a file; `origin` is its name in messages.
    pub(crate) fn parse(text: &str, origin: &str) -> Result<Self, Failure> {
        let file: File = toml::from_str(text)
            .map_err(|error| invalid(text, origin, error.span(), error.message()))?;
        if file.schema != 1 {
            let what = format!("schema = {} is not known; this memctl reads 1", file.schema);
            return Err(invalid(text, origin, None, &what));
        }
        let config = Self {
            hosts: hosts_of(&file, text, origin)?,
            current: file.current,
            output: file.defaults.output,
            groups: file.groups,
        };
        config.check_references(origin)?;
        Ok(config)
    }

    /// The host of this name.
    pub(crate) fn host(&self, name: &str) -> Option<&HostEntry> {
        self.hosts.iter().find(|h| h.name == name)
    }

    fn check_references(&self, origin: &str) -> Result<(), Failure> {
        let current = self.current.iter().map(|name| ("current", name));
        let groups = self
            .groups
            .iter()
            .flat_map(|(group, names)| names.iter().map(move |name| (group.as_str(), name)));
        for (place, name) in current.chain(groups) {
            let group = name.strip_prefix('@').is_some_and(|g| self.groups.contains_key(g));
            let known = self.host(name).is_some() || (place == "current" && group);
            if !known {
                let what = format!("{place} names \"{name}\", and there is no [hosts.{name}]");
                return Err(invalid("", origin, None, &what));
            }
        }
        Ok(())
    }
}

/// Refuses host names that `--host` could not tell from URIs, globs, groups and lists.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || name.starts_with(['.', '-']) || !name.chars().all(known) {
        return Err(format!(
            "\"{name}\" is not a name for a host: use letters, digits, \".\", \"-\" and \"_\""
        ));
    }
    Ok(())
}

fn hosts_of(file: &File, text: &str, origin: &str) -> Result<Vec<HostEntry>, Failure> {
    let mut entries = Vec::with_capacity(file.hosts.len());
    for (name, host) in &file.hosts {
        let span = host.uri.span();
        check_name(name).map_err(|what| invalid(text, origin, Some(span.clone()), &what))?;
        let address = Address::parse(host.uri.get_ref()).map_err(|failure| {
            let what = format!("hosts.{name}.uri: {}", failure.message);
            let refused = invalid(text, origin, Some(span.clone()), &what);
            Failure { hint: failure.hint, ..refused }
        })?;
        let entry = HostEntry { name: name.clone(), address, insecure: host.insecure };
        entries.push((span.start, entry));
    }
    entries.sort_by_key(|(start, _)| *start);
    Ok(entries.into_iter().map(|(_, entry)| entry).collect())
}

fn invalid(text: &str, origin: &str, span: Option<std::ops::Range<usize>>, what: &str) -> Failure {
    let line =
        span.and_then(|s| text.get(..s.start)).map(|before| before.matches('\n').count() + 1);
    let place = line.map_or_else(|| origin.to_owned(), |line| format!("{origin}:{line}"));
    Failure::new(Code::InvalidArgument, "CONFIG_INVALID", format!("{place}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
schema = 1
current = ["node2", "@rack1"]
[defaults]
output = "wide"
[groups]
rack1 = ["node1", "node2"]
[hosts.node2]
uri = "tcp://192.0.2.2:7433"
insecure = true
[hosts.node1]
uri = "unix:///run/agentd/agentd.sock"
"#;

    fn refusal(text: &str) -> String {
        Config::parse(text, "config.toml").unwrap_err().message
    }

    #[test]
    fn hosts_come_in_the_order_of_the_file() {
        let config = Config::parse(GOOD, "config.toml").unwrap();
        let names: Vec<&str> = config.hosts.iter().map(|h| h.name.as_str()).collect();
        assert_eq!(names, ["node2", "node1"]);
        assert!(config.hosts[0].insecure && !config.hosts[1].insecure);
        assert_eq!(config.output.as_deref(), Some("wide"));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_name() {
        let message = refusal("schema = 1\n[hosts.a]\nuri = \"unix:///s\"\ntoken = \"x\"\n");
        assert!(message.starts_with("config.toml:4: "), "{message}");
        assert!(message.contains("token"), "{message}");
    }

    #[test]
    fn a_wrong_address_is_refused_with_its_line_and_key() {
        let message = refusal("schema = 1\n[hosts.a]\nuri = \"tcp://::1:7\"\n");
        assert!(message.starts_with("config.toml:3: hosts.a.uri: "), "{message}");
    }

    #[test]
    fn a_name_without_a_host_is_refused() {
        let message = refusal("schema = 1\ncurrent = [\"b\"]\n");
        assert_eq!(message, "config.toml: current names \"b\", and there is no [hosts.b]");
    }

    #[test]
    fn another_schema_is_refused() {
        assert!(refusal("schema = 2\n").contains("schema = 2"));
        assert!(refusal("current = []\n").contains("schema"));
    }

    #[test]
    fn names_that_a_selection_could_not_tell_apart_are_refused() {
        for name in ["", "a b", "a*", "@a", "a,b", "unix://x", "-a"] {
            assert!(check_name(name).is_err(), "{name} was taken");
        }
        assert!(check_name("node-1.lan").is_ok());
    }
}
