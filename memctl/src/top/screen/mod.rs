//! The picture: hosts above, their VMs below, what happened last, and a line of keys. A pure function
//! of what was told and what was chosen; whatever does not fit is left out, the least needed first.

mod hosts;
mod text;
mod vms;
mod window;

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use tokio::time::Instant;

use super::fleet::Fleet;
use super::glyphs::Glyphs;
use super::look::{Look, Pane};
use super::rows::rows;
use crate::render::View;
use crate::render::text::{date_time, safe};

/// What there is to draw, and with what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    /// What the hosts told.
    pub(super) fleet: &'a Fleet,
    /// Units, zone, colours.
    pub(super) view: &'a View,
    /// Characters.
    pub(super) glyphs: &'a Glyphs,
    /// Now, for ages.
    pub(super) now: Instant,
    /// Now, for people.
    pub(super) clock: Timestamp,
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, scene: &Scene<'_>, look: &mut Look) {
    let frozen = look.frozen.clone();
    let scene = Scene { fleet: frozen.as_deref().unwrap_or(scene.fleet), ..*scene };
    let [title, hosts, vms, events, keys] = areas(frame.area(), scene.fleet.hosts.len());
    frame.render_widget(headline(&scene, look), title);
    hosts::draw(frame, hosts, &scene, look);
    vms::draw(frame, vms, &scene, look);
    draw_events(frame, events, &scene, look);
    frame.render_widget(footer(&scene, look), keys);
    window::draw(frame, &scene, look);
}

/// Title, hosts, VMs, events, keys.
fn areas(whole: Rect, hosts: usize) -> [Rect; 5] {
    let hosts = u16::try_from(hosts).unwrap_or(u16::MAX).saturating_add(1);
    let hosts = hosts.min(whole.height / 3).max(2);
    let events = if whole.height < SHORT { 0 } else { (whole.height / 5).clamp(4, 12) };
    Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(hosts),
        Constraint::Min(3),
        Constraint::Length(events),
        Constraint::Length(1),
    ])
    .areas(whole)
}

fn headline(scene: &Scene<'_>, look: &Look) -> Line<'static> {
    let fleet = scene.fleet;
    let unheard = fleet.hosts.iter().filter(|host| !host.is_live()).count();
    let vms: usize = fleet.hosts.iter().map(|host| host.vms.len()).sum();
    let mut parts = vec![
        format!("memctl top  {}", date_time(scene.clock, &scene.view.zone)),
        format!("{}, {}", counted(fleet.hosts.len(), "host"), counted(vms, "VM")),
    ];
    parts.extend((unheard > 0).then(|| format!("{unheard} not connected")));
    parts.extend(look.frozen.as_ref().map(|_| "FROZEN".to_owned()));
    parts.extend(look.is_read_only.then(|| "read-only".to_owned()));
    let chosen = look.host.and_then(|number| fleet.hosts.get(number));
    parts.extend(chosen.map(|host| format!("only {}", safe(&host.name))));
    let turned = if look.is_reverse { " (reversed)" } else { "" };
    parts.push(format!("by {}{turned}", look.sort.word()));
    if look.is_typing || !look.filter.is_empty() {
        let cursor = if look.is_typing { "_" } else { "" };
        parts.push(format!("/{}{cursor}", safe(&look.filter)));
    }
    Line::styled(parts.join("  "), Style::new().add_modifier(Modifier::BOLD))
}

fn counted(count: usize, word: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {word}{plural}")
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>, look: &Look) {
    if area.height < 2 {
        return;
    }
    let back = if look.back == 0 { String::new() } else { format!("  {} lines back", look.back) };
    let head = format!("EVENTS{back}");
    let mut lines = vec![Line::styled(head, heading(look.pane == Pane::Events))];
    let events = &scene.fleet.events;
    let end = events.len().saturating_sub(look.back);
    let begin = end.saturating_sub(usize::from(area.height) - 1);
    let shown = events.range(begin..end);
    lines.extend(shown.map(|event| {
        Line::raw(text::fitted(&safe(event), usize::from(area.width), scene.glyphs.more))
    }));
    for (line, at) in lines.into_iter().zip(area.rows()) {
        frame.render_widget(line, at);
    }
}

fn footer(scene: &Scene<'_>, look: &Look) -> Line<'static> {
    if !look.said.is_empty() {
        return Line::styled(safe(&look.said).into_owned(), paint(scene, Color::Yellow));
    }
    let change = if look.is_read_only { "" } else { "  m mode  P pin" };
    let keys = format!(
        "? help  q quit  Tab pane  Enter explain  / filter  s sort  f freeze  w wide{change}"
    );
    Line::from(Span::styled(keys, Style::new().add_modifier(Modifier::DIM)))
}

/// The head of a part of the screen; marked where the keys go to it.
fn heading(is_focused: bool) -> Style {
    let style = Style::new().add_modifier(Modifier::BOLD);
    if is_focused { style.add_modifier(Modifier::UNDERLINED) } else { style }
}

/// A colour, where there are to be any.
fn paint(scene: &Scene<'_>, color: Color) -> Style {
    if scene.view.color { Style::new().fg(color) } else { Style::new() }
}

/// The rows to list, with the cursor among them. It is kept on its VM; where that is gone, on the
/// first.
fn listed<'a>(fleet: &'a Fleet, look: &mut Look) -> (Vec<super::rows::Row<'a>>, usize) {
    let rows = rows(fleet, look);
    let cursor = look.cursor(&rows).unwrap_or(0);
    look.vm = rows.get(cursor).map(|row| (row.number, row.view.vm.vm.uuid.clone()));
    (rows, cursor)
}

/// Below this height there is no room for what happened.
const SHORT: u16 = 18;
