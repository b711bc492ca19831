//! Text of `memctl mode`.

use serde::Serialize;

use super::table::{Cell, Paint, Table};
use super::text::date_time;
use super::{Show, View};
use crate::dto::{Actor, Condition, Item, ModeName};

/// Body of an item of `memctl mode`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct ModeBody {
    /// In force.
    pub(crate) mode: ModeName,
    /// Who set it, and when. None where it was set now, and where the agent does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) actor: Option<Actor>,
    /// Why they set it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// In force before. None where it was only asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) previous_mode: Option<ModeName>,
    /// Whether a restart keeps it. None where it was only asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) durable: Option<bool>,
    /// Why nothing is carried out, whatever the mode is. None where nothing is in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frozen: Option<String>,
}

/// The mode, with what counts more where it does.
pub(crate) fn mode(mode: &ModeName, frozen: bool) -> Cell {
    match frozen {
        true => Cell::Painted(format!("{}, {}", mode.0, Condition::FROZEN), Paint::Warn),
        false => Cell::text(&*mode.0),
    }
}

impl Show for ModeBody {
    const KIND: &'static str = "Mode";
    /// A pause is sent by every name.
    const ONCE: &'static str = "listed once";

    fn text(items: &[Item<Self>], view: &View) -> String {
        let set = items.iter().filter_map(|i| i.body.as_ref()).any(|b| b.previous_mode.is_some());
        let heads: &[&str] =
            if set { &["MODE", "BEFORE"] } else { &["MODE", "SINCE", "BY", "WHY"] };
        let mut table = Table::new(view, heads);
        for item in items {
            let Some(body) = &item.body else {
                table.failed(item, "MODE");
                continue;
            };
            let mut cells = vec![mode(&body.mode, body.frozen.is_some())];
            if set {
                let before = body.previous_mode.as_ref();
                cells.push(before.map_or(Cell::Absent, |m| Cell::text(&*m.0)));
            } else {
                let since = body.actor.as_ref().and_then(|actor| actor.time);
                let since = since.map(|since| date_time(since.0, &view.zone));
                let by = body.actor.as_ref().map(Actor::label);
                let why = body.reason.clone().filter(|why| !why.is_empty());
                cells.extend([since, by, why].map(|cell| cell.map_or(Cell::Absent, Cell::text)));
            }
            table.row(&item.host, cells);
        }
        table.render(view)
    }

    fn name(&self) -> String {
        self.mode.0.clone()
    }
}
