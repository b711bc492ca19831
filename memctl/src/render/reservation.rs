//! Text of `memctl reserve`, `reservations` and `release`.

use serde::Serialize;

use super::table::{Cell, Paint, Table};
use super::text::date_time;
use super::{Show, View};
use crate::dto::{Actor, Item, Reservation, Time, VmRefusal};
use crate::quantity::{Units, format_size};

/// Body of an item of these commands.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct ReservationBody {
    /// Whether it is made, or only could be: nothing is reserved then.
    pub(crate) applied: bool,
    /// The reservation.
    pub(crate) reservation: Reservation,
}

impl Show for ReservationBody {
    const KIND: &'static str = "Reservation";

    fn text(items: &[Item<Self>], view: &View) -> String {
        let mut table = Table::new(view, if view.wide { WIDE_HEADS } else { HEADS });
        table.fill(items, "STATE", |body| row(body, view));
        table.render(view)
    }

    fn name(&self) -> String {
        if self.applied { self.reservation.id.to_string() } else { String::new() }
    }
}

fn row(ReservationBody { applied, reservation: own }: &ReservationBody, view: &View) -> Vec<Cell> {
    let paint = if own.is_there() && *applied { Paint::Good } else { Paint::Warn };
    let state = if *applied { own.state.replace('_', " ") } else { "not reserved".to_owned() };
    let words = |text: &str| if text.is_empty() { Cell::Absent } else { Cell::text(text) };
    let when = |time: Option<Time>| {
        time.map_or(Cell::Absent, |time| Cell::text(date_time(time.0, &view.zone)))
    };
    let mut cells = vec![
        Cell::figure(applied.then(|| own.id.to_string())),
        Cell::Painted(state.to_ascii_uppercase(), paint),
        Cell::Bytes(own.min_bytes),
        Cell::Bytes(own.max_bytes),
        Cell::bytes(own.held_bytes),
        Cell::bytes(own.lacks_bytes),
        own.vm.as_deref().map_or(Cell::Absent, Cell::text),
        // What is not made does not expire.
        when(own.expire_time.filter(|_| *applied)),
        words(&own.reason),
    ];
    if view.wide {
        let by = own.actor.as_ref().map(Actor::label);
        cells.extend([
            by.map_or(Cell::Absent, Cell::text),
            when(own.actor.as_ref().and_then(|actor| actor.time)),
            when(own.end_time),
            own.handed_to.as_ref().map_or(Cell::Absent, |vm| Cell::text(vm.label())),
            words(&own.message),
        ]);
    }
    cells
}

/// Who keeps it from being filled, a line each.
pub(crate) fn refusals(own: &Reservation, units: Units) -> Vec<String> {
    let line = |refusal: &VmRefusal| {
        let (vm, beyond) = (refusal.vm.label(), format_size(refusal.beyond_bytes, units));
        let (reason, message) = (&refusal.reason, &refusal.message);
        format!("{vm} gives none of the {beyond} beyond its minimum: {reason}: {message}")
    };
    own.refusals.iter().map(line).collect()
}

const HEADS: &[&str] = &["ID", "STATE", "MIN", "MAX", "HELD", "LACKS", "FOR", "EXPIRES", "WHY"];
const WIDE_HEADS: &[&str] = &[
    "ID",
    "STATE",
    "MIN",
    "MAX",
    "HELD",
    "LACKS",
    "FOR",
    "EXPIRES",
    "WHY",
    "BY",
    "MADE",
    "ENDED",
    "HANDED TO",
    "MESSAGE",
];
