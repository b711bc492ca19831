//! What lies over the screen: help, a text to read, a question.

use ratatui::Frame;
use ratatui::layout::{Constraint, Flex, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

use super::Scene;
use crate::render::text::safe;
use crate::top::look::{Look, Window};

/// Draws the window, where there is one.
pub(super) fn draw(frame: &mut Frame<'_>, scene: &Scene<'_>, look: &Look) {
    let name = |number: usize| {
        scene.fleet.hosts.get(number).map_or(String::new(), |host| safe(&host.name).into_owned())
    };
    match &look.window {
        Window::None => {}
        Window::Help => show(frame, scene, "Keys", HELP, 0),
        Window::Text { title, text, down } => show(frame, scene, title, text, *down),
        Window::Mode { host } => {
            let title = format!("Mode of {}", name(*host));
            show(frame, scene, &title, MODES, 0);
        }
        Window::Confirm { question, .. } => {
            show(frame, scene, "Sure?", &format!("{question}\n\ny yes, any other key no"), 0);
        }
    }
}

fn show(frame: &mut Frame<'_>, scene: &Scene<'_>, title: &str, text: &str, down: u16) {
    let lines: Vec<Line<'_>> = text.lines().map(Line::raw).collect();
    let widest = lines.iter().map(Line::width).max().unwrap_or(0).max(title.len());
    let area = frame.area();
    let width = u16::try_from(widest + 4).unwrap_or(u16::MAX).clamp(20.min(area.width), area.width);
    let inner = usize::from(width.saturating_sub(4).max(1));
    let height: usize = lines.iter().map(|line| line.width().div_ceil(inner).max(1)).sum();
    let height = u16::try_from(height + 2).unwrap_or(u16::MAX).min(area.height);
    let window = centred(area, width, height);
    let block = Block::bordered()
        .border_set(scene.glyphs.border)
        .title(Line::styled(format!(" {title} "), Style::new().add_modifier(Modifier::BOLD)))
        .padding(ratatui::widgets::Padding::horizontal(1));
    frame.render_widget(Clear, window);
    let text = Paragraph::new(lines).block(block).wrap(Wrap { trim: false }).scroll((down, 0));
    frame.render_widget(text, window);
}

fn centred(area: Rect, width: u16, height: u16) -> Rect {
    let [column] = Layout::horizontal([Constraint::Length(width)]).flex(Flex::Center).areas(area);
    let [window] = Layout::vertical([Constraint::Length(height)]).flex(Flex::Center).areas(column);
    window
}

const MODES: &str = "\
a  active   decisions are carried out
o  observe  decisions are made and published, never carried out
p  paused   nothing is decided; every VM keeps what it has

Esc leaves it as it is";

const HELP: &str = "\
q, Ctrl-C    quit
Tab          next pane: hosts, VMs, events
j k g G      down, up, first, last; arrows and pages as well
Enter        on a VM: explain it; on a host: only its VMs, and why it is down
1-9, 0       only the VMs of this host, of all
/            filter VMs by words; !words for those without
Esc          clear the filter, go back
s, S         next order, turn it round
w            more columns
f            freeze the picture, let it go on
m            change the mode of the host under the cursor
P            pin the VM under the cursor, or unpin it

Bars: used, held, free; marks at the target and the least.
* behind a name: the policy pins this VM.";
