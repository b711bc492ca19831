//! The adapter on `test:///default`, the world that libvirt carries in itself.
//!
//! All connections of a process see the same one, so these tests take turns.

use std::sync::{Mutex, MutexGuard};

use agentd_core::sample::{Reported, RunState};

use super::{line::lock, *};
use crate::clock::RealClock;

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    lock(&TURN)
}

fn adapter(uri: &str) -> Libvirt {
    let config = LibvirtConfig { uri: uri.to_owned(), ..LibvirtConfig::default() };
    Libvirt::new(config, RealClock::start())
}

const TIMEOUT: Duration = Duration::from_secs(10);

#[test]
fn reads_what_libvirt_has() {
    let _turn = turn();
    let mut libvirt = adapter("test:///default");
    let reading = libvirt.read(&BTreeSet::new(), TIMEOUT).expect("a reading");
    let [vm] = &reading.vms[..] else { panic!("{reading:?}") };
    assert_eq!(&*vm.name, "test");
    assert_eq!(vm.id.to_string(), "6695eb01-f6a4-8304-79aa-97f2502e193f");
    assert_eq!(vm.run, RunState::Running);
    assert_eq!((vm.actual, vm.max), (ByteCount::gib(2), ByteCount::gib(8)));
    assert_eq!(vm.guest.unused, Some(ByteCount::gib(1)));
    assert_eq!(vm.reported, Reported::At(627_319_920));
    assert!(reading.host.usable < reading.host.total);
    assert!(!libvirt.take_reconnected());
}
