//! The terminal: taken over, given back whatever happens, and its keys.

use std::io;
use std::thread;
use std::time::Duration;

use ratatui::{DefaultTerminal, Frame, crossterm};
use tokio::sync::mpsc;

use super::keys::Key;

/// The whole screen, until it is dropped. A panic gives it back as well, before its message is told.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// Takes the terminal over.
    pub(super) fn enter() -> io::Result<Self> {
        Ok(Self { terminal: ratatui::try_init()? })
    }

    /// Draws a picture.
    pub(super) fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(picture).map(|_| ())
    }

    /// Lines that are a page.
    pub(super) fn page(&self) -> usize {
        let height = self.terminal.size().map_or(0, |size| size.height);
        usize::from(height / 2).max(1)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Where it cannot be given back there is no terminal any more.
        let _ = ratatui::try_restore();
    }
}

/// The keys that are pressed, from a thread of their own: reading a terminal blocks. It ends with its
/// reader, or with the terminal.
pub(super) fn keys() -> io::Result<mpsc::Receiver<Key>> {
    let (sender, keys) = mpsc::channel(KEYS);
    thread::Builder::new().name("keys".to_owned()).spawn(move || {
        while !sender.is_closed() {
            match crossterm::event::poll(LOOK)
                .and_then(|there| there.then(crossterm::event::read).transpose())
            {
                Ok(None) => {}
                Ok(Some(event)) => {
                    let Some(key) = Key::of(&event) else { continue };
                    if sender.blocking_send(key).is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    })?;
    Ok(keys)
}

/// Keys that wait.
const KEYS: usize = 64;
/// How often the thread looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);
