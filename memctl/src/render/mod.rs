//! What a person sees: pure functions from what the hosts answered to text. One file for each
//! command, on `table`, `text` and `yaml`. Nothing here writes, asks or knows a clock.

pub(crate) mod audit;
pub(crate) mod ca;
pub(crate) mod check;
pub(crate) mod chosen;
pub(crate) mod config;
pub(crate) mod explain;
pub(crate) mod history;
pub(crate) mod host;
pub(crate) mod json;
pub(crate) mod mode;
pub(crate) mod pin;
pub(crate) mod plot;
pub(crate) mod policy;
pub(crate) mod policy_key;
pub(crate) mod reservation;
pub(crate) mod shadow;
pub(crate) mod status;
pub(crate) mod summary;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod version;
pub(crate) mod vms;
pub(crate) mod wait;
pub(crate) mod watch;
pub(crate) mod whoami;
pub(crate) mod yaml;

use jiff::tz::TimeZone;
use serde::Serialize;

use crate::dto::Item;
use crate::quantity::Units;

/// How a person wants to see it.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// More columns.
    pub(crate) wide: bool,
    /// Column heads.
    pub(crate) headers: bool,
    /// Colours.
    pub(crate) color: bool,
    /// Units of memory.
    pub(crate) units: Units,
    /// Time zone.
    pub(crate) zone: TimeZone,
    /// Whether more than one host was asked: then everything names its host.
    pub(crate) many_hosts: bool,
    /// Columns of the terminal that a table has to fit on. None where there is none, or all is wanted.
    pub(crate) width: Option<usize>,
}

impl View {
    /// As it is seen where nothing was asked for, by nobody's terminal.
    pub(crate) const fn plain() -> Self {
        Self {
            wide: false,
            headers: true,
            color: false,
            units: Units::Iec,
            zone: TimeZone::UTC,
            many_hosts: false,
            width: None,
        }
    }
}

/// What a command shows: one body for each item of its list.
pub(crate) trait Show: Serialize + schemars::JsonSchema + Sized {
    /// Kind of the list document, and without "List" of one item.
    const KIND: &'static str;
    /// The list in a body of which the table has a row for each thing; None where a body is a row.
    const ROWS: Option<&'static str> = None;
    /// How a host of several names took part.
    const ONCE: &'static str = "asked once";

    /// The table, or whatever a person reads best.
    fn text(items: &[Item<Self>], view: &View) -> String;

    /// The one word that `-o name` prints.
    fn name(&self) -> String;
}
