//! `memctl status`: one row for each host.

use agentd_proto::v1;
use clap::Args;
use jiff::Timestamp;

use super::mode::WantedMode;
use super::repeat::{RepeatArgs, shown};
use super::{Ended, exit_of, tell_conditions, tell_skew};
use crate::client::Connection;
use crate::dto::{Item, ModeName, Status};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::ask_all;
use crate::render::status::StatusBody;
use crate::render::text::date_time;
use crate::session::Session;

/// Options of `memctl status`.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// End with 1 unless every host is healthy.
    #[arg(long, conflicts_with = "watch")]
    check: bool,
    /// With --check: end with 1 as well where another mode is in force, such as a pause that somebody
    /// has forgotten.
    #[arg(long, value_name = "MODE", requires = "check")]
    expect_mode: Option<WantedMode>,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// Asks every host for its state.
pub(crate) async fn run(args: &StatusArgs, session: &mut Session) -> Ended {
    shown(&args.repeat, session, async |session| once(args, session).await).await
}

async fn once(args: &StatusArgs, session: &mut Session) -> Ended {
    let hosts = session.hosts()?;
    let answers = ask_all(&hosts, session.bounds(), ask).await;
    let mut items = Item::of_answers(answers, |status| vec![StatusBody { status }]);
    session.output.show(&mut items)?;
    for (host, body) in items.iter().filter_map(|item| Some((&item.host, item.body.as_ref()?))) {
        tell_conditions(host, &body.status.conditions, session)?;
        tell_passing(host, &body.status, session)?;
        tell_skew(host, &body.status.agent_version, session)?;
    }
    let exit = exit_of(&items);
    let expected = args.expect_mode.map(|mode| ModeName::new(mode.wire()));
    let is_wrong = |status: &Status| {
        status.health != "healthy" || expected.as_ref().is_some_and(|mode| *mode != status.mode)
    };
    let wrong = items.iter().filter_map(|i| i.body.as_ref()).any(|b| is_wrong(&b.status));
    tell_unexpected(&items, expected.as_ref(), session)?;
    Ok(if args.check && wrong && exit == Exit::Done { Exit::No } else { exit })
}

/// Tells a person what is not meant to stay: a pause, and a policy on trial.
fn tell_passing(host: &str, status: &Status, session: &Session) -> std::io::Result<()> {
    if session.output.is_for_programs() {
        return Ok(());
    }
    if status.mode == ModeName::new(v1::Mode::Paused) {
        let why = Some(&status.mode_reason).filter(|why| !why.is_empty());
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        let set = since_and_by(status, session);
        session.output.notice(&format!("{host}: paused{set}{why}"))?;
    }
    if let Some(end) = status.policy_revert_time {
        let by = status.policy_actor.as_ref().map(|actor| format!(" by {}", actor.label()));
        let (revision, by) = (status.policy_revision, by.unwrap_or_default());
        let end = date_time(end.0, &session.output.view.zone);
        session.output.notice(&format!(
            "{host}: revision {revision} of the policy is a trial{by}: it goes back at {end} unless memctl \
             policy confirm keeps it"
        ))?;
    }
    Ok(())
}

/// Since when the mode is in force, and who set it, as far as is known.
fn since_and_by(status: &Status, session: &Session) -> String {
    let actor = status.mode_actor.as_ref();
    let by = actor.map(|actor| format!(" by {}", actor.label())).unwrap_or_default();
    let since = actor.and_then(|actor| actor.time);
    let since = since.map(|time| date_time(time.0, &session.output.view.zone));
    let since = since.map(|time| format!(" since {time}")).unwrap_or_default();
    format!("{since}{by}")
}

/// Tells a person whose mode is not the one that it should be, since when and by whom.
fn tell_unexpected(
    items: &[Item<StatusBody>],
    expected: Option<&ModeName>,
    session: &Session,
) -> std::io::Result<()> {
    let Some(expected) = expected.filter(|_| !session.output.is_for_programs()) else {
        return Ok(());
    };
    let told = items.iter().filter_map(|item| Some((&item.host, &item.body.as_ref()?.status)));
    for (host, status) in told.filter(|(_, status)| status.mode != *expected) {
        let (mode, set, expected) = (&status.mode.0, since_and_by(status, session), &expected.0);
        session.output.notice(&format!("{host}: mode is {mode}{set}, not {expected}"))?;
    }
    Ok(())
}

/// Asks one host.
pub(crate) async fn ask(connection: Connection) -> Result<Status, Failure> {
    let answer = connection.hosts().get_status(v1::GetStatusRequest {}).await;
    let wire = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
    Ok(Status::new(wire, Timestamp::now()))
}
