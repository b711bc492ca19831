//! The command line: what it says, and how it exits.

use std::{fs, path::Path, process::Command};

use crate::rig::{Home, SCENARIO, Ticks, agentd, giving};

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_printed_config_is_the_packaged_one_and_is_fine() {
    let printed = agentd(&["print-default-config"]);
    assert!(printed.status.success());
    let packaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/agentd.toml");
    assert_eq!(text(printed.stdout), fs::read_to_string(&packaged).unwrap());
    let checked = agentd(&["check-config", packaged.to_str().unwrap()]);
    assert!(checked.status.success());
    assert!(text(checked.stdout).ends_with("agentd.toml: ok\n"));
}

#[test]
fn a_config_that_makes_no_sense_is_refused_with_line_key_and_remedy() {
    let home = Home::new();
    let file = home.path("bad.toml");
    fs::write(&file, "mode = \"active\"\n[tick]\nintervall = \"2s\"\n").unwrap();
    let file = file.to_str().unwrap();
    let expected = format!(
        "agentd: {file}:3: tick.intervall is no key that is known: did you mean \"interval\"?\n"
    );
    for arguments in [["check-config", file].as_slice(), &["run", "--config", file]] {
        let refused = agentd(arguments);
        assert_eq!(refused.status.code(), Some(1));
        assert_eq!(text(refused.stderr), expected);
    }
}

#[test]
fn what_cannot_be_used_is_named_with_what_to_do() {
    let home = Home::new();
    let blocked = home.path("file");
    fs::write(&blocked, "").unwrap();
    let run = |change: &dyn Fn(&mut Vec<String>)| {
        let mut arguments = home.arguments(&home.path("state"));
        change(&mut arguments);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let refused = agentd(&arguments);
        (refused.status.code(), text(refused.stderr))
    };
    let state = blocked.join("state").display().to_string();
    let (code, problem) = run(&|arguments| arguments[6].clone_from(&state));
    assert_eq!(code, Some(1));
    let why = "Not a directory (os error 20); name one that this user may write with --state-dir";
    assert_eq!(problem, format!("agentd: cannot use the state directory {state}: {why}\n"));

    let (code, problem) = run(&|arguments| arguments[8] = "ftp://here".to_owned());
    assert_eq!(code, Some(1));
    let why = "\"ftp://here\" is no address to listen on: write unix:///path or tcp://host:port";
    assert_eq!(problem, format!("agentd: {why}\n"));

    let remote = "qemu+ssh://node1/system";
    let (code, problem) = run(&|arguments| arguments[2] = remote.to_owned());
    assert_eq!(code, Some(1));
    assert!(problem.starts_with(&format!("agentd: {remote} is on another host")), "{problem}");

    let (code, problem) = run(&|arguments| arguments[2] = "foo".to_owned());
    assert_eq!(code, Some(1));
    let why = "\"foo\" is no hypervisor: write a libvirt URI such as qemu:///system, or sim:FILE";
    assert_eq!(problem, format!("agentd: {why}\n"));

    let (code, problem) = run(&|arguments| arguments[2] = "sim:/nowhere.toml".to_owned());
    assert_eq!(code, Some(1));
    assert!(problem.starts_with("agentd: cannot read the scenario /nowhere.toml: "), "{problem}");
}

#[test]
fn a_start_that_fails_leaves_the_recording_that_is_there() {
    let home = Home::new();
    let file = home.path("good.rec");
    fs::write(&file, "good").unwrap();
    let mut arguments = home.arguments(&home.path("state"));
    let nowhere = home.path("agentd.toml").join("agentd.sock");
    arguments[8] = format!("unix://{}", nowhere.display());
    arguments.extend(["--record".to_owned(), file.display().to_string()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let refused = agentd(&arguments);
    let problem = text(refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{problem}");
    assert!(problem.contains("agentd.sock"), "it is the server that fails: {problem}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "good");
    assert!(!home.path("good.rec.before").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agentd_on_a_socket_that_is_used_ends_with_75() {
    let home = Home::new();
    let _agent = home.start().await;
    let arguments = home.arguments(&home.path("other"));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let refused = agentd(&arguments);
    let problem = text(refused.stderr);
    assert_eq!(refused.status.code(), Some(75), "{problem}");
    assert!(problem.contains("another agentd answers on this socket"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_says_which_file_it_is_from() {
    let home = Home::new();
    let agent = home.start().await;
    let file = home.path("agentd.toml").display().to_string();
    assert_eq!(agent.policy_reason().await, format!("the config file {file}"));
    assert_eq!(agent.status().await.unwrap().mode_reason, format!("the config file {file}"));
    agent.kill();
    let scenario = format!("{SCENARIO}\n[policy]\nfloor = \"70MiB\"\n");
    let home = Home::with(&scenario, |_| String::new());
    let agent = home.start().await;
    let file = home.path("scenario.toml").display().to_string();
    assert_eq!(agent.policy_reason().await, format!("the scenario {file}"));
}

/// What `make install` does with the config; a first start moves nothing.
#[test]
fn the_installed_config_begins_in_mode_observe_and_one_that_is_there_is_left_alone() {
    let home = Home::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/install-config.sh");
    let installed = home.path("etc/agentd/agentd.toml");
    let install = || {
        let status = Command::new("sh").arg(&script).arg(&installed).status().unwrap();
        assert!(status.success());
        fs::read_to_string(&installed).unwrap()
    };
    let text = install();
    let modes: Vec<&str> = text.lines().filter(|line| line.starts_with("mode = ")).collect();
    assert_eq!(modes, ["mode = \"observe\""]);
    let checked = agentd(&["check-config", installed.to_str().unwrap()]);
    assert!(checked.status.success());
    fs::write(&installed, "mode = \"active\"\n").unwrap();
    assert_eq!(install(), "mode = \"active\"\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_with_a_policy_beyond_the_host_orders_nothing_and_says_so() {
    let beyond = |_: &Home| "[policy]\nhost_reserve = \"3000GiB\"\n".to_owned();
    let home = Home::with(&giving("ideal = false"), beyond);
    let agent = home.start().await;
    agent.until_condition("POLICY_BEYOND_HOST", true).await;
    let mut ticks = Ticks::since_start(&agent).await;
    for _ in 0..10 {
        assert!(!ticks.next().await.has_ordered());
    }
    home.until_log("host_reserve = 3000 GiB: must be less than the host's memory");
    agent.set_reserve(200 << 20).await.unwrap();
    agent.until_condition("POLICY_BEYOND_HOST", false).await;
    while !ticks.next().await.has_ordered() {}
    let refused = agent.set_reserve(3000 << 30).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
}

/// The host has 2000 GiB, and its VM may hold 1000.
#[tokio::test(flavor = "multi_thread")]
async fn minimums_of_a_config_beyond_the_pool_are_told_until_they_fit() {
    let beyond = |_: &Home| {
        "[policy]\nhost_reserve = \"1200GiB\"\n[policy.vms.vm1]\nmin = \"1000GiB\"\n".to_owned()
    };
    let home = Home::with(&giving("ideal = false"), beyond);
    let agent = home.start().await;
    agent.until_condition("MINIMUMS_BEYOND_POOL", true).await;
    let told = Ticks::of(&agent).await.next().await;
    let conditions = told.tick.conditions;
    assert!(conditions.iter().any(|name| name == "MINIMUMS_BEYOND_POOL"), "{conditions:?}");
    home.until_log(
        "1 VMs that run here are guaranteed 1000 GiB together, more than the host's 2000 GiB without \
         host_reserve_bytes = 1200 GiB and the ",
    );
    agent.set_reserve(200 << 20).await.unwrap();
    agent.until_condition("MINIMUMS_BEYOND_POOL", false).await;
}

#[test]
fn a_command_line_that_makes_no_sense_is_exit_code_2() {
    for arguments in [&["fly"][..], &["run", "--hypervisor", "sim:x", "--connect", "y"], &[]] {
        assert_eq!(agentd(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert!(text(agentd(&["--version"]).stdout).starts_with("agentd "));
}
