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
    /// Whether plain TCP to another machine was allowed.
    pub(crate) insecure: bool,
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
        let mut table = Table::new(&named, &["URI", "CURRENT", "INSECURE", "GROUPS"]);
        for item in items {
            let Some(body) = &item.body else { continue };
            let yes = |flag: bool| {
                if flag { Cell::text("yes") } else { Cell::Absent }
            };
            let groups = body.groups.join(",");
            let groups = if groups.is_empty() { Cell::Absent } else { Cell::text(groups) };
            let cells = vec![Cell::text(&*body.uri), yes(body.current), yes(body.insecure), groups];
            table.row(&item.host, cells);
        }
        table.render(&named)
    }

    fn name(&self) -> String {
        String::new()
    }
}
