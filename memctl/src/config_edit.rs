//! Changes the configuration file: its hosts, and the identity that is shown to them. Comments and order stay; the new file
//! takes the place of the old one at once, or not at all.

use std::io::Write as _;
use std::path::Path;

use toml_edit::{Array, DocumentMut, Item, Table, value};

use crate::config::{Config, HostEntry};
use crate::failure::{Code, Failure};
use crate::identity::IdentityFiles;

/// A host to add.
#[derive(Debug)]
pub(crate) struct NewHost<'a> {
    /// The host itself.
    pub(crate) entry: &'a HostEntry,
    /// Groups to put it in, with the hosts that each begins with where the file has none of its name.
    pub(crate) groups: &'a [(String, Vec<String>)],
    /// Whether it is to be asked when no host is named.
    pub(crate) current: bool,
}

/// The text of the file with a host more.
pub(crate) fn added(text: &str, host: &NewHost<'_>) -> Result<String, Failure> {
    let mut document = document(text)?;
    if !document.contains_key("schema") {
        document.insert("schema", value(1));
    }
    if host.current {
        push(document.entry("current").or_insert(value(Array::new())), &host.entry.name)?;
    }
    for (group, begin) in host.groups {
        let groups = table(document.entry("groups"))?;
        let members = groups.entry(group).or_insert(value(Array::from_iter(begin)));
        push(members, &host.entry.name)?;
    }
    let hosts = table(document.entry("hosts"))?;
    let mut entry = Table::new();
    entry.insert("uri", value(host.entry.address.to_string()));
    for (key, path) in identity_keys(&host.entry.identity) {
        entry.insert(key, value(path));
    }
    if let Some(name) = &host.entry.server_name {
        entry.insert("server_name", value(name));
    }
    hosts.insert(&host.entry.name, Item::Table(entry));
    checked(document.to_string())
}

/// The text of the file without a host, also in its groups and among the current ones.
pub(crate) fn removed(text: &str, name: &str) -> Result<String, Failure> {
    let mut document = document(text)?;
    if let Some(hosts) = document.get_mut("hosts").and_then(Item::as_table_like_mut) {
        hosts.remove(name);
    }
    if let Some(current) = document.get_mut("current").and_then(Item::as_array_mut) {
        current.retain(|member| member.as_str() != Some(name));
    }
    if let Some(groups) = document.get_mut("groups").and_then(Item::as_table_like_mut) {
        for (_, group) in groups.iter_mut() {
            if let Some(members) = group.as_array_mut() {
                members.retain(|member| member.as_str() != Some(name));
            }
        }
    }
    checked(document.to_string())
}

/// The text of the file in which a host is called otherwise, also in its groups and among the
/// current ones.
pub(crate) fn renamed(text: &str, old: &str, new: &str) -> Result<String, Failure> {
    let mut document = document(text)?;
    let hosts = document.get_mut("hosts").and_then(Item::as_table_mut);
    let hosts = hosts.ok_or_else(|| unfit("hosts must be a table"))?;
    let entry = hosts.remove(old).ok_or_else(|| unfit(&format!("there is no [hosts.{old}]")))?;
    hosts.insert(new, entry);
    if let Some(current) = document.get_mut("current").and_then(Item::as_array_mut) {
        rename_in(current, old, new);
    }
    if let Some(groups) = document.get_mut("groups").and_then(Item::as_table_like_mut) {
        for (_, group) in groups.iter_mut() {
            if let Some(members) = group.as_array_mut() {
                rename_in(members, old, new);
            }
        }
    }
    checked(document.to_string())
}

fn rename_in(members: &mut Array, old: &str, new: &str) {
    for member in members.iter_mut().filter(|member| member.as_str() == Some(old)) {
        *member = new.into();
    }
}

/// The text of the file with these hosts to be asked when none is named; with none of its own where
/// the list is empty.
pub(crate) fn with_current(text: &str, names: &[String]) -> Result<String, Failure> {
    let mut document = document(text)?;
    if !document.contains_key("schema") {
        document.insert("schema", value(1));
    }
    match names {
        [] => document.remove("current"),
        names => document.insert("current", value(Array::from_iter(names))),
    };
    checked(document.to_string())
}

/// The text of the file with a group of these hosts; without the group where the list is empty.
pub(crate) fn with_group(text: &str, group: &str, names: &[String]) -> Result<String, Failure> {
    let mut document = document(text)?;
    if !document.contains_key("schema") {
        document.insert("schema", value(1));
    }
    let groups = table(document.entry("groups"))?;
    match names {
        [] => groups.remove(group),
        names => groups.insert(group, value(Array::from_iter(names))),
    };
    checked(document.to_string())
}

/// The text of the file with an identity for every host that names none.
pub(crate) fn with_default_identity(text: &str, files: &IdentityFiles) -> Result<String, Failure> {
    let mut document = document(text)?;
    if !document.contains_key("schema") {
        document.insert("schema", value(1));
    }
    let defaults = document.entry("defaults").or_insert_with(|| Item::Table(Table::new()));
    let defaults = defaults.as_table_like_mut().ok_or_else(|| unfit("defaults must be a table"))?;
    for (key, path) in identity_keys(files) {
        defaults.insert(key, value(path));
    }
    checked(document.to_string())
}

/// Rewrites the file, and returns what it says then.
pub(crate) fn change(
    path: Option<&Path>,
    edit: impl FnOnce(&str) -> Result<String, Failure>,
) -> Result<Config, Failure> {
    let path = path.ok_or_else(|| {
        Failure::new(Code::NotFound, "NO_HOME", "there is no home to keep a configuration in")
            .hint("give --config FILE, or set HOME")
    })?;
    let old = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Ok(text) => text,
        Err(error) => {
            let what = format!("cannot read the configuration {}: {error}", path.display());
            return Err(Failure::new(Code::InvalidArgument, "CONFIG_UNREADABLE", what));
        }
    };
    let new = edit(&old)?;
    replace(path, &new)?;
    Config::read(&new, &path.display().to_string())
}

/// Puts `text` in the place of the file.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    write(path, text).map_err(|error| {
        let what = format!("cannot write the configuration {}: {error}", path.display());
        Failure::new(Code::Unknown, "CONFIG_UNWRITABLE", what)
    })
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    // A link stays a link: what it points to is replaced.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder =
        path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    if let Ok(old) = std::fs::metadata(&path) {
        file.as_file().set_permissions(old.permissions())?;
    }
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    Ok(())
}

fn identity_keys(files: &IdentityFiles) -> impl Iterator<Item = (&'static str, String)> {
    let keys = [("ca", &files.ca), ("cert", &files.cert), ("key", &files.key)];
    keys.into_iter().filter_map(|(key, path)| Some((key, path.as_ref()?.display().to_string())))
}

fn document(text: &str) -> Result<DocumentMut, Failure> {
    text.parse::<DocumentMut>().map_err(|error| unfit(&error.to_string()))
}

fn table(entry: toml_edit::Entry<'_>) -> Result<&mut dyn toml_edit::TableLike, Failure> {
    let item = entry.or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    item.as_table_like_mut().ok_or_else(|| unfit("groups and hosts must be tables"))
}

fn push(item: &mut Item, name: &str) -> Result<(), Failure> {
    let members = item.as_array_mut().ok_or_else(|| unfit("current and groups must be lists"))?;
    if !members.iter().any(|member| member.as_str() == Some(name)) {
        members.push(name);
    }
    Ok(())
}

/// What we write must be what we can read.
fn checked(text: String) -> Result<String, Failure> {
    Config::read(&text, "the changed configuration").map(|_| text)
}

fn unfit(what: &str) -> Failure {
    Failure::new(Code::InvalidArgument, "CONFIG_INVALID", what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    fn entry(name: &str, uri: &str) -> HostEntry {
        let address = Address::parse(uri).unwrap();
        HostEntry {
            name: name.to_owned(),
            address,
            identity: IdentityFiles::default(),
            server_name: None,
            file: "c".into(),
        }
    }

    #[test]
    fn a_renamed_host_stays_what_and_where_it_was() {
        let old = "# mine\nschema = 1\ncurrent = [\"b\", \"a\"]\n\n[groups]\ng = [\"a\"]\n\n\
                   # the far one\n[hosts.a]\nuri = \"unix:///a\" # here\n";
        let want = old.replace("\"a\"", "\"c\"").replace("hosts.a", "hosts.c");
        assert_eq!(renamed(old, "a", "c").unwrap(), want);
        assert!(renamed(old, "x", "y").is_err());
    }

    #[test]
    fn what_is_current_and_who_is_in_a_group_is_set_as_a_whole_or_taken_away() {
        let names = ["a".to_owned(), "@g".to_owned()];
        let text = with_current("schema = 1\n", &names).unwrap();
        assert_eq!(text, "schema = 1\ncurrent = [\"a\", \"@g\"]\n");
        assert_eq!(with_current(&text, &[]).unwrap(), "schema = 1\n");
        let text = with_group("", "g", &names[..1]).unwrap();
        assert_eq!(text, "schema = 1\n\n[groups]\ng = [\"a\"]\n");
        assert!(
            Config::read(&with_group(&text, "g", &[]).unwrap(), "c").unwrap().groups.is_empty()
        );
    }

    #[test]
    fn the_first_host_makes_a_whole_file() {
        let entry = entry("node1", "https://[::1]:7433");
        let groups = [("rack1".to_owned(), Vec::new())];
        let text = added("", &NewHost { entry: &entry, groups: &groups, current: true }).unwrap();
        let want = "schema = 1\ncurrent = [\"node1\"]\n\n[groups]\nrack1 = [\"node1\"]\n\n\
                    [hosts.node1]\nuri = \"https://[::1]:7433\"\n";
        assert_eq!(text, want);
    }

    #[test]
    fn a_host_keeps_its_own_identity_and_the_defaults_theirs() {
        let path = |text: &str| Some(text.into());
        let files = IdentityFiles { ca: path("/ca"), cert: path("/cert"), key: path("/key") };
        let mut entry = entry("a", "https://a");
        (entry.identity, entry.server_name) = (files.clone(), Some("a.lan".to_owned()));
        let text = added("", &NewHost { entry: &entry, groups: &[], current: false }).unwrap();
        let keys = "ca = \"/ca\"\ncert = \"/cert\"\nkey = \"/key\"\n";
        let want = format!("uri = \"https://a:7433\"\n{keys}server_name = \"a.lan\"\n");
        assert!(text.ends_with(&want), "{text}");
        let text = with_default_identity("# mine\nschema = 1\n", &files).unwrap();
        assert_eq!(text, format!("# mine\nschema = 1\n\n[defaults]\n{keys}"));
        assert_eq!(Config::parse(&text, "c").unwrap().identity, files);
    }

    #[test]
    fn comments_and_order_survive_adding_and_removing() {
        let old = "# mine\nschema = 1 # keep\ncurrent = [\"b\"]\n\n# the far one\n[hosts.b]\n\
                   uri = \"unix:///b\" # here\n";
        let entry = entry("a", "unix:///a");
        let new = added(old, &NewHost { entry: &entry, groups: &[], current: false }).unwrap();
        assert_eq!(new, format!("{old}\n[hosts.a]\nuri = \"unix:///a\"\n"));
        assert_eq!(removed(&new, "a").unwrap(), old);
    }

    #[test]
    fn a_removed_host_leaves_groups_and_current_too() {
        let old = "schema = 1\ncurrent = [\"a\", \"b\"]\ngroups.g = [\"a\"]\nhosts.a.uri = \
                   \"unix:///a\"\nhosts.b.uri = \"unix:///b\"\n";
        let new = removed(old, "a").unwrap();
        let config = Config::parse(&new, "c").unwrap();
        assert_eq!(config.current, ["b"]);
        assert!(config.groups["g"].is_empty() && config.host("a").is_none());
    }

    #[test]
    fn the_file_is_replaced_whole_and_keeps_its_permissions() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memctl/config.toml");
        replace(&path, "schema = 1\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        replace(&path, "schema = 1\n# two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "schema = 1\n# two\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
