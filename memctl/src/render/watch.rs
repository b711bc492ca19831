//! Text of `memctl watch`: a line for each transfer and each change, for a person who looks on.
//! Ticks in which nothing happened are counted, not shown. Remembers between records only what it
//! needs to stay readable: column widths, quiet ticks, and who was already told to wait.

use std::collections::{BTreeMap, BTreeSet};

use super::View;
use super::explain::party;
use super::table::Paint;
use super::text::{date_time, safe, time_of_day};
use crate::dto::{Actor, Body, Record, Resize, Tick, Transfer, Vm, VmChange};
use crate::dto::{ModeEvent, PolicyEvent};
use crate::quantity::{format_seconds, format_size};

/// Turns records into lines.
#[derive(Debug)]
pub(crate) struct Watch {
    view: View,
    verbose: bool,
    /// Widest host and VM name so far, within bounds.
    host_width: usize,
    name_width: usize,
    headed: bool,
    hosts: BTreeMap<String, HostState>,
}

/// What is remembered of one host.
#[derive(Debug, Default)]
struct HostState {
    quiet_ticks: u64,
    /// VMs, by UUID, that need memory and got none at the last tick.
    unmet: BTreeSet<String>,
    last_error: String,
}

impl Watch {
    /// Lines in this view; `verbose` shows quiet ticks too.
    pub(crate) fn new(view: View, verbose: bool, hosts: &[&str]) -> Self {
        let host_width = hosts
            .iter()
            .map(|h| h.chars().count())
            .max()
            .unwrap_or(0)
            .max(4);
        let hosts = hosts
            .iter()
            .map(|h| ((*h).to_owned(), HostState::default()))
            .collect();
        Self {
            view,
            verbose,
            host_width,
            name_width: 8,
            headed: false,
            hosts,
        }
    }

    /// The text of one record; empty where there is nothing to show.
    pub(crate) fn text(&mut self, record: &Record) -> String {
        let lines = match &record.body {
            Body::Tick(tick) => self.tick(record, tick),
            Body::Vm(change) => vec![vm_line(change, self.view.color)],
            Body::Policy(event) => vec![self.policy_line(event)],
            Body::Mode(event) => vec![mode_line(event, self.view.color)],
            Body::Snapshot(snapshot) => {
                self.learn_widths(&snapshot.vms);
                Vec::new()
            }
            Body::Hello(_) | Body::Gap(_) | Body::Heartbeat {} => Vec::new(),
            Body::GoingAway { .. } | Body::Host(_) => Vec::new(),
        };
        if lines.is_empty() {
            return String::new();
        }
        let mut text = self.head();
        let stamp = self.stamp(record);
        text.extend(
            lines
                .into_iter()
                .map(|line| format!("{}\n", format!("{stamp}{line}").trim_end())),
        );
        text
    }

    fn tick(&mut self, record: &Record, tick: &Tick) -> Vec<String> {
        self.learn_widths(&tick.vms);
        let state = self.hosts.entry(record.host.clone()).or_default();
        let waiting_anew: Vec<&Vm> = unmet(tick)
            .filter(|vm| !state.unmet.contains(&vm.vm.uuid))
            .collect();
        let failed_anew = !tick.error.is_empty() && tick.error != state.last_error;
        state.unmet = unmet(tick).map(|vm| vm.vm.uuid.clone()).collect();
        state.last_error.clone_from(&tick.error);
        let quiet = tick.transfers.is_empty()
            && tick.resizes.is_empty()
            && waiting_anew.is_empty()
            && !failed_anew;
        if quiet {
            state.quiet_ticks += 1;
            return if self.verbose {
                vec![self.quiet_line(tick)]
            } else {
                Vec::new()
            };
        }
        let quiet_ticks = std::mem::take(&mut state.quiet_ticks);
        let mut lines = Vec::new();
        if quiet_ticks >= MANY_QUIET_TICKS && !self.verbose {
            lines.push(Paint::Dim.apply(&format!("({quiet_ticks} quiet ticks)"), self.view.color));
        }
        if failed_anew {
            let text = format!("the hypervisor could not be read: {}", safe(&tick.error));
            lines.push(Paint::Bad.apply(&text, self.view.color));
        }
        lines.extend(self.transfer_lines(tick));
        lines.extend(lone_resizes(tick).map(|resize| self.resize_line(resize)));
        lines.extend(waiting_anew.iter().map(|vm| self.unmet_line(vm)));
        lines
    }

    fn transfer_lines(&self, tick: &Tick) -> Vec<String> {
        let mut explained: BTreeSet<&str> = BTreeSet::new();
        let mut lines = Vec::with_capacity(tick.transfers.len());
        for transfer in &tick.transfers {
            let subject = transfer.to.as_ref().or(transfer.from.as_ref());
            let subject = subject.map_or("", |vm| &*vm.uuid);
            let why = if explained.insert(subject) {
                why(tick, subject)
            } else {
                ""
            };
            let (outcome, paint) = outcome(tick, transfer, &self.view);
            let line = format!(
                "{} -> {} {:>10}  {}  {}",
                pad(&party(transfer.from.as_ref()), self.name_width),
                pad(&party(transfer.to.as_ref()), self.name_width),
                format_size(transfer.amount_bytes, self.view.units),
                paint.apply(&pad(&outcome, OUTCOME_WIDTH), self.view.color),
                safe(why),
            );
            lines.push(line);
        }
        lines
    }

    fn resize_line(&self, resize: &Resize) -> String {
        let size = |bytes| format_size(bytes, self.view.units);
        let reached = resize.ordered_bytes.unwrap_or(resize.to_bytes);
        let (outcome, paint) = resize_outcome(resize);
        let why = if resize.message.is_empty() { "" } else { ": " };
        let text = format!("{outcome}{why}{}", safe(&resize.message));
        let (from, to) = (size(resize.from_bytes), size(reached));
        let name = pad(&safe(resize.vm.label()), self.name_width);
        format!(
            "{name} goes from {from} to {to}, {}",
            paint.apply(&text, self.view.color)
        )
    }

    fn unmet_line(&self, vm: &Vm) -> String {
        let verdict = vm.verdict.as_ref();
        let need = format_size(
            verdict.and_then(|v| v.need_bytes).unwrap_or(0),
            self.view.units,
        );
        let why = verdict.map_or("", |v| {
            if v.message.is_empty() {
                &*v.reason
            } else {
                &*v.message
            }
        });
        let text = format!("needs {need} and gets none: {}", safe(why));
        let name = pad(&safe(vm.vm.label()), self.name_width);
        format!("{name} {}", Paint::Warn.apply(&text, self.view.color))
    }

    fn quiet_line(&self, tick: &Tick) -> String {
        let pool = tick.pool.as_ref().map(|pool| {
            let size = |bytes| format_size(bytes, self.view.units);
            format!(
                "; VMs hold {}, host keeps {}",
                size(pool.actual_bytes),
                size(pool.kept_bytes)
            )
        });
        let took = tick
            .took_seconds
            .map(|s| format!("; took {:.0} ms", s * 1000.0));
        let (pool, took) = (pool.unwrap_or_default(), took.unwrap_or_default());
        Paint::Dim.apply(
            &format!("tick {}: quiet{pool}{took}", tick.tick),
            self.view.color,
        )
    }

    fn policy_line(&self, event: &PolicyEvent) -> String {
        let changes: Vec<String> = event
            .changes
            .iter()
            .map(|c| {
                format!(
                    "{} {} -> {}",
                    safe(&c.key),
                    safe(&c.old_value),
                    safe(&c.new_value)
                )
            })
            .collect();
        let mut text = format!("policy {}: {}", event.revision, changes.join(", "));
        text.push_str(&by(event.actor.as_ref(), &event.reason));
        if let Some(revert) = event.revert_time {
            let time = date_time(revert.0, &self.view.zone);
            text.push_str(&format!("; goes back at {time} unless confirmed"));
        }
        Paint::Warn.apply(&text, self.view.color)
    }

    fn learn_widths(&mut self, vms: &[Vm]) {
        let widest = vms
            .iter()
            .map(|vm| safe(vm.vm.label()).chars().count())
            .max()
            .unwrap_or(0);
        self.name_width = self.name_width.max(widest.min(WIDEST_NAME));
    }

    fn head(&mut self) -> String {
        if self.headed || !self.view.headers {
            return String::new();
        }
        self.headed = true;
        let host = match self.view.many_hosts {
            true => format!("{}  ", pad("HOST", self.host_width)),
            false => String::new(),
        };
        let position = if self.view.wide {
            format!("{:>8}  ", "SEQ")
        } else {
            String::new()
        };
        let text = format!(
            "{}  {position}{host}{}    {} {:>10}  {}  WHY",
            pad("TIME", TIME_WIDTH),
            pad("FROM", self.name_width),
            pad("TO", self.name_width),
            "AMOUNT",
            pad("OUTCOME", OUTCOME_WIDTH),
        );
        format!("{}\n", Paint::Dim.apply(&text, self.view.color))
    }

    fn stamp(&self, record: &Record) -> String {
        let time = record.time.map(|t| time_of_day(t.0, &self.view.zone));
        let mut stamp = format!("{}  ", pad(&time.unwrap_or_default(), TIME_WIDTH));
        if self.view.wide {
            let seq = record.position.as_ref().map_or(0, |p| p.seq);
            stamp.push_str(&format!("{seq:>8}  "));
        }
        if self.view.many_hosts {
            stamp.push_str(&format!("{}  ", pad(&safe(&record.host), self.host_width)));
        }
        stamp
    }
}

/// VMs that need memory, are not being given any, and so may suffer.
fn unmet(tick: &Tick) -> impl Iterator<Item = &Vm> {
    let gets = |vm: &Vm| tick.transfers.iter().any(|t| t.to.as_ref() == Some(&vm.vm));
    tick.vms.iter().filter(move |vm| {
        let need = vm.verdict.as_ref().and_then(|v| v.need_bytes).unwrap_or(0);
        need > 0 && !gets(vm)
    })
}

/// Orders to VMs that no transfer of this tick names: what an earlier tick left to do.
fn lone_resizes(tick: &Tick) -> impl Iterator<Item = &Resize> {
    let named = |uuid: &str| {
        tick.transfers
            .iter()
            .flat_map(|t| [&t.from, &t.to])
            .flatten()
            .any(|vm| vm.uuid == uuid)
    };
    tick.resizes
        .iter()
        .filter(move |resize| !named(&resize.vm.uuid))
}

fn why<'a>(tick: &'a Tick, uuid: &str) -> &'a str {
    let verdict = tick
        .vms
        .iter()
        .find(|vm| vm.vm.uuid == uuid)
        .and_then(|vm| vm.verdict.as_ref());
    verdict.map_or("", |v| {
        if v.message.is_empty() {
            &v.reason
        } else {
            &v.message
        }
    })
}

/// What became of a transfer, in words.
fn outcome(tick: &Tick, transfer: &Transfer, view: &View) -> (String, Paint) {
    if transfer.granted_bytes >= transfer.amount_bytes {
        return ("granted".to_owned(), Paint::Good);
    }
    let sides = [&transfer.from, &transfer.to].into_iter().flatten();
    let resizes = sides.filter_map(|vm| tick.resizes.iter().find(|r| r.vm.uuid == vm.uuid));
    for resize in resizes {
        let name = safe(resize.vm.label());
        match resize.outcome.as_str() {
            "refused" => return (format!("refused for {name}"), Paint::Bad),
            "vm_gone" => return (format!("{name} is gone"), Paint::Bad),
            "in_doubt" => return (format!("in doubt for {name}"), Paint::Bad),
            "skipped" => return (format!("not ordered ({})", tick.mode.0), Paint::Dim),
            _ => {}
        }
    }
    match (&transfer.from, transfer.granted_bytes) {
        (_, granted) if granted > 0 => (
            format!("{} granted, waits", format_size(granted, view.units)),
            Paint::Warn,
        ),
        (Some(giver), _) => (format!("waits for {}", safe(giver.label())), Paint::Warn),
        (None, _) => ("waits".to_owned(), Paint::Warn),
    }
}

fn resize_outcome(resize: &Resize) -> (String, Paint) {
    match resize.outcome.as_str() {
        "accepted" => ("granted".to_owned(), Paint::Good),
        "held" => ("waits".to_owned(), Paint::Warn),
        "skipped" => ("not ordered".to_owned(), Paint::Dim),
        other => (other.replace('_', " "), Paint::Bad),
    }
}

fn vm_line(change: &VmChange, color: bool) -> String {
    let name = safe(change.vm.label());
    let text = match (&change.previous_state, &change.state) {
        (None, Some(state)) => format!("VM {name} came, {state}"),
        (Some(_), None) => format!("VM {name} is gone"),
        (Some(before), Some(state)) => format!("VM {name}: {before} -> {state}"),
        (None, None) => format!("VM {name} changed"),
    };
    Paint::Warn.apply(&text, color)
}

fn mode_line(event: &ModeEvent, color: bool) -> String {
    let by = by(event.actor.as_ref(), &event.reason);
    let text = format!("mode {} -> {}{by}", event.previous_mode.0, event.mode.0);
    Paint::Warn.apply(&text, color)
}

fn by(actor: Option<&Actor>, reason: &str) -> String {
    let mut text = actor
        .map(|a| format!(", by {}", safe(&a.id)))
        .unwrap_or_default();
    if !reason.is_empty() {
        text.push_str(&format!(" ({})", safe(reason)));
    }
    text
}

fn pad(text: &str, width: usize) -> String {
    format!(
        "{text}{}",
        " ".repeat(width.saturating_sub(text.chars().count()))
    )
}

/// What the stream itself does, for stderr; None where a person need not know.
pub(crate) fn notice(record: &Record) -> Option<String> {
    let host = &record.host;
    match &record.body {
        Body::Gap(gap) => {
            let missed = gap
                .missed
                .map_or_else(|| "entries".to_owned(), |n| format!("{n} entries"));
            let why = match gap.reason.as_str() {
                "slow_consumer" => "this memctl read too slowly",
                "expired" => "they are no longer kept",
                "restarted" => "the agent was restarted",
                "dropped" => "the agent had to drop them",
                _ => "no reason given",
            };
            Some(format!("{host}: gap: {missed} missing, {why}"))
        }
        Body::GoingAway { reason, .. } => {
            Some(format!("{host}: the agent is going away: {reason}"))
        }
        Body::Host(news) => {
            let failure = news.error.as_ref()?;
            let retry = format_seconds(news.retry_in_seconds?);
            Some(format!("{host}: {}; next try in {retry}", failure.message))
        }
        Body::Hello(_) | Body::Snapshot(_) | Body::Heartbeat {} | Body::Tick(_) => None,
        Body::Vm(_) | Body::Policy(_) | Body::Mode(_) => None,
    }
}

/// What was seen in all, for the end.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    ticks: u64,
    quiet: u64,
    transfers: u64,
    moved_bytes: u64,
    gaps: u64,
    missed: u64,
}

impl Summary {
    /// Counts one record.
    pub(crate) fn count(&mut self, record: &Record) {
        if let Body::Gap(gap) = &record.body {
            self.gaps += 1;
            self.missed = self.missed.saturating_add(gap.missed.unwrap_or(0));
        }
        let Body::Tick(tick) = &record.body else {
            return;
        };
        self.ticks += 1;
        self.quiet += u64::from(tick.transfers.is_empty() && tick.resizes.is_empty());
        for transfer in &tick.transfers {
            self.transfers += 1;
            self.moved_bytes = self.moved_bytes.saturating_add(transfer.granted_bytes);
        }
    }

    /// In one line.
    pub(crate) fn text(&self, view: &View) -> String {
        let moved = format_size(self.moved_bytes, view.units);
        let gaps = match (self.gaps, self.missed) {
            (0, _) => "no gap".to_owned(),
            (gaps, missed) => format!("{} with {missed} entries missing", plural(gaps, "gap")),
        };
        format!(
            "{} ({} quiet), {} moved {moved}, {gaps}",
            plural(self.ticks, "tick"),
            self.quiet,
            plural(self.transfers, "transfer"),
        )
    }
}

fn plural(count: u64, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

const TIME_WIDTH: usize = 12;
const OUTCOME_WIDTH: usize = 18;
const WIDEST_NAME: usize = 24;
/// So many quiet ticks are worth a line that tells of them.
const MANY_QUIET_TICKS: u64 = 5;
