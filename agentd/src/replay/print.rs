//! What a replay prints: a table for people, JSON lines for programs.

use std::io::{self, Write};

use serde::Serialize;

use super::play::Played;
use crate::{
    difference::{Compared, Instance, Ruled, Tally, VmDifference, VmTally},
    recording::Head,
};

/// A whole replay.
pub(super) struct Sum<'a> {
    /// Ticks that were replayed.
    pub(super) ticks: u64,
    /// Those in which something was decided.
    pub(super) decided: u64,
    pub(super) head: &'a Head,
    pub(super) tally: &'a Tally,
}

/// Says that every decision was as recorded.
pub(super) fn as_recorded(out: &mut impl Write, sum: &Sum<'_>) -> io::Result<()> {
    let Sum { ticks, decided, head, .. } = sum;
    writeln!(
        out,
        "{ticks} ticks of host {:?}, recorded by agentd {}: each of {decided} decisions is as recorded",
        head.host,
        head.agent_version.escape_debug()
    )
}

/// What another policy would have done differently.
pub(super) fn table(out: &mut impl Write, sum: &Sum<'_>) -> io::Result<()> {
    let Sum { ticks, decided, head, tally } = sum;
    writeln!(
        out,
        "{ticks} ticks of host {:?}, recorded by agentd {}: {decided} decisions, {} differ",
        head.host,
        head.agent_version.escape_debug(),
        tally.differed
    )?;
    writeln!(out, "decided to move: recorded {}, replayed {}", tally.moved, tally.other_moved)?;
    if tally.rejected > 0 {
        let rejected = tally.rejected;
        writeln!(
            out,
            "{rejected} of the replayed plans would have been thrown away: they break a rule of safety, or \
             the policy is beyond the host"
        )?;
    }
    if tally.vms.is_empty() {
        return Ok(());
    }
    let mut rows =
        vec![["VM", "TICKS", "MORE", "LESS", "FIRST", "RECORDED", "REPLAYED"].map(str::to_owned)];
    rows.extend(tally.vms.values().map(row));
    let widths: Vec<usize> = (0..7)
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    writeln!(out)?;
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn row(vm: &VmTally) -> [String; 7] {
    let Instance { tick, acting, other, .. } = vm.first;
    // A name is whatever somebody called the VM.
    let name = vm.name.escape_debug().to_string();
    let numbers = [vm.differed.to_string(), vm.more.to_string(), vm.less.to_string()];
    let [differed, more, less] = numbers;
    [name, differed, more, less, format!("tick {tick}"), words(&acting), words(&other)]
}

fn words(ruled: &Ruled) -> String {
    let Ruled { kind, reason, amount } = ruled;
    if amount.is_zero() {
        return format!("{} ({reason})", kind.name());
    }
    format!("{} {amount} ({reason})", kind.name())
}

/// A tick that was decided as recorded, or in which nothing was.
pub(super) fn same_line(out: &mut impl Write, played: &Played) -> io::Result<()> {
    #[derive(Serialize)]
    struct Line {
        tick: u64,
        decided: bool,
        as_recorded: bool,
    }
    line(out, &Line { tick: played.tick, decided: played.decided, as_recorded: true })
}

/// A tick as another policy decides it: what it does differently.
pub(super) fn tick_line(out: &mut impl Write, compared: &Compared) -> io::Result<()> {
    line(out, &TickLine::from(compared))
}

/// The last line.
pub(super) fn summary_line(out: &mut impl Write, sum: &Sum<'_>, other: bool) -> io::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        summary: SumLine<'a>,
    }
    let Sum { ticks, decided, head, tally } = *sum;
    let summary = SumLine {
        host: &head.host,
        recorded_by: &head.agent_version,
        ticks,
        decided,
        against: other.then(|| AgainstLine::from(tally)),
    };
    line(out, &Line { summary })
}

fn line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

#[derive(Serialize)]
struct TickLine<'a> {
    tick: u64,
    moved_bytes: u64,
    replayed_moved_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    objection: Option<&'a str>,
    vms: Vec<VmLine<'a>>,
}

#[derive(Serialize)]
struct VmLine<'a> {
    name: &'a str,
    uuid: String,
    recorded: RuledLine,
    replayed: RuledLine,
}

#[derive(Serialize)]
struct RuledLine {
    verdict: &'static str,
    reason: &'static str,
    amount_bytes: u64,
}

#[derive(Serialize)]
struct SumLine<'a> {
    host: &'a str,
    recorded_by: &'a str,
    ticks: u64,
    decided: u64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    against: Option<AgainstLine<'a>>,
}

#[derive(Serialize)]
struct AgainstLine<'a> {
    differed: u64,
    rejected: u64,
    moved_bytes: u64,
    replayed_moved_bytes: u64,
    vms: Vec<VmSumLine<'a>>,
}

#[derive(Serialize)]
struct VmSumLine<'a> {
    name: &'a str,
    uuid: String,
    differed: u64,
    more_bytes: u64,
    less_bytes: u64,
    first: InstanceLine,
    last: InstanceLine,
}

#[derive(Serialize)]
struct InstanceLine {
    tick: u64,
    recorded: RuledLine,
    replayed: RuledLine,
}

impl<'a> From<&'a Compared> for TickLine<'a> {
    fn from(compared: &'a Compared) -> Self {
        Self {
            tick: compared.tick,
            moved_bytes: compared.moved.as_u64(),
            replayed_moved_bytes: compared.other_moved.as_u64(),
            objection: compared.objection.as_deref(),
            vms: compared.vms.iter().map(VmLine::from).collect(),
        }
    }
}

impl<'a> From<&'a VmDifference> for VmLine<'a> {
    fn from(vm: &'a VmDifference) -> Self {
        let (recorded, replayed) = (RuledLine::from(&vm.acting), RuledLine::from(&vm.other));
        Self { name: &vm.name, uuid: vm.vm.to_string(), recorded, replayed }
    }
}

impl From<&Ruled> for RuledLine {
    fn from(ruled: &Ruled) -> Self {
        let Ruled { kind, reason, amount } = ruled;
        Self { verdict: kind.name(), reason: reason.name(), amount_bytes: amount.as_u64() }
    }
}

impl<'a> From<&'a Tally> for AgainstLine<'a> {
    fn from(tally: &'a Tally) -> Self {
        let vms = tally.vms.iter().map(|(id, vm)| VmSumLine {
            name: &vm.name,
            uuid: id.to_string(),
            differed: vm.differed,
            more_bytes: vm.more.as_u64(),
            less_bytes: vm.less.as_u64(),
            first: InstanceLine::from(&vm.first),
            last: InstanceLine::from(&vm.last),
        });
        Self {
            differed: tally.differed,
            rejected: tally.rejected,
            moved_bytes: tally.moved.as_u64(),
            replayed_moved_bytes: tally.other_moved.as_u64(),
            vms: vms.collect(),
        }
    }
}

impl From<&Instance> for InstanceLine {
    fn from(instance: &Instance) -> Self {
        let Instance { tick, acting, other, .. } = instance;
        Self { tick: *tick, recorded: acting.into(), replayed: other.into() }
    }
}
