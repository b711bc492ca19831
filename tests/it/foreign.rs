//! Clients in another language: Python with Debian's grpcio, made from what reflection says alone,
//! and made by protoc from the .proto files. `tests/foreign/` holds them; they judge nothing.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use agentd::clock::{Clock as _, RealClock};
use agentd_tests::certificates::{self, Authority};
use serde_json::{Value, json};

use crate::sim_host::{self, Agentd, LOCAL, SCENARIO, World};

#[test]
fn a_client_of_reflection_alone_asks_watches_and_changes() {
    let Some(python) = Python::find("a_client_of_reflection_alone") else { return };
    let (world, _agentd, ways) = serve();
    let code = world.path("reflection");
    generate(&code, &[&folder("tests/foreign")], &["--python_out"], &["reflection.proto"]);
    for (way, version) in ways.iter().zip(["v1", "v1alpha"]) {
        let args = [&[path(&code), version], &texts(way)[..]].concat();
        let seen = python.run("by_reflection.py", &args);
        judge(&seen);
        let services = seen["services"].as_array().unwrap();
        for service in [
            "EventService",
            "HostService",
            "PolicyService",
            "ReservationService",
            "ShadowService",
            "VmService",
        ] {
            assert!(services.contains(&json!(format!("agentd.v1.{service}"))), "{services:?}");
        }
        assert!(services.contains(&json!("grpc.health.v1.Health")), "{services:?}");
    }
}

#[test]
fn a_client_generated_from_the_proto_files_asks_watches_and_changes() {
    let Some(python) = Python::find("a_client_generated_from_the_proto_files") else { return };
    let (world, _agentd, ways) = serve();
    let code = world.path("generated");
    let files: Vec<String> = std::fs::read_dir(folder("proto").join("agentd/v1"))
        .unwrap()
        .map(|file| format!("agentd/v1/{}", file.unwrap().file_name().display()))
        .collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let known = PathBuf::from("/usr/include");
    generate(&code, &[&folder("proto"), &known], &["--python_out", "--grpc_python_out"], &files);
    for way in &ways {
        let args = [&[path(&code)], &texts(way)[..]].concat();
        judge(&python.run("by_generated_code.py", &args));
    }
}

/// What each of them must have seen.
fn judge(seen: &Value) {
    const MIB: u64 = 1 << 20;
    assert_eq!(seen["mode"], 1, "{seen}");
    assert_eq!(seen["algorithm"], "two-pointer");
    assert_eq!(seen["snapshot_vms"], json!(["web1", "db1"]));
    let bodies = seen["bodies"].as_array().unwrap();
    assert_eq!(bodies[..2], ["hello", "snapshot"]);
    assert!(bodies[2..].iter().all(|body| body == "tick" || body == "policy_changed"), "{seen}");
    assert!(are_consecutive(&seen["seqs"]) && are_consecutive(&seen["ticks"]), "{seen}");
    let web1 = &seen["vms"][0];
    assert_eq!((&web1[0], &web1[1]), (&json!("web1"), &json!(WEB1)));
    assert!(web1[2].as_u64() >= Some(512 * MIB) && web1[3].as_u64() > Some(0), "{web1}");

    let change = json!([["two_pointer.step_bytes", "50 MiB", "32 MiB"]]);
    assert_eq!((&seen["changes"], &seen["announced"]), (&change, &change));
    assert_eq!(seen["announced_at"], seen["changed_at"]);
    assert_eq!(seen["announced_reason"], "a foreign client");
    assert_eq!((&seen["step_before"], &seen["step_after"]), (&json!(50 * MIB), &json!(32 * MIB)));
    assert_eq!(seen["revised"], 1);

    let refusal = |what: &str, code: &str, words: &str| {
        assert_eq!(seen[what][0], code, "{seen}");
        assert!(seen[what][1].as_str().unwrap().contains(words), "{seen}");
    };
    refusal("refused", "INVALID_ARGUMENT", "two_pointer.step_bytes: 1 B");
    refusal("unknown", "INVALID_ARGUMENT", "two_pointer.stepp");
    refusal("conflict", "ABORTED", "etag");
    assert_eq!(seen["step_unharmed"], 32 * MIB);
    assert_eq!(seen["reverted"], json!(["two_pointer.step_bytes"]));
    assert_eq!(seen["as_before"], true);
}

fn are_consecutive(numbers: &Value) -> bool {
    let numbers: Vec<u64> = numbers.as_array().unwrap().iter().flat_map(Value::as_u64).collect();
    numbers.len() >= 3 && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1)
}

/// An agentd, and the two ways to it: its address as gRPC's C core calls it, and over TCP the files of its
/// CA, of a client's certificate and of its key.
fn serve() -> (World, Agentd, [Vec<String>; 2]) {
    let world = World::new(SCENARIO);
    let authority = Authority::new("ca", RealClock::start().wall()).unwrap();
    let folder = world.path("tls");
    std::fs::create_dir(&folder).unwrap();
    let tls = certificates::serve(&folder, &authority, &["localhost"]).unwrap();
    std::fs::write(world.path("agentd.toml"), tls).unwrap();
    let client = authority.issue(&authority.client("a foreign client", "agentd:admin")).unwrap();
    let (cert, key) = client.write(&folder, "client").unwrap();

    let mut command = world.agentd(LOCAL);
    command.args(["--listen", "tcp://127.0.0.1:0"]);
    let agentd = world.start_as(LOCAL, command);
    // It answers on its socket before, and before its first tick.
    agentd.until_log("tcp://127.0.0.1:");
    let is_seen = || Ok(!world.ask(&["status"], "status")["tick"].is_null());
    sim_host::until("a first tick", is_seen);
    let log = agentd.log();
    let port = log.split("tcp://127.0.0.1:").nth(1).and_then(|rest| rest.split_whitespace().next());
    let tcp = format!("localhost:{}", port.expect("the log says which port it is"));
    let unix = format!("unix:{}", world.socket(LOCAL).display());
    let files = [folder.join("clients.pem"), cert, key];
    let files = files.iter().map(|file| path(file).to_owned());
    let tls = std::iter::once(tcp).chain(files).collect();
    (world, agentd, [vec![unix], tls])
}

fn texts(way: &[String]) -> Vec<&str> {
    way.iter().map(String::as_str).collect()
}

/// Debian's Python with Debian's grpcio, also where another Python stands before it.
struct Python;

impl Python {
    /// `None` where something is missing, which it says; with `LAB_REQUIRED=1` that is a failure.
    fn find(test: &str) -> Option<Self> {
        let missing = NEEDS.iter().find_map(|(package, program, args)| {
            let works = Command::new(program).args(*args).output();
            let works = works.is_ok_and(|output| output.status.success());
            (!works).then(|| format!("{package} is not installed: run tests/install.sh"))
        });
        let Some(missing) = missing else { return Some(Self) };
        let required = std::env::var_os("LAB_REQUIRED").is_some_and(|value| value == "1");
        assert!(!required, "{test}: {missing}");
        // Straight to stderr: what a passing test prints by macro is not shown.
        std::io::stderr().write_all(format!("skipped {test}: {missing}\n").as_bytes()).unwrap();
        None
    }

    /// Runs a program of `tests/foreign` and gives what it printed, which is JSON.
    fn run(&self, program: &str, args: &[&str]) -> Value {
        let mut command = Command::new(PYTHON);
        // No compiled code beside the sources.
        command.arg("-B").arg(folder("tests/foreign").join(program)).args(args);
        let answer = sim_host::run(&mut command);
        assert_eq!(answer.exit, Some(0), "{program} {args:?}: {}", answer.stderr);
        serde_json::from_str(&answer.stdout).unwrap()
    }
}

/// Has protoc write code for `files` into `to`.
fn generate(to: &Path, includes: &[&PathBuf], outs: &[&str], files: &[&str]) {
    std::fs::create_dir(to).unwrap();
    let mut command = Command::new("protoc");
    command.arg(format!("--plugin=protoc-gen-grpc_python={PLUGIN}"));
    command.args(includes.iter().map(|folder| format!("-I{}", folder.display())));
    command.args(outs.iter().map(|out| format!("{out}={}", to.display()))).args(files);
    let answer = sim_host::run(&mut command);
    assert_eq!(answer.exit, Some(0), "protoc: {}", answer.stderr);
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(name)
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

const PYTHON: &str = "/usr/bin/python3";
const PLUGIN: &str = "/usr/bin/grpc_python_plugin";
/// Package, and a command that works where it is installed.
const NEEDS: [(&str, &str, &[&str]); 4] = [
    ("python3-grpcio", PYTHON, &["-c", "import grpc, google.protobuf"]),
    ("protobuf-compiler", "protoc", &["--version"]),
    ("libprotobuf-dev", "test", &["-f", "/usr/include/google/protobuf/timestamp.proto"]),
    ("protobuf-compiler-grpc", "test", &["-x", PLUGIN]),
];
const WEB1: &str = "00000000-0000-0000-0000-000000000001";
