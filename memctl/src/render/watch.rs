//! Text of `memctl watch`: a line for each transfer and each change, for a person who looks on.
//! Ticks in which nothing happened are counted, not shown. Remembers between records only what it
//! needs to stay readable: column widths, quiet ticks, and who was already told to wait.

use std::collections::{BTreeMap, BTreeSet};

use super::View;
use super::explain::party;
use super::shadow;
use super::table::Paint;
use super::text::{date_time, safe, time_of_day};
use crate::dto::{
    Actor, Body, Condition, Gap, HostNews, Pool, Record, Resize, Snapshot, Tick, Transfer, Vm,
    VmChange,
};
use crate::dto::{ModeEvent, PinEvent, PolicyEvent, ReservationEvent};
use crate::quantity::{format_apart, format_part, format_seconds, format_size};
use crate::versions::OURS;

/// Turns records into lines.
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug, Default)]
struct HostState {
    quiet_ticks: u64,
    /// Whether its state was told once.
    greeted: bool,
    /// Whether its stream is lost.
    lost: bool,
    /// VMs, by UUID, that need memory and got none at the last tick.
    unmet: BTreeSet<String>,
    last_error: String,
    /// Whether it said something that we do not know, and that was told.
    is_beyond_us: bool,
    /// The freeze file of the last tick.
    frozen: String,
}

impl Watch {
    /// Lines in this view; `verbose` shows quiet ticks too.
    pub(crate) fn new(view: View, verbose: bool, hosts: &[&str]) -> Self {
        let host_width = hosts.iter().map(|h| h.chars().count()).max().unwrap_or(0).max(4);
        let hosts = hosts.iter().map(|h| ((*h).to_owned(), HostState::default())).collect();
        Self { view, verbose, host_width, name_width: 8, headed: false, hosts }
    }

    /// The text of one record; empty where there is nothing to show.
    pub(crate) fn text(&mut self, record: &Record) -> String {
        let lines = match &record.body {
            Body::Tick(tick) => self.tick(record, tick),
            Body::Vm(change) => vec![vm_line(change, self.view.color)],
            Body::Policy(event) => vec![self.policy_line(event)],
            Body::Mode(event) => vec![mode_line(event, self.view.color)],
            Body::Reservation(event) => vec![self.reservation_line(event)],
            Body::Pin(event) => vec![pin_line(event, &self.view)],
            Body::Snapshot(snapshot) => {
                self.learn_widths(&snapshot.vms);
                Vec::new()
            }
            Body::Hello(_) | Body::Gap(_) | Body::Heartbeat {} => Vec::new(),
            Body::GoingAway { .. } | Body::Host(_) | Body::Unknown {} => Vec::new(),
        };
        if lines.is_empty() {
            return String::new();
        }
        let mut text = self.head();
        let stamp = self.stamp(record);
        text.extend(
            lines.into_iter().map(|line| format!("{}\n", format!("{stamp}{line}").trim_end())),
        );
        text
    }

    /// What the stream itself does, for stderr; None where a person need not know.
    pub(crate) fn notice(&mut self, record: &Record) -> Option<String> {
        let host = &record.host;
        let state = self.hosts.entry(host.clone()).or_default();
        match &record.body {
            Body::Hello(_) if std::mem::take(&mut state.lost) => {
                Some(format!("{host}: connected again"))
            }
            Body::Snapshot(snapshot) if !std::mem::replace(&mut state.greeted, true) => {
                Some(format!("{host}: {}", self.greeting(snapshot)))
            }
            Body::Gap(gap) => Some(format!("{host}: {}", gap_text(gap))),
            Body::GoingAway { reason, .. } => {
                Some(format!("{host}: the agent is going away: {reason}"))
            }
            Body::Host(HostNews { same_as: Some(name), .. }) => {
                Some(format!("{host}: the same host as {name}, followed once"))
            }
            Body::Host(news) => {
                state.lost = true;
                let failure = news.error.as_ref()?;
                let retry = format_seconds(news.retry_in_seconds?);
                Some(format!("{host}: {}; next try in {retry}", failure.message))
            }
            Body::Unknown {} if !std::mem::replace(&mut state.is_beyond_us, true) => Some(format!(
                "{host}: what this memctl, {OURS}, does not know is left out; a newer one tells it"
            )),
            Body::Hello(_) | Body::Snapshot(_) | Body::Heartbeat {} | Body::Tick(_) => None,
            Body::Vm(_) | Body::Policy(_) | Body::Mode(_) | Body::Reservation(_) => None,
            Body::Pin(_) | Body::Unknown {} => None,
        }
    }

    /// What a person finds on arrival.
    fn greeting(&self, snapshot: &Snapshot) -> String {
        let algorithm = snapshot.policy.as_ref().map(|p| format!(", {}", p.policy.algorithm));
        let pool = snapshot.pool.as_ref().map(|pool| format!("; {}", self.pool(pool)));
        let (algorithm, pool) = (algorithm.unwrap_or_default(), pool.unwrap_or_default());
        let wrong: Vec<&str> = snapshot.conditions.iter().map(|c| &*c.reason).collect();
        let wrong = match wrong.as_slice() {
            [] => String::new(),
            _ => format!("; wrong now: {}, see `memctl status`", wrong.join(", ")),
        };
        format!("watching, mode {}{algorithm}{pool}{wrong}", snapshot.mode.0)
    }

    fn tick(&mut self, record: &Record, tick: &Tick) -> Vec<String> {
        self.learn_widths(&tick.vms);
        let state = self.hosts.entry(record.host.clone()).or_default();
        let waiting_anew: Vec<&Vm> =
            unmet(tick).filter(|vm| !state.unmet.contains(&vm.vm.uuid)).collect();
        let failed_anew = !tick.error.is_empty() && tick.error != state.last_error;
        state.unmet = unmet(tick).map(|vm| vm.vm.uuid.clone()).collect();
        state.last_error.clone_from(&tick.error);
        let frozen = std::mem::replace(&mut state.frozen, tick.frozen.clone());
        let frozen = (frozen != tick.frozen).then_some(frozen);
        let shadow: Vec<String> =
            tick.shadow.iter().flat_map(|shadow| shadow::lines(shadow, &self.view)).collect();
        let quiet = tick.transfers.is_empty()
            && tick.resizes.is_empty()
            && waiting_anew.is_empty()
            && !failed_anew
            && frozen.is_none()
            && shadow.is_empty();
        if quiet {
            state.quiet_ticks += 1;
            let many = state.quiet_ticks.is_multiple_of(SIGN_OF_LIFE_TICKS);
            let text = match (self.verbose, many) {
                (true, _) => format!("tick {}: quiet", tick.tick),
                (false, true) => {
                    format!("({} quiet ticks)", std::mem::take(&mut state.quiet_ticks))
                }
                (false, false) => return Vec::new(),
            };
            return vec![self.quiet_line(&text, tick)];
        }
        let quiet_ticks = std::mem::take(&mut state.quiet_ticks);
        let mut lines = Vec::new();
        if quiet_ticks >= MANY_QUIET_TICKS && !self.verbose {
            lines.push(Paint::Dim.apply(&format!("({quiet_ticks} quiet ticks)"), self.view.color));
        }
        if failed_anew {
            let error = safe(&tick.error);
            let text = if tick.is_blind() {
                format!("the hypervisor could not be read: {error}")
            } else {
                format!("nothing is done: {error}")
            };
            lines.push(Paint::Bad.apply(&text, self.view.color));
        }
        lines.extend(frozen.map(|before| frozen_line(&before, tick, self.view.color)));
        lines.extend(self.transfer_lines(tick));
        lines.extend(lone_resizes(tick).map(|resize| self.resize_line(resize)));
        lines.extend(waiting_anew.iter().map(|vm| self.unmet_line(vm)));
        lines.extend(shadow);
        lines
    }

    fn transfer_lines(&self, tick: &Tick) -> Vec<String> {
        let mut explained: BTreeSet<&str> = BTreeSet::new();
        let mut lines = Vec::with_capacity(tick.transfers.len());
        for transfer in &tick.transfers {
            // Where the stream is of some VMs alone, the tick may tell nothing of who gets it.
            let mut parties = [&transfer.to, &transfer.from].into_iter().flatten();
            let subject = parties.find(|party| tick.vms.iter().any(|vm| vm.vm.uuid == party.uuid));
            let subject = subject.map_or("", |vm| &*vm.uuid);
            let why = if explained.insert(subject) { why(tick, subject) } else { "" };
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
        let reached = resize.ordered_bytes.unwrap_or(resize.to_bytes);
        let (outcome, paint) = resize_outcome(resize);
        let why = if resize.message.is_empty() { "" } else { ": " };
        let text = format!("{outcome}{why}{}", safe(&resize.message));
        let (from, to) = format_apart(resize.from_bytes, reached, self.view.units);
        let name = pad(&safe(resize.vm.label()), self.name_width);
        format!("{name} goes from {from} to {to}, {}", paint.apply(&text, self.view.color))
    }

    fn unmet_line(&self, vm: &Vm) -> String {
        let verdict = vm.verdict.as_ref();
        let need = verdict.and_then(|v| v.need_bytes).unwrap_or(0);
        let text = match verdict.filter(|v| !v.message.is_empty()) {
            Some(verdict) => safe(&verdict.message).into_owned(),
            None => format!("needs {} and gets none", format_size(need, self.view.units)),
        };
        let name = pad(&safe(vm.vm.label()), self.name_width);
        format!("{name} {}", Paint::Warn.apply(&text, self.view.color))
    }

    fn quiet_line(&self, text: &str, tick: &Tick) -> String {
        let pool = tick.pool.as_ref().map(|pool| format!("; {}", self.pool(pool)));
        let took = tick.took_seconds.map(|s| format!("; took {:.0} ms", s * 1000.0));
        let (pool, took) = (pool.unwrap_or_default(), took.unwrap_or_default());
        Paint::Dim.apply(&format!("{text}{pool}{took}"), self.view.color)
    }

    fn pool(&self, pool: &Pool) -> String {
        let size = |bytes| format_size(bytes, self.view.units);
        let (held, kept) = (size(pool.actual_bytes), size(pool.kept_bytes));
        format!("VMs hold {held}, host keeps {kept}")
    }

    fn policy_line(&self, event: &PolicyEvent) -> String {
        let changes: Vec<String> = event
            .changes
            .iter()
            .map(|c| format!("{} {} -> {}", safe(&c.key), safe(&c.old_value), safe(&c.new_value)))
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
        let widest = vms.iter().map(|vm| safe(vm.vm.label()).chars().count()).max().unwrap_or(0);
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
        let position = if self.view.wide { format!("{:>8}  ", "SEQ") } else { String::new() };
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

/// The freeze file is there, or `before` is not any more.
fn frozen_line(before: &str, tick: &Tick, color: bool) -> String {
    if tick.frozen.is_empty() {
        return Paint::Good.apply(&format!("{} is gone: no longer frozen", safe(before)), color);
    }
    let file = safe(&tick.frozen);
    let text =
        format!("{}: {file} is there: nothing is decided, no order starts", Condition::FROZEN);
    Paint::Warn.apply(&text, color)
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
        tick.transfers.iter().flat_map(|t| [&t.from, &t.to]).flatten().any(|vm| vm.uuid == uuid)
    };
    tick.resizes.iter().filter(move |resize| !named(&resize.vm.uuid))
}

fn why<'a>(tick: &'a Tick, uuid: &str) -> &'a str {
    let verdict = tick.vms.iter().find(|vm| vm.vm.uuid == uuid).and_then(|vm| vm.verdict.as_ref());
    verdict.map_or("", |v| if v.message.is_empty() { &v.reason } else { &v.message })
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
        (_, granted) if granted > 0 => {
            let part = format_part(granted, transfer.amount_bytes, view.units);
            (format!("{part} granted, waits"), Paint::Warn)
        }
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

impl Watch {
    fn reservation_line(&self, event: &ReservationEvent) -> String {
        let own = &event.reservation;
        let (min, max) = format_apart(own.min_bytes, own.max_bytes, self.view.units);
        let mut what = format!("reservation {} of {min}", own.id);
        if own.max_bytes > own.min_bytes {
            what.push_str(&format!(" to {max}"));
        }
        if let Some(vm) = &own.vm {
            what.push_str(&format!(" for {}", safe(vm)));
        }
        let to = own.handed_to.as_ref().map(|vm| format!(" to {}", party(Some(vm))));
        let by = by(event.actor.as_ref(), &event.reason);
        let happened = event.event.replace('_', " ");
        let text = format!("{what}: {happened}{}{by}", to.unwrap_or_default());
        Paint::Warn.apply(&text, self.view.color)
    }
}

/// What changed, in a line without its time; `None` for what is no change.
pub(crate) fn change_line(record: &Record, view: &View) -> Option<String> {
    let lines = Watch::new(view.clone(), false, &[]);
    match &record.body {
        Body::Vm(change) => Some(vm_line(change, view.color)),
        Body::Policy(event) => Some(lines.policy_line(event)),
        Body::Mode(event) => Some(mode_line(event, view.color)),
        Body::Reservation(event) => Some(lines.reservation_line(event)),
        Body::Pin(event) => Some(pin_line(event, view)),
        Body::Tick(_) | Body::Hello(_) | Body::Snapshot(_) | Body::Gap(_) => None,
        Body::Heartbeat {} | Body::GoingAway { .. } | Body::Host(_) | Body::Unknown {} => None,
    }
}

/// "pin of db1 until 2026-01-02 04:04:05Z: begun, by uid:0 (import)"
fn pin_line(event: &PinEvent, view: &View) -> String {
    let until = event.pin.end_time.map(|end| format!(" until {}", date_time(end.0, &view.zone)));
    let by = by(event.actor.as_ref(), &event.reason);
    let (vm, until) = (party(Some(&event.pin.vm)), until.unwrap_or_default());
    Paint::Warn.apply(&format!("pin of {vm}{until}: {}{by}", event.event), view.color)
}

fn mode_line(event: &ModeEvent, color: bool) -> String {
    let by = by(event.actor.as_ref(), &event.reason);
    let text = format!("mode {} -> {}{by}", event.previous_mode.0, event.mode.0);
    Paint::Warn.apply(&text, color)
}

fn by(actor: Option<&Actor>, reason: &str) -> String {
    let mut text = actor.map(|a| format!(", by {}", safe(&a.label()))).unwrap_or_default();
    if !reason.is_empty() {
        text.push_str(&format!(" ({})", safe(reason)));
    }
    text
}

fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.chars().count())))
}

fn gap_text(gap: &Gap) -> String {
    let missed = match gap.missed {
        None => "an unknown number of entries is missing".to_owned(),
        Some(0) => "nothing is missing".to_owned(),
        Some(1) => "1 entry missing".to_owned(),
        Some(missed) => format!("{missed} entries missing"),
    };
    let why = match gap.reason.as_str() {
        "slow_consumer" => "this memctl read too slowly",
        "expired" => "they are kept no longer",
        "restarted" => "the agent was restarted",
        "dropped" => "the agent had to drop them",
        _ => "no reason given",
    };
    format!("gap: {missed}, {why}")
}

const TIME_WIDTH: usize = 12;
const OUTCOME_WIDTH: usize = 21;
const WIDEST_NAME: usize = 24;
/// So many quiet ticks are worth a line that tells of them.
const MANY_QUIET_TICKS: u64 = 5;
/// So many quiet ticks in a row, and a line tells that all is alive.
const SIGN_OF_LIFE_TICKS: u64 = 30;

#[cfg(test)]
mod tests {
    use agentd_proto::v1;
    use agentd_proto::v1::watch_response::Body as Wire;
    use jiff::tz::TimeZone;

    use super::*;
    use crate::quantity::Units;

    fn watch(verbose: bool) -> Watch {
        let view = View {
            wide: false,
            headers: false,
            color: false,
            units: Units::Iec,
            zone: TimeZone::UTC,
            many_hosts: false,
            width: None,
        };
        Watch::new(view, verbose, &["node1"])
    }

    fn record(body: Wire) -> Record {
        let wire = v1::WatchResponse { body: Some(body), ..Default::default() };
        Record::new("node1", wire)
    }

    fn quiet() -> Record {
        record(Wire::Tick(v1::Tick::default()))
    }

    fn needy(need_bytes: u64) -> Record {
        let verdict = v1::Verdict { need_bytes: Some(need_bytes), ..Default::default() };
        let vm = v1::VmRef { uuid: "u1".to_owned(), name: "web1".to_owned() };
        let vm = v1::Vm { vm: Some(vm), verdict: Some(verdict), ..Default::default() };
        record(Wire::Tick(v1::Tick { vms: vec![vm], ..Default::default() }))
    }

    fn unread(error: &str) -> Record {
        record(Wire::Tick(v1::Tick { error: error.to_owned(), ..Default::default() }))
    }

    #[test]
    fn quiet_ticks_are_counted_and_a_sign_of_life_is_given() {
        let mut watch = watch(false);
        let texts: Vec<String> = (0..60).map(|_| watch.text(&quiet())).collect();
        let shown: Vec<&String> = texts.iter().filter(|t| !t.is_empty()).collect();
        assert_eq!(shown.len(), 2);
        assert_eq!(shown[0].trim(), "(30 quiet ticks)");
    }

    #[test]
    fn what_happens_after_many_quiet_ticks_says_how_many() {
        let mut watch = watch(false);
        (0..7).for_each(|_| assert_eq!(watch.text(&quiet()), ""));
        let text = watch.text(&needy(1 << 20));
        assert!(text.contains("(7 quiet ticks)") && text.contains("needs 1 MiB and gets none"));
    }

    #[test]
    fn a_verbose_watch_shows_every_tick() {
        assert!(watch(true).text(&quiet()).contains("tick 0: quiet"));
    }

    #[test]
    fn what_lasts_is_told_once_until_it_ends() {
        let mut watch = watch(false);
        let mut shown = |record: &Record| !watch.text(record).is_empty();
        assert!(shown(&needy(1)) && !shown(&needy(2)) && !shown(&quiet()) && shown(&needy(3)));
        assert!(shown(&unread("gone")) && !shown(&unread("gone")) && shown(&unread("denied")));
        assert!(!shown(&quiet()) && shown(&unread("denied")));
    }

    #[test]
    fn what_is_little_or_differs_by_little_shows() {
        let vm = |uuid: &str| Some(v1::VmRef { uuid: uuid.to_owned(), name: uuid.to_owned() });
        let transfer =
            v1::Transfer { amount_bytes: 64 << 20, granted_bytes: 1, ..Default::default() };
        let resize = v1::Resize {
            vm: vm("web1"),
            from_bytes: 768 << 20,
            to_bytes: (768 << 20) + 4096,
            ..Default::default()
        };
        let (transfers, resizes) = (vec![transfer], vec![resize]);
        let text = watch(false).text(&record(Wire::Tick(v1::Tick {
            transfers,
            resizes,
            ..Default::default()
        })));
        assert!(text.contains("less than 1 MiB granted, waits"), "{text}");
        assert!(text.contains("goes from 786432 KiB to 786436 KiB"), "{text}");
    }

    #[test]
    fn where_nothing_is_told_of_who_gets_the_one_that_gives_says_why() {
        let named = |name: &str| Some(v1::VmRef { uuid: name.to_owned(), name: name.to_owned() });
        let verdict = Some(v1::Verdict { message: "has spare".to_owned(), ..Default::default() });
        let vms = vec![v1::Vm { vm: named("batch"), verdict, ..Default::default() }];
        let (from, to) = (named("batch"), named("db1"));
        let transfers = vec![v1::Transfer { from, to, amount_bytes: 1, ..Default::default() }];
        let tick = v1::Tick { vms, transfers, ..Default::default() };
        let text = watch(false).text(&record(Wire::Tick(tick)));
        assert!(text.trim_end().ends_with("has spare"), "{text}");
    }

    #[test]
    fn a_freeze_is_told_when_it_begins_and_when_it_ends() {
        let mut watch = watch(false);
        let frozen = || {
            let frozen = "/run/agentd/freeze".to_owned();
            record(Wire::Tick(v1::Tick { frozen, ..Default::default() }))
        };
        let text = watch.text(&frozen());
        assert!(text.contains("FROZEN: /run/agentd/freeze is there"), "{text}");
        assert_eq!(watch.text(&frozen()), "");
        assert!(watch.text(&quiet()).contains("/run/agentd/freeze is gone"));
        let condition = v1::Condition { reason: "FROZEN".to_owned(), ..Default::default() };
        let snapshot = v1::Snapshot { conditions: vec![condition], ..Default::default() };
        let greeting = watch.notice(&record(Wire::Snapshot(snapshot))).unwrap();
        assert!(greeting.ends_with("; wrong now: FROZEN, see `memctl status`"), "{greeting}");
    }

    #[test]
    fn a_host_is_greeted_once_and_its_return_is_told() {
        let mut watch = watch(false);
        let snapshot = || record(Wire::Snapshot(v1::Snapshot::default()));
        let hello = || record(Wire::Hello(v1::Hello::default()));
        assert!(watch.notice(&hello()).is_none());
        assert!(watch.notice(&snapshot()).is_some_and(|t| t.starts_with("node1: watching, mode ")));
        assert!(watch.notice(&snapshot()).is_none());
        let news = HostNews {
            state: "reconnecting".into(),
            same_as: None,
            retry_in_seconds: None,
            error: None,
        };
        assert!(
            watch.notice(&Record::of_host("node1", jiff::Timestamp::UNIX_EPOCH, news)).is_none()
        );
        assert_eq!(watch.notice(&hello()).as_deref(), Some("node1: connected again"));
    }
}
