//! A [`Crew`]: threads that call libvirt, each on a connection of its own.
//!
//! libvirt's calls block and cannot be cancelled. A call that hangs parks its thread, and its
//! connection, until it returns; whoever asked for it does not wait for that.
//!
//! No connection ever carries two calls. Where threads share one, libvirt's client may overlook the
//! answer to a call beside one that hangs, until the next keepalive (libvirt 9.0: four seconds).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use agentd_core::vm::VmId;
use virt::error::Error;

use super::{
    calls::{Call, Calls},
    ffi::{Connection, Domain},
};

/// Connections with a thread each.
#[derive(Debug)]
pub(super) struct Crew {
    wires: Vec<Arc<Wire>>,
    jobs: Option<SyncSender<Job>>,
    /// Threads without a call.
    idle: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

type Job = Box<dyn FnOnce(&Wire) + Send>;

impl Crew {
    /// Puts a thread on each of these open connections. Its calls are counted among `calls`.
    pub(super) fn new(connections: Vec<Connection>, calls: &Calls) -> Result<Self, String> {
        let size = connections.len();
        let (jobs, receiver) = sync_channel(size);
        let receiver = Arc::new(Mutex::new(receiver));
        let idle = Arc::new(AtomicUsize::new(size));
        let wire = |connection| Wire {
            domains: Mutex::default(),
            connection,
            calls: calls.clone(),
            call: Mutex::default(),
        };
        let wires: Vec<_> = connections.into_iter().map(|one| Arc::new(wire(one))).collect();
        let mut threads = Vec::with_capacity(size);
        for wire in &wires {
            let (wire, receiver, idle) = (wire.clone(), receiver.clone(), idle.clone());
            let thread = thread::Builder::new()
                .name("libvirt-call".to_owned())
                .spawn(move || work(&wire, &receiver, &idle))
                .map_err(|e| format!("cannot start a thread for libvirt's calls: {e}"))?;
            threads.push(thread);
        }
        Ok(Self { wires, jobs: Some(jobs), idle, threads })
    }

    /// Hands `job` to a thread, if more than `keep` of them have nothing to do.
    pub(super) fn start(&self, keep: usize, job: impl FnOnce(&Wire) + Send + 'static) -> bool {
        // Only the owner of the crew starts jobs, so nobody else takes the place seen here.
        if self.idle.load(Ordering::SeqCst) <= keep {
            return false;
        }
        self.idle.fetch_sub(1, Ordering::SeqCst);
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(Box::new(job)).is_ok());
        if !sent {
            self.idle.fetch_add(1, Ordering::SeqCst);
        }
        sent
    }

    /// Calls that have not returned.
    pub(super) fn calls(&self) -> usize {
        self.wires.len().saturating_sub(self.idle.load(Ordering::SeqCst))
    }

    /// Frees the handles on all other VMs.
    pub(super) fn forget_all_but(&self, vms: &BTreeSet<VmId>) {
        for wire in &self.wires {
            lock(&wire.domains).retain(|vm, _| vms.contains(vm));
        }
    }
}

/// Closes the connections, but for those that a call hangs on: their threads do so when it returns.
impl Drop for Crew {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if self.calls() == 0 {
            for thread in self.threads.drain(..) {
                // A thread that panicked has nothing left to say.
                let _ = thread.join();
            }
        }
    }
}

fn work(wire: &Arc<Wire>, jobs: &Mutex<Receiver<Job>>, idle: &AtomicUsize) {
    loop {
        let job = lock(jobs).recv();
        let Ok(job) = job else { return };
        wire.turn_to();
        job(wire);
        drop(lock(&wire.call).take());
        idle.fetch_add(1, Ordering::SeqCst);
    }
}

/// What a call has at hand: the connection, and the handles on VMs that it gave out.
#[derive(Debug)]
pub(super) struct Wire {
    // Handles hold on to the connection: they go first.
    domains: Mutex<BTreeMap<VmId, Arc<Domain>>>,
    /// The connection.
    pub(super) connection: Connection,
    calls: Calls,
    /// What it is at now.
    call: Mutex<Option<Call>>,
}

impl Wire {
    /// A job turns to the next of its calls: each has lasted only since its own begin.
    pub(super) fn turn_to(&self) {
        *lock(&self.call) = Some(self.calls.begin());
    }

    /// The handle on one VM, looked up once.
    pub(super) fn domain(&self, vm: VmId) -> Result<Arc<Domain>, Error> {
        if let Some(domain) = lock(&self.domains).get(&vm) {
            return Ok(domain.clone());
        }
        let domain = Arc::new(self.connection.domain(vm)?);
        lock(&self.domains).insert(vm, domain.clone());
        Ok(domain)
    }
}

/// Locks. A panic of another thread changes nothing about what is inside here.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
impl Crew {
    /// One of so many threads with the world that libvirt carries in itself.
    pub(super) fn of_test_world(threads: usize) -> Self {
        super::ffi::start_event_loop().expect("the event loop");
        let connect = |_| Connection::open("test:///default").expect("a connection");
        let calls = Calls::new(crate::clock::RealClock::start());
        Self::new((0..threads).map(connect).collect(), &calls).expect("threads")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hung_calls_take_their_places_and_no_more() {
        let crew = Crew::of_test_world(4);
        let (release, gate) = sync_channel::<()>(0);
        let gate = Arc::new(Mutex::new(gate));
        let hang = || {
            let gate = gate.clone();
            move |_: &Wire| {
                let _ = lock(&gate).recv();
            }
        };
        assert!(crew.start(0, hang()) && crew.start(0, hang()) && crew.start(0, hang()));
        assert!(!crew.start(1, |_| ()), "the last place is kept");
        assert!(crew.start(0, hang()));
        assert!(!crew.start(0, |_| ()));
        assert_eq!(crew.calls(), 4);
        drop(release);
        let (done, wait) = sync_channel(1);
        while !crew.start(0, {
            let done = done.clone();
            move |_| {
                let _ = done.send(());
            }
        }) {
            thread::yield_now();
        }
        assert_eq!(wait.recv(), Ok(()));
    }

    #[test]
    fn dropping_a_crew_with_a_hung_call_does_not_wait_for_it() {
        let crew = Crew::of_test_world(4);
        let (release, gate) = sync_channel::<()>(0);
        let (closed, wait) = sync_channel(1);
        assert!(crew.start(0, move |_| {
            let _ = gate.recv();
            let _ = closed.send(());
        }));
        drop(crew);
        drop(release);
        assert_eq!(wait.recv(), Ok(()));
    }
}
