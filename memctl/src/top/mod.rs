//! `memctl top`: all hosts on one screen. A host that is down is a line that says so, never an end.
//!
//! ```text
//! follow --News--> Fleet --+--> screen --> terminal
//! keys --Key--> Look ------+
//!        `--Action--> calls --Answer--> Look
//! ```
//!
//! `Fleet` is what the hosts told, `Look` what the person has chosen to see; the screen is a pure
//! function of both.

mod calls;
mod fleet;
mod glyphs;
mod keys;
mod look;
mod rows;
mod screen;
mod terminal;

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::commands::{Ended, Stop};
use crate::exit::Exit;
use crate::follow::News;
use crate::hosts::Host;
use crate::render::View;
use crate::stop_signals::StopSignals;
use calls::Calls;
use fleet::Fleet;
use glyphs::Glyphs;
use look::{Action, Look};
use screen::Scene;
use terminal::Screen;

/// How a person wants to look.
#[derive(Debug)]
pub(crate) struct Wish {
    /// Units, zone, colours.
    pub(crate) view: View,
    /// Time between two pictures of a fleet that nobody touches.
    pub(crate) delay: Duration,
    /// Time for one call to an agent.
    pub(crate) timeout: Duration,
    /// Whether nothing can be changed from here.
    pub(crate) read_only: bool,
    /// Whether only ASCII may be drawn.
    pub(crate) ascii: bool,
}

/// Shows what `news` tell of `hosts` until the person has seen enough.
pub(crate) async fn run(
    hosts: Vec<Host>,
    mut news: mpsc::Receiver<(usize, News)>,
    wish: Wish,
) -> Ended {
    let mut stop = StopSignals::listen()?;
    let glyphs = if wish.ascii { Glyphs::ASCII } else { Glyphs::UNICODE };
    let mut fleet = Fleet::new(&hosts, &wish.view);
    let mut look = Look::new(wish.read_only);
    let (mut calls, mut answers) = Calls::new(hosts, wish.timeout);
    let mut screen = Screen::enter()?;
    let mut keys = terminal::keys()?;
    let mut pictures = tokio::time::interval(wish.delay);
    pictures.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            exit = stop.next() => return Ok(exit),
            key = keys.recv() => match key {
                Some(key) => match look.press(key, &fleet, screen.page()) {
                    Action::Quit => return Ok(Exit::Done),
                    Action::Interrupt => return Ok(Exit::Interrupted),
                    Action::Nothing => {}
                    Action::Call(call) => look.told(calls.make(call)),
                },
                // The terminal is gone, and with it the person.
                None => return Ok(Exit::Done),
            },
            Some(answer) = answers.recv() => look.answered(answer, &wish.view),
            // Taken in at once, drawn with the next picture.
            Some((number, told)) = news.recv() => {
                fleet.take(number, told, Instant::now());
                continue;
            }
            _ = pictures.tick() => {}
        }
        let now = Instant::now();
        let clock = Timestamp::now();
        let scene = Scene { fleet: &fleet, view: &wish.view, glyphs: &glyphs, now, clock };
        screen.draw(|frame| screen::draw(frame, &scene, &mut look)).map_err(Stop::Output)?;
    }
}

#[cfg(test)]
mod tests;
