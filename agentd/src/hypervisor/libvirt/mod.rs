//! The adapter for libvirt: any local URI, `qemu:///system` by default.
//!
//! [`Libvirt`] answers the port. Below it: `session` keeps a `link` of three `crew`s, threads that
//! may hang and have a connection each, and whose `calls` are counted; `scatter` asks many VMs side
//! by side, a `chore` is done in the background; `question` is what one VM is asked, and a `ticket`
//! ends an order that comes too late; `record`, `standing` and `traits` say what libvirt's words
//! mean and `reading` puts them together; `register` is what is remembered of VMs: their `jobs`,
//! their `lives` and each one's `process`, what of them is resident (`residents`, by their control `group`); `arming` has the
//! balloon drivers report, a `prompt` at once. Only `ffi` calls the C library.
//!
//! Nothing here decides anything: a target is passed on as it comes.

mod arming;
mod backoff;
mod calls;
mod chore;
mod crew;
mod events;
mod ffi;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzz;
mod group;
mod jobs;
mod link;
mod lives;
mod meminfo;
mod pressure;
mod process;
mod prompt;
mod question;
mod reading;
mod record;
mod register;
mod residents;
mod scatter;
mod session;
mod standing;
#[cfg(test)]
mod tests;
mod ticket;
mod traits;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agentd_core::{
    bytes::ByteCount,
    sample::{HostMemory, Reading, VmReading},
    vm::VmId,
};

use self::{
    group::Places,
    jobs::AskedJob,
    link::{Bulk, BulkError, Link},
    question::{Order, Want},
    reading::Asked,
    record::Figures,
    register::Register,
    scatter::{Deadline, Fate, InFlight},
    session::Session,
    ticket::Ticket,
};
use super::{Answer, Hypervisor, LiveActual, ReadError, Target};
use crate::{bell::Bell, clock::Clock};

/// Where libvirt is, and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibvirtConfig {
    /// Which libvirt. It must run on this host, whose memory is read as well.
    pub uri: String,
    /// How often VMs are to report their figures, in whole seconds.
    pub stats_period: Duration,
    /// Where the kernel tells the host's memory.
    pub meminfo: PathBuf,
    /// Where the kernel tells how much work waits for memory.
    pub pressure: PathBuf,
    /// Where the kernel shows control groups.
    pub control_groups: PathBuf,
    /// Where the kernel shows processes: those that `vm_processes` names.
    pub processes: PathBuf,
    /// Where libvirt names the processes of VMs, in files `NAME.pid`.
    pub vm_processes: PathBuf,
}

impl Default for LibvirtConfig {
    fn default() -> Self {
        Self {
            uri: "qemu:///system".to_owned(),
            stats_period: Duration::from_secs(1),
            meminfo: PathBuf::from("/proc/meminfo"),
            pressure: PathBuf::from("/proc/pressure/memory"),
            control_groups: PathBuf::from("/sys/fs/cgroup"),
            processes: PathBuf::from("/proc"),
            vm_processes: PathBuf::from("/run/libvirt/qemu"),
        }
    }
}

/// The VMs of one libvirt.
#[derive(Debug)]
pub struct Libvirt {
    meminfo: PathBuf,
    pressure: PathBuf,
    places: Places,
    clock: Arc<dyn Clock>,
    session: Session,
    /// Which link was last worked with.
    opened: u64,
    reconnected: bool,
    /// The last bulk call brought no answer on any connection.
    silent: bool,
    register: Register,
    /// VMs that a question for figures hangs on.
    asked: InFlight,
    /// VMs that are being told to report.
    prompted: InFlight,
    /// VMs that a question for their job hangs on.
    asked_for_job: InFlight,
    /// VMs that an order hangs on.
    ordered: InFlight,
}

impl Libvirt {
    /// Does not connect yet: the first reading does. A period below a second counts as one.
    #[must_use]
    pub fn new(config: LibvirtConfig, clock: Arc<dyn Clock>) -> Self {
        let period = i32::try_from(config.stats_period.as_secs()).unwrap_or(i32::MAX).max(1);
        let places = Places {
            groups: config.control_groups,
            processes: config.processes,
            pids: config.vm_processes,
        };
        Self {
            meminfo: config.meminfo,
            pressure: config.pressure,
            places: places.clone(),
            session: Session::new(config.uri, clock.clone()),
            clock,
            opened: 0,
            reconnected: false,
            silent: false,
            register: Register::new(period, places),
            asked: InFlight::default(),
            prompted: InFlight::default(),
            asked_for_job: InFlight::default(),
            ordered: InFlight::default(),
        }
    }

    fn host(&self) -> Result<HostMemory, ReadError> {
        let failed =
            |path: &Path, problem| ReadError::Host { path: path.display().to_string(), problem };
        let host = meminfo::read(&self.meminfo).map_err(|e| failed(&self.meminfo, e))?;
        let host = self.places.narrow(host).map_err(|e| failed(&e.path, e.problem))?;
        Ok(HostMemory { pressure: pressure::read(&self.pressure), ..host })
    }

    fn bulk(&mut self, timeout: Duration) -> Result<Bulk, ReadError> {
        self.session.connect(timeout)?;
        self.notice_new_link();
        let link = self.session.connect(Duration::ZERO)?;
        let answer = link.bulk(&self.clock, timeout);
        self.silent = matches!(answer, Err(BulkError::Silent));
        let problem = match answer {
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
            self.prompted = InFlight::default();
            self.asked_for_job = InFlight::default();
            self.silent = false;
            self.register.notice(self.session.take_last_events());
            self.register.start_over();
        }
    }

    fn notice_events(&mut self) {
        match self.session.link().map(Link::take_events) {
            Some(Some(events)) => self.register.notice(events),
            // What is missing may have been the start of any VM: as over a new connection.
            Some(None) => {
                self.reconnected = true;
                self.register.start_over();
            }
            None => {}
        }
    }

    /// Has VMs report what is so now, and waits only as long as one that hangs is worth. With what those that are
    /// read live held right before.
    fn prompt(&mut self, live: &BTreeSet<VmId>, timeout: Duration) -> BTreeMap<VmId, Figures> {
        let Some(link) = self.session.link() else { return BTreeMap::new() };
        let prompts = self.register.prompts(live);
        let vms: Vec<VmId> = prompts.iter().map(|(vm, _)| *vm).collect();
        let deadline = Deadline::after(&self.clock, PROMPTING.min(timeout / 4));
        let (desk, in_flight) = (link.prompts_desk(), &self.prompted);
        let fates = scatter::scatter(desk, in_flight, prompts, &deadline, prompt::prompt);
        let (mut late, mut before) = (Vec::new(), BTreeMap::new());
        for (vm, fate) in vms.into_iter().zip(fates) {
            match fate {
                Fate::Answered(figures) => before.extend(figures.map(|figures| (vm, figures))),
                Fate::Unanswered | Fate::Taken => late.push(vm),
                Fate::NotAsked => {}
            }
        }
        self.register.spare(late.into_iter());
        before
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

    fn ask_for_jobs(
        &self,
        questions: Vec<(VmId, ())>,
        deadline: &Deadline,
    ) -> Vec<(VmId, AskedJob)> {
        let vms: Vec<VmId> = questions.iter().map(|(vm, ())| *vm).collect();
        let Some(link) = self.session.link() else {
            return Vec::new();
        };
        let (desk, in_flight) = (link.jobs_desk(), &self.asked_for_job);
        let fates = scatter::scatter(desk, in_flight, questions, deadline, question::job);
        vms.into_iter().zip(fates).collect()
    }

    /// The VMs of the reading, each with all that is known of it.
    fn vms(
        &mut self,
        bulk: &Bulk,
        mut asked: BTreeMap<VmId, Asked>,
        live: &BTreeSet<VmId>,
    ) -> Vec<VmReading> {
        let records = bulk.records.iter();
        let settled = records.filter_map(|record| {
            let (job, last) = (self.register.job(record.id), self.register.known.get(&record.id));
            reading::settle(record, asked.remove(&record.id), job, last)
        });
        let mut vms: Vec<VmReading> = settled.collect();
        self.register.complete(&bulk.records, &mut vms, live);
        vms
    }

    /// The link, unless so many calls hang on it that no order must be added, or all did the last
    /// time: then VMs that hang may have taken all of libvirt's own threads.
    fn ordering_link(&self) -> Result<&Link, String> {
        let uri = self.session.uri();
        let link = self.session.link().ok_or_else(|| format!("there is no connection to {uri}"))?;
        let parked = link.calls();
        if parked < MOST_PARKED && !self.silent {
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
        let before = self.host()?;
        let pending = self.register.pending();
        let prompted = self.prompt(live, timeout);
        let bulk = self.bulk(timeout)?;
        // Those of before the bulk call, and what it met.
        self.notice_events();
        let hung: BTreeSet<VmId> = self.ordered.vms().union(&pending).copied().collect();
        let questions = reading::questions(&bulk, live, &self.register.known, &hung);
        let asked: BTreeMap<VmId, Asked> = self.ask(questions, &deadline).into_iter().collect();
        let questions = self.register.job_questions(&bulk, &asked, &hung);
        let jobs = self.ask_for_jobs(questions, &deadline);
        self.register.learn_jobs(jobs);
        let paired = reading::paired(&prompted, &asked);
        let mut vms = self.vms(&bulk, asked, live);
        vms.iter_mut().for_each(|vm| vm.paired = paired.contains(&vm.id));
        self.register.remember(&vms, self.session.link());
        // What VMs took or let go of between the host's figures and theirs would count twice.
        let after = self.host()?;
        let host = HostMemory { usable: after.usable.min(before.usable), ..after };
        Ok(Reading { host, granule: GRANULE, ideal: false, vms })
    }

    fn read_actuals(&mut self, vms: &[VmId], timeout: Duration) -> Vec<LiveActual> {
        let deadline = Deadline::after(&self.clock, timeout);
        let questions = vms.iter().map(|vm| (*vm, Want::Live)).collect();
        let mut actuals = Vec::new();
        for (vm, fate) in self.ask(questions, &deadline) {
            let Fate::Answered(Ok(figures)) = fate else {
                continue;
            };
            self.register.note_actual(vm, figures.actual);
            let reported = figures.reported();
            let host_rss = self.register.resident_now(vm, figures.host_rss);
            let live = |actual| LiveActual { vm, actual, reported, host_rss };
            actuals.extend(figures.actual.map(live));
        }
        actuals
    }

    fn ring_when_lost(&mut self, bell: &Arc<Bell>) {
        self.session.ring_when_lost(bell);
    }

    fn set_targets(&mut self, orders: &[Target], timeout: Duration) -> Vec<Answer> {
        let deadline = Deadline::after(&self.clock, timeout);
        let link = match self.ordering_link() {
            Ok(link) => link,
            Err(obstacle) => {
                return orders.iter().map(|_| Answer::Refused(obstacle.clone())).collect();
            }
        };
        let tickets: Vec<Ticket> = orders.iter().map(|_| Ticket::until(&deadline)).collect();
        let pairs = orders.iter().zip(&tickets);
        let work = pairs.map(|(order, ticket)| {
            (order.vm, Order { target: order.target, ticket: ticket.clone() })
        });
        let (desk, work) = (link.ordering_desk(), work.collect());
        let fates = scatter::scatter(desk, &self.ordered, work, &deadline, question::order);
        let not_passed_on =
            || Answer::Refused(format!("not passed on: no time within {timeout:?}"));
        let answers = fates.into_iter().zip(tickets).map(|(fate, ticket)| match fate {
            Fate::Answered(answer) => answer,
            // A thread is at it: what it has not begun by now it never will.
            Fate::Unanswered if ticket.give_up() => not_passed_on(),
            Fate::Unanswered | Fate::Taken => Answer::InDoubt,
            Fate::NotAsked => not_passed_on(),
        });
        answers.collect()
    }

    fn take_reconnected(&mut self) -> bool {
        std::mem::take(&mut self.reconnected)
    }

    fn parked(&self) -> usize {
        self.session.parked()
    }
}

/// QEMU's balloon takes whole pages.
const GRANULE: ByteCount = ByteCount::kib(4);
/// libvirt takes some milliseconds for it.
const PROMPTING: Duration = Duration::from_millis(500);
/// Of the sixteen threads that a link has.
const MOST_PARKED: usize = 8;
