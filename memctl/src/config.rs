//! The configuration files: which hosts there are, by which names. Reads and checks them; unknown
//! keys are refused with their line. `config_edit` changes one's own.
//!
//! ```text
//! /etc/memctl/config.toml   for all who use this machine
//! $XDG_CONFIG_HOME/memctl/config.toml   one's own: what it says wins, name by name
//! ```

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::address::Address;
use crate::failure::{Code, Failure};
use crate::identity::IdentityFiles;

/// What a file says, or several together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    /// Hosts that are asked when none is named.
    pub(crate) current: Vec<String>,
    /// Output format where none is named.
    pub(crate) output: Option<String>,
    /// The identity for hosts that name none.
    pub(crate) identity: IdentityFiles,
    /// Names for several hosts at once.
    pub(crate) groups: BTreeMap<String, Vec<String>>,
    /// Those of them that stand in the system's file, also where one's own takes its place.
    pub(crate) system_groups: BTreeMap<String, SystemGroup>,
    /// Hosts in the order of the file.
    pub(crate) hosts: Vec<HostEntry>,
}

/// Where the files are, or would be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// One's own file, or the one that was named. None without a home.
    pub(crate) own: Option<PathBuf>,
    /// The one for all who use this machine. None where a file was named: that one counts alone.
    pub(crate) system: Option<PathBuf>,
}

/// A group of the system's file.
#[derive(Clone, Debug)]
pub(crate) struct SystemGroup {
    /// Its hosts.
    pub(crate) hosts: Vec<String>,
    /// Whether one's own group takes its place.
    pub(crate) is_shadowed: bool,
}

/// One host of the file.
#[derive(Clone, Debug)]
pub(crate) struct HostEntry {
    /// Its name.
    pub(crate) name: String,
    /// Where its agent listens.
    pub(crate) address: Address,
    /// The identity to show it, as far as it has one of its own.
    pub(crate) identity: IdentityFiles,
    /// The name that its certificate is to be for, where the address does not say it.
    pub(crate) server_name: Option<String>,
    /// The file that names it.
    pub(crate) file: PathBuf,
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
    ca: Option<String>,
    cert: Option<String>,
    key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileHost {
    uri: toml::Spanned<String>,
    ca: Option<String>,
    cert: Option<String>,
    key: Option<String>,
    server_name: Option<String>,
}

impl Places {
    /// As `--config` says, else the XDG place and the system's.
    pub(crate) fn find(given: Option<&Path>) -> Self {
        if let Some(path) = given {
            return Self { own: Some(path.to_owned()), system: None };
        }
        let absolute =
            |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let of_home = || Some(home().filter(|home| home.is_absolute())?.join(".config"));
        let base = absolute("XDG_CONFIG_HOME").or_else(of_home);
        let system = absolute("MEMCTL_SYSTEM_CONFIG").unwrap_or_else(|| PathBuf::from(SYSTEM_FILE));
        Self { own: base.map(|base| base.join("memctl/config.toml")), system: Some(system) }
    }
}

impl Config {
    /// Reads both files as one. A missing one is empty, unless one's own `must_exist`.
    pub(crate) fn load(places: &Places, must_exist: bool) -> Result<Self, Failure> {
        let read = |path: &Option<PathBuf>, must_exist| match path {
            Some(path) => Self::read_file(path, must_exist),
            None => Ok(Self::default()),
        };
        let config = read(&places.own, must_exist)?.over(read(&places.system, false)?);
        let origin = places.own.as_deref().unwrap_or_else(|| Path::new("the configuration"));
        config.check_references(&origin.display().to_string())?;
        Ok(config)
    }

    /// Reads one file.
    pub(crate) fn read_file(path: &Path, must_exist: bool) -> Result<Self, Failure> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::read(&text, &path.display().to_string()),
            Err(error) if error.kind() == ErrorKind::NotFound && !must_exist => Ok(Self::default()),
            Err(error) => Err(Failure::new(
                Code::InvalidArgument,
                "CONFIG_UNREADABLE",
                format!("cannot read the configuration {}: {error}", path.display()),
            )
            .hint("memctl config path tells which files are read; memctl host add makes one")),
        }
    }

    /// Reads the text of a file that stands alone; `origin` is its name in messages.
    #[cfg(test)]
    pub(crate) fn parse(text: &str, origin: &str) -> Result<Self, Failure> {
        let config = Self::read(text, origin)?;
        config.check_references(origin)?;
        Ok(config)
    }

    /// Reads the text of a file, which may name hosts of another one.
    pub(crate) fn read(text: &str, origin: &str) -> Result<Self, Failure> {
        let file: File = toml::from_str(text)
            .map_err(|error| invalid(text, origin, error.span(), error.message()))?;
        if file.schema != 1 {
            let what = format!("schema = {} is not known; this memctl reads 1", file.schema);
            return Err(invalid(text, origin, None, &what));
        }
        Ok(Self {
            hosts: hosts_of(&file, text, origin)?,
            current: file.current,
            identity: files(
                "defaults",
                [&file.defaults.ca, &file.defaults.cert, &file.defaults.key],
                origin,
            )?,
            output: file.defaults.output,
            groups: file.groups,
            system_groups: BTreeMap::new(),
        })
    }

    /// This one, and what `below` says where this one does not.
    fn over(self, below: Self) -> Self {
        let Self { current, output, identity, mut groups, mut hosts, .. } = self;
        let mut system_groups = BTreeMap::new();
        for entry in below.hosts {
            if !hosts.iter().any(|own| own.name == entry.name) {
                hosts.push(entry);
            }
        }
        for (group, names) in below.groups {
            let of_system =
                SystemGroup { hosts: names.clone(), is_shadowed: groups.contains_key(&group) };
            groups.entry(group.clone()).or_insert(names);
            system_groups.insert(group, of_system);
        }
        Self {
            current: if current.is_empty() { below.current } else { current },
            output: output.or(below.output),
            identity: identity.or(&below.identity),
            groups,
            system_groups,
            hosts,
        }
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
        let place = format!("hosts.{name}");
        let identity = files(&place, [&host.ca, &host.cert, &host.key], origin)?;
        let server_name = host.server_name.clone().filter(|name| !name.is_empty());
        let file = PathBuf::from(origin);
        let entry = HostEntry { name: name.clone(), address, identity, server_name, file };
        entries.push((span.start, entry));
    }
    entries.sort_by_key(|(start, _)| *start);
    Ok(entries.into_iter().map(|(_, entry)| entry).collect())
}

/// The files of an identity; a certificate without its key, or a key without its certificate, is
/// refused.
fn files(
    place: &str,
    [ca, cert, key]: [&Option<String>; 3],
    origin: &str,
) -> Result<IdentityFiles, Failure> {
    let file = |text: &Option<String>| {
        text.as_deref().filter(|text| !text.is_empty()).map(|text| resolved(text, origin))
    };
    let files = IdentityFiles { ca: file(ca), cert: file(cert), key: file(key) };
    let lacks = match (&files.cert, &files.key) {
        (Some(_), None) => ("cert", "key"),
        (None, Some(_)) => ("key", "cert"),
        (Some(_), Some(_)) | (None, None) => return Ok(files),
    };
    let what = format!("{place} names a {} and no {}: they belong together", lacks.0, lacks.1);
    Err(invalid("", origin, None, &what))
}

/// One's own folder, which Windows calls otherwise.
fn home() -> Option<PathBuf> {
    let named = |name| std::env::var_os(name).map(PathBuf::from);
    named("HOME").or_else(|| named("USERPROFILE").filter(|_| cfg!(windows)))
}

/// A path of the file: `~/` is the home, and what is not absolute is beside the file.
fn resolved(text: &str, origin: &str) -> PathBuf {
    if let (Some(rest), Some(home)) = (text.strip_prefix("~/"), home()) {
        return home.join(rest);
    }
    let folder = Path::new(origin).parent().unwrap_or_else(|| Path::new(""));
    folder.join(text)
}

fn invalid(text: &str, origin: &str, span: Option<std::ops::Range<usize>>, what: &str) -> Failure {
    let line =
        span.and_then(|s| text.get(..s.start)).map(|before| before.matches('\n').count() + 1);
    let place = line.map_or_else(|| origin.to_owned(), |line| format!("{origin}:{line}"));
    Failure::new(Code::InvalidArgument, "CONFIG_INVALID", format!("{place}: {what}"))
}

/// The configuration for all who use this machine.
const SYSTEM_FILE: &str = "/etc/memctl/config.toml";

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
schema = 1
current = ["node2", "@rack1"]
[defaults]
output = "wide"
ca = "/pki/ca.pem"
[groups]
rack1 = ["node1", "node2"]
[hosts.node2]
uri = "https://192.0.2.2"
cert = "pki/me.pem"
key = "/pki/me.key"
server_name = "node2.lan"
[hosts.node1]
uri = "unix:///run/agentd/agentd.sock"
"#;

    fn refusal(text: &str) -> String {
        Config::parse(text, "config.toml").unwrap_err().message
    }

    #[test]
    fn hosts_come_in_the_order_of_the_file() {
        let config = Config::parse(GOOD, "/etc/memctl/config.toml").unwrap();
        let names: Vec<&str> = config.hosts.iter().map(|h| h.name.as_str()).collect();
        assert_eq!(names, ["node2", "node1"]);
        let HostEntry { identity, server_name, .. } = &config.hosts[0];
        assert_eq!(server_name.as_deref(), Some("node2.lan"));
        let path = |text: &str| Some(PathBuf::from(text));
        let whole = identity.clone().or(&config.identity);
        let want = IdentityFiles {
            ca: path("/pki/ca.pem"),
            cert: path("/etc/memctl/pki/me.pem"),
            key: path("/pki/me.key"),
        };
        assert_eq!(whole, want);
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
        let message = refusal("schema = 1\n[hosts.a]\nuri = \"https://::1:7\"\n");
        assert!(message.starts_with("config.toml:3: hosts.a.uri: "), "{message}");
    }

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        let message = refusal("schema = 1\n[defaults]\ncert = \"me.pem\"\n");
        assert!(message.ends_with("defaults names a cert and no key: they belong together"));
    }

    #[test]
    fn a_name_without_a_host_is_refused() {
        let message = refusal("schema = 1\ncurrent = [\"b\"]\n");
        assert_eq!(message, "config.toml: current names \"b\", and there is no [hosts.b]");
    }

    #[test]
    fn ones_own_file_wins_name_by_name_and_may_name_hosts_of_the_systems() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places {
            own: Some(folder.path().join("own.toml")),
            system: Some(folder.path().join("system.toml")),
        };
        std::fs::write(places.system.as_ref().unwrap(), GOOD).unwrap();
        let own = "schema = 1\n[groups]\nmine = [\"node1\", \"node2\"]\n\
                   [hosts.node2]\nuri = \"unix:///mine\"\n";
        std::fs::write(places.own.as_ref().unwrap(), own).unwrap();
        let config = Config::load(&places, true).unwrap();
        let names: Vec<&str> = config.hosts.iter().map(|h| h.name.as_str()).collect();
        assert_eq!(names, ["node2", "node1"]);
        assert_eq!(config.hosts[0].address.to_string(), "unix:///mine");
        assert_eq!(config.hosts[0].file, *places.own.as_ref().unwrap());
        assert_eq!(config.hosts[1].file, *places.system.as_ref().unwrap());
        assert_eq!(config.current, ["node2", "@rack1"]);
        assert_eq!(config.output.as_deref(), Some("wide"));
        assert!(config.groups.contains_key("mine") && config.groups.contains_key("rack1"));
        std::fs::remove_file(places.system.as_ref().unwrap()).unwrap();
        let refused = Config::load(&places, true).unwrap_err().message;
        assert!(refused.contains("mine names \"node1\""), "{refused}");
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
