//! `--columns help` of any command: the columns that there are, a line each. Asks no agent.

use super::Ended;
use crate::columns::{Choice, Fields};
use crate::exit::Exit;
use crate::render::View;
use crate::render::table::{Cell, Table};
use crate::session::Session;

/// Tells the columns of what this command lists.
pub(crate) fn tell(command: &str, session: &Session) -> Ended {
    let fields = Fields::of_command(command).ok_or_else(|| Choice::none_of(command))?;
    let view = View { many_hosts: false, width: None, ..session.output.view.clone() };
    let mut table = Table::new(&view, &["NAME", "HEADING", "WHAT IT IS"]);
    for (name, heading, about) in fields.told() {
        table.row("-", [name, heading, about].map(Cell::text).into());
    }
    session.output.data(&table.render(&view))?;
    fields.left_out().map_or(Ok(()), |told| session.output.notice(&told))?;
    Ok(Exit::Done)
}
