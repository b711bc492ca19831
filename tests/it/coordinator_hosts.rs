use std::fs;
use std::path::Path;

use agentd::clock::{Clock as _, RealClock};
use agentd_tests::agent::{Agent, CONFIG, Memctl, items};
use agentd_tests::certificates::{self, Authority};
use agentd_tests::lab::{Host, VmSpec, clock};
use agentd_tests::programs::Programs;
use serde_json::Value;

use crate::coordinator::PATIENCE;
use crate::open_lab_with_programs;

#[test]
fn a_second_host_is_managed_from_the_first() {
    let Some((lab, programs)) = open_lab_with_programs("a_second_host_is_managed_from_the_first")
    else {
        return;
    };
    let fleet = lab.fleet(&["node1", "node2"]).unwrap();
    let [node1, node2] = fleet.hosts() else { panic!("two hosts were asked for") };
    let authority = Authority::new("ca", RealClock::start().wall()).unwrap();
    let _agents = [
        serve(&programs, &authority, (node1, "node1"), "web1"),
        serve(&programs, &authority, (node2, "node2"), "db1"),
    ];
    let memctl = Memctl::on(&programs, node1.space());
    equip(node1, &authority, &["node1", "node2"]);

    let status = memctl.items(&with_both(&["status"])).unwrap();
    assert_eq!(rows(&status), [("node1", true), ("node2", true)]);
    let own_name = |at: usize| status[at]["status"]["name"].as_str();
    assert_eq!((own_name(0), own_name(1)), (Some("node1"), Some("node2")), "their own names");
    let watch = memctl.watch("watch", &with_both(&[])).unwrap();
    let told = |host: &'static str, vm: &'static str| {
        move |record: &Value| record["host"] == host && record["vms"][0]["name"] == vm
    };
    watch.wait("a tick of node1", PATIENCE, told("node1", "web1")).unwrap();
    watch.wait("a tick of node2", PATIENCE, told("node2", "db1")).unwrap();
    memctl.done(&with_both(&["policy", "set", "--yes", "two-pointer.step=32MiB"])).unwrap();
    for revision in memctl.items(&with_both(&["policy", "get"])).unwrap() {
        assert_eq!(revision["policy"]["two_pointer"]["step_bytes"], 32 << 20, "{revision}");
    }
    for host in ["node1", "node2"] {
        let is_it = |record: &Value| record["host"] == host && record["type"] == "policy";
        watch.wait("the change to be told", PATIENCE, is_it).unwrap();
    }

    fleet.cut("node2").unwrap();
    let cut = memctl.run(&with_both(&["status", "-o", "json", "--timeout", "15s"])).unwrap();
    assert_eq!(cut.exit, 9, "some hosts answered, others did not: {cut:?}");
    let status = items(&cut.stdout).unwrap();
    assert_eq!(rows(&status), [("node1", true), ("node2", false)]);
    assert!(status[1]["error"]["message"].is_string(), "{}", status[1]);
    let lost = |record: &Value| record["type"] == "host" && record["host"] == "node2";
    watch.wait("node2 to be missed", PATIENCE, lost).unwrap();
    fleet.mend("node2").unwrap();
    clock::wait_until("node2 to be followed again", PATIENCE, || {
        let records = watch.records()?;
        let since = records.iter().rposition(lost).unwrap_or(records.len());
        Ok(records[since..].iter().any(told("node2", "db1")))
    })
    .unwrap();
    assert_eq!(memctl.run(&with_both(&["status"])).unwrap().exit, 0);
}

#[test]
fn a_libvirtd_that_is_not_there_is_named_and_waited_for() {
    let test = "a_libvirtd_that_is_not_there_is_named_and_waited_for";
    let Some((lab, programs)) = open_lab_with_programs(test) else {
        return;
    };
    let mut host = lab.host("node1").unwrap();
    host.boot([VmSpec::new("vm1", 256)]).unwrap();
    host.kill_libvirtd();

    let agent = Agent::start(&programs, &host, &[]).unwrap();
    let lost = clock::wait_for("the status to say so", PATIENCE, || Ok(condition(agent.memctl())));
    let lost = lost.unwrap();
    let log = agent.log().unwrap();
    for said in [&lost, &log] {
        assert!(said.contains("qemu:///system"), "which URI was tried: {said}");
        assert!(
            said.contains("systemctl") || said.contains("is libvirtd running"),
            "what to do: {said}"
        );
    }
    assert_eq!(agent.memctl().run(&["status", "--check"]).unwrap().exit, 1);
    let watch = agent.memctl().watch("watch", &[]).unwrap();
    watch.wait("ticks that go on", PATIENCE, |r| r["tick"].as_u64() >= Some(3)).unwrap();

    host.start_libvirtd().unwrap();
    let seen = |record: &Value| record["vms"][0]["state"] == "running" && record["error"] == "";
    watch.wait("vm1 to be seen", PATIENCE, seen).unwrap();
    let is_over = || Ok(condition(agent.memctl()).is_none());
    clock::wait_until("the status to be well again", PATIENCE, is_over).unwrap();
}

/// agentd on a host with one VM, reached over the network.
fn serve(
    programs: &Programs,
    authority: &Authority,
    (host, name): (&Host, &str),
    vm: &str,
) -> Agent {
    host.boot([VmSpec::new(vm, 192)]).unwrap();
    let folder = host.space().path(FOLDER);
    let tls = certificates::serve(&folder, authority, &[name]).unwrap();
    let config = format!("{CONFIG}{}", tls.replace(folder.to_str().unwrap(), FOLDER));
    let address = format!("tcp://0.0.0.0:{PORT}");
    Agent::start_with(programs, host, &config, &["--listen", &address]).unwrap()
}

/// Gives the operator of a host a certificate, and a config of memctl with it and these hosts.
fn equip(host: &Host, authority: &Authority, names: &[&str]) {
    let folder = host.space().path(FOLDER);
    let operator = authority.issue(&authority.client("operator", "agentd:admin")).unwrap();
    operator.write(&folder, "operator").unwrap();
    fs::write(folder.join("ca.pem"), &authority.pem).unwrap();
    let file = |name: &str| Path::new(FOLDER).join(name);
    let (ca, cert, key) = (file("ca.pem"), file("operator.pem"), file("operator.key"));
    let hosts = names.iter().map(|name| {
        format!(
            "[hosts.{name}]\nuri = \"https://{name}:{PORT}\"\n\
             ca = {ca:?}\ncert = {cert:?}\nkey = {key:?}\n"
        )
    });
    let config = format!("schema = 1\n{}", hosts.collect::<String>());
    fs::create_dir_all(folder.join("memctl")).unwrap();
    fs::write(folder.join("memctl/config.toml"), config).unwrap();
}

fn with_both<'a>(command: &[&'a str]) -> Vec<&'a str> {
    let mut args = command.to_vec();
    args.extend(["--host", "node1", "--host", "node2"]);
    args
}

fn rows(items: &[Value]) -> Vec<(&str, bool)> {
    items.iter().map(|item| (item["host"].as_str().unwrap(), item["ok"] == true)).collect()
}

/// What the status says of a hypervisor that cannot be read.
fn condition(memctl: &Memctl) -> Option<String> {
    let status = memctl.items(&["status"]).unwrap();
    let conditions = status[0]["status"]["conditions"].as_array().unwrap().clone();
    let lost = conditions.into_iter().find(|known| known["reason"] == "HYPERVISOR_LOST")?;
    Some(lost["message"].as_str().unwrap().to_owned())
}

const PORT: u16 = 7433;
/// Where a host's files are, and memctl's.
const FOLDER: &str = "/run/lab";
