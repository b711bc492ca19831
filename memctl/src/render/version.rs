//! Text of `memctl version`.

use serde::Serialize;

use super::table::{Cell, Table};
use super::{Show, View};
use crate::dto::Item;

/// Body of an item of `memctl version`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct VersionBody {
    /// "memctl" or "agentd".
    pub(crate) component: &'static str,
    /// Its version.
    pub(crate) version: String,
}

impl Show for VersionBody {
    const KIND: &'static str = "Version";

    fn text(items: &[Item<Self>], view: &View) -> String {
        let mut table = Table::new(view, &["COMPONENT", "VERSION"]);
        for item in items {
            match &item.body {
                Some(body) => {
                    let cells = vec![Cell::text(body.component), Cell::text(&*body.version)];
                    table.row(&item.host, cells);
                }
                None => table.failed(item, "VERSION"),
            }
        }
        table.render(view)
    }

    fn name(&self) -> String {
        format!("{}/{}", self.component, self.version)
    }
}
