//! [`svg`]: what a workload looked like with some contestants: demand, resident and actual of each
//! VM over time, a column for each contestant and a row for each VM, all by one scale.

use std::fmt::Write;
use std::time::Duration;

use super::arena::Run;
use super::workload::{Family, Workload};

/// A run, as coarse as a plot shows it.
#[derive(Clone, Debug)]
pub struct Reel {
    length: Duration,
    vms: Vec<Track>,
}

/// One VM.
#[derive(Clone, Debug)]
struct Track {
    name: String,
    max: u64,
    /// What was wanted and not in memory, added up over all points.
    unmet: u64,
    points: Vec<Point>,
}

/// One moment of a VM. Amounts are bytes.
#[derive(Clone, Copy, Debug)]
struct Point {
    at: Duration,
    demand: u64,
    resident: u64,
    actual: u64,
}

impl Reel {
    /// What a plot shows of a run.
    #[must_use]
    pub fn of(load: &Workload, run: &Run) -> Self {
        let step = run.frames.len().div_ceil(POINTS).max(1);
        let track = |(index, member): (usize, &super::workload::Member)| {
            let frames = run.frames.iter().step_by(step);
            let points: Vec<Point> = frames
                .filter_map(|frame| {
                    let shot = frame.vms.get(index).copied().flatten()?;
                    let demand = if shot.works { shot.demand } else { 0 };
                    let (resident, actual) = (shot.resident, shot.actual);
                    Some(Point { at: frame.at, demand, resident, actual })
                })
                .collect();
            let missing = points.iter().map(|point| point.demand.saturating_sub(point.resident));
            let unmet = missing.map(|bytes| bytes >> 20).sum();
            let most = points.iter().map(|point| point.actual.max(point.demand)).max();
            Track { name: member.name.clone(), max: most.unwrap_or(0), unmet, points }
        };
        let vms = load.members.iter().enumerate().map(track).collect();
        Self { length: load.length, vms }
    }
}

/// The plot of a workload. Of many VMs those are shown that lacked most.
#[must_use]
pub fn svg(family: Family, seed: u64, version: &str, runs: &[(&str, &Reel)]) -> String {
    let rows = rows(runs);
    let count = runs.iter().map(|(_, reel)| reel.vms.len()).max().unwrap_or(0);
    let (width, height) =
        (LEFT + runs.len() * (PANEL.0 + GAP.0) + 8, TOP + rows.len() * (PANEL.1 + GAP.1) + 40);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    let shown = if rows.len() < count {
        format!(", {} of {count} VMs: those that lacked most", rows.len())
    } else {
        String::new()
    };
    let title = format!("{} — seed {seed}, agentd {version}{shown}", family.name());
    say(&mut text, (8, 20), "start\" font-size=\"15", &title);
    legend(&mut text);
    for (column, (who, reel)) in runs.iter().enumerate() {
        let x = LEFT + column * (PANEL.0 + GAP.0);
        say(&mut text, (x + PANEL.0 / 2, TOP - 8), "middle\" font-weight=\"bold", who);
        for (row, index) in rows.iter().enumerate() {
            let y = TOP + row * (PANEL.1 + GAP.1);
            let most = runs.iter().filter_map(|(_, reel)| Some(reel.vms.get(*index)?.max)).max();
            let scale = Scale { x, y, length: reel.length, most: most.unwrap_or(1).max(1) };
            if let Some(track) = reel.vms.get(*index) {
                panel(&mut text, &scale, track, column == 0);
            }
        }
        let y = TOP + rows.len() * (PANEL.1 + GAP.1) - GAP.1;
        times(&mut text, x, y, reel.length);
    }
    text.push_str("</svg>\n");
    text
}

/// Which VMs are shown.
fn rows(runs: &[(&str, &Reel)]) -> Vec<usize> {
    let count = runs.iter().map(|(_, reel)| reel.vms.len()).max().unwrap_or(0);
    let lacked = |index: &usize| -> u64 {
        runs.iter().filter_map(|(_, reel)| reel.vms.get(*index)).map(|track| track.unmet).sum()
    };
    let mut rows: Vec<usize> = (0..count).collect();
    rows.sort_by_key(|index| std::cmp::Reverse(lacked(index)));
    rows.truncate(MOST_ROWS);
    rows.sort_unstable();
    rows
}

/// Where a panel is, and what its edges mean.
struct Scale {
    x: usize,
    y: usize,
    length: Duration,
    most: u64,
}

impl Scale {
    fn place(&self, at: Duration, bytes: u64) -> (f64, f64) {
        let across = at.as_secs_f64() / self.length.as_secs_f64().max(1.0);
        let up = bytes as f64 / self.most as f64;
        (self.x as f64 + across * PANEL.0 as f64, self.y as f64 + (1.0 - up) * PANEL.1 as f64)
    }
}

fn panel(text: &mut String, scale: &Scale, track: &Track, first: bool) {
    let (x, y, (width, height)) = (scale.x, scale.y, PANEL);
    let _ = writeln!(
        text,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"none\" \
         stroke=\"#bbb\"/>"
    );
    if first {
        say(text, (x - 6, y + 10), "end", &format!("{} MiB", scale.most >> 20));
        say(text, (x - 6, y + height), "end", "0");
        say(text, (x - 6, y + height / 2 + 4), "end\" font-weight=\"bold", &track.name);
    }
    let Some((start, end)) = track.points.first().zip(track.points.last()) else {
        return;
    };
    let mut area = String::new();
    let floor = |point: &Point| Point { resident: 0, ..*point };
    let corners = [&[floor(start)][..], &track.points, &[floor(end)]].concat();
    line(&mut area, scale, &corners, |point| point.resident);
    let _ = writeln!(text, "<polygon points=\"{area}\" fill=\"{RESIDENT}\"/>");
    let [mut actual, mut demand] = [String::new(), String::new()];
    line(&mut actual, scale, &track.points, |point| point.actual);
    line(&mut demand, scale, &track.points, |point| point.demand);
    let _ = writeln!(text, "<polyline points=\"{actual}\" fill=\"none\" stroke=\"{ACTUAL}\"/>");
    let _ = writeln!(text, "<polyline points=\"{demand}\" fill=\"none\" stroke=\"{DEMAND}\"/>");
}

fn line(text: &mut String, scale: &Scale, points: &[Point], of: impl Fn(&Point) -> u64) {
    for point in points {
        let (x, y) = scale.place(point.at, of(point));
        let _ = write!(text, "{x:.1},{y:.1} ");
    }
}

fn times(text: &mut String, x: usize, y: usize, length: Duration) {
    for quarter in 0..=4_usize {
        let at = length.as_secs_f64() * quarter as f64 / 4.0;
        let unit = if quarter == 4 { " s" } else { "" };
        say(text, (x + PANEL.0 * quarter / 4, y + 14), "middle", &format!("{at:.0}{unit}"));
    }
}

fn legend(text: &mut String) {
    let parts = [(DEMAND, "demand"), (ACTUAL, "actual"), (RESIDENT, "resident")];
    for ((colour, name), number) in parts.into_iter().zip(0..) {
        let x = 10 + number * 90;
        let _ = writeln!(
            text,
            "<rect x=\"{x}\" y=\"30\" width=\"14\" height=\"8\" fill=\"{colour}\"/>"
        );
        say(text, (x + 18, 38), "start", name);
    }
    say(text, (290, 38), "start", "MiB over seconds; each row has its own scale");
}

/// Writes words. `anchor` may carry further attributes.
fn say(text: &mut String, (x, y): (usize, usize), anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(text, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{words}</text>");
}

const PANEL: (usize, usize) = (360, 96);
const GAP: (usize, usize) = (36, 12);
const LEFT: usize = 84;
const TOP: usize = 72;
/// As many as can be told apart in a panel.
const POINTS: usize = 360;
const MOST_ROWS: usize = 8;
const DEMAND: &str = "#c0392b";
const ACTUAL: &str = "#2457a5";
const RESIDENT: &str = "#b7dfc0";

#[cfg(test)]
mod tests {
    use super::*;

    fn reel(count: u64) -> Reel {
        let track = |number: u64| Track {
            name: format!("vm{number}"),
            max: 1 << 30,
            unmet: number,
            points: (0..10)
                .map(|second| Point {
                    at: Duration::from_secs(second),
                    demand: 600 << 20,
                    resident: 500 << 20,
                    actual: 1 << 30,
                })
                .collect(),
        };
        Reel { length: Duration::from_secs(10), vms: (1..=count).map(track).collect() }
    }

    #[test]
    fn a_plot_says_what_it_shows() {
        let two = reel(2);
        let text = svg(Family::Turns, 5, "1.0", &[("two-pointer", &two), ("a<b", &two)]);
        for part in ["turns — seed 5, agentd 1.0<", "a&lt;b", "1024 MiB", ">10 s<", "resident"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(text.matches("<polygon").count(), 4);
        assert_eq!(text.matches("<polyline").count(), 8);
        assert_eq!(text.matches("<text").count(), text.matches("</text>").count());
    }

    #[test]
    fn of_many_vms_those_are_shown_that_lacked_most() {
        let many = reel(20);
        let text = svg(Family::Many, 5, "1.0", &[("two-pointer", &many)]);
        assert!(text.contains("8 of 20 VMs"), "{text}");
        assert!(text.contains(">vm20<") && text.contains(">vm13<") && !text.contains(">vm12<"));
    }
}
