//! The hosts: one line each, whether they are heard or not.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::text::{amount, fitted, left, right};
use super::{Scene, heading, paint};
use crate::quantity::format_seconds;
use crate::render::text::safe;
use crate::top::fleet::HostView;
use crate::top::glyphs::Bar;
use crate::top::look::{Look, Pane};

/// Draws the hosts; the list moves so that the cursor is seen.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>, look: &mut Look) {
    let hosts = &scene.fleet.hosts;
    look.host_cursor = look.host_cursor.min(hosts.len().saturating_sub(1));
    let columns = Columns::of(scene, usize::from(area.width));
    let has_focus = look.pane == Pane::Hosts;
    let shown = usize::from(area.height.saturating_sub(1));
    let first = (look.host_cursor + 1).saturating_sub(shown);
    let head = Line::styled(columns.head(scene), heading(has_focus));
    let lines = hosts.iter().enumerate().skip(first).take(shown).map(|(number, host)| {
        let line = columns.line(host, scene);
        let is_here = has_focus && number == look.host_cursor;
        if is_here { line.style(Style::new().add_modifier(Modifier::REVERSED)) } else { line }
    });
    for (line, at) in std::iter::once(head).chain(lines).zip(area.rows()) {
        frame.render_widget(line, at);
    }
}

/// Widths of the columns; 0 for one that has no room.
struct Columns {
    name: usize,
    bar: usize,
    amounts: bool,
    pressure: bool,
    trouble: usize,
}

impl Columns {
    fn of(scene: &Scene<'_>, width: usize) -> Self {
        let names = scene.fleet.hosts.iter().map(|host| safe(&host.name).chars().count());
        let name = names.max().unwrap_or(0).clamp(4, 20).min(width / 3);
        let (amounts, pressure) = (width >= 100, width >= 140);
        let fixed = name + GAP + STATE + GAP + MODE + GAP + VMS + GAP + AGE + GAP;
        let amounts_take = if amounts { 2 * (AMOUNT + GAP) } else { 0 };
        let pressure_takes = if pressure { PRESSURE + GAP } else { 0 };
        let rest = width.saturating_sub(fixed + amounts_take + pressure_takes);
        // What is wrong matters more than a bar.
        let bar = if rest < 36 { 0 } else { (rest / 3).clamp(10, 30) };
        Self { name, bar, amounts, pressure, trouble: rest.saturating_sub(bar + GAP) }
    }

    fn head(&self, scene: &Scene<'_>) -> String {
        let more = scene.glyphs.more;
        let mut parts = vec![
            left("HOST", self.name, more),
            left("STATE", STATE, more),
            left("MODE", MODE, more),
            right("VMS", VMS, more),
            right("AGE", AGE, more),
        ];
        if self.amounts {
            parts.extend([right("USABLE", AMOUNT, more), right("TOTAL", AMOUNT, more)]);
        }
        if self.pressure {
            parts.push(right("PRESSURE", PRESSURE, more));
        }
        if self.bar > 0 {
            parts.push(left("MEMORY", self.bar, more));
        }
        parts.push(fitted("TROUBLE", self.trouble, more));
        parts.join(SPACE)
    }

    fn line(&self, host: &HostView, scene: &Scene<'_>) -> Line<'static> {
        let more = scene.glyphs.more;
        let (memory, units) = (host.memory.as_ref(), scene.view.units);
        let age = host.silence(scene.now);
        let age_text = age.map_or_else(|| "-".to_owned(), |age| format_seconds(age.as_secs_f64()));
        let mode = if host.mode.is_empty() { "-" } else { &host.mode };
        let old = age.is_some_and(|age| age > OLD);
        let mut spans = vec![
            Span::raw(left(&safe(&host.name), self.name, more)),
            Span::styled(left(&host.word(scene.now), STATE, more), state_style(host, scene)),
            Span::styled(left(mode, MODE, more), mode_style(mode, scene)),
            Span::raw(right(&host.vms.len().to_string(), VMS, more)),
            Span::styled(right(&age_text, AGE, more), warned(old, scene)),
        ];
        if self.amounts {
            let figures = [memory.map(|m| m.usable_bytes), memory.map(|m| m.total_bytes)];
            let texts = figures.map(|bytes| right(&amount(bytes, units), AMOUNT, more));
            spans.extend(texts.map(Span::raw));
        }
        if self.pressure {
            let shares = memory.and_then(|m| m.pressure_some_percent.zip(m.pressure_full_percent));
            let text = shares
                .map_or_else(|| "-".to_owned(), |(some, full)| format!("{some:.1}/{full:.1}%"));
            spans.push(Span::raw(right(&text, PRESSURE, more)));
        }
        if self.bar > 0 {
            let text = scene.glyphs.bar(bar(host), self.bar);
            spans.push(Span::raw(left(&text, self.bar, more)));
        }
        let trouble = host.line.why().unwrap_or_else(|| host.trouble.clone());
        let text = fitted(&safe(&trouble), self.trouble, more);
        spans.push(Span::styled(text, warned(!trouble.is_empty(), scene)));
        let mut line = Vec::with_capacity(2 * spans.len());
        for span in spans {
            if !line.is_empty() {
                line.push(Span::raw(SPACE));
            }
            line.push(span);
        }
        Line::from(line)
    }
}

/// What VMs hold, and with it all that is not usable, of what the host has; the mark is its reserve,
/// counted from the end.
fn bar(host: &HostView) -> Bar {
    let Some(memory) = &host.memory else { return Bar::default() };
    let pool = host.pool.as_ref();
    Bar {
        used: pool.map_or(0, |pool| pool.actual_bytes),
        held: memory.total_bytes.saturating_sub(memory.usable_bytes),
        whole: memory.total_bytes,
        target: pool.map(|pool| memory.total_bytes.saturating_sub(pool.reserve_bytes)),
        min: None,
    }
}

fn state_style(host: &HostView, scene: &Scene<'_>) -> Style {
    match (host.is_live(), host.trouble.is_empty()) {
        (true, true) => paint(scene, Color::Green),
        (true, false) => paint(scene, Color::Yellow),
        (false, _) => warned(true, scene),
    }
}

fn mode_style(mode: &str, scene: &Scene<'_>) -> Style {
    match mode {
        "active" => paint(scene, Color::Green),
        _ => paint(scene, Color::Yellow),
    }
}

/// Conspicuous, also without colours.
fn warned(is_wrong: bool, scene: &Scene<'_>) -> Style {
    if is_wrong { paint(scene, Color::Red).add_modifier(Modifier::BOLD) } else { Style::new() }
}

const STATE: usize = 13;
const MODE: usize = 7;
const VMS: usize = 5;
const AGE: usize = 6;
const AMOUNT: usize = 9;
const PRESSURE: usize = 12;
const GAP: usize = 2;
const SPACE: &str = "  ";
/// Agents tell something every second; one that was silent for this long is looked at.
const OLD: Duration = Duration::from_secs(5);
