//! What the person has chosen to see, and what a key does to it.

#![expect(clippy::wildcard_enum_match_arm, reason = "most keys mean nothing in most places")]

use std::rc::Rc;

use crate::commands::mode::WantedMode;
use crate::render::View;
use crate::render::explain::story;
use crate::render::text::safe;

use super::calls::{Answer, Call};
use super::fleet::Fleet;
use super::keys::Key;
use super::rows::{Row, Sort, rows};

/// Everything that the person has chosen.
#[derive(Debug)]
pub(super) struct Look {
    /// Where the keys that move go.
    pub(super) pane: Pane,
    /// The only host whose VMs are listed, by its number; none for all.
    pub(super) host: Option<usize>,
    /// The host under the cursor.
    pub(super) host_cursor: usize,
    /// The VM under the cursor: its host's number and its UUID.
    pub(super) vm: Option<(usize, String)>,
    /// Lines that the list of events is scrolled back.
    pub(super) back: usize,
    /// What VMs have to have in their words.
    pub(super) filter: String,
    /// Whether keys go into the filter.
    pub(super) is_typing: bool,
    /// The order of the VMs.
    pub(super) sort: Sort,
    /// Whether it is turned round.
    pub(super) is_reverse: bool,
    /// Whether more columns are shown.
    pub(super) is_wide: bool,
    /// The fleet as it was when the picture was frozen.
    pub(super) frozen: Option<Rc<Fleet>>,
    /// What lies over the screen.
    pub(super) window: Window,
    /// The last thing that was said, until the next key.
    pub(super) said: String,
    /// Whether nothing can be changed.
    pub(super) is_read_only: bool,
}

/// A part of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pane {
    /// The hosts.
    Hosts,
    /// The VMs.
    #[default]
    Vms,
    /// What happened.
    Events,
}

/// What lies over the screen.
#[derive(Debug, Default)]
pub(super) enum Window {
    /// Nothing.
    #[default]
    None,
    /// What the keys do.
    Help,
    /// A text to read.
    Text {
        /// What it is about.
        title: String,
        /// The text.
        text: String,
        /// Lines that it is scrolled down.
        down: u16,
    },
    /// Which mode a host is to have.
    Mode {
        /// The host's number.
        host: usize,
    },
    /// Whether to do it.
    Confirm {
        /// What would be done.
        question: String,
        /// The doing.
        call: Call,
    },
}

/// What a key leads to beyond what is seen.
#[derive(Debug)]
pub(super) enum Action {
    /// Nothing.
    Nothing,
    /// An agent is to be called.
    Call(Call),
    /// The end.
    Quit,
    /// The end, by Ctrl-C.
    Interrupt,
}

impl Look {
    /// All VMs of all hosts, by name.
    pub(super) fn new(is_read_only: bool) -> Self {
        Self {
            pane: Pane::Vms,
            host: None,
            host_cursor: 0,
            vm: None,
            back: 0,
            filter: String::new(),
            is_typing: false,
            sort: Sort::Name,
            is_reverse: false,
            is_wide: false,
            frozen: None,
            window: Window::None,
            said: String::new(),
            is_read_only,
        }
    }

    /// Where the cursor is in these rows: on its VM, or where that was.
    pub(super) fn cursor(&self, rows: &[Row<'_>]) -> Option<usize> {
        let (number, uuid) = self.vm.as_ref()?;
        rows.iter().position(|row| row.number == *number && row.view.vm.vm.uuid == *uuid)
    }

    /// Does what a key asks for; `page` is how many lines are a page.
    pub(super) fn press(&mut self, key: Key, live: &Fleet, page: usize) -> Action {
        let frozen = self.frozen.clone();
        let fleet = frozen.as_deref().unwrap_or(live);
        match key {
            Key::Interrupt => return Action::Interrupt,
            Key::Resized => return Action::Nothing,
            _ => self.said.clear(),
        }
        if !matches!(self.window, Window::None) {
            return self.press_in_window(key, fleet);
        }
        if self.is_typing {
            self.type_filter(key);
            return Action::Nothing;
        }
        match key {
            Key::Char('q') => return Action::Quit,
            Key::Char('?' | 'h') => self.window = Window::Help,
            Key::Char('/') => self.is_typing = true,
            Key::Char('s') => self.sort = self.sort.next(),
            Key::Char('S') => self.is_reverse = !self.is_reverse,
            Key::Char('w') => self.is_wide = !self.is_wide,
            Key::Char('f') => {
                self.frozen = if frozen.is_some() { None } else { Some(Rc::new(live.clone())) };
            }
            Key::Char('m' | 'p') => self.choose_mode(fleet),
            Key::Char('P') => self.choose_pin(fleet),
            Key::Char('0') => self.host = None,
            Key::Char(digit @ '1'..='9') => self.choose_host(digit, fleet),
            Key::Tab => self.pane = self.pane.next(),
            Key::BackTab => self.pane = self.pane.next().next(),
            Key::Escape => self.step_back(),
            Key::Enter => return self.enter(fleet),
            key => self.travel(key, fleet, page),
        }
        Action::Nothing
    }

    /// Notes what a call said when it was made.
    pub(super) fn told(&mut self, text: String) {
        self.said = text;
    }

    /// Notes what an agent answered.
    pub(super) fn answered(&mut self, answer: Answer, view: &View) {
        match answer {
            Answer::Explained { host, title, result: Ok(explanation) } => {
                // The person may have gone on to something else meanwhile.
                if matches!(self.window, Window::None | Window::Text { .. }) {
                    let view = View { color: false, many_hosts: true, ..view.clone() };
                    let text = story(&host, &explanation, &view);
                    self.window = Window::Text { title, text, down: 0 };
                    self.said.clear();
                }
            }
            Answer::Explained { title, result: Err(failure), .. } => {
                self.said = format!("{title}: {}", failure.in_one_line());
            }
            Answer::Done { what, result: Ok(()) } => self.said = format!("{what}: done"),
            Answer::Done { what, result: Err(failure) } => {
                self.said = format!("{what}: not done: {}", failure.in_one_line());
            }
        }
    }

    fn press_in_window(&mut self, key: Key, fleet: &Fleet) -> Action {
        match (std::mem::take(&mut self.window), key) {
            (_, Key::Escape | Key::Char('q')) | (Window::None, _) => {}
            (Window::Help, _) => {}
            (Window::Text { title, text, down }, key) => {
                let lines = u16::try_from(text.lines().count()).unwrap_or(u16::MAX);
                let last = lines.saturating_sub(1);
                let down = match key {
                    Key::Up | Key::Char('k') => down.saturating_sub(1),
                    Key::Down | Key::Char('j') => down.saturating_add(1).min(last),
                    Key::PageUp | Key::HalfUp => down.saturating_sub(10),
                    Key::PageDown | Key::HalfDown => down.saturating_add(10).min(last),
                    Key::Home | Key::Char('g') => 0,
                    Key::End | Key::Char('G') => last,
                    Key::Enter => return Action::Nothing,
                    _ => down,
                };
                self.window = Window::Text { title, text, down };
            }
            (Window::Mode { host }, key) => self.window = mode_window(host, key, fleet),
            (Window::Confirm { call, .. }, Key::Char('y')) => return Action::Call(call),
            (Window::Confirm { .. }, _) => self.said = "nothing was changed".to_owned(),
        }
        Action::Nothing
    }

    fn type_filter(&mut self, key: Key) {
        match key {
            Key::Char(c) if self.filter.chars().count() < FILTER => self.filter.push(c),
            Key::Backspace => {
                self.filter.pop();
            }
            Key::Enter => self.is_typing = false,
            Key::Escape => {
                self.is_typing = false;
                self.filter.clear();
            }
            _ => {}
        }
    }

    fn step_back(&mut self) {
        if !self.filter.is_empty() {
            self.filter.clear();
        } else if self.back > 0 {
            self.back = 0;
        } else {
            self.host = None;
        }
    }

    fn choose_host(&mut self, digit: char, fleet: &Fleet) {
        let number = digit.to_digit(10).and_then(|n| usize::try_from(n).ok()?.checked_sub(1));
        if let Some(number) = number.filter(|number| *number < fleet.hosts.len()) {
            self.host = Some(number);
            self.host_cursor = number;
        }
    }

    /// The host that a key means: the one under the cursor, be that on a VM of it.
    fn meant_host(&self, fleet: &Fleet) -> Option<usize> {
        let number = match self.pane {
            Pane::Hosts | Pane::Events => self.host_cursor,
            Pane::Vms => self.meant_vm(fleet).map_or(self.host_cursor, |row| row.number),
        };
        Some(number).filter(|number| *number < fleet.hosts.len())
    }

    fn meant_vm<'a>(&self, fleet: &'a Fleet) -> Option<Row<'a>> {
        let rows = rows(fleet, self);
        let cursor = self.cursor(&rows).unwrap_or(0);
        rows.get(cursor).copied()
    }

    fn choose_mode(&mut self, fleet: &Fleet) {
        if self.is_read_only {
            self.said = READ_ONLY.to_owned();
        } else if let Some(host) = self.meant_host(fleet) {
            self.window = Window::Mode { host };
        }
    }

    fn choose_pin(&mut self, fleet: &Fleet) {
        if self.is_read_only {
            self.said = READ_ONLY.to_owned();
            return;
        }
        let Some(row) = self.meant_vm(fleet) else { return };
        let pinned = !row.host.is_pinned(&row.view.vm);
        let (vm, place) = (safe(row.view.vm.vm.label()), safe(&row.host.name));
        let question = match pinned {
            true => format!("Pin {vm} on {place}, so that its memory stays as it is?"),
            false => format!("Unpin {vm} on {place}, so that its memory may move again?"),
        };
        let (host, meant) = (row.number, &row.view.vm.vm);
        let name = if row.host.pinned.contains(&meant.uuid) { &meant.uuid } else { &meant.name };
        let call = match row.view.vm.pinned_until {
            Some(_) => Call::Unpin { host, vm: meant.clone() },
            None => Call::Pin { host, vm: name.clone(), pinned },
        };
        self.window = Window::Confirm { question, call };
    }

    fn enter(&mut self, fleet: &Fleet) -> Action {
        match self.pane {
            Pane::Vms => {
                let Some(row) = self.meant_vm(fleet) else { return Action::Nothing };
                let vm = row.view.vm.vm.clone();
                self.vm = Some((row.number, vm.uuid.clone()));
                Action::Call(Call::Explain { host: row.number, vm })
            }
            Pane::Hosts => {
                self.host = match self.host {
                    Some(host) if host == self.host_cursor => None,
                    _ => Some(self.host_cursor),
                };
                let host = fleet.hosts.get(self.host_cursor);
                let why = host.and_then(|host| Some((&host.name, host.line.why()?)));
                if let Some((name, why)) = why {
                    let (title, text) = (safe(name).into_owned(), safe(&why).into_owned());
                    self.window = Window::Text { title, text, down: 0 };
                }
                Action::Nothing
            }
            Pane::Events => Action::Nothing,
        }
    }

    /// Moves the cursor of the pane.
    fn travel(&mut self, key: Key, fleet: &Fleet, page: usize) {
        match self.pane {
            Pane::Hosts => {
                self.host_cursor = moved(self.host_cursor, key, fleet.hosts.len(), page);
            }
            Pane::Vms => {
                let rows = rows(fleet, self);
                let cursor = moved(self.cursor(&rows).unwrap_or(0), key, rows.len(), page);
                let key = rows.get(cursor).map(|row| (row.number, row.view.vm.vm.uuid.clone()));
                self.vm = key;
            }
            Pane::Events => {
                // Back in time is up on the screen.
                let all = fleet.events.len();
                let from_top = all.saturating_sub(1).saturating_sub(self.back);
                let at = moved(from_top, key, all, page);
                self.back = all.saturating_sub(1).saturating_sub(at);
            }
        }
    }
}

impl Pane {
    const fn next(self) -> Self {
        match self {
            Self::Hosts => Self::Vms,
            Self::Vms => Self::Events,
            Self::Events => Self::Hosts,
        }
    }
}

/// Where a cursor goes among so many lines.
fn moved(at: usize, key: Key, lines: usize, page: usize) -> usize {
    let last = lines.saturating_sub(1);
    let half = page / 2;
    let to = match key {
        Key::Up | Key::Char('k') => at.saturating_sub(1),
        Key::Down | Key::Char('j') => at.saturating_add(1),
        Key::PageUp => at.saturating_sub(page),
        Key::PageDown => at.saturating_add(page),
        Key::HalfUp => at.saturating_sub(half),
        Key::HalfDown => at.saturating_add(half),
        Key::Home | Key::Char('g') => 0,
        Key::End | Key::Char('G') => last,
        _ => at,
    };
    to.min(last)
}

fn mode_window(host: usize, key: Key, fleet: &Fleet) -> Window {
    let mode = match key {
        Key::Char('a') => WantedMode::Active,
        Key::Char('o') => WantedMode::Observe,
        Key::Char('p') => WantedMode::Paused,
        _ => return Window::Mode { host },
    };
    let name = fleet.hosts.get(host).map_or("", |host| &host.name);
    let what = match mode {
        WantedMode::Active => "active: decisions are carried out",
        WantedMode::Observe => "observe: decisions are made and published, never carried out",
        WantedMode::Paused => "paused: every VM keeps what it has",
    };
    let question = format!("Set {} to {what}?", safe(name));
    Window::Confirm { question, call: Call::Mode { host, mode } }
}

const READ_ONLY: &str = "top runs with --read-only: nothing can be changed from here";
/// Characters of a filter.
const FILTER: usize = 64;
