//! What agentd says to what makes no sense, how it waits for a libvirt that is not there, and how
//! it ends while it is watched.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use agentd::clock::{Clock as _, RealClock};
use agentd_tests::certificates::{self, Authority};

use crate::sim_host::{LOCAL, SCENARIO, World, until};

#[test]
fn a_scenario_that_makes_no_sense_is_refused_with_file_line_key_and_value() {
    let world = World::new(SCENARIO);
    for (good, bad, words) in [
        ("\"512MiB\"", "\"512MB\"", "vm[0].actual = \"512MB\": \"MB\" is no unit: use B, KiB"),
        ("\"512MiB\"", "512", "vm[0].actual"),
        ("\"512MiB\"", "\"3GiB\"", "vm[0].actual = \"3GiB\""),
        ("actual =", "actually =", "vm[0].actually is no key that is known"),
        ("name = \"db1\"", "name = \"web1\"", "web1"),
        ("\"8GiB\"", "\"1GiB\"", "host.total = \"1GiB\": must be at least other"),
        ("\"100ms\"", "\"1ms\"", "tick_interval = \"1ms\""),
        ("[[vm]]", "[[vm]", "unclosed"),
    ] {
        fs::write(world.path("bad.toml"), SCENARIO.replacen(good, bad, 1)).unwrap();
        let refused = world.run_agentd(&["simulate", "bad.toml"]);
        assert_eq!((refused.exit, refused.stdout.as_str()), (Some(1), ""), "{bad}");
        let line = SCENARIO[..SCENARIO.find(good).unwrap()].matches('\n').count() + 1;
        let place = format!("agentd: bad.toml:{line}: ");
        assert!(refused.stderr.starts_with(&place), "{bad}: {}", refused.stderr);
        assert!(refused.stderr.contains(words), "{bad}: {}", refused.stderr);

        // The daemon says the same of the same file, in its last line.
        let served = world.run_agentd(&["run", "--hypervisor", "sim:bad.toml", "--state-dir", "x"]);
        assert_eq!(served.exit, Some(1), "{bad}");
        assert_eq!(served.stderr.lines().last(), refused.stderr.lines().last());
    }
    let absent = world.run_agentd(&["simulate", "nowhere.toml"]);
    assert_eq!(absent.exit, Some(1));
    assert!(absent.stderr.starts_with("agentd: cannot read the scenario nowhere.toml: "));
}

#[test]
fn an_unknown_policy_is_refused_with_those_that_there_are() {
    let world = World::new(SCENARIO);
    let refused = world.run_agentd(&["simulate", "scenario.toml", "--policy", "best"]);
    assert_eq!(refused.exit, Some(1));
    let said = "agentd: --policy \"best\" is no algorithm: there is two-pointer, working-set\n";
    assert_eq!(refused.stderr, said);
    for ticks in ["0", "-1", "many"] {
        let ticks = format!("--ticks={ticks}");
        let refused = world.run_agentd(&["simulate", "scenario.toml", &ticks]);
        assert_eq!((refused.exit, refused.stdout.as_str()), (Some(2), ""), "{ticks}");
        assert!(refused.stderr.contains("--ticks"), "{}", refused.stderr);
        let said = refused.stderr.contains(": must be a whole number, 1 or more");
        assert!(said, "{}", refused.stderr);
    }
    let nowhere = world.run_agentd(&["simulate", "scenario.toml", "--record", "nowhere/x.rec"]);
    assert_eq!((nowhere.exit, nowhere.stdout.as_str()), (Some(1), ""));
    let said = "agentd: cannot record into nowhere/x.rec: No such file or directory (os error 2); name a \
                file in a folder that may be written\n";
    assert_eq!(nowhere.stderr, said);
}

#[test]
fn a_simulation_decides_by_the_scenarios_algorithm_unless_another_one_is_asked_for() {
    let own = format!("policy = {{ algorithm = \"working-set\" }}{SCENARIO}");
    let world = World::new(&own);
    fs::write(world.path("plain.toml"), SCENARIO).unwrap();
    let lines = |args: &[&str]| {
        let run = world.run_agentd(&[&["simulate", "--ticks=30"], args].concat());
        assert_eq!(run.exit, Some(0), "{}", run.stderr);
        run.stdout
    };
    let by_itself = lines(&["scenario.toml"]);
    assert_eq!(by_itself, lines(&["scenario.toml", "--policy=working-set"]));
    let two_pointer = lines(&["scenario.toml", "--policy=two-pointer"]);
    assert_ne!(by_itself, two_pointer);
    assert_eq!(lines(&["plain.toml"]), two_pointer, "where the scenario names none");
}

#[test]
fn there_is_no_tcp_without_tls_nor_with_files_that_cannot_be_used() {
    let world = World::new(SCENARIO);
    let run = ["run", "--hypervisor", "sim:scenario.toml", "--config", "agentd.toml"];
    let open = ["--state-dir", "open", "--listen", "tcp://127.0.0.1:0"];
    let started = || world.run_agentd(&[&run[..], &open[..]].concat());
    let checked = || world.run_agentd(&["check-config", "agentd.toml"]);
    let listen =
        "[listen]\naddresses = [\"tcp://127.0.0.1:0\"]\n[hypervisor]\nuri = \"test:///default\"\n";
    fs::write(world.path("agentd.toml"), listen).unwrap();
    for refused in [started(), checked()] {
        assert_eq!(refused.exit, Some(1));
        let words =
            "tcp://127.0.0.1:0: TCP is served with mutual TLS alone: set cert, key and client_ca";
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    let flag = world.run_agentd(&[&run[..], &open[..], &["--insecure"]].concat());
    assert_eq!(flag.exit, Some(2), "no flag lets in who has no certificate");

    let authority = Authority::new("ca", RealClock::start().wall()).unwrap();
    let folder = world.path("tls");
    fs::create_dir(&folder).unwrap();
    let tls = certificates::serve(&folder, &authority, &["localhost"]).unwrap();
    fs::write(world.path("agentd.toml"), format!("{listen}{tls}")).unwrap();
    assert_eq!(checked().stdout, "agentd.toml: ok\n");
    let key = folder.join("localhost.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    for refused in [started(), checked()] {
        assert_eq!(refused.exit, Some(1));
        let words = "localhost.key is open to others than its owner and the readers of its group (mode 644): chmod 600";
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    fs::remove_file(&key).unwrap();
    for refused in [started(), checked()] {
        assert!(refused.stderr.contains("localhost.key: No such file"), "{}", refused.stderr);
    }
}

#[test]
fn an_address_that_makes_no_sense_is_refused() {
    let world = World::new(SCENARIO);
    let run = ["run", "--hypervisor", "sim:scenario.toml", "--config", "agentd.toml"];
    for address in ["tcp://127.0.0.1", "tcp://127.0.0.1:99999", "udp://127.0.0.1:1", "unix://"] {
        let args = [&run[..], &["--state-dir", "open", "--listen", address]].concat();
        let refused = world.run_agentd(&args);
        assert_eq!(refused.exit, Some(1), "{address}");
        assert!(refused.stderr.contains(address), "{address}: {}", refused.stderr);
    }
}

#[test]
fn a_printed_default_config_checks_serves_and_reads_as_it_was_printed() {
    let world = World::new(SCENARIO);
    let printed = world.run_agentd(&["print-default-config"]);
    assert_eq!((printed.exit, printed.stderr.as_str()), (Some(0), ""));
    fs::write(world.path("agentd.toml"), &printed.stdout).unwrap();
    let checked = world.run_agentd(&["check-config", "agentd.toml"]);
    assert_eq!((checked.exit, checked.stdout.as_str()), (Some(0), "agentd.toml: ok\n"));

    let _agentd = world.start(LOCAL);
    let differs = world.memctl(&["policy", "diff", "--defaults"]);
    assert_eq!(differs.exit, Some(0), "{}{}", differs.stdout, differs.stderr);
}

#[test]
fn a_libvirt_that_is_not_there_is_named_with_what_to_do_and_tried_again() {
    let world = World::new(SCENARIO);
    // Not QEMU's driver: of an agentd that serves this host's VMs there may be only one.
    let uri = format!("test+unix:///default?socket={}", world.path("libvirt").display());
    let mut agentd = world.start_as(LOCAL, world.agentd_on(&uri, LOCAL));
    let tried = format!("cannot reach {uri}: ");
    for words in [&tried, "is libvirtd or virtqemud running", "trying again", "HYPERVISOR_LOST"] {
        agentd.until_log(words);
    }

    let lost = || world.ask(&["status"], "status")["conditions"][0].clone();
    until("the condition", || Ok(lost()["reason"] == "HYPERVISOR_LOST"));
    let message = lost()["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with(&tried) && message.contains("systemctl status"), "{message}");
    // It goes on trying, and waits longer each time; its ticks go on.
    until("another try", || Ok(lost()["message"] != message.as_str()));
    let tick = || world.ask(&["status"], "status")["tick"].as_u64();
    let before = tick();
    until("more ticks", || Ok(tick() > before));
    let people = world.memctl(&["status"]);
    assert!(people.stderr.contains("HYPERVISOR_LOST"), "{}", people.stderr);
    assert_eq!(world.memctl(&["status", "--check"]).exit, Some(1));

    agentd.signal("TERM");
    assert_eq!(agentd.wait().code(), Some(0));
}

#[test]
fn memctl_says_that_a_host_is_frozen_wherever_its_mode_is_shown() {
    let world = World::new(SCENARIO);
    let file = world.path("freeze");
    let config = format!("[state]\nfreeze_file = \"{}\"\n", file.display());
    fs::write(world.path("agentd.toml"), config).unwrap();
    let _agentd = world.start(LOCAL);
    assert_eq!(world.memctl(&["mode"]).stderr, "");
    fs::write(&file, "").unwrap();
    let remedy = format!("\"rm {}\" ends this", file.display());
    until("the condition", || Ok(world.memctl(&["status"]).stderr.contains(&remedy)));
    for args in [&["mode"][..], &["mode", "active"]] {
        let answer = world.memctl(args);
        assert_eq!((answer.exit, answer.stdout.contains("active")), (Some(0), true));
        assert!(
            answer.stderr.contains("FROZEN: ") && answer.stderr.contains(&remedy),
            "{answer:?}"
        );
    }
    assert!(world.ask(&["mode"], "frozen").as_str().unwrap().contains(&remedy));
    fs::remove_file(&file).unwrap();
    until("its end", || Ok(world.memctl(&["mode"]).stderr.is_empty()));
}

#[test]
fn a_stop_ends_well_while_many_watch() {
    let world = World::new(SCENARIO);
    let mut agentd = world.start(LOCAL);
    let mut watchers: Vec<_> = (0..WATCHERS)
        .map(|number| {
            let file = fs::File::create(world.path(&format!("watch{number}"))).unwrap();
            let mut command = world.memctl_command();
            command.args(["watch", "-o", "jsonl", "--no-reconnect", "--timeout", "60s"]);
            command.stdout(file).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    let watching = || Ok(world.ask(&["status"], "status")["watchers"] == WATCHERS);
    until("all to watch", watching);
    agentd.signal("TERM");
    assert_eq!(agentd.wait().code(), Some(0), "{}", agentd.log());
    assert!(!agentd.log().contains("is stuck"), "{}", agentd.log());
    assert!(!world.socket(LOCAL).exists(), "the socket is left behind");
    for (number, watcher) in watchers.iter_mut().enumerate() {
        until("memctl watch to end", || Ok(watcher.try_wait()?.is_some()));
        let told = fs::read_to_string(world.path(&format!("watch{number}"))).unwrap();
        assert!(told.contains("\"type\":\"going_away\""), "watcher {number}: {told}");
    }
}

const WATCHERS: usize = 8;
