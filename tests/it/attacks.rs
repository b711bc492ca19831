//! agentd under attack: a stranger gets nothing, a reader what is a reader's, and everybody else is served meanwhile.
//! What the attacks cost a tick is measured by `make bench-attacks`, and not here.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agentd_proto::v1 as wire;
use agentd_tests::attacks::friend::{Friend, local, status};
use agentd_tests::attacks::victim::Victim;
use agentd_tests::attacks::{ATTACKS, Attack, By};
use agentd_tests::lab::clock::{self, Deadline};
use agentd_tests::programs::Programs;
use tokio::runtime::Runtime;

use crate::sim_host::LONG;

#[test]
fn strangers_get_nothing_and_agentd_goes_on() {
    let scene = Scene::set();
    for attack in ATTACKS.iter().filter(|attack| attack.by.contains(&By::Nobody)) {
        let told = scene.withstand(*attack, By::Nobody);
        assert_eq!(told.heard, 0, "{}: a stranger was told something", attack.name);
    }
}

#[test]
fn a_reader_gets_what_is_a_readers_and_agentd_goes_on() {
    let scene = Scene::set();
    for attack in ATTACKS {
        for by in attack.by.iter().filter(|by| **by != By::Nobody) {
            let told = scene.withstand(*attack, *by);
            assert_eq!(told.answers > 0, attack.earns, "{}: {told:?}", attack.name);
        }
    }
}

/// Knocks, strangers and readers by the thousand, from the address that the friend has, too: its turn comes in their line.
#[test]
fn whoever_shares_its_address_with_attackers_is_let_in_all_the_same() {
    let scene = Scene::set();
    for attack in ATTACKS.iter().filter(|attack| SHARED.contains(&attack.name)) {
        for by in attack.by {
            let name = format!("{} by {}", attack.name, by.name());
            let foe = scene.victim.foe(*by).unwrap().from_one(Ipv4Addr::LOCALHOST);
            let foe = Arc::new(foe);
            let going_on = scene.runtime.spawn(attack.go_on(Arc::clone(&foe)));
            for _ in 0..NEWCOMERS {
                // Each comes in the midst of it.
                let seen = foe.tally.dialled.load(Ordering::Relaxed) + DIALLED;
                clock::wait_until("the attack", LONG, || {
                    Ok(foe.tally.dialled.load(Ordering::Relaxed) >= seen)
                })
                .unwrap_or_else(|error| panic!("{name}: {error:#}: {:?}", foe.tally));
                let mut tries = (0..TRIES).map(|_| scene.runtime.block_on(scene.friend.ask_anew()));
                let let_in = tries.any(|asked| asked.is_ok());
                assert!(let_in, "{name}: {:?}: {}", foe.tally, scene.victim.log());
            }
            going_on.abort();
        }
    }
}

/// A victim, its friend, and what is left of both.
struct Scene {
    runtime: Runtime,
    victim: Victim,
    friend: Friend,
}

/// What an attacker was told.
#[derive(Debug)]
struct Told {
    heard: u64,
    answers: u64,
}

impl Scene {
    fn set() -> Self {
        let programs = Programs::built().expect("cargo builds agentd");
        let runtime = Runtime::new().unwrap();
        let victim = Victim::start(&programs.agentd, Duration::from_millis(50)).unwrap();
        let shows = victim.reader("alice").unwrap();
        let friend = runtime.block_on(Friend::new(victim.address(), shows)).unwrap();
        Self { runtime, victim, friend }
    }

    /// One attack, and all that has to hold meanwhile and afterwards.
    fn withstand(&self, attack: Attack, by: By) -> Told {
        let name = format!("{} by {}", attack.name, by.name());
        let foe = Arc::new(self.victim.foe(by).unwrap());
        let (before, figures) = (self.status(), self.victim.figures().unwrap());
        if attack.starves {
            self.victim.starve().unwrap();
        }
        let going_on = self.runtime.spawn(attack.go_on(Arc::clone(&foe)));
        let (end, first) = (Deadline::after(SPAN), self.until_answered(&name));
        while !end.is_over() || self.until_answered(&name) < first + TICKS {
            clock::breathe();
        }
        if !attack.starves {
            self.until_others_are_let_in(&name);
        }
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let tally = &foe.tally;
        // However busy the machine is: it comes, is let in where it may, and gets what it has a right to.
        clock::wait_until("the attack", LONG, || {
            let is_in = by == By::Nobody || count(&tally.shaken) > 0;
            let has_all = by == By::Nobody || !attack.earns || count(&tally.answers) > 0;
            Ok(count(&tally.dialled) > 0 && is_in && has_all)
        })
        .unwrap_or_else(|error| panic!("{name}: {error:#}: {tally:?}"));
        going_on.abort();
        self.victim.feed().unwrap();
        self.until_as_before(&name, figures.descriptors);

        let (after, now) = (self.status(), self.victim.figures().unwrap());
        assert!(now.peak < MEMORY, "{name}: agentd took {} MiB", now.peak >> 20);
        assert!(now.audit - figures.audit < AUDIT, "{name}: {figures:?}, then {now:?}");
        assert!(now.log - figures.log < LOG, "{name}: {figures:?}, then {now:?}");
        assert_eq!(after.mode, before.mode, "{name}");
        assert_eq!(after.policy_etag, before.policy_etag, "{name}");
        Told { heard: count(&tally.heard), answers: count(&tally.answers) }
    }

    /// Asks until the friend is answered over the connection that it has: the tick.
    fn until_answered(&self, name: &str) -> u64 {
        let asked = || Ok(self.runtime.block_on(self.friend.ask()).ok());
        let status = clock::wait_for("an answer while it goes on", LONG, asked);
        status.unwrap_or_else(|error| panic!("{name}: {error:#}")).tick.unwrap()
    }

    /// Waits, while it goes on, until somebody new is let in from another address than the attackers', and
    /// somebody of this host.
    fn until_others_are_let_in(&self, name: &str) {
        let asked = || Ok(self.runtime.block_on(self.friend.ask_from_elsewhere()).is_ok());
        clock::wait_until("a newcomer to be let in", LONG, asked)
            .unwrap_or_else(|error| panic!("{name}: {error:#}: {}", self.victim.log()));
        self.status();
    }

    /// Waits until there are as few descriptors as before, nobody watches, and a new client is let in.
    fn until_as_before(&self, name: &str, descriptors: usize) {
        let over = || {
            let open = self.victim.figures()?.descriptors;
            let is_let_in = self.runtime.block_on(self.friend.ask_anew()).is_ok();
            Ok(open <= descriptors && is_let_in && self.status().watchers == 0)
        };
        clock::wait_until("agentd to be as before", LONG, over)
            .unwrap_or_else(|error| panic!("{name}: {error:#}: {}", self.victim.log()));
    }

    /// What this host's root is told.
    fn status(&self) -> wire::GetStatusResponse {
        self.runtime.block_on(async { status(local(&self.victim.socket()).await?).await }).unwrap()
    }
}

/// How long an attack goes on at least.
const SPAN: Duration = Duration::from_millis(400);
/// Ticks that an attack sees at least.
const TICKS: u64 = 5;
/// What agentd may come to take. By itself it has 50 MiB unoptimized; the ring of its log has 8, 128 connections over
/// TCP some 384 KiB each in buffers of TLS and of HTTP/2, and two requests at a time, one a worker, 13 MiB each while
/// they are decoded: 132 in all, and as much again as half of that for what the allocator keeps.
const MEMORY: u64 = 192 << 20;
/// What one denied caller may add in a minute is 6 KiB; the rest is counted.
const AUDIT: u64 = 16 << 10;
/// One line in ten seconds for who is refused, one for who finds no place.
const LOG: u64 = 64 << 10;
/// What shuts others of the same address out where it can.
const SHARED: [&str; 5] =
    ["silent TCP clients", "silent TLS clients", "no TLS", "knocks", "connection churn"];
/// How many come anew, one after the other, and in how many tries each has to be let in.
const NEWCOMERS: usize = 3;
const TRIES: usize = 2;
/// Connections of the attackers between two of them.
const DIALLED: u64 = 32;
