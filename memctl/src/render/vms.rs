//! Text of `memctl vms`.

use serde::Serialize;

use super::table::{Cell, Paint, Table};
use super::text::date_time;
use super::{Show, View};
use crate::dto::{Condition, Item, Vm};
use crate::quantity::format_seconds;

/// Body of an item of `memctl vms`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct VmBody {
    /// The VM.
    pub(crate) vm: Vm,
    /// How long ago the tick began that this is of.
    pub(crate) tick_age_seconds: Option<f64>,
    /// What keeps this from being current, or decisions from being carried out.
    pub(crate) conditions: Vec<Condition>,
}

impl Show for VmBody {
    const KIND: &'static str = "Vm";

    fn text(items: &[Item<Self>], view: &View) -> String {
        let table = Table::new(view, if view.wide { WIDE_HEADS } else { HEADS });
        let mut table = table.sparing(&["MAX", "MIN", "AGE", "UNUSED", "VERDICT", "TARGET"]);
        table.fill(items, "STATE", |body| row(body, view));
        table.render_headed(view)
    }

    fn name(&self) -> String {
        self.vm.vm.label().to_owned()
    }
}

fn row(body: &VmBody, view: &View) -> Vec<Cell> {
    let vm = &body.vm;
    let memory = vm.memory.as_ref();
    let figure =
        |read: fn(&crate::dto::VmMemory) -> Option<u64>| Cell::bytes(memory.and_then(read));
    let age = memory.and_then(|m| m.figures_age_seconds).map(format_seconds);
    let verdict = vm.verdict.as_ref();
    let mut cells = vec![
        Cell::text(vm.vm.label()),
        state(&vm.state),
        figure(|m| Some(m.actual_bytes)),
        figure(|m| m.target_bytes),
        figure(|m| m.used_bytes),
        figure(|m| m.guest_unused_bytes),
        figure(|m| Some(m.min_bytes)),
        figure(|m| Some(m.max_bytes)),
        Cell::figure(age),
        verdict.map_or(Cell::Absent, |v| decided(&v.kind, body)),
        verdict.map_or(Cell::Absent, |v| Cell::text(&*v.reason)),
    ];
    if view.wide {
        cells.extend([
            figure(|m| m.guest_usable_bytes),
            figure(|m| m.host_rss_bytes),
            Cell::bytes(verdict.and_then(|v| v.need_bytes)),
            Cell::bytes(verdict.and_then(|v| v.spare_bytes)),
            vm.pinned_until.map_or(Cell::Absent, |end| Cell::text(date_time(end.0, &view.zone))),
            Cell::text(&*vm.vm.uuid),
        ]);
    }
    cells
}

/// A verdict; one of before the hypervisor was lost says how long ago that was.
fn decided(kind: &str, body: &VmBody) -> Cell {
    let lost = Condition::is_among(&body.conditions, Condition::HYPERVISOR_LOST);
    match body.tick_age_seconds.filter(|_| lost) {
        Some(age) => Cell::Painted(format!("{kind} {} ago", format_seconds(age)), Paint::Dim),
        None => Cell::text(kind),
    }
}

fn state(state: &str) -> Cell {
    let paint = if state == "running" { Paint::Good } else { Paint::Warn };
    if state.is_empty() { Cell::Absent } else { Cell::Painted(state.to_ascii_uppercase(), paint) }
}

const HEADS: &[&str] = &[
    "VM", "STATE", "ACTUAL", "TARGET", "USED", "UNUSED", "MIN", "MAX", "AGE", "VERDICT", "REASON",
];
const WIDE_HEADS: &[&str] = &[
    "VM",
    "STATE",
    "ACTUAL",
    "TARGET",
    "USED",
    "UNUSED",
    "MIN",
    "MAX",
    "AGE",
    "VERDICT",
    "REASON",
    "USABLE",
    "RSS",
    "NEED",
    "SPARE",
    "PINNED UNTIL",
    "UUID",
];
