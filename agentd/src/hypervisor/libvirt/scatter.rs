//! Asks something of many VMs side by side, within a deadline: one VM that hangs delays no other,
//! and no VM is asked again while an earlier question of that kind is without answer.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, sync_channel},
    },
    time::Duration,
};

use agentd_core::vm::VmId;

use super::crew::{Crew, Wire, lock};
use crate::clock::Clock;

/// VMs with a question of one kind in flight.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight(Arc<Mutex<BTreeSet<VmId>>>);

impl InFlight {
    /// Takes the VM's place; `None` when it is taken.
    fn enter(&self, vm: VmId) -> Option<Place> {
        lock(&self.0).insert(vm).then(|| Place { vms: self.clone(), vm })
    }

    /// The VMs that a question hangs on.
    pub(super) fn vms(&self) -> BTreeSet<VmId> {
        lock(&self.0).clone()
    }
}

struct Place {
    vms: InFlight,
    vm: VmId,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.vms.0).remove(&self.vm);
    }
}

/// What became of one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate<A> {
    /// It was answered.
    Answered(A),
    /// It was asked, and not answered in time.
    Unanswered,
    /// It was not asked: an earlier one is still without answer.
    Taken,
    /// It was not asked: no thread had time for it.
    NotAsked,
}

/// Until when to wait.
#[derive(Clone, Debug)]
pub(super) struct Deadline {
    clock: Arc<dyn Clock>,
    at: Duration,
}

impl Deadline {
    /// So much time from now.
    pub(super) fn after(clock: &Arc<dyn Clock>, time: Duration) -> Self {
        Self { clock: clock.clone(), at: clock.now().saturating_add(time) }
    }

    /// How much time is left.
    pub(super) fn left(&self) -> Duration {
        self.at.saturating_sub(self.clock.now())
    }
}

/// A place to ask: a crew, and how many of its threads to leave free.
pub(super) type Desk<'a> = (&'a Crew, usize);

/// Asks `question` of each VM of `work`, on all free threads of the desk, until the deadline. The
/// fates come in the order of the work.
pub(super) fn scatter<W, A>(
    (crew, keep): Desk<'_>,
    in_flight: &InFlight,
    work: Vec<(VmId, W)>,
    deadline: &Deadline,
    question: fn(&Wire, VmId, &W) -> A,
) -> Vec<Fate<A>>
where
    W: Send + 'static,
    A: Send + 'static,
{
    let count = work.len();
    let queue: Queue<W> = Arc::new(Mutex::new(work.into_iter().enumerate().collect()));
    let (answers, receiver) = sync_channel(count);
    for _ in 0..count {
        let (queue, in_flight, answers) = (queue.clone(), in_flight.clone(), answers.clone());
        let run = move |wire: &Wire| {
            while let Some((index, (vm, what))) = next(&queue) {
                wire.turn_to();
                let fate = match in_flight.enter(vm) {
                    Some(_place) => Fate::Answered(question(wire, vm, &what)),
                    None => Fate::Taken,
                };
                // Has room for every answer, and nobody may be waiting any more.
                let _ = answers.try_send((index, fate));
            }
        };
        if !crew.start(keep, run) {
            break;
        }
    }
    drop(answers);
    gather(&queue, &receiver, count, deadline)
}

type Queue<W> = Arc<Mutex<VecDeque<(usize, (VmId, W))>>>;

fn next<W>(queue: &Queue<W>) -> Option<(usize, (VmId, W))> {
    lock(queue).pop_front()
}

fn gather<W, A>(
    queue: &Queue<W>,
    answers: &Receiver<(usize, Fate<A>)>,
    count: usize,
    deadline: &Deadline,
) -> Vec<Fate<A>> {
    let mut fates: Vec<_> = (0..count).map(|_| Fate::Unanswered).collect();
    let mut take = |(index, fate): (usize, Fate<A>)| {
        if let Some(place) = fates.get_mut(index) {
            *place = fate;
        }
    };
    for _ in 0..count {
        match answers.recv_timeout(deadline.left()) {
            Ok(answer) => take(answer),
            Err(_) => break,
        }
    }
    // What is taken back here will never be asked.
    for (index, _) in lock(queue).drain(..) {
        take((index, Fate::NotAsked));
    }
    answers.try_iter().for_each(take);
    fates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::RealClock;

    type Gate = Arc<Mutex<Receiver<()>>>;

    fn vm(number: u8) -> VmId {
        VmId::from_bytes([number; 16])
    }

    fn deadline(millis: u64) -> Deadline {
        let clock: Arc<dyn Clock> = RealClock::start();
        Deadline::after(&clock, Duration::from_millis(millis))
    }

    fn answer(_: &Wire, vm: VmId, gate: &Option<Gate>) -> VmId {
        if let Some(gate) = gate {
            let _ = lock(gate).recv();
        }
        vm
    }

    #[test]
    fn a_hung_vm_delays_no_other_and_is_not_asked_twice() {
        let (crew, in_flight) = (Crew::of_test_world(4), InFlight::default());
        let (release, gate) = sync_channel::<()>(0);
        let gate: Gate = Arc::new(Mutex::new(gate));
        let work = vec![(vm(1), None), (vm(2), Some(gate.clone())), (vm(3), None)];
        let fates = scatter((&crew, 0), &in_flight, work, &deadline(2_000), answer);
        assert_eq!(fates, [Fate::Answered(vm(1)), Fate::Unanswered, Fate::Answered(vm(3))]);
        let work = vec![(vm(2), None), (vm(1), None)];
        let fates = scatter((&crew, 0), &in_flight, work, &deadline(10_000), answer);
        assert_eq!(fates, [Fate::Taken, Fate::Answered(vm(1))]);
        assert_eq!(in_flight.vms(), BTreeSet::from([vm(2)]));
        drop(release);
    }

    #[test]
    fn what_no_thread_had_time_for_is_never_asked() {
        let (crew, in_flight) = (Crew::of_test_world(4), InFlight::default());
        let (release, gate) = sync_channel::<()>(0);
        let gate: Gate = Arc::new(Mutex::new(gate));
        let work = vec![(vm(1), Some(gate)), (vm(2), None)];
        let fates = scatter((&crew, 3), &in_flight, work, &deadline(100), answer);
        assert_eq!(fates, [Fate::Unanswered, Fate::NotAsked]);
        let fates = scatter((&crew, 3), &in_flight, vec![(vm(2), None)], &deadline(0), answer);
        assert_eq!(fates, [Fate::NotAsked]);
        drop(release);
    }

    #[test]
    fn nothing_to_ask_is_answered_at_once() {
        let fates = scatter(
            (&Crew::of_test_world(4), 0),
            &InFlight::default(),
            vec![],
            &deadline(10_000),
            answer,
        );
        assert!(fates.is_empty());
    }
}
