//! Text of `memctl whoami`.

use serde::Serialize;

use super::table::{Cell, Paint, Table};
use super::text::date_time;
use super::{Show, View};
use crate::dto::{Item, Time, WhoAmI};

/// Body of an item of `memctl whoami`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct WhoAmIBody {
    /// Who asks.
    #[serde(flatten)]
    pub(crate) caller: WhoAmI,
}

impl Show for WhoAmIBody {
    const KIND: &'static str = "WhoAmI";

    fn text(items: &[Item<Self>], view: &View) -> String {
        let mut table = Table::new(view, if view.wide { WIDE_HEADS } else { HEADS });
        table.fill(items, "IDENTITY", |body| row(&body.caller, view));
        table.render(view)
    }

    fn name(&self) -> String {
        self.caller.identity.clone()
    }
}

fn row(caller: &WhoAmI, view: &View) -> Vec<Cell> {
    let words = |text: &Option<String>| text.as_ref().map_or(Cell::Absent, |t| Cell::text(&**t));
    let at = |time: Option<Time>| {
        time.map_or(Cell::Absent, |time| Cell::text(date_time(time.0, &view.zone)))
    };
    let none = || Cell::Painted("none".to_owned(), Paint::Warn);
    let certificate = caller.certificate.as_ref();
    let mut cells = vec![
        Cell::text(&*caller.identity),
        caller.role.as_ref().map_or_else(none, |role| Cell::text(&**role)),
        words(&caller.role_from),
        at(certificate.and_then(|own| own.expire_time)),
        words(&caller.agent_version),
    ];
    if view.wide {
        cells.extend([
            words(&caller.peer),
            certificate.map_or(Cell::Absent, |own| Cell::text(&*own.serial)),
            Cell::text(&*caller.name),
            at(caller.host_time),
        ]);
    }
    cells
}

const HEADS: &[&str] = &["IDENTITY", "ROLE", "BY", "EXPIRES", "VERSION"];
const WIDE_HEADS: &[&str] =
    &["IDENTITY", "ROLE", "BY", "EXPIRES", "VERSION", "FROM", "SERIAL", "HOST NAME", "HOST TIME"];
