//! Text of `memctl host`.

use serde::Serialize;

use super::table::{Cell, Table};
use super::text::safe;
use super::{Show, View};
use crate::dto::Item;

/// Body of an item of `memctl host list`: one configured host.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct HostBody {
    /// Where its agent listens.
    pub(crate) uri: String,
    /// The certificate that it is shown, where it has one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<String>,
    /// The CAs whose servers are trusted, where that is said anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<String>,
    /// The certificate that it is shown, its own or the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cert: Option<String>,
    /// The key of that certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// The name that its certificate is to be for, where the address does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_name: Option<String>,
    /// Whether it is asked when no host is named.
    pub(crate) current: bool,
    /// Groups that it is in.
    pub(crate) groups: Vec<String>,
    /// The file that names it.
    pub(crate) file: String,
}

/// Body of an item of `memctl host show`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct ShownHost {
    /// All of it.
    #[serde(flatten)]
    pub(crate) shown: HostBody,
}

/// Body of an item of `memctl host test`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct TestBody {
    /// Where its agent listens.
    pub(crate) address: String,
    /// What it calls itself.
    pub(crate) name: String,
    /// Version of its agent.
    pub(crate) agent_version: String,
    /// Who the caller is to it.
    pub(crate) identity: String,
    /// What they may do there; null where that is nothing.
    pub(crate) role: Option<String>,
    /// How long connecting and asking took.
    pub(crate) seconds: f64,
}

impl Show for HostBody {
    const KIND: &'static str = "Host";

    fn text(items: &[Item<Self>], view: &View) -> String {
        // Each row is a host of its own, however many there are.
        let named = View { many_hosts: true, ..view.clone() };
        let mut heads = vec!["URI", "CURRENT", "IDENTITY", "GROUPS"];
        heads.extend(view.wide.then_some("FILE"));
        let mut table = Table::new(&named, &heads);
        for item in items {
            let Some(body) = &item.body else { continue };
            let current = if body.current { Cell::text("yes") } else { Cell::Absent };
            let identity = body.identity.as_deref().map_or(Cell::Absent, Cell::text);
            let groups = body.groups.join(",");
            let groups = if groups.is_empty() { Cell::Absent } else { Cell::text(groups) };
            let mut cells = vec![Cell::text(&*body.uri), current, identity, groups];
            cells.extend(view.wide.then(|| Cell::text(&*body.file)));
            table.row(&item.host, cells);
        }
        table.render(&named)
    }

    fn name(&self) -> String {
        String::new()
    }
}

impl Show for ShownHost {
    const KIND: &'static str = "HostEntry";

    fn text(items: &[Item<Self>], _: &View) -> String {
        let bodies = items.iter().filter_map(|item| Some((&item.host, &item.body.as_ref()?.shown)));
        let shown: Vec<String> = bodies.map(|(host, body)| lines(host, body)).collect();
        shown.join("\n")
    }

    fn name(&self) -> String {
        String::new()
    }
}

/// A line for each thing that is known of a host.
fn lines(host: &str, body: &HostBody) -> String {
    let groups = body.groups.join(", ");
    let is_https = body.uri.starts_with("https://");
    let shown = |file: &Option<String>| file.clone().filter(|_| is_https);
    let all = [
        ("host", Some(host.to_owned())),
        ("uri", Some(body.uri.clone())),
        ("server name", body.server_name.clone()),
        ("ca", shown(&body.ca)),
        ("certificate", shown(&body.cert)),
        ("key", shown(&body.key)),
        ("current", Some(if body.current { "yes" } else { "no" }.to_owned())),
        ("groups", Some(groups).filter(|groups| !groups.is_empty())),
        ("file", Some(body.file.clone())),
    ];
    let told = all.into_iter().filter_map(|(what, value)| Some((what, value?)));
    told.map(|(what, value)| format!("{what:<11}  {}\n", safe(&value))).collect()
}

impl Show for TestBody {
    const KIND: &'static str = "HostTest";

    fn text(items: &[Item<Self>], view: &View) -> String {
        let heads = ["ANSWERS", "TOOK", "NAME", "AGENT", "YOU ARE", "ROLE", "ADDRESS"];
        let mut table = Table::new(view, &heads);
        for item in items {
            let Some(body) = &item.body else {
                table.failed(item, "ANSWERS");
                continue;
            };
            let cells = vec![
                Cell::text("yes"),
                Cell::Number(format!("{:.0}ms", body.seconds * 1000.0)),
                Cell::text(&*body.name),
                Cell::text(&*body.agent_version),
                Cell::text(&*body.identity),
                body.role.as_deref().map_or(Cell::Absent, Cell::text),
                Cell::text(&*body.address),
            ];
            table.row(&item.host, cells);
        }
        table.render(view)
    }

    fn name(&self) -> String {
        String::new()
    }
}
