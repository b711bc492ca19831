//! `memctl mode`: shows the mode, or sets it. A pause goes to all hosts at once: it must reach as
//! many as it can. Any other mode is tried everywhere first, then set on one host after another.

use std::time::Duration;

use agentd_proto::v1;
use clap::{Args, ValueEnum};
use tokio::time::Instant;

use super::hold::{Change, hold};
use super::rollout::{Intent, roll_out};
use super::{Ended, Stop, exit_of, status};
use crate::client::Connection;
use crate::dto::{Condition, Item, ModeName, Status};
use crate::exit::Exit;
use crate::failure::{Code, Failure};
use crate::fleet::{ask_all, ask_first};
use crate::hosts::Host;
use crate::quantity::parse_positive_duration;
use crate::render::mode::ModeBody;
use crate::session::Session;

/// Options of `memctl mode`.
#[derive(Args, Debug)]
pub(crate) struct ModeArgs {
    /// The mode wanted. Without it the mode in force is shown. Before several hosts become active
    /// or observe, memctl asks; paused never asks.
    mode: Option<WantedMode>,
    /// Why, for the log and for other operators.
    #[arg(long, value_name = "TEXT", requires = "mode")]
    reason: Option<String>,
    /// Only for this time: memctl stays, and sets the mode back that it found, where nobody else has
    /// set another one; also on a host whose answer was lost, where its log says that it took the mode.
    /// Ctrl-C ends it earlier. A memctl that is killed leaves the mode as it is.
    #[arg(long = "for", value_name = "TIME", requires = "mode")]
    #[arg(value_parser = parse_positive_duration)]
    lasting: Option<Duration>,
}

/// A mode that a person names.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum WantedMode {
    /// Decisions are made and carried out.
    Active,
    /// Decisions are made and published, never carried out.
    Observe,
    /// Nothing is decided; every VM keeps what it has.
    Paused,
}

/// Shows or sets the mode of every host.
pub(crate) async fn run(args: &ModeArgs, session: &mut Session) -> Ended {
    let hosts = session.hosts()?;
    let reason = args.reason.clone().unwrap_or_default();
    let Some(mode) = args.mode.map(WantedMode::wire) else {
        let mut items =
            Item::of_answers(ask_all(&hosts, session.bounds(), show).await, |b| vec![b]);
        let exit = exit_of(&items);
        return told(&mut items, exit, session);
    };
    let change = Change { mode, reason, began: Instant::now() };
    let (mut items, exit) = set_all(&hosts, mode, &change.reason, session).await?;
    match args.lasting {
        Some(lasting) => {
            told(&mut items, exit, session)?;
            // Whoever wants it to end is not made to wait for that.
            let is_over = matches!(exit, Exit::Interrupted | Exit::Terminated);
            let lasting = if is_over { Duration::ZERO } else { lasting };
            let held = hold(&hosts, &items, change, lasting, session).await?;
            Ok(if exit == Exit::Done { held } else { exit })
        }
        None => told(&mut items, exit, session),
    }
}

/// Sets the mode of every host; the items with what was in force before.
async fn set_all(
    hosts: &[Host],
    mode: v1::Mode,
    reason: &str,
    session: &Session,
) -> Result<(Vec<Item<ModeBody>>, Exit), Stop> {
    let bounds = session.bounds();
    let request = v1::SetModeRequest { mode: mode.into(), reason: reason.to_owned() };
    if mode == v1::Mode::Paused {
        // Not even to ask a host who it is may come before a pause; twice does no harm.
        let pause = move |connection| set(connection, request.clone());
        let answers = ask_first(hosts, bounds, pause, once);
        let items = Item::of_answers(answers.await, |body| vec![body]);
        let exit = exit_of(&items);
        return Ok((items, exit));
    }
    let attempt = move |connection| would_set(connection, mode);
    let make = |connection| set(connection, request.clone());
    let done = roll_out(hosts, session, Intent::Change, attempt, make).await?;
    Ok((done.items, done.exit))
}

/// What two names of one host say, which was set by each of them: what it had before is what the one found that
/// came first.
fn once(one: ModeBody, other: ModeBody) -> ModeBody {
    let is_first = other.previous_mode.as_ref().is_some_and(|before| *before != other.mode);
    if is_first { other } else { one }
}

/// Shows the modes, and what a table of them does not.
fn told(items: &mut Vec<Item<ModeBody>>, exit: Exit, session: &Session) -> Ended {
    session.output.show(items)?;
    for item in items.iter().filter(|i| i.body.as_ref().is_some_and(|b| b.durable == Some(false))) {
        let text = format!(
            "warning: {}: the mode is in force but could not be written to disk; a restart of the \
             agent would forget it",
            item.host
        );
        session.output.notice(&text)?;
    }
    for (host, body) in items.iter().filter_map(|item| Some((&item.host, item.body.as_ref()?))) {
        if let Some(frozen) = &body.frozen {
            session.output.notice(&format!("{host}: {}: {frozen}", Condition::FROZEN))?;
        }
    }
    Ok(exit)
}

/// What would change: the mode in force, where the caller may set one at all.
async fn would_set(connection: Connection, mode: v1::Mode) -> Result<ModeBody, Failure> {
    let caller = connection.hosts().who_am_i(v1::WhoAmIRequest {}).await;
    // An agent that cannot say is asked to set it, and says so then.
    let role = caller.map_or(ADMIN, |answer| answer.into_inner().role);
    // So is one with a role that only a newer memctl knows.
    if let Ok(v1::Role::Unspecified | v1::Role::Reader) = v1::Role::try_from(role) {
        let what = "to set the mode takes the role operator or admin";
        return Err(Failure::new(Code::PermissionDenied, "ROLE_LACKS", what)
            .hint("memctl whoami tells which you have, and what gives it to you"));
    }
    let status = status::ask(connection).await?;
    let (frozen, previous_mode) = (frozen(&status), Some(status.mode));
    let mode = ModeName::new(mode);
    Ok(ModeBody { mode, actor: None, reason: None, previous_mode, durable: None, frozen })
}

pub(super) async fn show(connection: Connection) -> Result<ModeBody, Failure> {
    let status = status::ask(connection).await?;
    let frozen = frozen(&status);
    let (actor, reason) = (status.mode_actor, Some(status.mode_reason));
    Ok(ModeBody { mode: status.mode, actor, reason, previous_mode: None, durable: None, frozen })
}

/// What keeps a host from carrying anything out, whatever its mode is.
fn frozen(status: &Status) -> Option<String> {
    let condition =
        status.conditions.iter().find(|condition| condition.reason == Condition::FROZEN)?;
    Some(condition.message.clone())
}

pub(super) async fn set(
    connection: Connection,
    request: v1::SetModeRequest,
) -> Result<ModeBody, Failure> {
    let answer = connection.hosts().set_mode(request.clone()).await;
    let wire = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
    if wire.mode != request.mode {
        let set = ModeName::of(wire.mode).0;
        let what = format!("the agent set another mode: {set}");
        return Err(Failure::new(Code::Internal, "MODE_NOT_SET", what));
    }
    // A pause is what a frozen host does anyway, and nothing may delay its answer.
    let frozen = match request.mode() {
        v1::Mode::Paused => None,
        v1::Mode::Active | v1::Mode::Observe | v1::Mode::Unspecified => {
            // The mode is set: whether this can be told as well does not matter to that.
            status::ask(connection).await.ok().as_ref().and_then(frozen)
        }
    };
    Ok(ModeBody {
        mode: ModeName::of(wire.mode),
        actor: None,
        reason: None,
        previous_mode: Some(ModeName::of(wire.previous_mode)),
        durable: Some(wire.durable),
        frozen,
    })
}

impl WantedMode {
    /// As typed.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Observe => "observe",
            Self::Paused => "paused",
        }
    }

    pub(crate) fn wire(self) -> v1::Mode {
        match self {
            Self::Active => v1::Mode::Active,
            Self::Observe => v1::Mode::Observe,
            Self::Paused => v1::Mode::Paused,
        }
    }
}

const ADMIN: i32 = v1::Role::Admin as i32;
