//! Text of `memctl status`.

use serde::Serialize;

use super::mode::mode;
use super::table::{Cell, Paint, Table};
use super::text::date_time;
use super::{Show, View};
use crate::dto::{Actor, Condition, HostMemory, Item, Status, Time};
use crate::quantity::format_seconds;

/// Body of an item of `memctl status`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct StatusBody {
    /// The state.
    pub(crate) status: Status,
}

impl Show for StatusBody {
    const KIND: &'static str = "Status";

    fn text(items: &[Item<Self>], view: &View) -> String {
        let table = Table::new(view, if view.wide { WIDE_HEADS } else { HEADS });
        let mut table =
            table.sparing(&["VERSION", "RESERVE", "HOST TOTAL", "LAST READ", "HOST KEEPS"]);
        table.fill(items, "STATE", |body| row(&body.status, view));
        table.render(view)
    }

    fn name(&self) -> String {
        String::new()
    }
}

fn row(status: &Status, view: &View) -> Vec<Cell> {
    let (memory, pool) = (status.memory.as_ref(), status.pool.as_ref());
    let mut cells = vec![
        health(status),
        mode(&status.mode, Condition::is_among(&status.conditions, Condition::FROZEN)),
        Cell::Number(format!("{}/{}", status.managed_vms, status.total_vms)),
        Cell::bytes(pool.map(|p| p.actual_bytes)),
        Cell::bytes(pool.map(|p| p.kept_bytes)),
        Cell::bytes(pool.map(|p| p.reserve_bytes)),
        Cell::bytes(memory.map(|m| m.usable_bytes)),
        Cell::bytes(memory.map(|m| m.total_bytes)),
        Cell::figure(status.last_read_age_seconds.map(format_seconds)),
        Cell::text(&*status.agent_version),
    ];
    if view.wide {
        cells.extend([
            at(status.mode_actor.as_ref().and_then(|actor| actor.time), view),
            by(status.mode_actor.as_ref()),
            at(status.policy_revert_time, view),
            Cell::text(&*status.algorithm),
            Cell::bytes(pool.and_then(|p| p.limit_bytes)),
            Cell::bytes(pool.map(|p| p.promised_bytes)),
            Cell::bytes(pool.map(|p| p.exposed_bytes)),
            Cell::bytes(pool.map(|p| p.reserved_bytes)),
            Cell::bytes(pool.map(|p| p.held_bytes)),
            memory.and_then(|m| m.level.as_ref()).map_or(Cell::Absent, |l| Cell::text(&**l)),
            Cell::bytes(memory.and_then(|m| m.unexplained_bytes)),
            pressure(memory),
            Cell::figure(status.tick.map(|t| t.to_string())),
            Cell::number(status.watchers),
            Cell::figure(status.clock_skew_seconds.map(|s| format!("{s:+.1}s"))),
            status.caller.as_ref().map_or(Cell::Absent, |c| Cell::text(&**c)),
            Cell::text(&*status.hypervisor),
            status.freeze_file.as_ref().map_or(Cell::Absent, |f| Cell::text(&**f)),
            status.position.as_ref().map_or(Cell::Absent, |p| Cell::text(p.to_string())),
        ]);
    }
    cells
}

fn at(time: Option<Time>, view: &View) -> Cell {
    time.map_or(Cell::Absent, |time| Cell::text(date_time(time.0, &view.zone)))
}

fn by(actor: Option<&Actor>) -> Cell {
    actor.map_or(Cell::Absent, |actor| Cell::text(actor.label()))
}

/// How much work on the host waits for memory: some of it, all of it.
fn pressure(memory: Option<&HostMemory>) -> Cell {
    let shares = memory.and_then(|m| m.pressure_some_percent.zip(m.pressure_full_percent));
    Cell::figure(shares.map(|(some, full)| format!("{some:.1}/{full:.1} %")))
}

fn health(status: &Status) -> Cell {
    let paint = if status.health == "healthy" { Paint::Good } else { Paint::Warn };
    Cell::Painted(status.health.to_ascii_uppercase(), paint)
}

const HEADS: &[&str] = &[
    "STATE",
    "MODE",
    "VMS",
    "HELD BY VMS",
    "HOST KEEPS",
    "RESERVE",
    "HOST USABLE",
    "HOST TOTAL",
    "LAST READ",
    "VERSION",
];
const WIDE_HEADS: &[&str] = &[
    "STATE",
    "MODE",
    "VMS",
    "HELD BY VMS",
    "HOST KEEPS",
    "RESERVE",
    "HOST USABLE",
    "HOST TOTAL",
    "LAST READ",
    "VERSION",
    "MODE SINCE",
    "MODE BY",
    "TRIAL UNTIL",
    "ALGORITHM",
    "POOL LIMIT",
    "PROMISED",
    "EXPOSED",
    "RESERVED",
    "HELD FOR IT",
    "HOST LEVEL",
    "UNEXPLAINED",
    "PRESSURE",
    "TICK",
    "WATCHERS",
    "SKEW",
    "CALLER",
    "HYPERVISOR",
    "FREEZE FILE",
    "POSITION",
];
