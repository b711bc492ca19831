//! Plots as text: of dots and colours on a terminal that has both, of letters elsewhere.

use super::axis::{amounts, times};
use super::{Chart, Kind};
use crate::render::View;
use crate::render::table::Paint;
use crate::render::text::{date_time, safe};

/// What is drawn on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Canvas {
    /// Columns of the whole.
    pub(crate) width: usize,
    /// Rows of one plot.
    pub(crate) height: usize,
    /// Whether dots can be drawn, of which eight are in a letter.
    pub(crate) dots: bool,
}

impl Canvas {
    /// What this terminal is, or a page of 80 columns.
    pub(crate) fn of_environment(is_terminal: bool, view: &View) -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        let is_unicode = locale.contains("utf-8") || locale.contains("utf8");
        let columns = set("COLUMNS").and_then(|columns| columns.parse().ok());
        let size = terminal_size::terminal_size().filter(|_| is_terminal);
        let (width, rows) = match size {
            Some((width, height)) => (Some(usize::from(width.0)), usize::from(height.0)),
            None => (None, 24),
        };
        Self {
            width: columns.or(width).unwrap_or(80).clamp(NARROWEST, WIDEST),
            height: rows.saturating_sub(8).clamp(8, 24),
            dots: view.color && is_unicode,
        }
    }
}

/// All plots, one below the other.
pub(crate) fn text(charts: &[Chart], canvas: &Canvas, view: &View) -> String {
    let plots: Vec<String> = charts.iter().map(|chart| plot(chart, canvas, view)).collect();
    plots.join("\n")
}

fn plot(chart: &Chart, canvas: &Canvas, view: &View) -> String {
    let ticks = amounts(chart.most(), 4, view.units);
    let top = ticks.last().map_or(1, |tick| tick.at).max(1);
    let margin = ticks.iter().map(|tick| tick.label.len()).max().unwrap_or(0);
    let width = canvas.width.saturating_sub(margin + 2).max(8);
    let grid = Grid::draw(chart, top, (width, canvas.height), canvas.dots);
    let mut text = format!(
        "{}, {} to {}\n",
        safe(&chart.title),
        date_time(super::instant(chart.start), &view.zone),
        date_time(super::instant(chart.end), &view.zone)
    );
    let last = canvas.height.saturating_sub(1);
    for row in 0..canvas.height {
        // The amount whose height this row is.
        let label = ticks.iter().find(|tick| row_of(tick.at, top, canvas.height) == row);
        let (label, edge) = match label {
            Some(tick) => (tick.label.as_str(), '+'),
            None => ("", '|'),
        };
        let line = grid.row(row, view.color);
        text.push_str(format!("{label:>margin$} {edge}{line}").trim_end());
        text.push('\n');
        if row == last {
            text.push_str(&below(chart, margin, width, view));
        }
    }
    text.push_str(&legend(chart, canvas, view));
    text.push_str(&told(chart, view));
    text
}

/// The times below a plot.
fn below(chart: &Chart, margin: usize, width: usize, view: &View) -> String {
    let wanted = i64::try_from(width / 14).unwrap_or(1);
    let mut edge = vec!['-'; width];
    let mut labels = String::new();
    for tick in times(chart.start, chart.end, wanted, &view.zone) {
        let column = column_of(tick.at, chart, width);
        if let Some(at) = edge.get_mut(column) {
            *at = '+';
        }
        let begin = column.saturating_sub(tick.label.len() / 2);
        let is_free = labels.is_empty() || begin > labels.len();
        if is_free && begin + tick.label.len() <= width {
            labels.push_str(&" ".repeat(begin - labels.len()));
            labels.push_str(&tick.label);
        }
    }
    let pad = " ".repeat(margin + 1);
    format!("{pad}+{}\n{pad} {labels}\n", edge.into_iter().collect::<String>())
}

fn legend(chart: &Chart, canvas: &Canvas, view: &View) -> String {
    let shown = [Kind::Demand, Kind::Actual, Kind::Target, Kind::Min, Kind::Max];
    let shown = shown.into_iter().filter(|kind| chart.lines.iter().any(|line| line.kind == *kind));
    let named = shown.map(|kind| {
        let name = kind.name(chart.of_host());
        let sign = if canvas.dots { '━' } else { kind.letter() };
        format!("{} {name}", painted(kind, &sign.to_string(), view.color))
    });
    let mut words: Vec<String> = named.collect();
    if !chart.marks.is_empty() {
        words.push("! changed".to_owned());
    }
    format!("{}\n", words.join("  "))
}

fn told(chart: &Chart, view: &View) -> String {
    let line = |mark: &super::Mark| {
        let time = date_time(super::instant(mark.time), &view.zone);
        format!("! {time}  {}\n", mark.label)
    };
    let mut text: String = chart.marks.iter().take(TOLD).map(line).collect();
    let more = chart.marks.len().saturating_sub(TOLD);
    if more > 0 {
        text.push_str(&format!("! and {more} more\n"));
    }
    text
}

/// The cells of a plot.
struct Grid {
    width: usize,
    cells: Vec<Cell>,
}

#[derive(Clone, Copy, Default)]
struct Cell {
    /// Bits of the dots that are set.
    dots: u8,
    letter: Option<char>,
    kind: Option<Kind>,
}

impl Grid {
    /// Later lines lie above earlier ones.
    fn draw(chart: &Chart, top: u64, (width, height): (usize, usize), dots: bool) -> Self {
        let mut grid = Self { width, cells: vec![Cell::default(); width * height] };
        let (fine_x, fine_y) = if dots { (2, 4) } else { (1, 1) };
        for line in &chart.lines {
            let mut before: Option<(i64, (usize, usize))> = None;
            for (time, bytes) in &line.points {
                let x = column_of(*time, chart, width * fine_x);
                let y = row_of(*bytes, top, height * fine_y);
                let near = before.filter(|(then, _)| chart.joins(*then, *time));
                let from = near.map_or((x, y), |(_, from)| from);
                for (x, y) in between(from, (x, y)) {
                    grid.set((x / fine_x, y / fine_y), |cell| {
                        cell.dots |= dot(x % fine_x, y % fine_y);
                        cell.letter = Some(line.kind.letter());
                        cell.kind = Some(line.kind);
                    });
                }
                before = Some((*time, (x, y)));
            }
        }
        if dots {
            grid.cells.iter_mut().filter(|cell| cell.dots > 0).for_each(|cell| {
                cell.letter = char::from_u32(0x2800 + u32::from(cell.dots));
            });
        }
        // Above all lines, of which the one at the top would hide them.
        for mark in &chart.marks {
            let column = column_of(mark.time, chart, width);
            let letter = Some('!');
            grid.set((column, 0), |cell| *cell = Cell { letter, ..Cell::default() });
        }
        grid
    }

    fn set(&mut self, (column, row): (usize, usize), change: impl FnOnce(&mut Cell)) {
        if column < self.width
            && let Some(cell) = self.cells.get_mut(row * self.width + column)
        {
            change(cell);
        }
    }

    fn row(&self, row: usize, color: bool) -> String {
        let cells = self.cells.iter().skip(row * self.width).take(self.width);
        let letter = |cell: &Cell| {
            let letter = cell.letter.unwrap_or(' ').to_string();
            cell.kind.map_or_else(|| letter.clone(), |kind| painted(kind, &letter, color))
        };
        cells.map(letter).collect::<String>()
    }
}

/// The dots of a straight line.
fn between(from: (usize, usize), to: (usize, usize)) -> impl Iterator<Item = (usize, usize)> {
    let steps = from.0.abs_diff(to.0).max(from.1.abs_diff(to.1));
    let along = move |from: usize, to: usize, step: usize| {
        let part = (from.abs_diff(to) * step * 2 + steps) / (steps * 2).max(1);
        if to >= from { from + part } else { from - part }
    };
    (0..=steps).map(move |step| (along(from.0, to.0, step), along(from.1, to.1, step)))
}

/// The bit of a dot in a letter of Unicode's braille patterns.
const fn dot(x: usize, y: usize) -> u8 {
    match (x, y) {
        (0, 0) => 0x01,
        (0, 1) => 0x02,
        (0, 2) => 0x04,
        (0, _) => 0x40,
        (_, 0) => 0x08,
        (_, 1) => 0x10,
        (_, 2) => 0x20,
        (..) => 0x80,
    }
}

fn painted(kind: Kind, text: &str, color: bool) -> String {
    match kind {
        Kind::Demand => Paint::Warn.apply(text, color),
        Kind::Actual if color => format!("\u{1b}[34m{text}\u{1b}[0m"),
        Kind::Actual => text.to_owned(),
        Kind::Target => Paint::Good.apply(text, color),
        Kind::Min | Kind::Max => Paint::Dim.apply(text, color),
    }
}

fn column_of(time: i64, chart: &Chart, width: usize) -> usize {
    let span = i128::from(chart.end.saturating_sub(chart.start).max(1));
    let along = i128::from(time.saturating_sub(chart.start)).clamp(0, span);
    let last = i128::try_from(width.saturating_sub(1)).unwrap_or(0);
    usize::try_from(along * last / span).unwrap_or(0)
}

/// From the top.
fn row_of(bytes: u64, top: u64, height: usize) -> usize {
    let last = u128::try_from(height.saturating_sub(1)).unwrap_or(0);
    let up = (u128::from(bytes.min(top)) * last * 2 + u128::from(top)) / (u128::from(top) * 2);
    usize::try_from(last.saturating_sub(up)).unwrap_or(0)
}

const NARROWEST: usize = 40;
const WIDEST: usize = 200;
/// Changes that are told below a plot.
const TOLD: usize = 12;
