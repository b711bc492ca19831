//! Keys, as far as `top` knows them.

#![expect(clippy::wildcard_enum_match_arm, reason = "most keys mean nothing in most places")]

use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A character.
    Char(char),
    Enter,
    Escape,
    Backspace,
    Tab,
    BackTab,
    Up,
    Down,
    Home,
    End,
    PageUp,
    PageDown,
    /// Ctrl-U.
    HalfUp,
    /// Ctrl-D.
    HalfDown,
    /// Ctrl-C.
    Interrupt,
    /// None at all: the terminal has another size.
    Resized,
}

impl Key {
    /// What a terminal reports; none where it means nothing here.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let key = match event {
            Event::Resize(..) => return Some(Self::Resized),
            Event::Key(key) if key.kind != KeyEventKind::Release => key,
            Event::Key(_) | Event::FocusGained | Event::FocusLost => return None,
            Event::Mouse(_) | Event::Paste(_) => return None,
        };
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if ctrl => Some(Self::Interrupt),
            KeyCode::Char('u') if ctrl => Some(Self::HalfUp),
            KeyCode::Char('d') if ctrl => Some(Self::HalfDown),
            KeyCode::Char(_) if ctrl => None,
            KeyCode::Char(c) => Some(Self::Char(c)),
            KeyCode::Enter => Some(Self::Enter),
            KeyCode::Esc => Some(Self::Escape),
            KeyCode::Backspace => Some(Self::Backspace),
            KeyCode::Tab => Some(Self::Tab),
            KeyCode::BackTab => Some(Self::BackTab),
            KeyCode::Up => Some(Self::Up),
            KeyCode::Down => Some(Self::Down),
            KeyCode::Home => Some(Self::Home),
            KeyCode::End => Some(Self::End),
            KeyCode::PageUp => Some(Self::PageUp),
            KeyCode::PageDown => Some(Self::PageDown),
            _ => None,
        }
    }
}
