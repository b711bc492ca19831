//! `memctl wait --for CONDITION`: asks again and again until every host is as it is to be, or the
//! time is up. A host that does not answer for a moment is asked again.

mod condition;

use std::time::Duration;

use clap::Args;
use clap_complete::ArgValueCompleter;
use tokio::time::Instant;

use self::condition::{Condition, Standing};
use super::{Ended, exit_of};
use crate::completers;
use crate::dto::Item;
use crate::exit::Exit;
use crate::failure::{Code, Failure};
use crate::fleet::{ask_every, ask_one};
use crate::hosts::Host;
use crate::quantity::parse_positive_duration;
use crate::render::wait::WaitBody;
use crate::session::Session;

/// Options of `memctl wait`.
#[derive(Args, Debug)]
pub(crate) struct WaitArgs {
    /// What to wait for, on every host that is asked: ready (the agent has read its VMs), healthy,
    /// mode=MODE, vm=NAME:running, vm=NAME:gone, vm=NAME:at-target, vm=NAME:actual<=SIZE,
    /// vm=NAME:actual>=SIZE, or reservation=ID (its memory is there). May be repeated: then all.
    #[arg(long = "for", value_name = "CONDITION", required = true)]
    #[arg(value_parser = Condition::parse)]
    #[arg(add = ArgValueCompleter::new(completers::conditions))]
    conditions: Vec<Condition>,
    /// How long to wait at most; memctl ends with 1 when it is over.
    #[arg(long, value_name = "TIME", default_value = "1m")]
    #[arg(value_parser = parse_positive_duration)]
    within: Duration,
}

/// Waits for every host.
pub(crate) async fn run(args: &WaitArgs, session: &mut Session) -> Ended {
    let hosts = session.hosts()?;
    let deadline = Instant::now() + args.within;
    let bounds = session.bounds();
    let conditions = args.conditions.clone();
    let answers = ask_every(&hosts, bounds, move |host| {
        let conditions = conditions.clone();
        async move { settle(&host, &conditions, bounds.timeout, deadline).await }
    });
    let mut items = Item::of_answers(answers.await, |bodies| bodies);
    session.output.show(&mut items)?;
    let exit = exit_of(&items);
    let unmet = items.iter().filter_map(|item| item.body.as_ref()).any(|body| !body.met);
    Ok(if exit == Exit::Done && unmet { Exit::No } else { exit })
}

/// Asks one host until all conditions hold, one never will, or the time is up.
async fn settle(
    host: &Host,
    conditions: &[Condition],
    timeout: Duration,
    deadline: Instant,
) -> Result<Vec<WaitBody>, Failure> {
    let started = Instant::now();
    // Asked once whatever time is left: to say how it stands needs an answer.
    let mut left = timeout;
    loop {
        let wanted = conditions.to_vec();
        let ask = |connection| async move { condition::look(&wanted, connection).await };
        let standings = ask_one(host, timeout.min(left), ask).await;
        let is_over = Instant::now() >= deadline;
        match standings {
            Ok(standings) if is_over || is_settled(&standings) => {
                let waited = (started.elapsed().as_secs_f64() * 10.0).round() / 10.0;
                let pairs = conditions.iter().zip(standings);
                return Ok(pairs.map(|(c, s)| body(c, s, waited)).collect());
            }
            Err(failure) if is_over || !comes_back(&failure) => return Err(failure),
            Ok(_) | Err(_) => {}
        }
        tokio::time::sleep_until((Instant::now() + ASK_EVERY).min(deadline)).await;
        left = deadline.saturating_duration_since(Instant::now()).max(ASK_EVERY);
    }
}

fn is_settled(standings: &[Standing]) -> bool {
    standings.iter().all(|own| own.met) || standings.iter().any(|own| own.never)
}

/// Whether another try may be answered: one that is down may come up.
fn comes_back(failure: &Failure) -> bool {
    failure.code.is_passing() && failure.code != Code::Internal
}

fn body(condition: &Condition, standing: Standing, waited_seconds: f64) -> WaitBody {
    let Standing { met, now, .. } = standing;
    WaitBody { condition: condition.to_string(), met, now, waited_seconds }
}

/// A tick is seldom shorter.
const ASK_EVERY: Duration = Duration::from_millis(500);
