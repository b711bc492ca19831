//! Text of `memctl history`: a row for each step, and what changed meanwhile.

use serde::Serialize;

use super::table::{Cell, Paint, Table};
use super::text::{date_time, safe};
use super::watch::change_line;
use super::{Show, View};
use crate::dto::{History, HistoryHost, HistoryPoint, HistoryVm, Item, Time};

/// Body of an item of `memctl history`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct HistoryBody {
    /// The history.
    pub(crate) history: History,
    /// Whether VMs were asked for, and not the host.
    #[serde(skip)]
    pub(crate) of_vms: bool,
}

impl Show for HistoryBody {
    const KIND: &'static str = "History";
    const ROWS: Option<&'static str> = Some("history.points");

    fn text(items: &[Item<Self>], view: &View) -> String {
        let of_vms = items.iter().filter_map(|item| item.body.as_ref()).any(|body| body.of_vms);
        let heads: Vec<&'static str> = match (of_vms, view.wide) {
            (true, false) => VM_HEADS.to_vec(),
            (true, true) => [VM_HEADS, WIDE_VM_HEADS].concat(),
            (false, false) => HOST_HEADS.to_vec(),
            (false, true) => [HOST_HEADS, WIDE_HOST_HEADS].concat(),
        };
        let mut table = Table::new(view, &heads);
        for item in items {
            match &item.body {
                Some(body) => rows(&mut table, &item.host, body, view),
                None => table.failed(item, "TIME"),
            }
        }
        let mut text = table.render_headed(view);
        for item in items {
            text.push_str(&changes(item, view));
        }
        text
    }

    fn name(&self) -> String {
        let time = self.history.start_time.map(|time| time.0.to_string());
        time.unwrap_or_default()
    }
}

fn rows(table: &mut Table, host: &str, body: &HistoryBody, view: &View) {
    for point in &body.history.points {
        let time = Cell::text(told(point.time, view));
        if !body.of_vms {
            table.row(host, [vec![time], host_cells(point, view)].concat());
            continue;
        }
        for vm in &point.vms {
            table.row(host, [vec![time.clone()], vm_cells(vm, view)].concat());
        }
    }
}

fn vm_cells(vm: &HistoryVm, view: &View) -> Vec<Cell> {
    let verdict = vm.verdict.as_deref();
    let mut cells = vec![
        Cell::text(vm.vm.label()),
        state(&vm.state),
        Cell::bytes(vm.demand_most_bytes),
        Cell::Bytes(vm.actual_bytes),
        Cell::bytes(vm.target_bytes),
        Cell::Bytes(vm.min_bytes),
        Cell::Bytes(vm.max_bytes),
        verdict.map_or(Cell::Absent, Cell::text),
        verdict.map_or(Cell::Absent, |_| Cell::text(&*vm.reason)),
    ];
    if view.wide {
        cells.extend([
            Cell::number(vm.ticks),
            Cell::Bytes(vm.actual_least_bytes),
            Cell::Bytes(vm.actual_most_bytes),
            Cell::bytes(vm.guest_usable_least_bytes),
            Cell::bytes(vm.host_rss_bytes),
            Cell::Bytes(vm.got_bytes),
            Cell::Bytes(vm.gave_bytes),
            Cell::number(vm.orders),
            failed(vm.failed),
            Cell::text(&*vm.vm.uuid),
        ]);
    }
    cells
}

fn host_cells(point: &HistoryPoint, view: &View) -> Vec<Cell> {
    let host = point.host.as_ref();
    let figure = |read: &dyn Fn(&HistoryHost) -> Option<u64>| Cell::bytes(host.and_then(read));
    let word = |read: &dyn Fn(&HistoryHost) -> String| {
        host.map_or(Cell::Absent, |host| Cell::text(read(host)))
    };
    let level = host.and_then(|host| host.level.as_deref());
    let mut cells = vec![
        host.map_or(Cell::Absent, |host| Cell::number(host.vms)),
        figure(&|host| host.demand_most_bytes),
        figure(&|host| Some(host.actual_bytes)),
        figure(&|host| Some(host.target_bytes)),
        figure(&|host| Some(host.usable_least_bytes)),
        figure(&|host| Some(host.moved_bytes)),
        level.map_or(Cell::Absent, |level| match level {
            "normal" => Cell::text(level),
            other => Cell::Painted(other.to_owned(), Paint::Warn),
        }),
        word(&|host| host.mode.0.clone()),
    ];
    if view.wide {
        cells.extend([
            Cell::number(point.ticks),
            failed(point.ticks_unread),
            host.map_or(Cell::Absent, |host| failed(host.failed)),
            figure(&|host| Some(host.total_bytes)),
            figure(&|host| host.limit_bytes),
            figure(&|host| host.kept_bytes),
            figure(&|host| host.reserve_bytes),
            figure(&|host| Some(host.actual_most_bytes)),
            word(&|host| host.algorithm.clone()),
            host.map_or(Cell::Absent, |host| Cell::number(host.policy_revision)),
        ]);
    }
    cells
}

fn failed(count: u64) -> Cell {
    match count {
        0 => Cell::number(count),
        some => Cell::Painted(some.to_string(), Paint::Warn),
    }
}

fn state(state: &str) -> Cell {
    let paint = if state == "running" { Paint::Good } else { Paint::Warn };
    if state.is_empty() { Cell::Absent } else { Cell::Painted(state.to_ascii_uppercase(), paint) }
}

/// What changed meanwhile, a line each.
fn changes(item: &Item<HistoryBody>, view: &View) -> String {
    let Some(HistoryBody { history, .. }) = &item.body else { return String::new() };
    let place = if view.many_hosts { format!("{}  ", safe(&item.host)) } else { String::new() };
    let mut text = String::new();
    for record in &history.changes {
        let Some(line) = change_line(record, view) else { continue };
        let time = told(record.time, view);
        text.push_str(&format!("{place}{time}  {}\n", line.trim_end()));
    }
    if history.changes_cut {
        text.push_str(&format!("{place}more changed than is shown: ask for less time\n"));
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

fn told(time: Option<Time>, view: &View) -> String {
    time.map(|time| date_time(time.0, &view.zone)).unwrap_or_default()
}

const VM_HEADS: &[&str] =
    &["TIME", "VM", "STATE", "DEMAND", "ACTUAL", "TARGET", "MIN", "MAX", "VERDICT", "REASON"];
const WIDE_VM_HEADS: &[&str] =
    &["TICKS", "LEAST", "MOST", "USABLE", "RSS", "GOT", "GAVE", "ORDERS", "FAILED", "UUID"];
const HOST_HEADS: &[&str] =
    &["TIME", "VMS", "DEMAND", "ACTUAL", "TARGET", "USABLE", "MOVED", "LEVEL", "MODE"];
const WIDE_HOST_HEADS: &[&str] = &[
    "TICKS",
    "UNREAD",
    "FAILED",
    "TOTAL",
    "LIMIT",
    "KEPT",
    "RESERVE",
    "MOST",
    "ALGORITHM",
    "REVISION",
];
