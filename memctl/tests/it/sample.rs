//! What the scripted agents answer: one host with three VMs, of which one has a name that tries to
//! steer the terminal.

use agentd_proto::v1;
use agentd_proto::v1::watch_response::Body;
use prost_types::{Duration, Timestamp};

pub(crate) const MIB: u64 = 1 << 20;
/// Of the same wire as the memctl that is tested.
pub(crate) const AGENT_VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"), ".7");
pub(crate) const EPOCH: &str = "0123456789abcdef0123456789abcdef";

/// 2026-01-02 03:04:05.678 UTC and so many seconds.
pub(crate) fn time(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_767_323_045 + seconds, nanos: 678_000_000 })
}

pub(crate) fn millis(ms: i32) -> Option<Duration> {
    Some(Duration { seconds: i64::from(ms / 1000), nanos: ms % 1000 * 1_000_000 })
}

pub(crate) fn position(seq: u64) -> Option<v1::Position> {
    Some(v1::Position { epoch: EPOCH.to_owned(), seq })
}

pub(crate) fn vm_ref(number: u8) -> v1::VmRef {
    let name = match number {
        1 => "web1",
        2 => "db1",
        _ => "evil\u{1b}[31m\u{202e}",
    };
    v1::VmRef {
        uuid: format!("00000000-0000-0000-0000-00000000000{number}"),
        name: name.to_owned(),
    }
}

pub(crate) fn status() -> v1::GetStatusResponse {
    v1::GetStatusResponse {
        host: "kvm7".to_owned(),
        agent_version: AGENT_VERSION.to_owned(),
        start_time: time(-86_400),
        host_time: None,
        hypervisor: "sim:demo.toml".to_owned(),
        mode: v1::Mode::Active.into(),
        memory: Some(host_memory()),
        pool: Some(pool()),
        position: position(42),
        managed_vms: 2,
        total_vms: 3,
        watchers: 1,
        tick: Some(41),
        last_tick_age: millis(400),
        tick_interval: millis(1000),
        algorithm: "two-pointer".to_owned(),
        policy_etag: "e3".to_owned(),
        conditions: vec![v1::Condition {
            reason: "VM_UNREPORTED".to_owned(),
            message: "evil\u{1b}[31m\u{202e} says nothing: load its balloon driver".to_owned(),
            since: time(-60),
        }],
        caller: Some(v1::Identity { name: "uid:0".to_owned() }),
        mode_actor: Some(v1::Actor {
            id: "tcp".to_owned(),
            peer: "192.0.2.7:51234".to_owned(),
            time: time(-7200),
        }),
        mode_reason: "maintenance".to_owned(),
        last_read_age: millis(400),
        freeze_file: "/run/agentd/freeze".to_owned(),
        policy_revision: 3,
        policy_actor: Some(v1::Actor {
            id: "uid:0".to_owned(),
            peer: String::new(),
            time: time(-3600),
        }),
        policy_revert_time: None,
    }
}

pub(crate) fn caller() -> v1::WhoAmIResponse {
    v1::WhoAmIResponse {
        caller: Some(v1::Identity { name: "ops/kim".to_owned() }),
        role: v1::Role::Operator.into(),
        role_from: "organization agentd:operator".to_owned(),
        peer: "192.0.2.7:51234".to_owned(),
        certificate: Some(v1::Certificate {
            serial: "0badcafe".to_owned(),
            expire_time: time(86_400),
            organizations: vec!["agentd:operator".to_owned(), "agentd:admn\u{1b}".to_owned()],
        }),
        idle_organizations: vec!["agentd:admn\u{1b}".to_owned()],
        host: "kvm7".to_owned(),
        host_time: time(0),
    }
}

pub(crate) fn bounds() -> v1::PolicyBounds {
    v1::PolicyBounds {
        floor_bytes: Some(32 * MIB),
        host_reserve_bytes: Some(128 * MIB),
        shrink_step_bytes: None,
        shrink_percent: Some(50),
    }
}

pub(crate) fn host_memory() -> v1::HostMemory {
    v1::HostMemory {
        total_bytes: 8192 * MIB,
        usable_bytes: 5632 * MIB,
        level: v1::HostLevel::Normal.into(),
        other_bytes: Some(960 * MIB),
        unexplained_bytes: Some(0),
        pressure_some: Some(120),
        pressure_full: Some(0),
    }
}

pub(crate) fn pool() -> v1::Pool {
    v1::Pool {
        limit_bytes: Some(4096 * MIB),
        actual_bytes: 1536 * MIB,
        promised_bytes: 50 * MIB,
        kept_bytes: 2510 * MIB,
        reserve_bytes: 200 * MIB,
        exposed_bytes: 1586 * MIB,
        stop: String::new(),
        reserved_bytes: 2048 * MIB,
        held_bytes: 1536 * MIB,
    }
}

pub(crate) fn vms() -> Vec<v1::Vm> {
    let web1 = verdict(v1::VerdictKind::Grow, "LOW_UNUSED", "120 MiB unused, below 200 MiB", 80, 0);
    let db1 = verdict(v1::VerdictKind::Shrink, "SPARE", "300 MiB unused, above 100 MiB", 0, 50);
    let mut evil = vm(3, 256, None, None);
    evil.state = v1::VmState::Frozen.into();
    evil.pin = Some(crate::pin::pin(3, 600));
    vec![vm(1, 512, Some(120), Some(web1)), vm(2, 768, Some(300), Some(db1)), evil]
}

fn vm(number: u8, actual: u64, unused: Option<u64>, verdict: Option<v1::Verdict>) -> v1::Vm {
    let memory = v1::VmMemory {
        actual_bytes: actual * MIB,
        target_bytes: unused.map(|_| actual * MIB),
        min_bytes: 64 * MIB,
        max_bytes: 2048 * MIB,
        guest_unused_bytes: unused.map(|u| u * MIB),
        guest_usable_bytes: unused.map(|u| (u + 40) * MIB),
        used_bytes: unused.map(|u| (actual - u) * MIB),
        host_rss_bytes: Some((actual + 30) * MIB),
        figures_age: unused.and_then(|_| millis(900)),
        exposure_bytes: Some(if unused.is_some() { actual } else { 2048 } * MIB),
    };
    v1::Vm {
        vm: Some(vm_ref(number)),
        memory: Some(memory),
        verdict,
        state: v1::VmState::Running.into(),
        pin: None,
    }
}

fn verdict(
    kind: v1::VerdictKind,
    reason: &str,
    message: &str,
    need: u64,
    spare: u64,
) -> v1::Verdict {
    v1::Verdict {
        kind: kind.into(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        need_bytes: Some(need * MIB),
        spare_bytes: Some(spare * MIB),
        demand_bytes: None,
        entitled_bytes: None,
    }
}

pub(crate) fn explanation() -> v1::ExplainVmResponse {
    let mut vm = vms().remove(0);
    let verdict = vm.verdict.as_mut().unwrap();
    (verdict.demand_bytes, verdict.entitled_bytes) = (Some(480 * MIB), Some(562 * MIB));
    v1::ExplainVmResponse {
        pin: None,
        vm: vm.vm,
        tick: 41,
        position: position(42),
        time: time(0),
        memory: vm.memory,
        verdict: vm.verdict,
        resize: Some(resize(1, 512, 592, Some(562), v1::Outcome::Accepted)),
        transfers: vec![transfer(Some(2), Some(1), 50, 50)],
        pool: Some(pool()),
        sentences: vec![
            "web1 has 120 MiB unused, below 200 MiB, and uses more than a tick ago.".to_owned(),
            "It needs 80 MiB; db1 gives 50 MiB of it.".to_owned(),
        ],
        mode: v1::Mode::Active.into(),
        algorithm: "two-pointer".to_owned(),
        tick_age: millis(400),
        conditions: Vec::new(),
    }
}

pub(crate) fn transfer(from: Option<u8>, to: Option<u8>, mib: u64, granted: u64) -> v1::Transfer {
    v1::Transfer {
        from: from.map(vm_ref),
        to: to.map(vm_ref),
        amount_bytes: mib * MIB,
        granted_bytes: granted * MIB,
    }
}

pub(crate) fn resize(
    vm: u8,
    from: u64,
    to: u64,
    ordered: Option<u64>,
    outcome: v1::Outcome,
) -> v1::Resize {
    v1::Resize {
        vm: Some(vm_ref(vm)),
        from_bytes: from * MIB,
        to_bytes: to * MIB,
        ordered_bytes: ordered.map(|o| o * MIB),
        outcome: outcome.into(),
        message: String::new(),
    }
}

pub(crate) fn default_policy() -> v1::Policy {
    v1::Policy {
        algorithm: "two-pointer".to_owned(),
        host_reserve_bytes: Some(200 * MIB),
        pool_limit_bytes: None,
        floor_bytes: Some(64 * MIB),
        shrink_step_bytes: Some(64 * MIB),
        two_pointer: Some(v1::TwoPointer {
            need_below_bytes: Some(200 * MIB),
            spare_above_bytes: Some(100 * MIB),
            step_bytes: Some(50 * MIB),
        }),
        working_set: Some(v1::WorkingSet {
            headroom_bytes: Some(64 * MIB),
            headroom_percent: Some(10),
            lead: millis(3000),
            keep_for: millis(60_000),
            dead_band_bytes: Some(16 * MIB),
            shrink_percent: Some(50),
        }),
        vms: std::iter::empty().collect(),
    }
}

pub(crate) fn revision(number: u64) -> v1::PolicyRevision {
    let mut policy = default_policy();
    policy.pool_limit_bytes = Some(4096 * MIB);
    let exception =
        v1::VmPolicy { max_bytes: Some(2048 * MIB), weight: Some(200), ..Default::default() };
    policy.vms.insert("db1".to_owned(), exception);
    v1::PolicyRevision {
        revision: number,
        etag: format!("e{number}"),
        policy: Some(policy),
        actor: Some(v1::Actor { id: "uid:0".to_owned(), peer: String::new(), time: time(-3600) }),
        reason: "night \u{1b}[7mbackup".to_owned(),
        revert_time: None,
    }
}

pub(crate) fn changes() -> Vec<v1::PolicyChange> {
    let change = |path: &str, old: &str, new: &str| v1::PolicyChange {
        path: path.to_owned(),
        old_value: old.to_owned(),
        new_value: new.to_owned(),
    };
    vec![
        change("two_pointer.step_bytes", "50 MiB", "60 MiB"),
        change("vms.`a.b`.max_bytes", "unset", "2 GiB"),
    ]
}

/// A message of the stream with this position.
pub(crate) fn message(seq: u64, body: Body) -> v1::WatchResponse {
    v1::WatchResponse {
        position: position(seq),
        time: time(i64::try_from(seq).unwrap()),
        monotonic_ns: seq * 1_000_000_000,
        body: Some(body),
    }
}

/// The opening of a stream whose heartbeats come this often.
pub(crate) fn hello(seq: u64, heartbeat_ms: i32) -> v1::WatchResponse {
    let hello = v1::Hello {
        agent_version: "9.8.7".to_owned(),
        host: "kvm7".to_owned(),
        oldest: position(1),
        newest: position(seq),
        ring_capacity_bytes: 64 * MIB,
        heartbeat_interval: millis(heartbeat_ms),
        resume_failed: false,
    };
    message(seq, Body::Hello(hello))
}

/// A tick in which nothing happened.
pub(crate) fn quiet_tick(seq: u64) -> v1::WatchResponse {
    message(seq, Body::Tick(tick(seq)))
}

/// A tick in which db1 gave web1 memory.
pub(crate) fn busy_tick(seq: u64) -> v1::WatchResponse {
    let mut tick = tick(seq);
    tick.vms = vms();
    tick.transfers = vec![transfer(Some(2), Some(1), 50, 50)];
    tick.resizes = vec![
        resize(2, 768, 718, Some(718), v1::Outcome::Accepted),
        resize(1, 512, 562, Some(562), v1::Outcome::Accepted),
    ];
    message(seq, Body::Tick(tick))
}

pub(crate) fn tick(number: u64) -> v1::Tick {
    v1::Tick {
        tick: number,
        took: millis(3),
        memory: Some(host_memory()),
        pool: Some(pool()),
        mode: v1::Mode::Active.into(),
        algorithm: "two-pointer".to_owned(),
        policy_revision: 3,
        offset: Some(number % 3),
        ..Default::default()
    }
}

/// A reservation that lacks a quarter of what it is to hold, because of the VM with the bad name.
pub(crate) fn reservation(id: u64) -> v1::Reservation {
    v1::Reservation {
        id,
        min_bytes: 2048 * MIB,
        max_bytes: 4096 * MIB,
        vm: "db7".to_owned(),
        reason: "start \u{1b}[7mdb7".to_owned(),
        actor: Some(v1::Actor { id: "uid:0".to_owned(), peer: String::new(), time: time(-30) }),
        expire_time: time(570),
        state: v1::ReservationState::Filling.into(),
        held_bytes: Some(1536 * MIB),
        lacks_bytes: Some(512 * MIB),
        handed_to: None,
        end_time: None,
        refusals: vec![v1::Refusal {
            vm: Some(vm_ref(3)),
            beyond_bytes: 700 * MIB,
            reason: "UNCOOPERATIVE".to_owned(),
            message: "holds: it did not follow its orders".to_owned(),
        }],
        message: "holds 1536 MiB of 2 GiB: 512 MiB are missing".to_owned(),
    }
}

/// The same when its VM is there.
pub(crate) fn over(id: u64) -> v1::Reservation {
    v1::Reservation {
        state: v1::ReservationState::HandedOver.into(),
        held_bytes: None,
        lacks_bytes: None,
        handed_to: Some(v1::VmRef { name: "db7".to_owned(), ..vm_ref(1) }),
        end_time: time(5),
        refusals: Vec::new(),
        message: "handed over to db7".to_owned(),
        ..reservation(id)
    }
}

fn handed_over() -> v1::ReservationChanged {
    v1::ReservationChanged {
        event: v1::ReservationEvent::HandedOver.into(),
        reservation: Some(over(3)),
        actor: Some(v1::Actor { id: "agent".to_owned(), peer: String::new(), time: time(5) }),
        reason: String::new(),
    }
}

/// A little of everything that a log may hold.
pub(crate) fn story() -> Vec<v1::WatchResponse> {
    let mut waiting = tick(3);
    waiting.vms = vms();
    waiting.transfers = vec![
        transfer(Some(2), Some(1), 50, 20),
        transfer(None, Some(1), 30, 0),
        transfer(Some(3), None, 50, 0),
    ];
    waiting.resizes = vec![
        resize(3, 256, 206, None, v1::Outcome::Refused),
        resize(1, 512, 592, Some(532), v1::Outcome::Accepted),
    ];
    let mut unmet = tick(4);
    unmet.vms = vms();
    unmet.resizes = vec![resize(2, 718, 668, None, v1::Outcome::Held)];
    let mut unread = tick(5);
    unread.memory = None;
    unread.pool = None;
    unread.error = "qemu:///system: connection refused".to_owned();
    let came = v1::VmChanged {
        vm: Some(vm_ref(3)),
        previous_state: v1::VmState::Unspecified.into(),
        state: v1::VmState::Running.into(),
    };
    let gone = v1::VmChanged {
        vm: Some(vm_ref(3)),
        previous_state: v1::VmState::Running.into(),
        state: v1::VmState::Unspecified.into(),
    };
    let policy = v1::PolicyChanged {
        actor: revision(3).actor,
        changes: changes(),
        reason: "more at once".to_owned(),
        revision: 4,
        etag: "e4".to_owned(),
        revert_time: time(600),
    };
    let mode = v1::ModeChanged {
        actor: revision(3).actor,
        previous_mode: v1::Mode::Active.into(),
        mode: v1::Mode::Paused.into(),
        reason: "maintenance".to_owned(),
    };
    vec![
        hello(10, 10_000),
        quiet_tick(1),
        busy_tick(2),
        message(3, Body::Tick(waiting)),
        message(4, Body::Tick(unmet)),
        message(5, Body::Tick(unread)),
        message(6, Body::VmChanged(came)),
        message(7, Body::VmChanged(gone)),
        message(8, Body::PolicyChanged(policy)),
        message(9, Body::ModeChanged(mode)),
        message(10, Body::ReservationChanged(handed_over())),
    ]
}

/// A policy that decides along.
pub(crate) fn shadow() -> v1::Shadow {
    let change = v1::PolicyChange {
        path: "algorithm".to_owned(),
        old_value: "two-pointer".to_owned(),
        new_value: "working-set".to_owned(),
    };
    let (actor, error) = (revision(3).actor, String::new());
    v1::Shadow { changes: vec![change], actor, reason: "to see".to_owned(), error }
}

fn ruling(kind: v1::VerdictKind, reason: &str, mib: u64) -> Option<v1::ShadowRuling> {
    let (kind, reason, amount_bytes) = (kind.into(), reason.to_owned(), mib << 20);
    Some(v1::ShadowRuling { kind, reason, amount_bytes })
}

/// It would give web1 less, and leave db1 alone.
pub(crate) fn shadow_tick() -> v1::ShadowTick {
    let difference =
        |number, acting, shadow| v1::ShadowDifference { vm: Some(vm_ref(number)), acting, shadow };
    let (grow, shrink) = (v1::VerdictKind::Grow, v1::VerdictKind::Shrink);
    v1::ShadowTick {
        algorithm: "working-set".to_owned(),
        moved_bytes: 20 << 20,
        vms: vec![
            difference(1, ruling(grow, "NEEDS_MEMORY", 50), ruling(grow, "NEEDS_MEMORY", 20)),
            difference(
                2,
                ruling(shrink, "GIVES_TO_VM", 50),
                ruling(v1::VerdictKind::Hold, "CONTENT", 0),
            ),
        ],
        objection: String::new(),
    }
}

/// What it would have done over ten minutes.
pub(crate) fn shadow_summary() -> v1::ShadowSummary {
    let tick = shadow_tick();
    let vm = |index: usize, more_bytes, less_bytes| {
        let v1::ShadowDifference { vm, acting, shadow } = tick.vms[index].clone();
        let at = |tick, seconds| {
            let (acting, shadow) = (acting.clone(), shadow.clone());
            Some(v1::ShadowInstance { tick, time: time(seconds), acting, shadow })
        };
        let (first, last) = (at(2, 2), at(500, 500));
        v1::ShadowVm { vm, differed: 12, more_bytes, less_bytes, first, last }
    };
    v1::ShadowSummary {
        ticks: 600,
        differed: 14,
        rejected: 0,
        moved_bytes: 900 << 20,
        shadow_moved_bytes: 700 << 20,
        vms: vec![vm(0, 0, 360 << 20), vm(1, 600 << 20, 0)],
        skipped: 3,
        slowest: millis(60),
        since_time: time(1),
    }
}

/// Four steps of a quarter of an hour, of which the third is missing, and what changed in them.
pub(crate) fn history(request: &v1::ListHistoryRequest) -> v1::ListHistoryResponse {
    let wanted = |vm: &v1::HistoryVm| {
        let vm = vm.vm.as_ref().unwrap();
        let named = request.vms.iter().any(|name| *name == vm.name || *name == vm.uuid);
        !request.host_only && (request.vms.is_empty() || named)
    };
    let point = |step: u64| {
        let mut vms = vec![history_vm(1, step), history_vm(3, step)];
        vms.retain(wanted);
        v1::HistoryPoint {
            time: time(900 * i64::try_from(step).unwrap() - 245),
            ticks: 900,
            ticks_unread: u64::from(step == 1),
            host: (step != 3).then(|| history_host(step)),
            vms,
        }
    };
    v1::ListHistoryResponse {
        points: [0, 1, 3, 4].map(point).to_vec(),
        changes: story().into_iter().filter(is_change).collect(),
        next_page_token: String::new(),
        step: Some(Duration { seconds: 900, nanos: 0 }),
        start_time: time(-245),
        end_time: time(4500 - 245),
        oldest_time: time(-86_400),
        oldest_whole_time: time(-3600),
        changes_cut: true,
    }
}

fn is_change(message: &v1::WatchResponse) -> bool {
    let body = message.body.as_ref();
    let is = |body: &Body| {
        matches!(body, Body::PolicyChanged(_) | Body::VmChanged(_) | Body::ModeChanged(_))
    };
    body.is_some_and(is)
}

fn history_host(step: u64) -> v1::HistoryHost {
    v1::HistoryHost {
        total_bytes: 8192 * MIB,
        usable_bytes: 5632 * MIB,
        usable_least_bytes: (5632 - 100 * step) * MIB,
        limit_bytes: Some(4096 * MIB),
        actual_bytes: (1536 + 64 * step) * MIB,
        actual_most_bytes: (1600 + 64 * step) * MIB,
        kept_bytes: Some(2510 * MIB),
        reserve_bytes: Some(200 * MIB),
        demand_bytes: Some(900 * MIB),
        demand_most_bytes: Some((900 + 100 * step) * MIB),
        target_bytes: (1536 + 80 * step) * MIB,
        vms: 3,
        level: if step == 4 { v1::HostLevel::Low } else { v1::HostLevel::Normal }.into(),
        mode: v1::Mode::Active.into(),
        algorithm: "two-pointer".to_owned(),
        policy_revision: 3,
        moved_bytes: 50 * step * MIB,
        failed: u64::from(step == 4),
    }
}

fn history_vm(number: u8, step: u64) -> v1::HistoryVm {
    let speaks = number == 1;
    v1::HistoryVm {
        vm: Some(vm_ref(number)),
        ticks: 900,
        actual_bytes: (512 + 64 * step) * MIB,
        actual_least_bytes: 512 * MIB,
        actual_most_bytes: (600 + 64 * step) * MIB,
        target_bytes: speaks.then_some((512 + 80 * step) * MIB),
        min_bytes: 64 * MIB,
        max_bytes: 2048 * MIB,
        demand_bytes: speaks.then_some(400 * MIB),
        demand_most_bytes: speaks.then_some((400 + 100 * step) * MIB),
        guest_usable_least_bytes: speaks.then_some(80 * MIB),
        host_rss_bytes: Some((540 + 64 * step) * MIB),
        state: if speaks { v1::VmState::Running } else { v1::VmState::Frozen }.into(),
        verdict: if speaks { v1::VerdictKind::Grow } else { v1::VerdictKind::Unspecified }.into(),
        reason: if speaks { "LOW_UNUSED" } else { "" }.to_owned(),
        got_bytes: 100 * MIB,
        gave_bytes: 0,
        orders: 2,
        failed: u64::from(step == 4),
    }
}
