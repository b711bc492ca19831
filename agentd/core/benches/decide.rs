//! What one decision costs, by the number of VMs: a third need memory, a third spare some.
//!
//! `cargo bench -p agentd-core` prints the median and the 99th percentile of many decisions. What was
//! decided before goes when there is something new, as in a tick, and is counted. Whether the allocator
//! gives back to the kernel what goes, and asks for it again, is not: see [`let_go_of_a_large_block`].

#![allow(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark measures time and prints it"
)]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use agentd_core::{
    bytes::ByteCount,
    check::check,
    decide::decide,
    policy::{Algorithm, Policy},
    sample::{Freshness, GuestFigures, HostMemory, RunState, Sample, Traits, VmSample},
    state::State,
    vm::VmId,
};

fn main() {
    let_go_of_a_large_block();
    println!(
        "{:<12}  {:>6}  {:>12}  {:>12}  {:>10}  {:>12}",
        "algorithm", "VMs", "decide p50", "p99", "per VM", "check p50"
    );
    for algorithm in Algorithm::ALL {
        for count in [10, 100, 1_000, 10_000] {
            measure(algorithm, count);
        }
    }
}

/// glibc gives memory back to the kernel when more lies free at the end of its heap than twice the
/// largest block that it got back before. In a process that never had one larger than what is decided here it is
/// chance, of which block happens to be the last one, whether that is so in each decision about thousands of
/// VMs or in none; faulting the pages in again takes half as long as the decision. A process that has
/// had a larger one, as agentd has that encodes, records and sends what it decided, keeps them.
fn let_go_of_a_large_block() {
    drop(black_box(vec![0_u8; 16 << 20]));
}

fn measure(algorithm: Algorithm, count: usize) {
    let (state, sample) = world(count);
    // Less than all ask for, so that shares have to be found.
    let pool_limit = Some(ByteCount::mib(512 * u32::try_from(count).unwrap()));
    let policy = Policy { algorithm, pool_limit, ..Policy::default() };
    // All were told to hold what they hold.
    let mut state = State { followed: state.continued(&policy, &sample).followed, ..state };
    state.followed.values_mut().for_each(|vm| vm.adopted = true);
    let (decision, seen) = decide(&policy, &state, &sample);
    // What `working-set` goes on from; what `two-pointer` does makes its VMs grow.
    let state = State { working_set: seen.working_set, ..state };
    assert!(!decision.transfers.is_empty() && !decision.plan.shrinks.is_empty());
    let runs = (2_000_000 / count).clamp(100, 20_000);
    let mut last = decide(&policy, &state, &sample);
    let mut times: Vec<Duration> =
        (0..runs).map(|_| time(|| last = decide(&policy, &state, black_box(&sample)))).collect();
    let (decision, after) = last;
    let mut checks: Vec<Duration> = (0..runs / 10)
        .map(|_| time(|| check(&policy, &after, &sample, black_box(&decision))))
        .collect();
    times.sort();
    checks.sort();
    let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    let per_vm = p50 / u32::try_from(count).unwrap();
    println!(
        "{:<12}  {count:>6}  {p50:>12.2?}  {p99:>12.2?}  {per_vm:>10.1?}  {:>12.2?}",
        algorithm.name(),
        checks[checks.len() / 2]
    );
}

fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    black_box(work());
    start.elapsed()
}

/// VMs in turn: one that grows, one that idles, one that is content.
fn world(count: usize) -> (State, Sample) {
    let mut state = State::default();
    let vms = (0..count).map(|i| {
        let id = VmId::from_bytes((i as u128 * 7_919).to_be_bytes());
        let unused = ByteCount::mib([30, 300, 150][i % 3]);
        let vm = VmSample {
            name: format!("vm{i}").as_str().into(),
            run: RunState::Running,
            generation: 0,
            traits: Some(Traits::default()),
            boot: None,
            silent_for: Duration::ZERO,
            distress: None,
            actual: ByteCount::mib(512),
            max: ByteCount::gib(2),
            guest: GuestFigures { unused: Some(unused), ..GuestFigures::default() },
            freshness: Freshness::Fresh,
            figures_age: Some(Duration::ZERO),
            host_rss: Some(ByteCount::mib(512)),
            overhead: Some(ByteCount::ZERO),
            reported: None,
            overhead_at_most: None,
        };
        let before = vm.used().unwrap();
        let grown = if i % 3 == 0 { ByteCount::mib(10) } else { ByteCount::ZERO };
        state.two_pointer.previous.insert(id, before.saturating_sub(grown));
        (id, vm)
    });
    let vms = vms.collect();
    let host = HostMemory { total: ByteCount::gib(64), usable: ByteCount::gib(8), pressure: None };
    let sample = Sample {
        tick: 1,
        now: Duration::from_secs(2),
        host,
        granule: ByteCount::kib(4),
        ideal: false,
        vms,
        reservations: Vec::new(),
    };
    (state, sample)
}
