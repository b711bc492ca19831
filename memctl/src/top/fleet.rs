//! What the hosts told: the state of each host and its VMs, a short past of every VM, and what
//! happened last. Takes news, draws nothing, knows no clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::dto::{
    Body, Condition, HostMemory, PolicyEvent, Pool, Record, Snapshot, Tick, Transfer, Vm, VmChange,
};
use crate::failure::Failure;
use crate::follow::News;
use crate::hosts::Host;
use crate::policy_keys::{Key, VmField};
use crate::render::View;
use crate::render::watch::Watch;

/// All hosts, in the order in which they were named.
#[derive(Clone, Debug)]
pub(super) struct Fleet {
    /// What is known of each.
    pub(super) hosts: Vec<HostView>,
    /// What happened, as lines of `memctl watch`, the oldest first.
    pub(super) events: VecDeque<String>,
    lines: Watch,
}

/// One host.
#[derive(Clone, Debug)]
pub(super) struct HostView {
    /// As memctl calls it.
    pub(super) name: String,
    /// Whether it is heard.
    pub(super) line: Line,
    /// When it last said anything.
    pub(super) heard: Option<Instant>,
    /// "" until it is told.
    pub(super) mode: String,
    /// "" until it is told.
    pub(super) algorithm: String,
    /// None until it is told.
    pub(super) memory: Option<HostMemory>,
    /// None until it is told.
    pub(super) pool: Option<Pool>,
    /// What is wrong, in one line; "" where nothing is.
    pub(super) trouble: String,
    /// Its VMs by UUID.
    pub(super) vms: BTreeMap<String, VmView>,
    /// Transfers of its last tick.
    pub(super) transfers: Vec<Transfer>,
    /// VMs, by name or UUID, that the policy pins.
    pub(super) pinned: BTreeSet<String>,
    /// VMs of a snapshot of which more parts follow, by UUID.
    listed: Option<BTreeSet<String>>,
}

/// The connection to a host.
#[derive(Clone, Debug)]
pub(super) enum Line {
    /// Not yet heard.
    Connecting,
    /// The stream stands.
    Live,
    /// It is lost, and will be tried again.
    Retrying {
        /// When.
        at: Instant,
        /// Why it was lost.
        failure: Failure,
    },
    /// It will not be tried again.
    Over(Failure),
}

/// One VM.
#[derive(Clone, Debug)]
pub(super) struct VmView {
    /// As the last tick saw it.
    pub(super) vm: Vm,
    /// What it used at the last ticks, in bytes, the newest last; what it held where nobody knows.
    pub(super) past: VecDeque<u64>,
}

impl Fleet {
    /// Hosts of which nothing is known yet.
    pub(super) fn new(hosts: &[Host], view: &View) -> Self {
        let names: Vec<&str> = hosts.iter().map(|host| &*host.name).collect();
        let plain = View { headers: false, color: false, wide: false, ..view.clone() };
        Self {
            hosts: names.iter().map(|name| HostView::new(name)).collect(),
            events: VecDeque::new(),
            lines: Watch::new(plain, false, &names),
        }
    }

    /// Takes in what happened at one host.
    pub(super) fn take(&mut self, number: usize, news: News, now: Instant) {
        let Some(host) = self.hosts.get_mut(number) else { return };
        match news {
            News::Message(message) => {
                host.heard = Some(now);
                let record = Record::new(&host.name, *message);
                host.note(&record);
                let text = self.lines.text(&record);
                let notice = self.lines.notice(&record);
                let lines = text.lines().map(str::to_owned).chain(notice);
                self.events.extend(lines.collect::<Vec<_>>());
            }
            News::Lost { failure, retry_in } => {
                let told = !matches!(host.line, Line::Retrying { .. });
                if told {
                    self.events.push_back(format!("{}: {}", host.name, failure.message));
                }
                host.line = Line::Retrying { at: now + retry_in, failure };
            }
            News::Ended(Err(failure)) => {
                self.events.push_back(format!("{}: {}", host.name, failure.message));
                host.line = Line::Over(failure);
            }
            // A stream that is followed has no end of its own.
            News::Ended(Ok(())) => {}
        }
        while self.events.len() > EVENTS {
            self.events.pop_front();
        }
    }
}

impl HostView {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            line: Line::Connecting,
            heard: None,
            mode: String::new(),
            algorithm: String::new(),
            memory: None,
            pool: None,
            trouble: String::new(),
            vms: BTreeMap::new(),
            transfers: Vec::new(),
            pinned: BTreeSet::new(),
            listed: None,
        }
    }

    /// How long nothing was heard of it.
    pub(super) fn silence(&self, now: Instant) -> Option<Duration> {
        self.heard.map(|heard| now.saturating_duration_since(heard))
    }

    /// Whether what is shown of it may be taken for what is so.
    pub(super) const fn is_live(&self) -> bool {
        matches!(self.line, Line::Live)
    }

    /// A word for how it is, as of `now`: as tables have it while it is heard.
    pub(super) fn word(&self, now: Instant) -> String {
        match self.line {
            Line::Live if self.trouble.is_empty() => "HEALTHY".to_owned(),
            Line::Live => "DEGRADED".to_owned(),
            Line::Connecting | Line::Retrying { .. } | Line::Over(_) => self.line.word(now),
        }
    }

    /// Whether this VM is pinned, by the policy or for a while.
    pub(super) fn is_pinned(&self, vm: &Vm) -> bool {
        vm.pinned_until.is_some()
            || self.pinned.contains(&vm.vm.uuid)
            || self.pinned.contains(&vm.vm.name)
    }

    fn note(&mut self, record: &Record) {
        match &record.body {
            Body::Hello(_) => (self.line, self.listed) = (Line::Live, None),
            Body::Snapshot(snapshot) => self.found(snapshot),
            Body::Tick(tick) => self.ticked(tick),
            Body::Vm(change) => self.changed(change),
            Body::Policy(event) => self.ruled(event),
            Body::Mode(event) => self.mode.clone_from(&event.mode.0),
            Body::Gap(_) | Body::Heartbeat {} | Body::GoingAway { .. } => {}
            // The next tick says what is pinned for a while.
            Body::Reservation(_) | Body::Pin(_) | Body::Host(_) | Body::Unknown {} => {}
        }
    }

    fn found(&mut self, snapshot: &Snapshot) {
        if self.listed.is_none() {
            self.mode.clone_from(&snapshot.mode.0);
            self.memory.clone_from(&snapshot.memory);
            self.pool.clone_from(&snapshot.pool);
            self.trouble = in_words(&snapshot.conditions);
        }
        if let Some(revision) = &snapshot.policy {
            self.algorithm.clone_from(&revision.policy.algorithm);
            let pinned = revision.policy.vms.iter().filter(|(_, vm)| vm.pinned == Some(true));
            self.pinned = pinned.map(|(name, _)| name.clone()).collect();
        }
        let listed = self.listed.get_or_insert_default();
        listed.extend(snapshot.vms.iter().map(|vm| vm.vm.uuid.clone()));
        for vm in &snapshot.vms {
            self.see(vm);
        }
        // The last part: what no part named is gone.
        if !snapshot.continued
            && let Some(listed) = self.listed.take()
        {
            self.vms.retain(|uuid, _| listed.contains(uuid));
        }
    }

    fn ticked(&mut self, tick: &Tick) {
        self.mode.clone_from(&tick.mode.0);
        self.algorithm.clone_from(&tick.algorithm);
        self.transfers.clone_from(&tick.transfers);
        self.trouble = trouble(tick);
        if tick.is_blind() {
            // Nobody saw the VMs: the figures of before are the last that there are.
            return;
        }
        self.memory = tick.memory.clone().or_else(|| self.memory.take());
        self.pool = tick.pool.clone().or_else(|| self.pool.take());
        self.vms.retain(|uuid, _| tick.vms.iter().any(|vm| vm.vm.uuid == *uuid));
        for vm in &tick.vms {
            self.see(vm);
        }
    }

    fn see(&mut self, vm: &Vm) {
        if !self.vms.contains_key(&vm.vm.uuid) && self.vms.len() >= VMS {
            return;
        }
        let view = self.vms.entry(vm.vm.uuid.clone());
        let view = view.or_insert_with(|| VmView { vm: vm.clone(), past: VecDeque::new() });
        view.vm = vm.clone();
        let figure = vm.memory.as_ref().map(|m| m.used_bytes.unwrap_or(m.actual_bytes));
        view.past.extend(figure);
        while view.past.len() > PAST {
            view.past.pop_front();
        }
    }

    fn changed(&mut self, change: &VmChange) {
        match (&change.state, self.vms.get_mut(&change.vm.uuid)) {
            (Some(state), Some(view)) => view.vm.state.clone_from(state),
            (None, Some(_)) => {
                self.vms.remove(&change.vm.uuid);
            }
            // The next tick tells more of it.
            (_, None) => {}
        }
    }

    fn ruled(&mut self, event: &PolicyEvent) {
        for change in &event.changes {
            match Key::of_path(&change.path) {
                Some(Key::Vm(name, VmField::Pinned)) if change.new_value == "true" => {
                    self.pinned.insert(name);
                }
                Some(Key::Vm(name, VmField::Pinned) | Key::WholeVm(name)) => {
                    self.pinned.remove(&name);
                }
                Some(Key::Vm(..) | Key::General(_)) | None => {}
            }
        }
    }
}

impl Line {
    /// A word for it, as of `now`.
    fn word(&self, now: Instant) -> String {
        match self {
            Self::Connecting => "CONNECTING".to_owned(),
            Self::Live => "CONNECTED".to_owned(),
            Self::Retrying { at, .. } => {
                let left = at.saturating_duration_since(now).as_secs_f64().ceil();
                format!("RETRY IN {left:.0}s")
            }
            Self::Over(failure) => failure.word().to_owned(),
        }
    }

    /// Why it does not stand, and what to do.
    pub(super) fn why(&self) -> Option<String> {
        match self {
            Self::Connecting | Self::Live => None,
            Self::Retrying { failure, .. } | Self::Over(failure) => Some(failure.in_one_line()),
        }
    }
}

/// What a tick has to say against its host.
fn trouble(tick: &Tick) -> String {
    if !tick.error.is_empty() {
        let what =
            if tick.is_blind() { Condition::HYPERVISOR_LOST } else { Condition::PLAN_REJECTED };
        return format!("{what}: {}", tick.error);
    }
    if !tick.frozen.is_empty() {
        return format!("{}: {}", Condition::FROZEN, tick.frozen);
    }
    // What is wrong with the host as a whole comes first.
    let of_host = tick.conditions.iter().find(|own| own.starts_with("HOST_"));
    let first = of_host.or_else(|| tick.conditions.first());
    let condition = first.map(|first| format!("{first}{}", and_more(tick.conditions.len())));
    // An older agentd does not tell of conditions there.
    let low = || {
        let level = tick.memory.as_ref()?.level.as_deref()?;
        (level != "normal").then(|| format!("memory is {level}"))
    };
    let stop = || tick.pool.as_ref()?.stop.clone();
    condition.or_else(low).or_else(stop).unwrap_or_default()
}

fn in_words(conditions: &[Condition]) -> String {
    conditions.first().map_or_else(String::new, |first| {
        format!("{}: {}{}", first.reason, first.message, and_more(conditions.len()))
    })
}

/// Of how many in all the first one is told.
fn and_more(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        count => format!(" (and {} more: memctl status)", count - 1),
    }
}

/// Lines that are kept of what happened.
const EVENTS: usize = 500;
/// Figures that are kept of one VM: two minutes of ticks.
pub(super) const PAST: usize = 120;
/// VMs that are kept of one host: more than any has.
const VMS: usize = 10_000;
