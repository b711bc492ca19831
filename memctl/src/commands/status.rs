//! `memctl status`: one row for each host.

use agentd_proto::v1;
use clap::Args;
use jiff::Timestamp;

use super::mode::WantedMode;
use super::{Ended, exit_of, tell_conditions};
use crate::client::Connection;
use crate::dto::{Item, ModeName, Status};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::ask_all;
use crate::render::status::StatusBody;
use crate::session::Session;

/// Options of `memctl status`.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// End with 1 unless every host is healthy.
    #[arg(long)]
    check: bool,
    /// With --check: end with 1 as well where another mode is in force, such as a pause that somebody
    /// has forgotten.
    #[arg(long, value_name = "MODE", requires = "check")]
    expect_mode: Option<WantedMode>,
}

/// Asks every host for its state.
pub(crate) async fn run(args: &StatusArgs, session: &mut Session) -> Ended {
    let hosts = session.hosts()?;
    let answers = ask_all(&hosts, session.bounds(), ask).await;
    let items = Item::of_answers(answers, |status| vec![StatusBody { status }]);
    session.output.show(&items)?;
    for (host, body) in items.iter().filter_map(|item| Some((&item.host, item.body.as_ref()?))) {
        tell_conditions(host, &body.status.conditions, session)?;
    }
    let exit = exit_of(&items);
    let expected = args.expect_mode.map(|mode| ModeName::new(mode.wire()));
    let is_wrong = |status: &Status| {
        status.health != "healthy" || expected.as_ref().is_some_and(|mode| *mode != status.mode)
    };
    let wrong = items.iter().filter_map(|i| i.body.as_ref()).any(|b| is_wrong(&b.status));
    Ok(if args.check && wrong && exit == Exit::Done { Exit::No } else { exit })
}

/// Asks one host.
pub(crate) async fn ask(connection: Connection) -> Result<Status, Failure> {
    let answer = connection.hosts().get_status(v1::GetStatusRequest {}).await;
    let wire = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
    Ok(Status::new(wire, Timestamp::now()))
}
