//! The adapter for libvirt: any local URI, `qemu:///system` by default.
//!
//! [`Libvirt`] answers the port. Below it: `session` keeps a `link` of three `crew`s, threads that
//! may hang and have a connection each; `scatter` asks many VMs side by side;
//! `question` is what one VM is asked; `record` says what libvirt's figures mean and `reading`
//! puts them together; `arming` has the balloon drivers report. Only `ffi` calls the C library.
//!
//! Nothing here decides anything: a target is passed on as it comes.

mod arming;
mod backoff;
mod crew;
mod events;
mod ffi;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzz;
mod link;
mod meminfo;
mod question;
mod reading;
mod record;
mod scatter;
mod session;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use agentd_core::{
    bytes::ByteCount,
    sample::{HostMemory, Reading},
    vm::VmId,
};

use self::{
    arming::Arming,
    events::Event,
    link::{Bulk, BulkError, Link},
    question::Want,
    reading::{Asked, Known},
    scatter::{Deadline, Fate, InFlight},
    session::Session,
};
use super::{Answer, Hypervisor, LiveActual, ReadError, Target};
use crate::clock::Clock;

/// Where libvirt is, and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibvirtConfig {
    /// Which libvirt. It must run on this host, whose memory is read as well.
    pub uri: String,
    /// How often VMs are to report their figures, in whole seconds.
    pub stats_period: Duration,
    /// Where the kernel tells the host's memory.
    pub meminfo: PathBuf,
}

impl Default for LibvirtConfig {
    fn default() -> Self {
        Self {
            uri: "qemu:///system".to_owned(),
            stats_period: Duration::from_secs(1),
            meminfo: PathBuf::from("/proc/meminfo"),
        }
    }
}

/// The VMs of one libvirt.
#[derive(Debug)]
pub struct Libvirt {
    meminfo: PathBuf,
    clock: Arc<dyn Clock>,
    session: Session,
    /// Which link was last worked with.
    opened: u64,
    reconnected: bool,
    known: Known,
    arming: Arming,
    /// VMs that a question for figures hangs on.
    asked: InFlight,
    /// VMs that an order hangs on.
    ordered: InFlight,
}

impl Libvirt {
    /// Does not connect yet: the first reading does. A period below a second counts as one.
    #[must_use]
    pub fn new(config: LibvirtConfig, clock: Arc<dyn Clock>) -> Self {
        let period = i32::try_from(config.stats_period.as_secs()).unwrap_or(i32::MAX).max(1);
        Self {
            meminfo: config.meminfo,
            session: Session::new(config.uri, clock.clone()),
            clock,
            opened: 0,
            reconnected: false,
            known: Known::new(),
            arming: Arming::new(period),
            asked: InFlight::default(),
            ordered: InFlight::default(),
        }
    }

    fn host(&self) -> Result<HostMemory, ReadError> {
        meminfo::read(&self.meminfo).map_err(|problem| ReadError::Host {
            path: self.meminfo.display().to_string(),
            problem,
        })
    }

    fn bulk(&mut self, timeout: Duration) -> Result<Bulk, ReadError> {
        self.session.connect(timeout)?;
        self.notice_new_link();
        self.notice_events();
        let link = self.session.connect(Duration::ZERO)?;
        let problem = match link.bulk(&self.clock, timeout) {
            Ok(bulk) => return Ok(bulk),
            Err(problem) => problem,
        };
        let uri = self.session.uri().to_owned();
        match problem {
            BulkError::Silent => Err(ReadError::Silent { uri, timeout }),
            BulkError::Failed(problem) => Err(ReadError::Failed { uri, problem }),
            BulkError::Lost(problem) => {
                self.session.reset(&problem);
                self.session.connect(Duration::ZERO)?;
                Err(ReadError::Failed { uri, problem })
            }
        }
    }

    /// A new link has told no VM anything yet. Orders on the old one stay in doubt.
    fn notice_new_link(&mut self) {
        if self.opened != self.session.opened() {
            self.reconnected = self.opened > 0;
            self.opened = self.session.opened();
            self.asked = InFlight::default();
            self.arming.restart_all();
        }
    }

    fn notice_events(&mut self) {
        let events = match self.session.link().map(Link::take_events) {
            Some(Some(events)) => events,
            Some(None) => return self.arming.restart_all(),
            None => return,
        };
        for event in events {
            match event {
                Event::Started(vm) => self.arming.restart(vm),
                Event::Stopped(vm) => drop(self.known.remove(&vm)),
                Event::Actual { vm, kib } => self.note_actual(vm, ByteCount::from_kib(kib)),
            }
        }
    }

    fn note_actual(&mut self, vm: VmId, actual: Option<ByteCount>) {
        if let (Some(known), Some(actual)) = (self.known.get_mut(&vm), actual) {
            known.actual = actual;
        }
    }

    fn ask(&self, questions: Vec<(VmId, Want)>, deadline: &Deadline) -> Vec<(VmId, Asked)> {
        let vms: Vec<VmId> = questions.iter().map(|(vm, _)| *vm).collect();
        let Some(link) = self.session.link() else {
            return Vec::new();
        };
        let fates = scatter::scatter(
            link.reading_desk(),
            &self.asked,
            questions,
            deadline,
            question::figures,
        );
        vms.into_iter().zip(fates).collect()
    }

    /// Keeps what the next reading needs, and has new VMs report.
    fn remember(&mut self, reading: &Reading) {
        self.known = reading.vms.iter().map(|vm| (vm.id, vm.clone())).collect();
        let there: BTreeSet<VmId> = self.known.keys().copied().collect();
        self.arming.sight(&there);
        if let Some(link) = self.session.link() {
            link.forget_all_but(&there);
            self.arming.run(link.chores_desk());
        }
    }

    /// The link, unless so many calls hang on it that no order must be added.
    fn ordering_link(&self) -> Result<&Link, String> {
        let uri = self.session.uri();
        let link = self.session.link().ok_or_else(|| format!("there is no connection to {uri}"))?;
        let parked = link.calls();
        if parked < MOST_PARKED {
            return Ok(link);
        }
        let hung = self.ordered.vms().into_iter().chain(self.asked.vms());
        let hung: BTreeSet<String> = hung.map(|vm| vm.to_string()).collect();
        let vms = hung.into_iter().collect::<Vec<_>>().join(", ");
        Err(format!("{parked} calls to {uri} hang; VMs known to hang: {vms}; resume or end them"))
    }
}

impl Hypervisor for Libvirt {
    fn uri(&self) -> &str {
        self.session.uri()
    }

    fn read(&mut self, live: &BTreeSet<VmId>, timeout: Duration) -> Result<Reading, ReadError> {
        let deadline = Deadline::after(&self.clock, timeout);
        let host = self.host()?;
        let pending = self.arming.pending();
        let bulk = self.bulk(timeout)?;
        let hung: BTreeSet<VmId> = self.ordered.vms().union(&pending).copied().collect();
        let questions = reading::questions(&bulk, live, &self.known, &hung);
        let mut asked: BTreeMap<VmId, Asked> = self.ask(questions, &deadline).into_iter().collect();
        let records = bulk.records.iter();
        let vms = records
            .filter_map(|record| {
                reading::settle(record, asked.remove(&record.id), self.known.get(&record.id))
            })
            .collect();
        let reading = Reading { host, granule: GRANULE, ideal: false, vms };
        self.remember(&reading);
        Ok(reading)
    }

    fn read_actuals(&mut self, vms: &[VmId], timeout: Duration) -> Vec<LiveActual> {
        let deadline = Deadline::after(&self.clock, timeout);
        let questions = vms.iter().map(|vm| (*vm, Want::Live)).collect();
        let mut actuals = Vec::new();
        for (vm, fate) in self.ask(questions, &deadline) {
            let Fate::Answered(Ok(figures)) = fate else {
                continue;
            };
            self.note_actual(vm, figures.actual);
            let (reported, host_rss) = (figures.reported(), figures.host_rss);
            let live = |actual| LiveActual { vm, actual, reported, host_rss };
            actuals.extend(figures.actual.map(live));
        }
        actuals
    }

    fn set_targets(&mut self, orders: &[Target], timeout: Duration) -> Vec<Answer> {
        let deadline = Deadline::after(&self.clock, timeout);
        let link = match self.ordering_link() {
            Ok(link) => link,
            Err(obstacle) => {
                return orders.iter().map(|_| Answer::Refused(obstacle.clone())).collect();
            }
        };
        let work = orders.iter().map(|order| (order.vm, order.target)).collect();
        let fates =
            scatter::scatter(link.ordering_desk(), &self.ordered, work, &deadline, question::order);
        let answers = fates.into_iter().map(|fate| match fate {
            Fate::Answered(answer) => answer,
            Fate::Unanswered | Fate::Taken => Answer::InDoubt,
            Fate::NotAsked => Answer::Refused(format!("not passed on: no time within {timeout:?}")),
        });
        answers.collect()
    }

    fn take_reconnected(&mut self) -> bool {
        std::mem::take(&mut self.reconnected)
    }

    fn parked(&self) -> usize {
        self.session.link().map_or(0, Link::calls)
    }
}

/// QEMU's balloon takes whole pages.
const GRANULE: ByteCount = ByteCount::kib(4);
/// Of the sixteen threads that a link has.
const MOST_PARKED: usize = 8;
