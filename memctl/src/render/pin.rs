//! Text of `memctl pin --for` and of `unpin` that ends such a pin.

use serde::Serialize;

use super::table::{Cell, Paint, Table};
use super::text::{date_time, safe};
use super::{Show, View};
use crate::dto::{Actor, Item, Pin};

/// Body of an item of these commands.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct PinBody {
    /// Whether it is so, or only would be.
    pub(crate) applied: bool,
    /// Whether the pin has ended, or would.
    pub(crate) is_over: bool,
    /// The pin.
    pub(crate) pin: Pin,
    /// The one in whose place it is; null where there was none.
    pub(crate) replaced: Option<Pin>,
    /// Whether the policy pins the VM as well: it stays pinned once this is over.
    pub(crate) policy_pins: bool,
}

impl Show for PinBody {
    const KIND: &'static str = "Pin";

    fn text(items: &[Item<Self>], view: &View) -> String {
        let mut table = Table::new(view, &["VM", "STATE", "UNTIL", "BEFORE", "BY", "WHY"]);
        table.fill(items, "STATE", |body| row(body, view));
        table.render(view)
    }

    fn name(&self) -> String {
        self.pin.vm.label().to_owned()
    }
}

fn row(body: &PinBody, view: &View) -> Vec<Cell> {
    let when = |pin: &Pin| {
        pin.end_time.map_or(Cell::Absent, |end| Cell::text(date_time(end.0, &view.zone)))
    };
    let state = match (body.applied, body.is_over) {
        (true, false) => "PINNED",
        (true, true) => "UNPINNED",
        (false, false) => "NOT PINNED",
        (false, true) => "STILL PINNED",
    };
    let (by, why) = (body.pin.actor.as_ref().map(Actor::label), &body.pin.reason);
    vec![
        Cell::text(body.pin.vm.label()),
        Cell::Painted(state.to_owned(), if body.applied { Paint::Good } else { Paint::Warn }),
        when(&body.pin),
        body.replaced.as_ref().map_or(Cell::Absent, when),
        by.map_or(Cell::Absent, Cell::text),
        if why.is_empty() { Cell::Absent } else { Cell::text(&**why) },
    ]
}

/// "pinned until 2026-01-02 04:04:05Z by uid:0: import"
pub(crate) fn until(pin: &Pin, view: &View) -> String {
    let end = pin.end_time.map(|end| format!(" until {}", date_time(end.0, &view.zone)));
    let by = pin.actor.as_ref().map(|actor| format!(" by {}", safe(&actor.label())));
    let colon = if pin.reason.is_empty() { "" } else { ": " };
    let (end, by) = (end.unwrap_or_default(), by.unwrap_or_default());
    format!("pinned{end}{by}{colon}{}", safe(&pin.reason))
}
