//! Text of `memctl wait`.

use serde::Serialize;

use super::table::{Cell, Paint, Table};
use super::{Show, View};
use crate::dto::Item;

/// Body of an item of `memctl wait`: how one host stands to one condition.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct WaitBody {
    /// As typed.
    pub(crate) condition: String,
    /// Whether it holds.
    pub(crate) met: bool,
    /// What is so now.
    pub(crate) now: String,
    /// How long it was waited for, to the tenth of a second.
    pub(crate) waited_seconds: f64,
}

impl Show for WaitBody {
    const KIND: &'static str = "Wait";

    fn text(items: &[Item<Self>], view: &View) -> String {
        let mut table = Table::new(view, &["CONDITION", "MET", "AFTER", "NOW"]);
        for item in items {
            let Some(body) = &item.body else {
                table.failed(item, "MET");
                continue;
            };
            let met = match body.met {
                true => Cell::Painted("yes".to_owned(), Paint::Good),
                false => Cell::Painted("no".to_owned(), Paint::Warn),
            };
            let after = Cell::Number(format!("{:.1}s", body.waited_seconds));
            table.row(
                &item.host,
                vec![Cell::text(&*body.condition), met, after, Cell::text(&*body.now)],
            );
        }
        table.render(view)
    }

    fn name(&self) -> String {
        self.condition.clone()
    }
}
