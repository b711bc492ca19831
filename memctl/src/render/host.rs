//! Text of `memctl host`.

use serde::Serialize;

use super::table::{Cell, Table};
use super::{Show, View};
use crate::dto::Item;

/// Body of an item of `memctl host`: one configured host.
#[derive(Debug, Serialize)]
pub(crate) struct HostBody {
    /// Where its agent listens.
    pub(crate) uri: String,
    /// The certificate that it is shown, where it has one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<String>,
    /// The name that its certificate is to be for, where the address does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_name: Option<String>,
    /// Whether it is asked when no host is named.
    pub(crate) current: bool,
    /// Groups that it is in.
    pub(crate) groups: Vec<String>,
}

impl Show for HostBody {
    const KIND: &'static str = "Host";

    fn text(items: &[Item<Self>], view: &View) -> String {
        // Each row is a host of its own, however many there are.
        let named = View { many_hosts: true, ..view.clone() };
        let mut table = Table::new(&named, &["URI", "CURRENT", "IDENTITY", "GROUPS"]);
        for item in items {
            let Some(body) = &item.body else { continue };
            let current = if body.current { Cell::text("yes") } else { Cell::Absent };
            let identity = body.identity.as_deref().map_or(Cell::Absent, Cell::text);
            let groups = body.groups.join(",");
            let groups = if groups.is_empty() { Cell::Absent } else { Cell::text(groups) };
            let cells = vec![Cell::text(&*body.uri), current, identity, groups];
            table.row(&item.host, cells);
        }
        table.render(&named)
    }

    fn name(&self) -> String {
        String::new()
    }
}
