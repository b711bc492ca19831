//! Screens as they are drawn, held against the files of `tests/golden/top`, and what keys do.
//! `MEMCTL_GOLDEN=update` writes the files anew: read the difference.

use std::path::PathBuf;
use std::time::Duration;

use agentd_proto::v1;
use agentd_proto::v1::watch_response::Body;
use jiff::tz::TimeZone;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use tokio::time::Instant;

use super::calls::{Answer, Call};
use super::fleet::Fleet;
use super::glyphs::Glyphs;
use super::keys::Key;
use super::look::{Action, Look};
use super::screen::{self, Scene};
use crate::address::Address;
use crate::commands::mode::WantedMode;
use crate::dto::Explanation;
use crate::failure::{Code, Failure};
use crate::follow::News;
use crate::hosts::Host;
use crate::identity::IdentityFiles;
use crate::quantity::Units;
use crate::render::View;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A fleet, somebody who looks at it, and a clock that stands still.
struct Desk {
    fleet: Fleet,
    look: Look,
    view: View,
    start: Instant,
    now: Instant,
}

impl Desk {
    fn of(hosts: &[&str]) -> Self {
        let view = View {
            wide: false,
            headers: true,
            color: false,
            units: Units::Iec,
            zone: TimeZone::UTC,
            many_hosts: hosts.len() > 1,
            width: None,
        };
        let hosts: Vec<Host> = hosts.iter().map(|name| host(name)).collect();
        let start = Instant::now();
        let fleet = Fleet::new(&hosts, &view);
        Self { fleet, look: Look::new(false), view, start, now: start }
    }

    /// Three hosts: one that works, one that is down, one that refuses us.
    fn three() -> Self {
        let mut desk = Self::of(&["node1", "node2", "node3"]);
        for message in [hello(), snapshot(), tick(2), tick(3)] {
            desk.hear(0, message);
        }
        let failure = Failure::new(Code::Unavailable, "CONNECT_FAILED", "cannot connect to node2");
        let lost = News::Lost { failure, retry_in: Duration::from_secs(3) };
        desk.fleet.take(1, lost, desk.now);
        let denied = Failure::new(Code::PermissionDenied, "CERT_REVOKED", "it is revoked")
            .hint("ask for another one");
        desk.fleet.take(2, News::Ended(Err(denied)), desk.now);
        desk
    }

    fn hear(&mut self, number: usize, body: Body) {
        let time = Some(prost_types::Timestamp { seconds: 1_767_323_045, nanos: 678_000_000 });
        let message = v1::WatchResponse { body: Some(body), time, ..v1::WatchResponse::default() };
        self.fleet.take(number, News::Message(Box::new(message)), self.now);
    }

    fn press(&mut self, keys: &str) {
        for c in keys.chars() {
            let key = match c {
                '\n' => Key::Enter,
                '\t' => Key::Tab,
                '\u{1b}' => Key::Escape,
                '\u{8}' => Key::Backspace,
                c => Key::Char(c),
            };
            self.press_key(key);
        }
    }

    fn press_key(&mut self, key: Key) -> Action {
        self.look.press(key, &self.fleet, 10)
    }

    fn picture(&mut self, width: u16, height: u16, glyphs: &Glyphs) -> String {
        let clock = "2026-01-02T03:04:06Z".parse().unwrap();
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let scene = Scene { fleet: &self.fleet, view: &self.view, glyphs, now: self.now, clock };
        terminal.draw(|frame| screen::draw(frame, &scene, &mut self.look)).unwrap();
        let buffer = terminal.backend().buffer();
        let rows = (0..height).map(|y| {
            let cells = (0..width).map(|x| buffer[(x, y)].symbol());
            format!("{}\n", cells.collect::<String>().trim_end())
        });
        rows.collect()
    }

    fn shows(&mut self, file: &str, (width, height): (u16, u16), glyphs: &Glyphs) {
        let text = self.picture(width, height, glyphs);
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/top");
        let path = folder.join(file);
        if std::env::var_os("MEMCTL_GOLDEN").is_some_and(|v| v == "update") {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let want = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "a name steers: {text}");
        assert_eq!(text, want, "{file}");
    }
}

fn host(name: &str) -> Host {
    Host {
        name: name.to_owned(),
        address: Address::Unix(PathBuf::from(format!("/run/{name}.sock"))),
        identity: IdentityFiles::default(),
        server_name: None,
        guess: None,
        connect_timeout: None,
    }
}

fn hello() -> Body {
    Body::Hello(v1::Hello::default())
}

fn vm(number: u8, used: u64, actual: u64, target: u64) -> v1::Vm {
    let name = match number {
        1 => "web1",
        2 => "db1",
        _ => "evil\u{1b}[31m\u{202e}",
    };
    let (kind, reason) = match target.cmp(&actual) {
        std::cmp::Ordering::Greater => (v1::VerdictKind::Grow, "NEEDS_MEMORY"),
        std::cmp::Ordering::Less => (v1::VerdictKind::Shrink, "SPARE"),
        std::cmp::Ordering::Equal => (v1::VerdictKind::Hold, "CONTENT"),
    };
    v1::Vm {
        vm: Some(v1::VmRef { uuid: format!("uuid-{number}"), name: name.to_owned() }),
        state: v1::VmState::Running.into(),
        pin: None,
        memory: Some(v1::VmMemory {
            actual_bytes: actual * MIB,
            target_bytes: Some(target * MIB),
            min_bytes: 256 * MIB,
            max_bytes: 4096 * MIB,
            used_bytes: Some(used * MIB),
            figures_age: Some(prost_types::Duration { seconds: 0, nanos: 400_000_000 }),
            ..v1::VmMemory::default()
        }),
        verdict: Some(v1::Verdict {
            kind: kind.into(),
            reason: reason.to_owned(),
            ..v1::Verdict::default()
        }),
    }
}

fn vms(tick: u64) -> Vec<v1::Vm> {
    vec![vm(1, 900 + 50 * tick, 1024, 1280), vm(2, 512, 3072, 2816), vm(3, 300, 512, 512)]
}

fn memory() -> Option<v1::HostMemory> {
    let (total_bytes, usable_bytes) = (16 * GIB, 9 * GIB);
    let pressure_some = Some(150);
    Some(v1::HostMemory {
        total_bytes,
        usable_bytes,
        pressure_some,
        pressure_full: Some(0),
        ..v1::HostMemory::default()
    })
}

fn pool() -> Option<v1::Pool> {
    Some(v1::Pool { actual_bytes: 4608 * MIB, reserve_bytes: GIB, ..v1::Pool::default() })
}

fn snapshot() -> Body {
    let pinned = v1::VmPolicy { pinned: Some(true), ..v1::VmPolicy::default() };
    let policy = v1::Policy {
        algorithm: "two-pointer".to_owned(),
        vms: [("db1".to_owned(), pinned)].into_iter().collect(),
        ..v1::Policy::default()
    };
    Body::Snapshot(v1::Snapshot {
        mode: v1::Mode::Active.into(),
        memory: memory(),
        pool: pool(),
        policy: Some(v1::PolicyRevision { policy: Some(policy), ..v1::PolicyRevision::default() }),
        vms: vms(1),
        ..v1::Snapshot::default()
    })
}

fn tick(number: u64) -> Body {
    let [giver, taker] = [2, 1].map(|n| vm(n, 0, 0, 0).vm);
    let (amount_bytes, granted_bytes) = (256 * MIB, 256 * MIB);
    Body::Tick(v1::Tick {
        tick: number,
        mode: v1::Mode::Active.into(),
        algorithm: "two-pointer".to_owned(),
        memory: memory(),
        pool: pool(),
        transfers: vec![v1::Transfer { from: giver, to: taker, amount_bytes, granted_bytes }],
        vms: vms(number),
        ..v1::Tick::default()
    })
}

#[test]
fn a_host_that_is_down_is_a_line_among_the_others() {
    let mut desk = Desk::three();
    desk.now = desk.start + Duration::from_secs(1);
    desk.shows("three_hosts.txt", (120, 24), &Glyphs::UNICODE);
    desk.press("w");
    desk.shows("three_hosts_wide.txt", (160, 24), &Glyphs::UNICODE);
    desk.shows("three_hosts_ascii.txt", (80, 20), &Glyphs::ASCII);
}

#[test]
fn what_is_wrong_by_the_last_tick_is_told_until_it_is_over() {
    let mut desk = Desk::of(&["node1", "node2"]);
    for message in [hello(), snapshot(), tick(2)] {
        desk.hear(0, message);
    }
    assert_eq!(desk.fleet.hosts[0].word(desk.now), "HEALTHY");
    let conditions = vec!["VM_SHORT_OF_MEMORY".to_owned(), "VM_QUARANTINED".to_owned()];
    desk.hear(0, Body::Tick(v1::Tick { conditions, ..v1::Tick::default() }));
    assert_eq!(desk.fleet.hosts[0].word(desk.now), "DEGRADED");
    assert_eq!(desk.fleet.hosts[0].trouble, "VM_SHORT_OF_MEMORY (and 1 more: memctl status)");
    desk.hear(0, tick(4));
    assert_eq!(desk.fleet.hosts[0].word(desk.now), "HEALTHY");
}

#[test]
fn any_size_of_a_terminal_is_drawn_on() {
    let mut desk = Desk::three();
    desk.shows("narrow.txt", (40, 12), &Glyphs::UNICODE);
    desk.press("?");
    for (width, height) in [(1, 1), (2, 40), (200, 1), (10, 5), (30, 8), (500, 200)] {
        let picture = desk.picture(width, height, &Glyphs::UNICODE);
        assert_eq!(picture.lines().count(), usize::from(height));
    }
}

#[test]
fn before_anything_is_told_it_says_so() {
    let mut desk = Desk::of(&["node1"]);
    desk.shows("nothing_told.txt", (80, 10), &Glyphs::UNICODE);
}

#[test]
fn a_host_comes_back_as_it_is_by_then() {
    let mut desk = Desk::three();
    assert!(desk.picture(120, 24, &Glyphs::ASCII).contains("RETRY IN 3s"));
    for message in [hello(), snapshot(), tick(7)] {
        desk.hear(1, message);
    }
    let picture = desk.picture(120, 24, &Glyphs::ASCII);
    assert!(!picture.contains("RETRY IN"), "{picture}");
    assert!(picture.contains("3 hosts, 6 VMs  1 not connected"), "{picture}");
    // A tick that does not name a VM says that it is gone.
    let Body::Tick(mut last) = tick(8) else { panic!("a tick") };
    last.vms.truncate(1);
    desk.hear(1, Body::Tick(last));
    assert!(desk.picture(120, 24, &Glyphs::ASCII).contains("3 hosts, 4 VMs"));
}

#[test]
fn a_snapshot_in_parts_is_one() {
    let mut desk = Desk::of(&["node1"]);
    let Body::Snapshot(mut first) = snapshot() else { panic!("a snapshot") };
    first.vms.truncate(2);
    first.continued = true;
    let rest = vms(1).split_off(2);
    let last = v1::Snapshot { mode: v1::Mode::Active.into(), vms: rest, ..Default::default() };
    // The second time as the first: what is kept of a VM goes with none of the parts.
    for _ in 0..2 {
        for message in [hello(), Body::Snapshot(first.clone()), Body::Snapshot(last.clone())] {
            desk.hear(0, message);
        }
    }
    let host = &desk.fleet.hosts[0];
    assert!(host.memory.is_some(), "the last part says nothing of it");
    let pasts: Vec<usize> = host.vms.values().map(|view| view.past.len()).collect();
    assert_eq!(pasts, [2, 2, 2]);
}

#[test]
fn a_lost_hypervisor_keeps_the_figures_and_says_so() {
    let mut desk = Desk::three();
    let error = "libvirtd does not answer".to_owned();
    desk.hear(0, Body::Tick(v1::Tick { error, ..v1::Tick::default() }));
    let picture = desk.picture(120, 24, &Glyphs::ASCII);
    assert!(picture.contains("HYPERVISOR_LOST: libvirtd does"), "{picture}");
    assert!(picture.contains("web1"), "{picture}");
}

#[test]
fn a_plan_that_was_thrown_away_is_told_beside_the_figures_of_its_tick() {
    let mut desk = Desk::three();
    let Body::Tick(mut thrown) = tick(8) else { panic!("a tick") };
    thrown.error = "the plan breaks a rule of safety".to_owned();
    thrown.vms.truncate(1);
    desk.hear(0, Body::Tick(thrown));
    let picture = desk.picture(120, 24, &Glyphs::ASCII);
    assert!(picture.contains("PLAN_REJECTED: the plan breaks"), "{picture}");
    assert!(!picture.contains("HYPERVISOR_LOST"), "{picture}");
    assert_eq!(desk.fleet.hosts[0].vms.len(), 1, "who went since is gone");
}

#[test]
fn what_is_wrong_with_the_host_is_told_first_and_the_rest_counted() {
    let mut desk = Desk::three();
    let Body::Tick(mut low) = tick(8) else { panic!("a tick") };
    low.conditions = ["AUDIT_LOST", "HOST_LOW", "VM_QUARANTINED"].map(str::to_owned).into();
    desk.hear(0, Body::Tick(low));
    let picture = desk.picture(120, 24, &Glyphs::ASCII);
    assert!(picture.contains("HOST_LOW (and 2 more"), "{picture}");
}

#[test]
fn the_list_is_filtered_sorted_and_kept_to_one_host() {
    let mut desk = Desk::three();
    let names = |desk: &Desk| -> Vec<String> {
        let rows = super::rows::rows(&desk.fleet, &desk.look);
        rows.iter().map(|row| row.view.vm.vm.uuid.clone()).collect()
    };
    assert_eq!(names(&desk), ["uuid-1", "uuid-2", "uuid-3"]);
    desk.press("s");
    assert_eq!(names(&desk), ["uuid-1", "uuid-2", "uuid-3"], "by what is used");
    desk.press("s");
    assert_eq!(names(&desk), ["uuid-2", "uuid-1", "uuid-3"], "by what is held");
    desk.press("S");
    assert_eq!(names(&desk), ["uuid-3", "uuid-1", "uuid-2"], "turned round");
    desk.press("/WEB");
    assert_eq!(names(&desk), ["uuid-1"]);
    desk.press("\u{8}\u{8}\u{8}!web\n");
    assert_eq!(names(&desk), ["uuid-3", "uuid-2"]);
    desk.press("\u{1b}2");
    assert!(names(&desk).is_empty(), "node2 never told of any");
    desk.press("0");
    assert_eq!(names(&desk).len(), 3);
}

#[test]
fn the_cursor_stays_on_its_vm() {
    let mut desk = Desk::three();
    desk.press("j");
    assert_eq!(desk.look.vm, Some((0, "uuid-2".to_owned())));
    desk.press("ss");
    desk.picture(120, 24, &Glyphs::ASCII);
    assert_eq!(desk.look.vm, Some((0, "uuid-2".to_owned())));
    desk.press("G");
    assert_eq!(desk.look.vm, Some((0, "uuid-3".to_owned())));
    desk.hear(0, Body::Tick(v1::Tick { vms: vec![vm(1, 1, 1, 1)], ..v1::Tick::default() }));
    desk.picture(120, 24, &Glyphs::ASCII);
    assert_eq!(desk.look.vm, Some((0, "uuid-1".to_owned())), "its VM is gone");
}

#[test]
fn a_frozen_picture_stands_still_and_the_fleet_goes_on() {
    let mut desk = Desk::three();
    desk.press("f");
    let before = desk.picture(120, 24, &Glyphs::ASCII);
    assert!(before.contains("FROZEN"), "{before}");
    desk.hear(0, tick(9));
    assert_eq!(desk.picture(120, 24, &Glyphs::ASCII), before);
    desk.press("f");
    assert_ne!(desk.picture(120, 24, &Glyphs::ASCII), before);
}

#[test]
fn nothing_is_changed_without_a_yes() {
    let mut desk = Desk::three();
    desk.press("mp");
    desk.shows("confirm.txt", (80, 12), &Glyphs::UNICODE);
    assert!(matches!(desk.press_key(Key::Char('n')), Action::Nothing));
    assert_eq!(desk.look.said, "nothing was changed");
    desk.press("mp");
    let action = desk.press_key(Key::Char('y'));
    let Action::Call(Call::Mode { host: 0, mode: WantedMode::Paused }) = action else {
        panic!("{action:?}")
    };
    desk.press("jP");
    let action = desk.press_key(Key::Char('y'));
    let Action::Call(Call::Pin { host: 0, vm, pinned: false }) = action else {
        panic!("{action:?}")
    };
    assert_eq!(vm, "db1", "as the policy names it");
    desk.look = Look::new(true);
    for key in ['m', 'P'] {
        assert!(matches!(desk.press_key(Key::Char(key)), Action::Nothing));
        assert!(desk.look.said.contains("--read-only"), "{}", desk.look.said);
    }
}

#[test]
fn a_pin_that_the_policy_makes_or_ends_is_seen() {
    let mut desk = Desk::three();
    let pin = |path: &str, new_value: &str| {
        let change = v1::PolicyChange {
            path: path.to_owned(),
            new_value: new_value.to_owned(),
            ..v1::PolicyChange::default()
        };
        let changes = vec![change];
        Body::PolicyChanged(v1::PolicyChanged { changes, ..v1::PolicyChanged::default() })
    };
    desk.hear(0, pin("vms.web1.pinned", "true"));
    assert!(desk.picture(120, 24, &Glyphs::ASCII).contains("web1*"));
    desk.hear(0, pin("vms.web1.pinned", "unset"));
    assert!(!desk.picture(120, 24, &Glyphs::ASCII).contains("web1*"));
}

#[test]
fn a_pin_that_ends_is_seen_and_ended_as_what_it_is() {
    let mut desk = Desk::three();
    let pin = Some(v1::Pin {
        end_time: Some(prost_types::Timestamp { seconds: 1_767_326_645, nanos: 0 }),
        ..v1::Pin::default()
    });
    let vms = vec![v1::Vm { pin, ..vm(1, 300, 512, 512) }];
    desk.hear(0, Body::Tick(v1::Tick { vms, ..v1::Tick::default() }));
    assert!(desk.picture(120, 24, &Glyphs::ASCII).contains("web1*"));
    desk.press("P");
    let action = desk.press_key(Key::Char('y'));
    let Action::Call(Call::Unpin { host: 0, vm: ended }) = action else { panic!("{action:?}") };
    assert_eq!(ended.name, "web1");
    let vms = vec![vm(1, 300, 512, 512)];
    desk.hear(0, Body::Tick(v1::Tick { vms, ..v1::Tick::default() }));
    assert!(!desk.picture(120, 24, &Glyphs::ASCII).contains("web1*"));
}

#[test]
fn enter_explains_a_vm_and_says_why_a_host_is_down() {
    let mut desk = Desk::three();
    let action = desk.press_key(Key::Enter);
    let Action::Call(Call::Explain { host: 0, vm }) = action else { panic!("{action:?}") };
    assert_eq!(vm.name, "web1");
    let explanation = Explanation::from(v1::ExplainVmResponse {
        vm: vm_ref(&vm.uuid, &vm.name),
        sentences: vec!["It uses nearly all that it holds.".to_owned()],
        ..v1::ExplainVmResponse::default()
    });
    let answer = Answer::Explained {
        host: "node1".to_owned(),
        title: "web1 on node1".to_owned(),
        result: Ok(Box::new(explanation)),
    };
    desk.look.answered(answer, &desk.view);
    let picture = desk.picture(100, 40, &Glyphs::UNICODE);
    assert!(picture.contains("It uses nearly all that it holds."), "{picture}");
    desk.press("\u{1b}\t\tjj\n");
    let picture = desk.picture(100, 24, &Glyphs::UNICODE);
    assert!(picture.contains("it is revoked; ask for another one"), "{picture}");
}

fn vm_ref(uuid: &str, name: &str) -> Option<v1::VmRef> {
    Some(v1::VmRef { uuid: uuid.to_owned(), name: name.to_owned() })
}

#[test]
fn what_happened_is_scrolled_back() {
    let mut desk = Desk::three();
    for number in 4..60 {
        desk.hear(0, tick(number));
    }
    desk.press("\tkkk");
    assert_eq!(desk.look.back, 3);
    assert!(desk.picture(120, 30, &Glyphs::ASCII).contains("EVENTS  3 lines back"));
    desk.press("G");
    assert_eq!(desk.look.back, 0);
}

#[test]
fn calls_that_failed_say_why_and_what_to_do() {
    let mut desk = Desk::three();
    let failure = Failure::new(Code::PermissionDenied, "ROLE", "this needs the role operator");
    let answer = Answer::Done {
        what: "node1: mode paused".to_owned(),
        result: Err(failure.hint("memctl whoami shows yours")),
    };
    desk.look.answered(answer, &desk.view);
    let picture = desk.picture(140, 24, &Glyphs::ASCII);
    let want =
        "node1: mode paused: not done: this needs the role operator; memctl whoami shows yours";
    assert!(picture.contains(want), "{picture}");
}
