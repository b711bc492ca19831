//! The bench of bursts, small: its pieces work on real VMs, and its figures are of what happens.

use std::time::Duration;

use agentd_tests::bursts::contender::{ALL_MEMORY, CONTENDERS, OURS};
use agentd_tests::bursts::stage::{Plot, Stage};

use crate::open_lab_with_programs;

#[test]
fn bursts_swap_where_memory_stays_and_find_it_where_it_moves() {
    let Some((lab, programs)) = open_lab_with_programs("bursts") else {
        return;
    };
    let plot = Plot { vms: 2, max_mib: 448, burst_mib: 240, length: LENGTH, pool_mib: 480 };
    let stage = Stage::boot(&lab, plot).unwrap();
    let play = |name: &str| {
        let contender = CONTENDERS.into_iter().find(|one| one.name == name).unwrap();
        contender.play(&stage, &programs).unwrap()
    };

    let all = play(ALL_MEMORY.name).score;
    assert_eq!((all.swapped_kib, all.over_pool_kib, all.oom_kills), (0, None, 0), "{all:?}");
    let split = play("static split").score;
    assert!(split.swapped_kib > 0, "240 MiB do not fit into a VM that holds 240: {split:?}");
    assert_eq!(split.over_pool_kib, Some(0), "{split:?}");

    let ours = play(OURS.name);
    assert_eq!(ours.score.over_pool_kib, Some(0), "{ours:?}");
    assert_eq!((ours.score.bursts.len(), ours.score.oom_kills), (2, 0), "{ours:?}");
    let told = ours.told.unwrap();
    let gave = |line: &&str| line.contains("GIVES_TO_VM");
    assert!(told.lines().filter(gave).count() > 0, "nothing moved:\n{told}");
}

/// Enough for a tick to tell of a burst on a machine that does other things too.
const LENGTH: Duration = Duration::from_secs(8);
