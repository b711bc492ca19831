//! The log: where its lines go, in which form, and how many of a kind there may be.
//!
//! ```text
//! tracing -> level of the config -> Throttle -> Lines -> journal, with fields    under systemd
//!                                                    \-> standard error, text or JSON    elsewhere
//!        \-> spans of ticks and calls -> OpenTelemetry                            feature `otel`
//! ```

mod journal;
mod lines;
#[cfg(feature = "otel")]
mod otel;
mod refusals;
mod throttle;

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::{Arc, OnceLock},
    time::Duration,
};

use tracing::Level;
use tracing_subscriber::{
    Layer, Registry,
    filter::{FilterExt as _, LevelFilter, Targets},
    layer::{Filter, SubscriberExt as _},
    reload,
    util::SubscriberInitExt as _,
};

use crate::{
    clock::RealClock,
    config::{Log, LogFormat},
};
use journal::Journal;
use lines::{Lines, Sink};
pub use refusals::Refusals;
use throttle::Throttle;

/// Begins to log.
///
/// # Errors
///
/// When the system gives no thread.
pub fn start(config: Log) -> io::Result<LogLevel> {
    let (wanted, level) = reload::Layer::new(wanted(config.level));
    let throttle = THROTTLE.get_or_init(|| Arc::new(Throttle::new(RealClock::start())));
    let few: Arc<dyn Filter<Registry> + Send + Sync> = throttle.clone();
    let lines = lines(config.format)?.with_filter(wanted.and(few));
    let log = tracing_subscriber::registry().with(lines);
    #[cfg(feature = "otel")]
    let log = log.with(otel::layer());
    // A second subscriber is refused, which can only be where a test set one.
    let _ = log.try_init();
    Ok(LogLevel(level))
}

/// The level of what is logged, to be changed while agentd runs.
#[derive(Clone, Debug)]
pub struct LogLevel(reload::Handle<Targets, Registry>);

impl LogLevel {
    /// Logs at this level from now on.
    pub fn set(&self, level: Level) {
        // Refused where there is no log any more.
        let _ = self.0.reload(wanted(level));
    }
}

/// Passes on what still waits, lines for [`GRACE`] at most.
pub fn stop() {
    flush();
    #[cfg(feature = "otel")]
    otel::stop();
}

/// Waits until lines that wait are written, for [`GRACE`] at most: for an end that comes without another word.
/// Whether they are.
pub fn flush() -> bool {
    LINES.get().is_none_or(|lines| lines.flush(GRACE))
}

/// Says how many lines were left out, of every kind of which there were too many a while ago, and how many
/// found no room. Called once a tick.
pub fn tell_left_out() {
    if let Some(lines) = LINES.get().and_then(Lines::news_of_lost) {
        tracing::warn!(
            lines,
            "lines of the log were lost since the start: the journal, or who reads standard error, does not \
             take them"
        );
    }
    let Some(throttle) = THROTTLE.get() else { return };
    for (line, lines) in throttle.take_left_out() {
        tracing::warn!(line, lines, "lines like this one were left out: there were too many");
    }
}

/// How many lines were left out since the start.
#[must_use]
pub fn left_out() -> u64 {
    THROTTLE.get().map_or(0, |throttle| throttle.left_out())
}

/// How many lines were lost since the start because nobody took them.
#[must_use]
pub fn lost() -> u64 {
    LINES.get().map_or(0, Lines::lost)
}

/// Our own lines at the level that is wanted; of the libraries only what is wrong. To HTTP/2's that is every client
/// which breaks its rules, and who attacks it would fill the log.
fn wanted(level: Level) -> Targets {
    Targets::new()
        .with_target("agentd", level)
        .with_target(SPANS, LevelFilter::OFF)
        .with_target("h2", level.min(Level::ERROR))
        .with_default(level.min(Level::WARN))
}

fn lines(format: LogFormat) -> io::Result<Box<dyn Layer<Registry> + Send + Sync>> {
    let journal = (format == LogFormat::Auto).then(journal::sink).flatten();
    let is_journal = journal.is_some();
    let stderr = || -> Sink { Box::new(|line| io::stderr().write_all(line)) };
    let lines = Lines::into(journal.unwrap_or_else(stderr))?;
    let lines = LINES.get_or_init(|| lines).clone();
    if is_journal {
        return Ok(Journal(lines).boxed());
    }
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || lines.clone())
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    Ok(match format {
        LogFormat::Auto | LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    })
}

/// Target of spans: what takes time, for a collector of OpenTelemetry. Lines do not show them.
pub const SPANS: &str = "agentd::span";
/// One for the process, as there is one subscriber.
static THROTTLE: OnceLock<Arc<Throttle>> = OnceLock::new();
/// What waits to be written; one for the process, too.
static LINES: OnceLock<Lines> = OnceLock::new();
/// An end waits for its last lines so long: a sink that hangs may do so for ever.
pub const GRACE: Duration = Duration::from_millis(250);
