//! Tables: columns as wide as they must be, amounts of a column in one unit, text from outside made
//! harmless. Pure.

use super::View;
use super::text::safe;
use crate::dto::Item;
use crate::quantity::Scale;

/// A table under construction.
#[derive(Debug)]
pub(crate) struct Table {
    heads: Vec<String>,
    rows: Vec<Vec<Cell>>,
    named: bool,
    /// Heads of the columns that are left out first where there is no room for all.
    spare: &'static [&'static str],
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
        Self::headed(view, heads.iter().map(ToString::to_string).collect())
    }

    /// The same with heads that somebody made up.
    pub(crate) fn headed(view: &View, heads: Vec<String>) -> Self {
        let host = view.many_hosts.then(|| "HOST".to_owned());
        let heads = host.into_iter().chain(heads).collect();
        Self { heads, rows: Vec::new(), named: view.many_hosts, spare: &[] }
    }

    /// The columns with these heads are left out first, in this order, where there is no room for all; then
    /// those at the right.
    pub(crate) fn sparing(self, spare: &'static [&'static str]) -> Self {
        Self { spare, ..self }
    }

    /// Adds a row of `host`.
    pub(crate) fn row(&mut self, host: &str, cells: Vec<Cell>) {
        let name = self.named.then(|| Cell::text(host));
        self.rows.push(name.into_iter().chain(cells).collect());
    }

    /// Adds a row for each item: its own, or its failure under the head `at`.
    pub(crate) fn fill<T>(&mut self, items: &[Item<T>], at: &str, row: impl Fn(&T) -> Vec<Cell>) {
        for item in items {
            match &item.body {
                Some(body) => self.row(&item.host, row(body)),
                None => self.failed(item, at),
            }
        }
    }

    /// Adds the row of a host that did not answer: its failure stands under the head `at`.
    pub(crate) fn failed<T>(&mut self, item: &Item<T>, at: &str) {
        self.failed_with(item, at, Vec::new());
    }

    /// The same with the cells that are known all the same, each in its place.
    pub(crate) fn failed_with<T>(&mut self, item: &Item<T>, at: &str, known: Vec<Option<Cell>>) {
        let Some(error) = &item.error else { return };
        let heads = self.heads.iter().skip(usize::from(self.named));
        let known = known.into_iter().chain(std::iter::repeat(None));
        let cells = heads.zip(known).map(|(head, known)| match (known, head == at) {
            (Some(known), _) => known,
            (None, true) => Cell::Painted(error.word().to_owned(), Paint::Bad),
            (None, false) => Cell::Absent,
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
        let mut columns: Vec<Column> =
            (0..self.heads.len()).map(|at| self.column(at, view)).collect();
        let left_out = self.leave_out(&mut columns, view);
        let lines = columns.first().map_or(0, |column| column.texts.len());
        let mut text = String::new();
        for line in 0..lines {
            let cells: Vec<String> =
                columns.iter().filter_map(|column| column.line(line, view)).collect();
            text.push_str(cells.join(BETWEEN).trim_end());
            text.push('\n');
        }
        if !left_out.is_empty() {
            text.push_str(&Paint::Dim.apply(&no_room(&left_out, view), view.color));
            text.push('\n');
        }
        text
    }

    /// Leaves out columns until the rest fits on the terminal; the heads of those.
    fn leave_out(&self, columns: &mut Vec<Column>, view: &View) -> Vec<String> {
        let least = LEAST_COLUMNS + usize::from(self.named);
        let Some(room) = view.width else { return Vec::new() };
        let mut left_out = Vec::new();
        let mut spare = self.spare.iter();
        while columns.len() > least && room < width_of(columns) {
            let next = spare.find_map(|head| columns.iter().position(|c| c.head == *head));
            let column = columns.remove(next.unwrap_or(columns.len() - 1));
            left_out.push(column.head);
        }
        left_out
    }

    /// One column, with its head where heads are shown.
    fn column(&self, at: usize, view: &View) -> Column {
        let cells: Vec<&Cell> = self.rows.iter().filter_map(|row| row.get(at)).collect();
        let amounts: Vec<u64> = cells
            .iter()
            .filter_map(|cell| if let Cell::Bytes(bytes) = cell { Some(*bytes) } else { None })
            .collect();
        let scale = Scale::of(view.units, &amounts);
        let sides: Vec<bool> = cells.iter().filter_map(|cell| cell.is_right()).collect();
        let is_right = !sides.is_empty() && sides.iter().all(|&side| side);
        let head = self.heads.get(at).cloned().unwrap_or_default();
        let mut texts: Vec<(String, Option<Paint>)> = Vec::with_capacity(cells.len() + 1);
        texts.extend(view.headers.then(|| (head.clone(), Some(Paint::Dim))));
        texts.extend(cells.iter().map(|cell| (cell.plain(scale), cell.paint())));
        let width = texts.iter().map(|(text, _)| text.chars().count()).max().unwrap_or(0);
        Column { head, texts, width, is_right }
    }
}

/// What a column shows.
#[derive(Debug)]
struct Column {
    head: String,
    texts: Vec<(String, Option<Paint>)>,
    /// In characters.
    width: usize,
    is_right: bool,
}

impl Column {
    /// Its cell on this line, padded and painted.
    fn line(&self, line: usize, view: &View) -> Option<String> {
        let (text, paint) = self.texts.get(line)?;
        let pad = " ".repeat(self.width.saturating_sub(text.chars().count()));
        let painted = paint.map_or_else(|| text.clone(), |paint| paint.apply(text, view.color));
        Some(if self.is_right { format!("{pad}{painted}") } else { format!("{painted}{pad}") })
    }
}

/// Which columns are left out; how many, where there is no room for that, either.
fn no_room(heads: &[String], view: &View) -> String {
    let named = format!("no room for {}: -o wide shows all", heads.join(", "));
    match view.width {
        Some(room) if named.chars().count() > room => match heads.len() {
            1 => "no room for 1 column: -o wide shows all".to_owned(),
            count => format!("no room for {count} columns: -o wide shows all"),
        },
        Some(_) | None => named,
    }
}

/// How wide they are together.
fn width_of(columns: &[Column]) -> usize {
    let gaps = BETWEEN.len() * columns.len().saturating_sub(1);
    columns.iter().map(|column| column.width).sum::<usize>() + gaps
}

impl Cell {
    fn paint(&self) -> Option<Paint> {
        if let Self::Painted(_, paint) = self { Some(*paint) } else { None }
    }
}

const BETWEEN: &str = "  ";
/// What a thing is called, and how it is: no table is left with less.
const LEAST_COLUMNS: usize = 2;

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
            width: None,
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
    fn what_has_no_room_on_the_terminal_is_left_out_and_named() {
        let on = |width, reason: &str| {
            let heads = ["VM", "STATE", "MIN", "REASON"];
            let mut table = Table::new(&view(false, false), &heads).sparing(&["MIN"]);
            table.row("h", ["web1", "RUNNING", "64 MiB", reason].map(Cell::text).to_vec());
            table.render(&View { width, ..view(false, false) })
        };
        assert_eq!(on(Some(33), "LOW_UNUSED"), on(None, "LOW_UNUSED"));
        let without_min = "VM    STATE    REASON\nweb1  RUNNING  LOW_UNUSED\n";
        let told = "no room for 1 column: -o wide shows all\n";
        assert_eq!(on(Some(32), "LOW_UNUSED"), format!("{without_min}{told}"));
        let long = on(Some(34), "LOW_UNUSED_FOR_LONG");
        assert!(long.ends_with("_FOR_LONG\nno room for MIN: -o wide shows all\n"), "{long}");
        let least = "VM    STATE\nweb1  RUNNING\nno room for 2 columns: -o wide shows all\n";
        assert_eq!([on(Some(20), "LOW_UNUSED"), on(Some(1), "LOW_UNUSED")], [least, least]);
    }

    #[test]
    fn no_rows_are_no_text() {
        assert_eq!(Table::new(&view(false, false), &["A"]).render(&view(false, false)), "");
    }
}
