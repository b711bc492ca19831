//! `memctl mode`: shows the mode, or sets it. All hosts at once: pausing must reach as many as it
//! can.

use agentd_proto::v1;
use clap::{Args, ValueEnum};

use super::{Ended, consent, exit_of, status};
use crate::client::Connection;
use crate::dto::{Condition, Item, ModeName, Status};
use crate::failure::Failure;
use crate::fleet::ask_all;
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
    let bounds = session.bounds();
    if let Some(WantedMode::Active | WantedMode::Observe) = args.mode {
        consent::ask("", hosts.len(), session)?;
    }
    let answers = match args.mode {
        None => ask_all(&hosts, bounds, show).await,
        Some(mode) => {
            let reason = args.reason.clone().unwrap_or_default();
            let request = v1::SetModeRequest { mode: mode.wire().into(), reason };
            ask_all(&hosts, bounds, move |c| set(c, request.clone())).await
        }
    };
    let items = Item::of_answers(answers, |body| vec![body]);
    session.output.show(&items)?;
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
    Ok(exit_of(&items))
}

async fn show(connection: Connection) -> Result<ModeBody, Failure> {
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

async fn set(connection: Connection, request: v1::SetModeRequest) -> Result<ModeBody, Failure> {
    let answer = connection.hosts().set_mode(request.clone()).await;
    let wire = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
    // A pause is what a frozen host does anyway, and nothing may delay its answer.
    let frozen = match request.mode() {
        v1::Mode::Paused => None,
        v1::Mode::Active | v1::Mode::Observe | v1::Mode::Unspecified => {
            // The mode is set: whether this can be told as well does not matter to that.
            status::ask(connection).await.ok().as_ref().and_then(frozen)
        }
    };
    Ok(ModeBody {
        mode: ModeName::new(wire.mode()),
        actor: None,
        reason: None,
        previous_mode: Some(ModeName::new(wire.previous_mode())),
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
