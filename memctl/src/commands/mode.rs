//! `memctl mode`: shows the mode, or sets it. All hosts at once: pausing must reach as many as it
//! can.

use agentd_proto::v1;
use clap::{Args, ValueEnum};

use super::{Ended, consent, exit_of, status};
use crate::client::Connection;
use crate::dto::{Item, ModeName};
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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WantedMode {
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
    Ok(exit_of(&items))
}

async fn show(connection: Connection) -> Result<ModeBody, Failure> {
    let status = status::ask(connection).await?;
    Ok(ModeBody { mode: status.mode, previous_mode: None, durable: None })
}

async fn set(connection: Connection, request: v1::SetModeRequest) -> Result<ModeBody, Failure> {
    let answer = connection.hosts().set_mode(request).await;
    let wire = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
    Ok(ModeBody {
        mode: ModeName::new(wire.mode()),
        previous_mode: Some(ModeName::new(wire.previous_mode())),
        durable: Some(wire.durable),
    })
}

impl WantedMode {
    fn wire(self) -> v1::Mode {
        match self {
            Self::Active => v1::Mode::Active,
            Self::Observe => v1::Mode::Observe,
            Self::Paused => v1::Mode::Paused,
        }
    }
}
