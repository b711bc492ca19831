//! Text of `memctl config`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::table::{Cell, Table};
use super::text::safe;
use super::{Show, View};
use crate::config::Config;
use crate::dto::Item;

/// Body of an item of `memctl config path`: one file.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct PlaceBody {
    /// "own" or "system"; what one's own says wins.
    pub(crate) which: &'static str,
    pub(crate) path: String,
    /// Whether there is such a file.
    pub(crate) is_there: bool,
}

/// Body of the item of `memctl config view`: what the files say together.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct ViewBody {
    /// Hosts and groups that are asked when none is named.
    pub(crate) current: Vec<String>,
    /// The format of output where none is named; null where it is not said.
    pub(crate) output: Option<String>,
    /// Files of the identity for hosts that name none; null where it is not said.
    pub(crate) ca: Option<String>,
    pub(crate) cert: Option<String>,
    pub(crate) key: Option<String>,
    /// The hosts of each group.
    pub(crate) groups: BTreeMap<String, Vec<String>>,
    pub(crate) hosts: Vec<ViewHost>,
}

/// One configured host.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct ViewHost {
    pub(crate) name: String,
    pub(crate) uri: String,
    /// The file that names it.
    pub(crate) file: String,
}

impl ViewBody {
    /// Of a configuration.
    pub(crate) fn new(config: &Config) -> Self {
        let text = |path: &Option<std::path::PathBuf>| {
            path.as_ref().map(|path| path.display().to_string())
        };
        Self {
            current: config.current.clone(),
            output: config.output.clone(),
            ca: text(&config.identity.ca),
            cert: text(&config.identity.cert),
            key: text(&config.identity.key),
            groups: config.groups.clone(),
            hosts: config
                .hosts
                .iter()
                .map(|host| ViewHost {
                    name: host.name.clone(),
                    uri: host.address.to_string(),
                    file: host.file.display().to_string(),
                })
                .collect(),
        }
    }
}

impl Show for PlaceBody {
    const KIND: &'static str = "ConfigFile";

    fn text(items: &[Item<Self>], view: &View) -> String {
        let view = View { many_hosts: false, ..view.clone() };
        let mut table = Table::new(&view, &["FILE", "THERE", "PATH"]);
        for body in items.iter().filter_map(|item| item.body.as_ref()) {
            let there = if body.is_there { Cell::text("yes") } else { Cell::text("no") };
            table.row("-", vec![Cell::text(body.which), there, Cell::text(&*body.path)]);
        }
        table.render(&view)
    }

    fn name(&self) -> String {
        self.path.clone()
    }
}

impl Show for ViewBody {
    const KIND: &'static str = "Config";

    fn text(items: &[Item<Self>], _: &View) -> String {
        items.iter().filter_map(|item| item.body.as_ref()).map(lines).collect()
    }

    fn name(&self) -> String {
        let names: Vec<&str> = self.hosts.iter().map(|host| host.name.as_str()).collect();
        names.join(",")
    }
}

/// As it would stand in one file, with where each host is from.
fn lines(body: &ViewBody) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let list = |names: &[String]| {
        let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
        format!("[{}]", names.join(", "))
    };
    let mut text = format!("schema = 1\ncurrent = {}\n", list(&body.current));
    let defaults =
        [("output", &body.output), ("ca", &body.ca), ("cert", &body.cert), ("key", &body.key)];
    let said = defaults.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
    let said: String = said.map(|(key, value)| format!("{key} = {}\n", quoted(value))).collect();
    if !said.is_empty() {
        text.push_str(&format!("\n[defaults]\n{said}"));
    }
    let groups: String =
        body.groups.iter().map(|(group, names)| format!("{group} = {}\n", list(names))).collect();
    if !groups.is_empty() {
        text.push_str(&format!("\n[groups]\n{groups}"));
    }
    for host in &body.hosts {
        let (name, uri, file) = (&host.name, quoted(&host.uri), &host.file);
        let head = if name.contains('.') { quoted(name) } else { name.clone() };
        text.push_str(&format!("\n# from {}\n[hosts.{head}]\nuri = {uri}\n", safe(file)));
    }
    text
}
