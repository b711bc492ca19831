//! `memctl top`: all hosts on one screen, for as long as somebody looks.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use agentd_proto::v1;
use clap::Args;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::Ended;
use crate::failure::Failure;
use crate::follow::{Plan, follow};
use crate::output::Format;
use crate::quantity::parse_positive_duration;
use crate::session::Session;
use crate::top::{self, Wish};

/// Options of `memctl top`.
#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    /// Time between two pictures; a key is followed at once.
    #[arg(short, long, value_name = "TIME", default_value = "1s")]
    #[arg(value_parser = parse_positive_duration)]
    delay: Duration,
    /// Change nothing: neither modes nor pins.
    #[arg(long)]
    read_only: bool,
    /// Draw with ASCII characters only; so it is anyway where the locale is not UTF-8.
    #[arg(long)]
    ascii: bool,
}

/// Shows every host until the person has seen enough.
pub(crate) async fn run(args: &TopArgs, session: &mut Session) -> Ended {
    if !matches!(session.output.format, Format::Table | Format::Wide) {
        let failure = Failure::usage("top draws on a terminal and has no other format");
        return Err(failure.hint("memctl watch -o jsonl writes the same for programs").into());
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        let failure = Failure::usage("top needs a terminal, and this is none");
        return Err(failure.hint("memctl watch writes to a pipe or a file").into());
    }
    let hosts = session.hosts()?;
    let plan = Plan {
        request: v1::WatchRequest { follow: true, snapshot: true, ..v1::WatchRequest::default() },
        timeout: session.global.timeout,
        reconnect: true,
        dials: Arc::new(Semaphore::new(session.bounds().max_parallel)),
    };
    let (sender, news) = mpsc::channel(NEWS_IN_FLIGHT);
    // Ends with the last look at it.
    let mut followers = JoinSet::new();
    for (number, host) in hosts.iter().enumerate() {
        followers.spawn(follow(number, host.clone(), plan.clone(), sender.clone()));
    }
    let wish = Wish {
        view: session.output.view.clone(),
        delay: args.delay.max(SHORTEST),
        timeout: session.global.timeout,
        read_only: args.read_only,
        ascii: args.ascii || !knows_unicode(),
    };
    top::run(hosts, news, wish).await
}

/// Whether the locale is one of UTF-8, by the variable that wins.
fn knows_unicode() -> bool {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// News that wait to be taken in, of all hosts together; then the hosts' streams wait.
const NEWS_IN_FLIGHT: usize = 64;
/// No more pictures than ten a second.
const SHORTEST: Duration = Duration::from_millis(100);
