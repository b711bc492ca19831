//! `--watch` of a list: the whole of it again and again, for who wants the table and not the stream.

use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use super::Ended;
use crate::quantity::parse_positive_duration;
use crate::session::Session;
use crate::stop_signals::StopSignals;

/// Whether a list is shown once.
#[derive(Args, Clone, Debug)]
pub(crate) struct RepeatArgs {
    /// Show it again and again, every 2s if no TIME is given, until Ctrl-C: on a terminal in the place of the
    /// one before, elsewhere one after the other. `memctl watch` follows what changes.
    #[arg(short, long, value_name = "TIME", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "2s", value_parser = parse_positive_duration)]
    watch: Option<Duration>,
}

/// Shows a list as often as is wanted.
pub(crate) async fn shown(
    args: &RepeatArgs,
    session: &mut Session,
    mut show: impl AsyncFnMut(&mut Session) -> Ended,
) -> Ended {
    let Some(every) = args.watch else { return show(session).await };
    let mut stop = StopSignals::listen()?;
    session.output.repeats();
    loop {
        let next = Instant::now() + every;
        let turn = async {
            let shown = show(session).await;
            // What takes longer than its turn is not begun anew at once.
            tokio::time::sleep_until(next.max(Instant::now() + LEAST)).await;
            shown
        };
        tokio::select! {
            exit = stop.next() => return Ok(exit),
            shown = turn => shown?,
        };
    }
}

/// Agents are not asked more often by one who looks on.
const LEAST: Duration = Duration::from_millis(200);
