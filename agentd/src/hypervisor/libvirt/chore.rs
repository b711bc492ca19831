//! A [`Chore`]: something to be done once for every VM after each of its starts.
//!
//! Runs in the background; no reading waits for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex},
};

use agentd_core::vm::VmId;

use super::{
    crew::{Wire, lock},
    question::AskError,
    scatter::Desk,
};

/// For which VMs it was done, and what came of it. A clone is the same chore, until one of them
/// starts over.
pub(super) struct Chore<T> {
    what: &'static str,
    work: Work<T>,
    board: Arc<Mutex<Board<T>>>,
}

/// Does it for one VM.
type Work<T> = Arc<dyn Fn(&Wire, VmId) -> Result<T, AskError> + Send + Sync>;

struct Board<T> {
    /// Turns taken so far: the outcome of a turn counts only while no later one was due.
    turns: u64,
    vms: BTreeMap<VmId, Stage<T>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage<T> {
    /// Is to be done.
    Due,
    /// Is being done, in this turn.
    Asked(u64),
    /// Was done.
    Done(T),
    /// Cannot be done: the VM is gone.
    Gone,
}

impl<T: Clone + Send + 'static> Chore<T> {
    /// A chore, and what it does as in "cannot ... VM 1 yet".
    pub(super) fn new(
        what: &'static str,
        work: impl Fn(&Wire, VmId) -> Result<T, AskError> + Send + Sync + 'static,
    ) -> Self {
        Self { what, work: Arc::new(work), board: Arc::default() }
    }

    /// Takes up the VMs that are new, and forgets those that are gone.
    pub(super) fn sight(&self, there: &BTreeSet<VmId>) {
        let vms = &mut lock(&self.board).vms;
        vms.retain(|vm, _| there.contains(vm));
        for vm in there {
            vms.entry(*vm).or_insert(Stage::Due);
        }
    }

    /// Has it done again for a VM, which started or changed.
    pub(super) fn restart(&self, vm: VmId) {
        lock(&self.board).vms.insert(vm, Stage::Due);
    }

    /// Starts over with all VMs: on a new connection, or when starts may have been missed.
    pub(super) fn restart_all(&mut self) {
        // Threads that still work for the old ones must not change the new.
        self.board = Arc::default();
    }

    /// The VMs for which it is being done: those that were a reading ago hang.
    pub(super) fn pending(&self) -> BTreeSet<VmId> {
        let board = lock(&self.board);
        let asked = board.vms.iter().filter(|(_, stage)| matches!(stage, Stage::Asked(_)));
        asked.map(|(vm, _)| *vm).collect()
    }

    /// What came of it for a VM; `None` as long as it is not done.
    pub(super) fn outcome(&self, vm: VmId) -> Option<T> {
        match lock(&self.board).vms.get(&vm) {
            Some(Stage::Done(outcome)) => Some(outcome.clone()),
            Some(Stage::Due | Stage::Asked(_) | Stage::Gone) | None => None,
        }
    }

    /// Does it for the VMs that are due, in the background.
    pub(super) fn run(&self, (crew, keep): Desk<'_>) {
        if !lock(&self.board).vms.values().any(|stage| matches!(stage, Stage::Due)) {
            return;
        }
        let (what, work, board) = (self.what, self.work.clone(), self.board.clone());
        // Without a free thread they wait for the next turn.
        crew.start(keep, move |wire| {
            while let Some((vm, turn)) = next(&board) {
                wire.turn_to();
                let stage = match work(wire, vm) {
                    Ok(outcome) => Some(Stage::Done(outcome)),
                    Err(AskError::Gone) => Some(Stage::Gone),
                    // The next reading takes it up again.
                    Err(AskError::Failed(words)) => {
                        tracing::debug!("cannot {what} VM {vm} yet: {words}");
                        None
                    }
                };
                lock(&board).settle(vm, turn, stage);
            }
        });
    }
}

/// Locks only for the moment of taking.
fn next<T>(board: &Mutex<Board<T>>) -> Option<(VmId, u64)> {
    lock(board).next()
}

impl<T> Board<T> {
    fn next(&mut self) -> Option<(VmId, u64)> {
        let (vm, stage) = self.vms.iter_mut().find(|(_, stage)| matches!(stage, Stage::Due))?;
        self.turns = self.turns.saturating_add(1);
        *stage = Stage::Asked(self.turns);
        Some((*vm, self.turns))
    }

    fn settle(&mut self, vm: VmId, turn: u64, outcome: Option<Stage<T>>) {
        if !matches!(self.vms.get(&vm), Some(Stage::Asked(asked)) if *asked == turn) {
            return;
        }
        match outcome {
            Some(stage) => drop(self.vms.insert(vm, stage)),
            None => drop(self.vms.remove(&vm)),
        }
    }
}

impl<T> Default for Board<T> {
    fn default() -> Self {
        Self { turns: 0, vms: BTreeMap::new() }
    }
}

impl<T> Clone for Chore<T> {
    fn clone(&self) -> Self {
        Self { what: self.what, work: self.work.clone(), board: self.board.clone() }
    }
}

impl<T> fmt::Debug for Chore<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chore({} {} VMs)", self.what, lock(&self.board).vms.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::sync_channel,
    };

    use super::*;
    use crate::hypervisor::libvirt::crew::Crew;

    const VM: VmId = VmId::from_bytes([1; 16]);

    fn finish(crew: &Crew) {
        while crew.calls() > 0 {
            std::thread::yield_now();
        }
    }

    /// Says how many times it was done.
    fn counting() -> Chore<u32> {
        let times = AtomicU32::new(0);
        Chore::new("count", move |_, _| Ok(times.fetch_add(1, Ordering::Relaxed)))
    }

    #[test]
    fn it_is_done_once_and_again_after_a_restart() {
        let (crew, mut chore) = (Crew::of_test_world(2), counting());
        let done = |chore: &Chore<u32>| {
            chore.sight(&BTreeSet::from([VM]));
            chore.run((&crew, 0));
            finish(&crew);
            chore.outcome(VM)
        };
        assert_eq!([done(&chore), done(&chore)], [Some(0); 2]);
        chore.restart(VM);
        assert_eq!(chore.outcome(VM), None, "what was known is of before");
        assert_eq!(done(&chore), Some(1));
        chore.restart_all();
        assert_eq!(done(&chore), Some(2));
        chore.sight(&BTreeSet::new());
        assert_eq!(chore.outcome(VM), None);
    }

    #[test]
    fn what_fails_is_tried_again_and_what_is_gone_is_not() {
        let crew = Crew::of_test_world(2);
        for (error, again) in [(AskError::Failed("no".to_owned()), true), (AskError::Gone, false)] {
            let chore: Chore<()> = Chore::new("please", move |_, _| Err(error.clone()));
            chore.sight(&BTreeSet::from([VM]));
            chore.run((&crew, 0));
            finish(&crew);
            assert_eq!(chore.outcome(VM), None);
            chore.sight(&BTreeSet::from([VM]));
            assert_eq!(matches!(lock(&chore.board).vms[&VM], Stage::Due), again);
        }
    }

    #[test]
    fn an_outcome_from_before_a_restart_does_not_count() {
        let crew = Crew::of_test_world(2);
        let (release, gate) = sync_channel::<()>(0);
        let (gate, times) = (Mutex::new(gate), AtomicU32::new(0));
        let chore = Chore::new("wait for", move |_, _| {
            let time = times.fetch_add(1, Ordering::Relaxed);
            if time == 0 {
                let _ = lock(&gate).recv();
            }
            Ok(time)
        });
        chore.sight(&BTreeSet::from([VM]));
        chore.run((&crew, 0));
        while chore.pending().is_empty() {
            std::thread::yield_now();
        }
        chore.restart(VM);
        chore.run((&crew, 0));
        while chore.outcome(VM).is_none() {
            std::thread::yield_now();
        }
        drop(release);
        finish(&crew);
        assert_eq!(chore.outcome(VM), Some(1), "the later one");
    }
}
