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
        let words = |text: String| if text.is_empty() { Cell::Absent } else { Cell::text(text) };
        table.row("-", vec![Cell::text(name), words(heading), words(about)]);
    }
    session.output.data(&table.render(&view))?;
    Ok(Exit::Done)
}
