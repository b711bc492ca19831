//! Plots as one SVG file: readable on light and on dark ground, by whoever sees colours otherwise, and
//! without colours by their dashes.

use std::fmt::Write as _;

use super::axis::{amounts, times};
use super::{Chart, Kind};
use crate::render::View;
use crate::render::text::{date_time, safe};

/// All plots, one below the other.
pub(crate) fn svg(charts: &[Chart], view: &View) -> String {
    let heights: Vec<i64> = charts.iter().map(height).collect();
    let whole: i64 = heights.iter().sum();
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {whole}\" width=\"{WIDTH}\" \
         height=\"{whole}\" role=\"img\">\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{whole}\"/>\n"
    );
    let mut top = 0;
    for (chart, height) in charts.iter().zip(heights) {
        let _ = writeln!(text, "<g transform=\"translate(0 {top})\">");
        panel(&mut text, chart, view);
        text.push_str("</g>\n");
        top += height;
    }
    text.push_str("</svg>\n");
    text
}

/// Of a plot with what changed listed below.
fn height(chart: &Chart) -> i64 {
    let told = i64::try_from(chart.marks.len().min(TOLD)).unwrap_or(0);
    let more = i64::from(chart.marks.len() > TOLD);
    BOTTOM + 40 + (told + more) * ROW
}

/// Where values are on the paper.
struct Scale {
    start: i64,
    span: i64,
    top: u64,
}

impl Scale {
    fn x(&self, time: i64) -> String {
        let along = i128::from(time.saturating_sub(self.start)).clamp(0, i128::from(self.span));
        tenths(
            i128::from(LEFT) * 10 + along * i128::from(RIGHT - LEFT) * 10 / i128::from(self.span),
        )
    }

    fn y(&self, bytes: u64) -> String {
        let up = i128::from(bytes.min(self.top)) * i128::from(BOTTOM - TOP) * 10;
        tenths(i128::from(BOTTOM) * 10 - up / i128::from(self.top.max(1)))
    }
}

fn tenths(tenths: i128) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn panel(text: &mut String, chart: &Chart, view: &View) {
    let ticks = amounts(chart.most(), 6, view.units);
    let scale = Scale {
        start: chart.start,
        span: chart.end.saturating_sub(chart.start).max(1),
        top: ticks.last().map_or(1, |tick| tick.at),
    };
    let title = escaped(&chart.title);
    let from = date_time(super::instant(chart.start), &view.zone);
    let until = date_time(super::instant(chart.end), &view.zone);
    let _ = writeln!(text, "<text class=\"title\" x=\"{LEFT}\" y=\"22\">{title}</text>");
    let _ = writeln!(
        text,
        "<text class=\"small\" x=\"{LEFT}\" y=\"40\">{from} to {until}, a point every {}</text>",
        crate::quantity::format_seconds(seconds(chart.step))
    );
    for tick in &ticks {
        let (y, label) = (scale.y(tick.at), &tick.label);
        let _ = writeln!(text, "<path class=\"grid\" d=\"M{LEFT} {y}H{RIGHT}\"/>");
        let x = LEFT - 8;
        let _ =
            writeln!(text, "<text class=\"label end\" x=\"{x}\" y=\"{y}\" dy=\"4\">{label}</text>");
    }
    for tick in times(chart.start, chart.end, 8, &view.zone) {
        let (x, y) = (scale.x(tick.at), BOTTOM + 18);
        let _ = writeln!(text, "<path class=\"grid\" d=\"M{x} {TOP}V{BOTTOM}\"/>");
        let _ = writeln!(
            text,
            "<text class=\"label middle\" x=\"{x}\" y=\"{y}\">{}</text>",
            tick.label
        );
    }
    for line in &chart.lines {
        let path = path(&line.points, chart, &scale);
        let _ = writeln!(text, "<path class=\"line {}\" d=\"{path}\"/>", class(line.kind));
    }
    legend(text, chart);
    marks(text, chart, &scale, view);
}

/// A line through the points, with a hole where nothing was recorded.
fn path(points: &[(i64, u64)], chart: &Chart, scale: &Scale) -> String {
    let mut path = String::new();
    let times = points.iter().map(|(time, _)| *time);
    let joined: Vec<bool> =
        times.clone().zip(times.skip(1)).map(|(one, next)| chart.joins(one, next)).collect();
    for (index, (time, bytes)) in points.iter().enumerate() {
        let (x, y) = (scale.x(*time), scale.y(*bytes));
        let before = index.checked_sub(1).and_then(|index| joined.get(index)).copied();
        let behind = joined.get(index).copied().unwrap_or(false);
        let (pen, dot) = match (before.unwrap_or(false), behind) {
            (true, _) => ('L', ""),
            (false, true) => ('M', ""),
            // A line of no length is drawn as a dot.
            (false, false) => ('M', "h.1"),
        };
        let _ = write!(path, "{pen}{x} {y}{dot}");
    }
    path
}

fn legend(text: &mut String, chart: &Chart) {
    let of_host = chart.of_host();
    let shown = [Kind::Demand, Kind::Actual, Kind::Target, Kind::Min, Kind::Max];
    let shown = shown.into_iter().filter(|kind| chart.lines.iter().any(|line| line.kind == *kind));
    let mut x = LEFT + 300;
    for kind in shown {
        let (name, class) = (kind.name(of_host), class(kind));
        let end = x + 26;
        let _ = writeln!(text, "<path class=\"line {class}\" d=\"M{x} 18H{end}\"/>");
        let _ = writeln!(text, "<text class=\"label\" x=\"{}\" y=\"22\">{name}</text>", end + 6);
        x += 64 + i64::try_from(name.len()).unwrap_or(0) * 7;
    }
}

/// What changed: a line each in the plot, with a number that is told below.
fn marks(text: &mut String, chart: &Chart, scale: &Scale, view: &View) {
    for (index, mark) in chart.marks.iter().enumerate() {
        let x = scale.x(mark.time);
        let label = escaped(&mark.label);
        let _ = writeln!(
            text,
            "<path class=\"mark\" d=\"M{x} {TOP}V{BOTTOM}\"><title>{label}</title></path>"
        );
        if index >= TOLD {
            continue;
        }
        let number = index + 1;
        let y = BOTTOM + 40 + i64::try_from(index).unwrap_or(0) * ROW;
        let time = date_time(super::instant(mark.time), &view.zone);
        let above = TOP - 4;
        let _ =
            writeln!(text, "<text class=\"number middle\" x=\"{x}\" y=\"{above}\">{number}</text>");
        let label = escaped(&shortened(&mark.label));
        let _ = writeln!(
            text,
            "<text class=\"small\" x=\"{LEFT}\" y=\"{y}\">{number}  {time}  {label}</text>"
        );
    }
    let more = chart.marks.len().saturating_sub(TOLD);
    if more > 0 {
        let y = BOTTOM + 40 + i64::try_from(TOLD).unwrap_or(0) * ROW;
        let _ =
            writeln!(text, "<text class=\"small\" x=\"{LEFT}\" y=\"{y}\">and {more} more</text>");
    }
}

const fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Demand => "demand",
        Kind::Actual => "actual",
        Kind::Target => "target",
        Kind::Min => "least",
        Kind::Max => "most",
    }
}

fn seconds(whole: i64) -> f64 {
    jiff::SignedDuration::from_secs(whole).as_secs_f64()
}

fn shortened(text: &str) -> String {
    let short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

/// Names are chosen by others: nothing of them is markup.
fn escaped(text: &str) -> String {
    let text = safe(text);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const WIDTH: i64 = 960;
const LEFT: i64 = 84;
const RIGHT: i64 = 936;
const TOP: i64 = 64;
const BOTTOM: i64 = 324;
const ROW: i64 = 18;
/// Changes that are told below a plot.
const TOLD: usize = 20;
/// Letters of one of them.
const LONGEST: usize = 110;
/// Okabe and Ito's colours, which everybody tells apart, somewhat lighter on dark ground.
const STYLE: &str = "
.ground{fill:#fff}.title{font:600 16px sans-serif;fill:#1a1a1a}.label{font:12px sans-serif;fill:#444}
.small{font:12px sans-serif;fill:#555;white-space:pre}.number{font:600 10px sans-serif;fill:#8a3ffc}
.end{text-anchor:end}.middle{text-anchor:middle}.grid{stroke:#ddd;stroke-width:1;fill:none}
.line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.demand{stroke:#d55e00}.actual{stroke:#0072b2;stroke-width:2.5}.target{stroke:#009e73;stroke-dasharray:7 4}
.least,.most{stroke:#777;stroke-width:1.5;stroke-dasharray:2 4}
.mark{stroke:#8a3ffc;stroke-width:1;stroke-dasharray:3 3;fill:none}
@media (prefers-color-scheme:dark){.ground{fill:#161616}.title{fill:#f2f2f2}.label,.small{fill:#c6c6c6}
.grid{stroke:#393939}.demand{stroke:#ff832b}.actual{stroke:#56b4e9}.target{stroke:#2fc99a}
.least,.most{stroke:#a8a8a8}.mark{stroke:#be95ff}.number{fill:#be95ff}}
";
