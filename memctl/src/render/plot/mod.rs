//! Plots of the history: demand, actual, target and limits over time, with what changed meanwhile. One
//! [`Chart`] for each VM or host, drawn as SVG or as text. Pure.

mod axis;
mod svg;
mod text;

use jiff::Timestamp;

use super::View;
use super::history::HistoryBody;
use super::watch::change_line;
use crate::dto::{Body, History, HistoryPoint, HistoryVm};

pub(crate) use svg::svg;
pub(crate) use text::{Canvas, text};

/// One plot.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Chart {
    pub(crate) title: String,
    /// Beginning and end, in seconds since the epoch.
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// Length of a step, in seconds.
    pub(crate) step: i64,
    pub(crate) lines: Vec<Line>,
    pub(crate) marks: Vec<Mark>,
}

/// One line of a plot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) kind: Kind,
    /// Seconds since the epoch, and bytes.
    pub(crate) points: Vec<(i64, u64)>,
}

/// What a line shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Most that is allowed.
    Max,
    /// Least that is left.
    Min,
    /// What was asked to be held.
    Target,
    /// What is held.
    Actual,
    /// What programs work with.
    Demand,
}

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Seconds since the epoch.
    pub(crate) time: i64,
    /// In words.
    pub(crate) label: String,
}

impl Kind {
    /// Its name in the legend; of a host the limits are others than of a VM.
    pub(crate) const fn name(self, of_host: bool) -> &'static str {
        match (self, of_host) {
            (Self::Demand, _) => "demand",
            (Self::Actual, _) => "actual",
            (Self::Target, _) => "target",
            (Self::Min, false) => "min",
            (Self::Max, false) => "max",
            (Self::Min, true) => "host reserve",
            (Self::Max, true) => "limit",
        }
    }

    /// The letter that draws it where there are no colours.
    pub(crate) const fn letter(self) -> char {
        match self {
            Self::Demand => 'd',
            Self::Actual => 'a',
            Self::Target => 't',
            Self::Min => '.',
            Self::Max => '-',
        }
    }
}

impl Chart {
    /// Whether it is of a host, and not of a VM.
    pub(crate) fn of_host(&self) -> bool {
        self.title.starts_with(HOST)
    }

    /// Whether a line goes on from a point to the next one: not over a step of which nothing is known.
    pub(crate) fn joins(&self, time: i64, next: i64) -> bool {
        // What is old is known to the minute.
        next.saturating_sub(time) * 2 <= self.step.max(60).saturating_mul(3)
    }

    /// The most that any line shows.
    pub(crate) fn most(&self) -> u64 {
        let points = self.lines.iter().flat_map(|line| &line.points);
        points.map(|(_, bytes)| *bytes).max().unwrap_or(0)
    }
}

/// The plots of these hosts: of the VMs where such were asked for, else of the host and each of its VMs.
pub(crate) fn charts<'a>(
    items: impl Iterator<Item = (&'a str, &'a HistoryBody)>,
    view: &View,
) -> Vec<Chart> {
    let mut charts = Vec::new();
    for (host, body) in items {
        let history = &body.history;
        let place = if view.many_hosts { format!(" on {host}") } else { String::new() };
        let chart = |title: String, lines: Vec<Line>, vm: Option<&str>| Chart {
            title,
            start: seconds(history.start_time),
            end: seconds(history.end_time),
            step: step(history),
            lines: lines.into_iter().filter(|line| !line.points.is_empty()).collect(),
            marks: marks(history, vm, view),
        };
        if !body.of_vms {
            charts.push(chart(format!("{HOST}{host}"), host_lines(&history.points), None));
        }
        for vm in names(&history.points) {
            let title = format!("{}{place}", vm.1);
            charts.push(chart(title, vm_lines(&history.points, &vm.0), Some(&vm.0)));
        }
    }
    charts
}

fn host_lines(points: &[HistoryPoint]) -> Vec<Line> {
    let line = |kind, read: &dyn Fn(&crate::dto::HistoryHost) -> Option<u64>| {
        let at = |point: &HistoryPoint| Some((seconds(point.time), read(point.host.as_ref()?)?));
        Line { kind, points: points.iter().filter_map(at).collect() }
    };
    vec![
        line(Kind::Max, &|host| Some(host.limit_bytes.unwrap_or(host.total_bytes))),
        line(Kind::Min, &|host| host.reserve_bytes),
        line(Kind::Target, &|host| Some(host.target_bytes)),
        line(Kind::Actual, &|host| Some(host.actual_bytes)),
        line(Kind::Demand, &|host| host.demand_most_bytes),
    ]
}

fn vm_lines(points: &[HistoryPoint], uuid: &str) -> Vec<Line> {
    let line = |kind, read: &dyn Fn(&HistoryVm) -> Option<u64>| {
        let at = |point: &HistoryPoint| {
            let vm = point.vms.iter().find(|vm| vm.vm.uuid == uuid)?;
            Some((seconds(point.time), read(vm)?))
        };
        Line { kind, points: points.iter().filter_map(at).collect() }
    };
    vec![
        line(Kind::Max, &|vm| Some(vm.max_bytes)),
        line(Kind::Min, &|vm| Some(vm.min_bytes)),
        line(Kind::Target, &|vm| vm.target_bytes),
        line(Kind::Actual, &|vm| Some(vm.actual_bytes)),
        line(Kind::Demand, &|vm| vm.demand_most_bytes),
    ]
}

/// The VMs by UUID and what to call them, in the order of their names.
fn names(points: &[HistoryPoint]) -> Vec<(String, String)> {
    let all = points.iter().flat_map(|point| &point.vms);
    let mut names: Vec<(String, String)> =
        all.map(|vm| (vm.vm.uuid.clone(), vm.vm.label().to_owned())).collect();
    names.sort();
    names.dedup_by(|one, other| one.0 == other.0);
    names.sort_by(|one, other| one.1.cmp(&other.1));
    names
}

/// What changed; of VMs only this one's changes, where it is one's.
fn marks(history: &History, vm: Option<&str>, view: &View) -> Vec<Mark> {
    let plain = View { color: false, ..view.clone() };
    let is_of_it = |body: &Body| match (body, vm) {
        (Body::Vm(change), Some(uuid)) => change.vm.uuid == uuid,
        _ => true,
    };
    let changes = history.changes.iter().filter(|change| is_of_it(&change.body));
    let mark =
        |record| Some(Mark { time: seconds(time_of(record)), label: change_line(record, &plain)? });
    changes.filter_map(mark).collect()
}

const fn time_of(record: &crate::dto::Record) -> Option<crate::dto::Time> {
    record.time
}

fn step(history: &History) -> i64 {
    let step = jiff::SignedDuration::try_from_secs_f64(history.step_seconds);
    step.map_or(1, |step| step.as_secs()).max(1)
}

fn seconds(time: Option<crate::dto::Time>) -> i64 {
    time.map_or(0, |time| time.0.as_second())
}

/// A second as a time; the epoch where there is no such time.
fn instant(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

const HOST: &str = "host ";

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
