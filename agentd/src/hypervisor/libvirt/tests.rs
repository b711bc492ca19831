//! The adapter on `test:///default`, the world that libvirt carries in itself.
//!
//! All connections of a process see the same one, so the tests that need it take turns.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::net::UnixListener,
    process::Command,
    sync::{Mutex, MutexGuard, mpsc::sync_channel},
    thread,
};

use agentd_core::sample::{Pressure, Reported, RunState, Share, Traits};

use super::{crew::lock, scatter::Desk, *};
use crate::{
    clock::RealClock,
    hypervisor::contract::{Subject, hold},
};

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    lock(&TURN)
}

fn adapter(uri: &str) -> Libvirt {
    let config = LibvirtConfig { uri: uri.to_owned(), ..LibvirtConfig::default() };
    Libvirt::new(config, RealClock::start())
}

fn read(libvirt: &mut Libvirt) -> Result<Reading, ReadError> {
    libvirt.read(&BTreeSet::new(), TIMEOUT)
}

const TIMEOUT: Duration = Duration::from_secs(10);

#[test]
fn keeps_the_contract() {
    let _turn = turn();
    hold(&mut Subject {
        hypervisor: &mut adapter("test:///default"),
        clock: &*RealClock::start(),
        timeout: TIMEOUT,
        settle: Duration::from_secs(60),
    });
}

#[test]
fn reads_what_libvirt_has() {
    let _turn = turn();
    let mut libvirt = adapter("test:///default");
    let reading = read(&mut libvirt).expect("a reading");
    let [vm] = &reading.vms[..] else { panic!("{reading:?}") };
    assert_eq!(&*vm.name, "test");
    assert_eq!(vm.id.to_string(), "6695eb01-f6a4-8304-79aa-97f2502e193f");
    assert_eq!(vm.run, RunState::Running);
    assert_eq!((vm.actual, vm.max), (ByteCount::gib(2), ByteCount::gib(8)));
    assert_eq!(vm.guest.unused, Some(ByteCount::gib(1)));
    assert_ne!(vm.reported, Reported::Never);
    assert!(reading.host.usable < reading.host.total);
    assert!(!libvirt.take_reconnected());
}

#[test]
fn a_paused_vm_is_suspended_and_one_that_is_shut_off_is_gone() {
    let _turn = turn();
    let mut libvirt = adapter("test:///default");
    let vm = read(&mut libvirt).expect("a reading").vms.remove(0).id;
    let connect = virt::connect::Connect::open(Some("test:///default")).expect("a connection");
    let domain = connect.lookup_domain_by_name("test").expect("the VM");
    domain.suspend().expect("it runs");
    let paused = read(&mut libvirt);
    domain.resume().expect("it is paused");
    domain.destroy().expect("it runs");
    let target = ByteCount::gib(1);
    let gone = (
        read(&mut libvirt),
        libvirt.set_targets(&[Target { vm, target }], TIMEOUT),
        libvirt.read_actuals(&[vm], TIMEOUT),
    );
    domain.create().expect("it is shut off");
    let paused = paused.expect("a reading");
    assert_eq!((paused.vms[0].run, paused.vms[0].actual), (RunState::Paused, ByteCount::gib(2)));
    assert_eq!(gone.0.expect("a reading").vms, []);
    assert_eq!((gone.1, gone.2), (vec![Answer::VmGone], vec![]));
    assert_eq!(read(&mut libvirt).expect("a reading").vms.len(), 1);
}

#[test]
fn a_vm_is_known_once_its_xml_was_read_and_a_start_is_a_new_life() {
    let _turn = turn();
    let mut libvirt = adapter("test:///default");
    let known = |libvirt: &mut Libvirt| loop {
        let vm = read(libvirt).expect("a reading").vms.remove(0);
        if vm.traits.is_some() {
            break vm;
        }
        assert_eq!(vm.host_rss, None, "which figure counts is not known yet");
        thread::yield_now();
    };
    let first = known(&mut libvirt);
    assert_eq!(first.traits, Some(Traits::default()));
    assert_eq!(known(&mut libvirt).generation, first.generation);
    let connect = virt::connect::Connect::open(Some("test:///default")).expect("a connection");
    let domain = connect.lookup_domain_by_name("test").expect("the VM");
    domain.destroy().and_then(|()| domain.create()).expect("it runs");
    // No reading has seen it gone.
    assert_ne!(known(&mut libvirt).generation, first.generation);
    libvirt.register.start_over();
    assert!(known(&mut libvirt).generation > first.generation);
}

/// A folder in which the VM of the test driver has a process, and the adapter that looks there.
fn with_a_process() -> (tempfile::TempDir, Libvirt) {
    let folder = tempfile::tempdir().expect("a folder");
    let at = || folder.path().to_owned();
    fs::create_dir_all(folder.path().join("7")).expect("a folder");
    fs::write(folder.path().join("test.pid"), "7").expect("a file");
    begin_process(folder.path(), 500);
    let uri = "test:///default".to_owned();
    let config = LibvirtConfig { uri, processes: at(), vm_processes: at(), ..Default::default() };
    (folder, Libvirt::new(config, RealClock::start()))
}

fn begin_process(folder: &Path, began: u64) {
    let stat = format!("7 (qemu) S {}{began} 4096", "0 ".repeat(18));
    fs::write(folder.join("7/stat"), stat).expect("a file");
}

/// Reads until there is an answer of a new connection.
fn read_anew(libvirt: &mut Libvirt) -> VmReading {
    loop {
        if let Ok(mut reading) = read(libvirt) {
            return reading.vms.remove(0);
        }
        thread::yield_now();
    }
}

#[test]
fn a_life_goes_on_over_a_new_connection_where_the_process_is_the_same() {
    let _turn = turn();
    let (folder, mut libvirt) = with_a_process();
    let first = read_anew(&mut libvirt);
    libvirt.session.reset("a test");
    let second = read_anew(&mut libvirt);
    assert!(libvirt.take_reconnected());
    assert_eq!(second.generation, first.generation);
    begin_process(folder.path(), 700);
    assert_eq!(read_anew(&mut libvirt).generation, first.generation, "an event would have told");
    libvirt.session.reset("a test");
    assert_ne!(read_anew(&mut libvirt).generation, first.generation);
}

#[test]
fn what_is_known_of_a_vm_counts_until_a_new_look_at_the_same_process() {
    let _turn = turn();
    let (folder, mut libvirt) = with_a_process();
    let told = |vm: &VmReading| (vm.traits, vm.host_rss);
    let known = (Some(Traits::default()), Some(ByteCount::gib(1)));
    let once_known = |libvirt: &mut Libvirt| loop {
        let vm = read_anew(libvirt);
        if told(&vm) == known {
            break vm;
        }
    };
    // All connections share the driver's VM, and may hear late of what tests before did to it.
    let mut outlives = |change: &dyn Fn(&mut Libvirt, VmId)| {
        (0..ATTEMPTS).any(|_| {
            let vm = once_known(&mut libvirt);
            change(&mut libvirt, vm.id);
            told(&read_anew(&mut libvirt)) == known
        })
    };
    // An event, and a reading right after it: nobody has looked anew yet.
    for event in [events::Event::Rebuilt, events::Event::Started] {
        assert!(outlives(&|libvirt, vm| libvirt.register.notice(vec![event(vm)])));
    }
    assert!(outlives(&|libvirt, _| libvirt.session.reset("a test")));
    let vm = once_known(&mut libvirt);
    // libvirt leaves out what it could not find out this time.
    let mut vms = [VmReading { host_rss: None, ..vm.clone() }];
    libvirt.register.complete(&[], &mut vms, &BTreeSet::new());
    assert_eq!(told(&vms[0]), known);
    assert_eq!(libvirt.register.resident_now(vm.id, None), known.1);

    begin_process(folder.path(), 700);
    libvirt.register.notice(vec![events::Event::Started(vm.id)]);
    // The look at it may be over by now.
    let other = read_anew(&mut libvirt);
    assert_eq!(other.traits.is_none(), other.host_rss.is_none(), "{other:?}");
    assert_ne!(other.generation, vm.generation, "it is another process");
}

#[test]
fn what_a_connection_told_last_counts_after_its_end() {
    let _turn = turn();
    let mut libvirt = adapter("test:///default");
    let vm = read_anew(&mut libvirt).id;
    let connect = virt::connect::Connect::open(Some("test:///default")).expect("a connection");
    let domain = connect.lookup_domain_by_name("test").expect("the VM");
    // Events come by a thread of libvirt's own, when it has time.
    let told = (0..ATTEMPTS).any(|_| {
        domain.destroy().and_then(|()| domain.create()).expect("it runs");
        libvirt.clock.sleep(Duration::from_millis(50));
        libvirt.session.reset("a test");
        let told = libvirt.session.take_last_events().contains(&events::Event::Started(vm));
        read_anew(&mut libvirt);
        told
    });
    assert!(told, "its start was overlooked");
}

const ATTEMPTS: usize = 10;

#[test]
fn the_limit_of_all_vms_and_the_pressure_are_part_of_the_host() {
    let _turn = turn();
    let folder = tempfile::tempdir().expect("a folder");
    let slice = folder.path().join("machine.slice");
    fs::create_dir_all(&slice).expect("a folder");
    let write = |path: PathBuf, text: &str| fs::write(path, text).expect("a file");
    write(folder.path().join("cgroup.controllers"), "memory");
    write(slice.join("memory.max"), "1048576");
    write(slice.join("memory.current"), "262144");
    write(folder.path().join("pressure"), "some avg10=1.50 total=1\nfull avg10=0.25 total=1\n");
    let mut config = LibvirtConfig { uri: "test:///default".to_owned(), ..Default::default() };
    config.control_groups = folder.path().to_owned();
    config.pressure = folder.path().join("pressure");
    let host = read(&mut Libvirt::new(config, RealClock::start())).expect("a reading").host;
    assert_eq!((host.total, host.usable), (ByteCount::mib(1), ByteCount::kib(768)));
    let pressure = Pressure { some: Share(150), full: Share(25) };
    assert_eq!(host.pressure, Some(pressure));
}

/// A VM that takes memory while it is read shows it as taken: then the host must not show it free.
#[test]
fn what_moves_during_a_reading_is_not_counted_twice() {
    let _turn = turn();
    let text = |usable| format!("MemTotal: 1000000 kB\nMemAvailable: {usable} kB\n");
    for [first, second] in [[700_000, 500_000], [500_000, 700_000]] {
        let folder = tempfile::tempdir().expect("a folder");
        let (meminfo, later) = (folder.path().join("meminfo"), folder.path().join("later"));
        fs::write(&later, text(second)).expect("a file");
        let made = Command::new("mkfifo").arg(&meminfo).status().expect("mkfifo runs");
        assert!(made.success());
        let uri = "test:///default".to_owned();
        let config = LibvirtConfig { uri, meminfo: meminfo.clone(), ..Default::default() };
        let kernel = thread::spawn(move || {
            // Opens once the first reading does, which then waits for the words.
            let mut pipe = File::create(&meminfo).expect("somebody reads");
            fs::rename(later, meminfo).expect("another file");
            pipe.write_all(text(first).as_bytes()).expect("somebody reads");
        });
        let host = read(&mut Libvirt::new(config, RealClock::start())).expect("a reading").host;
        kernel.join().expect("both were told");
        assert_eq!(host.usable, ByteCount::kib(500_000), "{first} and {second}");
    }
}

#[test]
fn an_order_in_parts_of_a_kib_is_refused() {
    let _turn = turn();
    let mut libvirt = adapter("test:///default");
    let vm = read(&mut libvirt).expect("a reading").vms[0].id;
    let target = ByteCount::bytes((1 << 30) + 1);
    let answers = libvirt.set_targets(&[Target { vm, target }], TIMEOUT);
    assert_eq!(answers, [Answer::Refused("1073741825 bytes are no whole KiB".to_owned())]);
}

#[test]
fn without_a_libvirt_it_says_what_was_tried_and_what_to_do() {
    let uri = "qemu+unix:///system?socket=/nowhere/libvirt-sock";
    let mut libvirt = adapter(uri);
    let error = read(&mut libvirt).expect_err("there is none").to_string();
    for part in [uri, "/nowhere/libvirt-sock", "systemctl status", "trying again in"] {
        assert!(error.contains(part), "no {part} in: {error}");
    }
    let vm = VmId::from_bytes([1; 16]);
    let answers = libvirt.set_targets(&[Target { vm, target: ByteCount::gib(1) }], TIMEOUT);
    assert_eq!(answers, [Answer::Refused(format!("there is no connection to {uri}"))]);
    assert_eq!(libvirt.read_actuals(&[vm], TIMEOUT), []);
}

#[test]
fn a_uri_that_makes_no_sense_is_called_so() {
    let error = read(&mut adapter("system")).expect_err("no such driver").to_string();
    assert!(
        error.contains("cannot reach system:") && error.contains("is the URI right?"),
        "{error}"
    );
}

#[test]
fn a_libvirt_that_does_not_answer_holds_up_neither_a_reading_nor_a_stop() {
    let folder = std::env::temp_dir().join(format!("agentd-mute-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let socket = folder.join("socket");
    let _mute = UnixListener::bind(&socket).expect("a socket");
    let mut libvirt = adapter(&format!("qemu+unix:///system?socket={}", socket.display()));
    for _ in 0..3 {
        let error = libvirt.read(&BTreeSet::new(), Duration::from_millis(50));
        let error = error.expect_err("nobody answers").to_string();
        assert!(error.contains("does not answer within"), "{error}");
    }
    drop(libvirt);
    fs::remove_dir_all(&folder).expect("the folder");
}

#[test]
fn too_many_hung_calls_stop_orders_and_then_readings_until_one_returns() {
    let _turn = turn();
    let mut libvirt = adapter("test:///default");
    let vm = read(&mut libvirt).expect("a reading").vms[0].id;
    let order = [Target { vm, target: ByteCount::gib(2) }];
    idle(&libvirt);
    let (release, gate) = sync_channel::<()>(0);
    let gate = Arc::new(Mutex::new(gate));
    let hang = |libvirt: &Libvirt, desk: fn(&Link) -> Desk<'_>| {
        let gate = gate.clone();
        let (crew, _) = desk(libvirt.session.link().expect("a link"));
        assert!(crew.start(0, move |_| assert!(lock(&gate).recv().is_err())));
    };
    (0..6).for_each(|_| hang(&libvirt, Link::bulk_desk));
    assert_eq!(libvirt.set_targets(&order, TIMEOUT), [Answer::Accepted]);
    let error = read(&mut libvirt).expect_err("no thread is free");
    assert!(matches!(error, ReadError::Silent { .. }), "{error}");

    (0..2).for_each(|_| hang(&libvirt, Link::ordering_desk));
    let answers = libvirt.set_targets(&order, TIMEOUT);
    let [Answer::Refused(words)] = &answers[..] else { panic!("{answers:?}") };
    assert!(words.contains(" calls to test:///default hang"), "{words}");
    drop(release);
    idle(&libvirt);
    assert_eq!(read(&mut libvirt).expect("a reading").vms.len(), 1);
    assert_eq!(libvirt.set_targets(&order, TIMEOUT), [Answer::Accepted]);
}

/// Waits until no thread has a call: it answers before it counts as free.
fn idle(libvirt: &Libvirt) {
    while libvirt.session.link().is_some_and(|link| link.calls() > 0) {
        thread::yield_now();
    }
}

#[test]
fn an_unreadable_host_is_named() {
    let meminfo = PathBuf::from("/nowhere/meminfo");
    let uri = "test:///default".to_owned();
    let config = LibvirtConfig { uri, meminfo, ..LibvirtConfig::default() };
    let error = read(&mut Libvirt::new(config, RealClock::start())).expect_err("no such file");
    assert!(error.to_string().contains("the host's memory from /nowhere/meminfo: "), "{error}");
}

/// Unfreed records would grow the process by 359 bytes a call and VM: by 7 MiB here.
#[test]
fn bulk_statistics_leave_nothing_behind() {
    let _turn = turn();
    ffi::start_event_loop().expect("the event loop");
    let connection = ffi::Connection::open("test:///default").expect("a connection");
    let ask = |times| {
        for _ in 0..times {
            assert_eq!(connection.all_stats().expect("statistics").len(), 1);
        }
    };
    ask(2_000);
    let before = resident_kib();
    ask(20_000);
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 3 * 1024, "20000 calls took {grown} KiB");
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("this process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
    let number = line.split_whitespace().nth(1).expect("a number");
    number.parse().expect("a number")
}
