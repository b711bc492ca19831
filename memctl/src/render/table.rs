//! Tables: columns as wide as they must be, amounts of a column in one unit, text from outside made
//! harmless. Pure.

use super::View;
use super::text::safe;
use crate::dto::Item;
use crate::quantity::Scale;

/// A table under construction.
#[derive(Debug)]
pub(crate) struct Table {
    heads: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    named: bool,
}

/// One cell.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    /// Words.
    Text(String),
    /// Words that deserve a colour.
    Painted(String, Paint),
    /// Something to align at its right.
    Number(String),
    /// An amount of memory; the column chooses the unit.
    Bytes(u64),
    /// Nothing is known.
    Absent,
}

/// What a colour means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// All is well.
    Good,
    /// Worth a look.
    Warn,
    /// Broken.
    Bad,
    /// Of less interest.
    Dim,
}

impl Paint {
    /// `text` in this colour.
    pub(crate) fn apply(self, text: &str, color: bool) -> String {
        let code = match self {
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "31",
            Self::Dim => "2",
        };
        if color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

impl Cell {
    /// Words.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A number.
    pub(crate) fn number(number: impl Into<u64>) -> Self {
        Self::Number(number.into().to_string())
    }

    /// A figure already in words ("0.4s"), where there is one.
    pub(crate) fn figure(figure: Option<String>) -> Self {
        figure.map_or(Self::Absent, Self::Number)
    }

    /// An amount, where there is one.
    pub(crate) fn bytes(bytes: Option<u64>) -> Self {
        bytes.map_or(Self::Absent, Self::Bytes)
    }

    fn is_right(&self) -> Option<bool> {
        match self {
            Self::Text(_) | Self::Painted(..) => Some(false),
            Self::Number(_) | Self::Bytes(_) => Some(true),
            Self::Absent => None,
        }
    }

    fn plain(&self, scale: Scale) -> String {
        match self {
            Self::Text(text) | Self::Painted(text, _) | Self::Number(text) => {
                safe(text).into_owned()
            }
            Self::Bytes(bytes) => scale.format(*bytes),
            Self::Absent => "-".to_owned(),
        }
    }
}

impl Table {
    /// A table with these heads, and HOST before them when more than one host was asked.
    pub(crate) fn new(view: &View, heads: &[&'static str]) -> Self {
        let host = view.many_hosts.then_some("HOST");
        let heads = host.into_iter().chain(heads.iter().copied()).collect();
        Self { heads, rows: Vec::new(), named: view.many_hosts }
    }

    /// Adds a row of `host`.
    pub(crate) fn row(&mut self, host: &str, cells: Vec<Cell>) {
        let name = self.named.then(|| Cell::text(host));
        self.rows.push(name.into_iter().chain(cells).collect());
    }

    /// Adds the row of a host that did not answer: its failure stands under the head `at`.
    pub(crate) fn failed<T>(&mut self, item: &Item<T>, at: &str) {
        let Some(error) = &item.error else { return };
        let first = usize::from(self.named);
        let cells = self.heads.iter().skip(first).map(|head| match *head == at {
            true => Cell::Painted(error.word().to_owned(), Paint::Bad),
            false => Cell::Absent,
        });
        let cells = cells.collect();
        self.row(&item.host, cells);
    }

    /// The text, a line for each row. Empty without rows.
    pub(crate) fn render(&self, view: &View) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        self.render_headed(view)
    }

    /// The text, with the heads also where there is no row.
    pub(crate) fn render_headed(&self, view: &View) -> String {
        let columns: Vec<Vec<String>> =
            (0..self.heads.len()).map(|at| self.column(at, view)).collect();
        let lines = columns.first().map_or(0, Vec::len);
        let mut text = String::new();
        for line in 0..lines {
            let cells: Vec<&str> =
                columns.iter().filter_map(|c| c.get(line)).map(String::as_str).collect();
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
        text
    }

    /// One column, padded and painted, with its head where heads are shown.
    fn column(&self, at: usize, view: &View) -> Vec<String> {
        let cells: Vec<&Cell> = self.rows.iter().filter_map(|row| row.get(at)).collect();
        let amounts: Vec<u64> = cells
            .iter()
            .filter_map(|cell| if let Cell::Bytes(bytes) = cell { Some(*bytes) } else { None })
            .collect();
        let scale = Scale::of(view.units, &amounts);
        let sides: Vec<bool> = cells.iter().filter_map(|cell| cell.is_right()).collect();
        let right = !sides.is_empty() && sides.iter().all(|&side| side);
        let head = self.heads.get(at).copied().unwrap_or_default();
        let mut texts: Vec<(String, Option<Paint>)> = Vec::with_capacity(cells.len() + 1);
        texts.extend(view.headers.then(|| (head.to_owned(), Some(Paint::Dim))));
        texts.extend(cells.iter().map(|cell| (cell.plain(scale), cell.paint())));
        let width = texts.iter().map(|(text, _)| text.chars().count()).max().unwrap_or(0);
        let last = at + 1 == self.heads.len();
        texts
            .into_iter()
            .map(|(text, paint)| {
                let pad = " ".repeat(width.saturating_sub(text.chars().count()));
                let painted = paint.map_or_else(|| text.clone(), |p| p.apply(&text, view.color));
                match (right, last) {
                    (true, _) => format!("{pad}{painted}"),
                    (false, true) => painted,
                    (false, false) => format!("{painted}{pad}"),
                }
            })
            .collect()
    }
}

impl Cell {
    fn paint(&self) -> Option<Paint> {
        if let Self::Painted(_, paint) = self { Some(*paint) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::quantity::Units;

    fn view(many_hosts: bool, color: bool) -> View {
        View {
            wide: false,
            headers: true,
            color,
            units: Units::Iec,
            zone: TimeZone::UTC,
            many_hosts,
        }
    }

    #[test]
    fn amounts_of_a_column_share_a_unit_and_stand_at_the_right() {
        let mut table = Table::new(&view(false, false), &["VM", "ACTUAL", "STATE"]);
        table.row("h", vec![Cell::text("a"), Cell::Bytes(50 << 20), Cell::text("up")]);
        table.row("h", vec![Cell::text("long"), Cell::Bytes(2 << 30), Cell::Absent]);
        let want = "VM      ACTUAL  STATE\na       50 MiB  up\nlong  2048 MiB  -\n";
        assert_eq!(table.render(&view(false, false)), want);
    }

    #[test]
    fn the_host_column_is_there_only_for_several_hosts_and_a_dead_host_is_a_row() {
        let mut table = Table::new(&view(true, false), &["STATE", "VMS"]);
        table.row("node1", vec![Cell::text("HEALTHY"), Cell::number(3_u64)]);
        let failure = crate::failure::Failure::new(crate::failure::Code::Unavailable, "R", "m");
        table.failed(&Item::<()>::failed("node2", failure), "STATE");
        let want = "HOST   STATE        VMS\nnode1  HEALTHY        3\nnode2  UNREACHABLE    -\n";
        assert_eq!(table.render(&view(true, false)), want);
    }

    #[test]
    fn colours_do_not_move_the_columns_and_names_cannot_bring_their_own() {
        let mut table = Table::new(&view(false, true), &["A", "B"]);
        table.row("h", vec![Cell::Painted("x".into(), Paint::Good), Cell::text("\u{1b}[31m")]);
        let text = table.render(&view(false, true));
        assert!(text.contains("\u{1b}[32mx\u{1b}[0m  \\u{1b}[31m"), "{text:?}");
    }

    #[test]
    fn no_rows_are_no_text() {
        assert_eq!(Table::new(&view(false, false), &["A"]).render(&view(false, false)), "");
    }
}
