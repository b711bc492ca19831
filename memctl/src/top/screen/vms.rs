//! The VMs: a line each with its bar, its figures, its past, and what was decided.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::text::{amount, fitted, left, right};
use super::{Scene, heading, listed, paint};
use crate::dto::{Transfer, Vm};
use crate::quantity::format_seconds;
use crate::render::explain::party;
use crate::render::text::safe;
use crate::top::glyphs::Bar;
use crate::top::look::{Look, Pane};
use crate::top::rows::Row;

/// Draws the VMs; the list moves so that the cursor is seen.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>, look: &mut Look) {
    let (rows, cursor) = listed(scene.fleet, look);
    let columns = Columns::of(&rows, look, scene, usize::from(area.width));
    let has_focus = look.pane == Pane::Vms;
    let shown = usize::from(area.height.saturating_sub(1));
    let first = (cursor + 1).saturating_sub(shown);
    let head = Line::styled(columns.head(scene), heading(has_focus));
    let lines = rows.iter().enumerate().skip(first).take(shown).map(|(number, row)| {
        let line = columns.line(row, scene);
        let is_here = has_focus && number == cursor;
        if is_here { line.style(Style::new().add_modifier(Modifier::REVERSED)) } else { line }
    });
    let empty = rows.is_empty().then(|| Line::raw(why_empty(scene, look)));
    let all = std::iter::once(head).chain(lines).chain(empty);
    for (line, at) in all.zip(area.rows()) {
        frame.render_widget(line, at);
    }
}

fn why_empty(scene: &Scene<'_>, look: &Look) -> String {
    let is_heard = scene.fleet.hosts.iter().any(|host| host.heard.is_some());
    match (is_heard, look.filter.is_empty()) {
        (false, _) => "no host has told anything yet".to_owned(),
        (true, false) => format!("no VM has \"{}\": Esc clears the filter", safe(&look.filter)),
        (true, true) => "no VM is running".to_owned(),
    }
}

/// Widths of the columns; 0 for one that has no room.
struct Columns {
    host: usize,
    name: usize,
    bar: usize,
    /// How many of used, actual, target, min and max.
    amounts: usize,
    age: bool,
    curve: usize,
    rest: usize,
}

impl Columns {
    fn of(rows: &[Row<'_>], look: &Look, scene: &Scene<'_>, width: usize) -> Self {
        let widest = |of: fn(&Row<'_>) -> usize, most: usize| {
            rows.iter().map(of).max().unwrap_or(0).clamp(4, most)
        };
        let name = widest(
            |row| safe(row.view.vm.vm.label()).chars().count() + 1,
            (width / 4).clamp(4, 24),
        );
        let host = widest(|row| safe(&row.host.name).chars().count(), 16);
        let many = scene.fleet.hosts.len() > 1 && look.host.is_none() && width >= 60;
        let host = if many { host } else { 0 };
        let amounts = match (width, look.is_wide) {
            (..50, _) => 1,
            (50..100, _) => 2,
            (100..110, _) | (110.., false) => 3,
            (110.., true) => 5,
        };
        let (age, curve) = (width >= 90, if width >= 100 { 16 } else { 0 });
        let column = |width: usize| if width == 0 { 0 } else { width + GAP };
        let fixed = column(host) + column(name) + column(STATE) + amounts * column(AMOUNT);
        let fixed = fixed + column(if age { AGE } else { 0 }) + column(curve);
        let left = width.saturating_sub(fixed);
        let bar = match left {
            ..10 => 0,
            10..30 => left - GAP,
            30.. => (left / 2).min(32),
        };
        Self { host, name, bar, amounts, age, curve, rest: left.saturating_sub(column(bar)) }
    }

    fn head(&self, scene: &Scene<'_>) -> String {
        let more = scene.glyphs.more;
        let mut parts = Vec::new();
        parts.extend((self.host > 0).then(|| left("HOST", self.host, more)));
        parts.extend([left("VM", self.name, more), left("STATE", STATE, more)]);
        parts.extend((self.bar > 0).then(|| left("MEMORY", self.bar, more)));
        parts.extend(AMOUNTS.iter().take(self.amounts).map(|head| right(head, AMOUNT, more)));
        parts.extend(self.age.then(|| right("AGE", AGE, more)));
        parts.extend((self.curve > 0).then(|| left("PAST", self.curve, more)));
        parts.push(fitted("DECIDED", self.rest, more));
        parts.join(SPACE)
    }

    fn line(&self, row: &Row<'_>, scene: &Scene<'_>) -> Line<'static> {
        let more = scene.glyphs.more;
        let vm = &row.view.vm;
        let memory = vm.memory.as_ref();
        let pin = if row.host.is_pinned(vm) { "*" } else { "" };
        let name = format!("{}{pin}", safe(vm.vm.label()));
        let mut spans = Vec::new();
        spans.extend((self.host > 0).then(|| left(&safe(&row.host.name), self.host, more).into()));
        spans.push(Span::raw(left(&name, self.name, more)));
        let state = vm.state.to_ascii_uppercase();
        spans.push(Span::styled(left(&state, STATE, more), state_style(row, scene)));
        if self.bar > 0 {
            let text = scene.glyphs.bar(bar(vm), self.bar);
            spans.push(Span::styled(left(&text, self.bar, more), bar_style(vm, scene)));
        }
        let figures = [
            memory.and_then(|m| m.used_bytes),
            memory.map(|m| m.actual_bytes),
            memory.and_then(|m| m.target_bytes),
            memory.map(|m| m.min_bytes),
            memory.map(|m| m.max_bytes),
        ];
        let amounts = figures.into_iter().take(self.amounts);
        spans.extend(
            amounts.map(|bytes| right(&amount(bytes, scene.view.units), AMOUNT, more).into()),
        );
        if self.age {
            let age = memory.and_then(|m| m.figures_age_seconds).map(format_seconds);
            spans.push(Span::raw(right(age.as_deref().unwrap_or("-"), AGE, more)));
        }
        if self.curve > 0 {
            let most = memory.map_or(0, |m| m.max_bytes);
            let past = row.view.past.iter().copied();
            spans.push(Span::raw(scene.glyphs.curve(past, most, self.curve)));
        }
        spans.push(Span::raw(fitted(&decided(row), self.rest, more)));
        let mut line = Vec::with_capacity(2 * spans.len());
        for span in spans {
            if !line.is_empty() {
                line.push(Span::raw(SPACE));
            }
            line.push(span);
        }
        let line = Line::from(line);
        // What is shown of a host that is not heard was so once.
        if row.host.is_live() { line } else { line.style(Style::new().add_modifier(Modifier::DIM)) }
    }
}

/// What it uses and holds of what it may hold at most, with marks at its target and its least.
fn bar(vm: &Vm) -> Bar {
    let Some(memory) = &vm.memory else { return Bar::default() };
    Bar {
        used: memory.used_bytes.unwrap_or(0),
        held: memory.actual_bytes,
        whole: memory.max_bytes,
        target: memory.target_bytes,
        min: Some(memory.min_bytes),
    }
}

/// The verdict, and the transfers of the last tick that it is a part of.
fn decided(row: &Row<'_>) -> String {
    let verdict = row.view.vm.verdict.as_ref();
    let mut text = verdict.map_or_else(String::new, |v| format!("{} {}", v.kind, v.reason));
    let own = |transfer: &&Transfer| {
        [&transfer.from, &transfer.to].into_iter().flatten().any(|vm| *vm == row.view.vm.vm)
    };
    for transfer in row.host.transfers.iter().filter(own) {
        let is_giver = transfer.from.as_ref() == Some(&row.view.vm.vm);
        let amount =
            crate::quantity::format_size(transfer.amount_bytes, crate::quantity::Units::Iec);
        let other = party(if is_giver { transfer.to.as_ref() } else { transfer.from.as_ref() });
        let way = if is_giver { "to" } else { "from" };
        text.push_str(&format!("; {amount} {way} {other}"));
    }
    safe(&text).into_owned()
}

fn state_style(row: &Row<'_>, scene: &Scene<'_>) -> Style {
    match &*row.view.vm.state {
        "running" => paint(scene, Color::Green),
        _ => paint(scene, Color::Yellow),
    }
}

/// A VM that grows, and one that uses nearly all that it holds, are seen from afar.
fn bar_style(vm: &Vm, scene: &Scene<'_>) -> Style {
    let full = vm.memory.as_ref().and_then(|memory| {
        let used = memory.used_bytes?;
        Some(used >= memory.actual_bytes - memory.actual_bytes / 16)
    });
    match vm.verdict.as_ref().map(|verdict| &*verdict.kind) {
        _ if full == Some(true) => paint(scene, Color::Red),
        Some("grow") => paint(scene, Color::Cyan),
        Some("shrink") => paint(scene, Color::Blue),
        _ => Style::new(),
    }
}

const AMOUNTS: [&str; 5] = ["USED", "ACTUAL", "TARGET", "MIN", "MAX"];
const STATE: usize = 10;
const AMOUNT: usize = 9;
const AGE: usize = 6;
const GAP: usize = 2;
const SPACE: &str = "  ";
