//! How the parts are put together.

use std::collections::BTreeSet;

use agentd_core::{policy::Policy, sample::Reading, vm::VmId};

use super::*;
use crate::{
    clock::VirtualClock,
    control::{Gate, InForce},
    hypervisor::{Answer, Hypervisor, LiveActual, ReadError, Target},
};

/// A hypervisor that answers nothing, and in which so many calls hang.
#[derive(Debug)]
struct Hanging(usize);

impl Hypervisor for Hanging {
    fn uri(&self) -> &'static str {
        "test:hanging"
    }

    fn read(&mut self, _: &BTreeSet<VmId>, timeout: Duration) -> Result<Reading, ReadError> {
        Err(ReadError::Silent { uri: self.uri().to_owned(), timeout })
    }

    fn read_actuals(&mut self, _: &[VmId], _: Duration) -> Vec<LiveActual> {
        Vec::new()
    }

    fn set_targets(&mut self, orders: &[Target], _: Duration) -> Vec<Answer> {
        orders.iter().map(|_| Answer::InDoubt).collect()
    }

    fn take_reconnected(&mut self) -> bool {
        false
    }

    fn parked(&self) -> usize {
        self.0
    }
}

#[test]
fn ends_itself_once_too_many_calls_hang_and_says_so() {
    let clock = Arc::new(VirtualClock::default());
    let turn = |parked| {
        let config = tick_config(&Config::default());
        let mut ticker = Ticker::new(Box::new(Hanging(parked)), clock.clone(), config);
        ticker.turn(&InForce::fixed(Mode::Active, Policy::default()), &Gate::new(Mode::Active))
    };
    assert_eq!(hung::why(&turn(0)), None);
    assert_eq!(hung::why(&turn(7)), None);
    let why = hung::why(&turn(8)).unwrap();
    assert!(why.starts_with("8 calls of the hypervisor have hung"), "{why}");
}

#[test]
fn a_ring_has_a_tick_come_before_its_time_and_a_stop_has_none() {
    let interval = Duration::from_secs(3600);
    let config = TickConfig { interval, ..tick_config(&Config::default()) };
    let ticker = Ticker::new(Box::new(Hanging(0)), RealClock::start(), config);
    let bell = Arc::new(Bell::default());
    let (told, ticks) = std::sync::mpsc::channel();
    let looping = thread::spawn({
        let (mut ticker, bell) = (ticker, Arc::clone(&bell));
        let in_force = Arc::new(InForce::fixed(Mode::Active, Policy::default()));
        move || {
            let in_force = || Arc::clone(&in_force);
            pace::run(&mut ticker, in_force, &Gate::new(Mode::Active), &bell, |turn| {
                told.send(turn.record.tick).unwrap();
            });
        }
    });
    let next = || ticks.recv_timeout(interval / 60).unwrap();
    assert_eq!(next(), 0);
    bell.look();
    assert_eq!(next(), 1, "an hour before its time");
    bell.stop();
    looping.join().unwrap();
    assert_eq!(ticks.try_iter().count(), 0);
}

#[test]
fn a_simulated_host_has_no_freeze_file_but_one_that_is_named() {
    let mut config = Config { hypervisor: "sim:x".to_owned(), ..Config::default() };
    assert_eq!(freeze_file(&config), None);
    config.freeze_file = Some(PathBuf::from("/run/x"));
    assert_eq!(freeze_file(&config), Some(PathBuf::from("/run/x")));
    assert!(freeze_file(&Config::default()).unwrap().ends_with("agentd/freeze"));
}
