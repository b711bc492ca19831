//! The polkit rule under a real polkitd: libvirtd asks it, over a real bus, for everything that agentd does as a
//! user without rights.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use agentd_tests::agent::Memctl;
use agentd_tests::lab::{Host, Process, Vm, VmSpec, clock, package};
use agentd_tests::programs::Programs;
use anyhow::{Context as _, Result};

use crate::coordinator::set_mode;
use crate::open_lab_with_programs;
use crate::sim_host::{Answer, LONG, run};

fn rule() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/polkit/50-agentd.rules");
    fs::read_to_string(file).unwrap()
}

/// The actions that the rule allows.
fn allowed() -> BTreeSet<String> {
    let rule = rule();
    let code = rule.lines().filter(|line| !line.trim_start().starts_with("//"));
    let words = code.flat_map(|line| line.split('"')).filter(|word| word.starts_with("org."));
    words.map(str::to_owned).collect()
}

#[test]
fn a_user_without_rights_may_do_what_agentd_does_and_what_the_same_right_allows() {
    let test = "a_user_without_rights_may_do_what_agentd_does_and_what_the_same_right_allows";
    if !Path::new(POLKITD).exists() {
        return crate::skip(test, "there is no polkitd (see tests/install.sh)");
    }
    let Some((lab, programs)) = open_lab_with_programs(test) else { return };
    let mut host = lab.host("node1").unwrap();
    let vms = host.boot([VmSpec::new("vm1", 512)]).unwrap();
    let guard = Guard::post(&mut host);
    nobody_else_is_let_in(&host);

    let agentd = start(&programs, &host);
    let memctl = Memctl::on(&programs, host.space());
    let answers = || Ok(memctl.run(&["status"])?.exit == 0);
    clock::wait_until("agentd to answer", LONG, answers)
        .unwrap_or_else(|error| panic!("{error:#}: {}", agentd.log().unwrap()));
    // The VM has much to spare, and agentd takes some of it.
    set_mode(&memctl, "active");
    let gave = || Ok(actual_kib(&host)? < 500 * 1024);
    clock::wait_until("the VM to give memory", LONG, gave)
        .unwrap_or_else(|error| panic!("{error:#}: {}", agentd.log().unwrap()));
    assert_eq!(guard.asked_by("agentd"), allowed());
    // Which process a VM is stands in a file, which is not libvirt's to refuse.
    let pid = done(&host, "cat /run/libvirt/qemu/vm1.pid");
    assert_eq!(pid.trim(), vms[0].pid().unwrap().to_string());
    set_mode(&memctl, "observe");
    what_else_there_is_is_refused(&host, &vms[0]);
    the_same_right_reaches_further(&host);
    without_the_rule_it_looks_on_and_says_what_it_may_not(&host, &memctl, &agentd);
}

/// Real daemons, in the namespaces of a host: a bus, polkitd with the rule, and libvirtd that asks for each thing.
struct Guard {
    polkitd: Process,
    // In the order in which they end.
    _libvirtd: Process,
    _bus: Process,
}

impl Guard {
    fn post(host: &mut Host) -> Self {
        done(host, PREPARE);
        for file in POLICIES {
            write(host, &format!("{ACTIONS}/{file}"), &policy(file).unwrap());
        }
        write(host, &format!("{RULES}/00-told.rules"), TELLS);
        write(host, RULE, &rule());
        let bus = host.start("bus", Command::new("dbus-daemon").args(BUS)).unwrap();
        let is_up = |host: &Host, script| Ok(as_user(host, "root", script).exit == Some(0));
        let bus_is_up = || is_up(host, "dbus-send --system / a.b.C");
        clock::wait_until("the bus", LONG, bus_is_up).unwrap();
        let polkitd = host.start("polkitd", &Command::new(POLKITD)).unwrap();
        let knows = format!("{HAS_OWNER} | grep -q true && pkaction --action-id {MANAGE}");
        clock::wait_until("polkitd", LONG, || is_up(host, &knows))
            .unwrap_or_else(|error| panic!("{error:#}: {}", polkitd.log().unwrap()));
        host.kill_libvirtd();
        let config = host.space().read(LIBVIRTD_CONF).unwrap();
        let config = config.replace("auth_unix_rw = \"none\"", "auth_unix_rw = \"polkit\"");
        write(host, LIBVIRTD_CONF, &format!("{config}\naccess_drivers = [\"polkit\"]\n"));
        let libvirtd = host.start("libvirtd", &Command::new("libvirtd")).unwrap();
        clock::wait_until("libvirtd", LONG, || is_up(host, "virsh -c qemu:///system version"))
            .unwrap_or_else(|error| panic!("{error:#}: {}", libvirtd.log().unwrap()));
        Self { polkitd, _libvirtd: libvirtd, _bus: bus }
    }

    /// What libvirtd has asked polkitd for, for this user.
    fn asked_by(&self, user: &str) -> BTreeSet<String> {
        let log = self.polkitd.log().unwrap();
        let told = log.lines().filter_map(|line| line.split_once(TOLD)?.1.split_once(' '));
        let own = told.filter(|(_, by)| *by == user);
        own.map(|(action, _)| action.to_owned()).collect()
    }
}

/// agentd as its package starts it: as a user of its own, with nothing of root's.
fn start(programs: &Programs, host: &Host) -> Process {
    // Where cargo builds may be closed to other users.
    fs::copy(&programs.agentd, host.space().path(PROGRAM)).unwrap();
    write(
        host,
        CONFIG,
        "mode = \"observe\"\n[tick]\ninterval = \"1s\"\n[state]\ndir = \"/run/agentd/state\"\n",
    );
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "agentd", "--regid", "agentd", "--init-groups", "--reset-env"]);
    command.args(["--inh-caps=-all", "--no-new-privs", PROGRAM, "run", "--config", CONFIG]);
    command.args(["--listen", "unix:///run/agentd/agentd.sock"]);
    host.start("agentd", &command).unwrap()
}

/// Whoever the rule does not name gets no connection.
fn nobody_else_is_let_in(host: &Host) {
    let refused = as_user(host, "nobody", "virsh -c qemu:///system list");
    assert_ne!(refused.exit, Some(0), "{}", refused.stdout);
    assert!(refused.stderr.contains(MANAGE), "{}", refused.stderr);
}

/// The user of agentd, with virsh in its hands.
fn what_else_there_is_is_refused(host: &Host, vm: &Vm) {
    let virsh = |what: &str| as_user(host, "agentd", &format!("virsh -c qemu:///system {what}"));
    assert!(virsh("list --name").stdout.contains("vm1"), "it is the user who may look");
    for what in [
        "destroy vm1",
        "reset vm1",
        "shutdown vm1",
        "suspend vm1",
        "save vm1 /run/saved",
        "dump vm1 /run/dumped",
        "screenshot vm1 /run/shot",
        "dumpxml vm1 --security-info",
        "setmem vm1 256MiB --config",
        "undefine vm1",
    ] {
        let answer = virsh(what);
        assert_ne!(answer.exit, Some(0), "{what}: {}", answer.stdout);
        assert!(answer.stderr.contains("access denied"), "{what}: {}", answer.stderr);
    }
    let state = done(host, "virsh -c qemu:///system domstate vm1");
    assert_eq!(state.trim(), "running", "{} is as it was", vm.name());
}

/// OPERATING says so: libvirt has no narrower right for what agentd does.
fn the_same_right_reaches_further(host: &Host) {
    let virsh = |what: &str| as_user(host, "agentd", &format!("virsh -c qemu:///system {what}"));
    let answer = virsh(r#"qemu-monitor-command vm1 '{"execute":"query-status"}'"#);
    assert_eq!(answer.exit, Some(0), "{}", answer.stderr);
    assert!(answer.stdout.contains("running"), "{}", answer.stdout);
    for (what, missing) in [
        ("qemu-agent-command vm1 '{\"execute\":\"guest-ping\"}'", "agent"),
        ("attach-disk vm1 /nowhere vdz --live", "/nowhere"),
    ] {
        let answer = virsh(what);
        assert!(!answer.stderr.contains("access denied"), "{what}: {}", answer.stderr);
        assert!(answer.stderr.contains(missing), "only that is missing: {}", answer.stderr);
    }
}

/// An administrator who takes the rule away, and puts it back: anybody may look at VMs by libvirt's own rules.
fn without_the_rule_it_looks_on_and_says_what_it_may_not(
    host: &Host,
    memctl: &Memctl,
    agentd: &Process,
) {
    done(host, &format!("rm {RULE}"));
    let connects = "virsh -c qemu:///system version";
    let is_gone = || Ok(as_user(host, "agentd", connects).exit != Some(0));
    clock::wait_until("polkitd to know", LONG, is_gone).unwrap();
    set_mode(memctl, "active");
    let refused = || {
        let log = agentd.log()?;
        Ok(log.contains("an order was refused") && log.contains("access denied"))
    };
    clock::wait_until("agentd to say that it may not", LONG, refused).unwrap();
    write(host, RULE, &rule());
    let goes_on = || Ok(agentd.log()?.contains("orders are taken again"));
    clock::wait_until("agentd to go on", LONG, goes_on).unwrap();
}

fn actual_kib(host: &Host) -> Result<u64> {
    let said = done(host, "virsh -q -c qemu:///system dommemstat vm1");
    let actual = said.lines().find_map(|line| line.strip_prefix("actual "));
    Ok(actual.context("the VM has no actual")?.trim().parse()?)
}

/// Runs a script on the host as one of its users.
fn as_user(host: &Host, user: &str, script: &str) -> Answer {
    run(host.command("sh").args(["-c", AS_USER, "sh", user, script]).env("LC_ALL", "C"))
}

/// The same as root, and it has to succeed.
fn done(host: &Host, script: &str) -> String {
    let answer = run(host.command("sh").args(["-c", script]));
    assert_eq!(answer.exit, Some(0), "{script}: {}", answer.stderr);
    answer.stdout
}

/// Writes a file on the host that everybody there may read.
fn write(host: &Host, inside: &str, text: &str) {
    let path = host.space().path(inside);
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

/// What libvirt has polkit know of itself: from where all of libvirt is installed, or out of its package.
fn policy(file: &str) -> Result<String> {
    let installed = Path::new(ACTIONS).join(file);
    let path = if installed.exists() { installed } else { fetched()?.join(file) };
    Ok(fs::read_to_string(path)?)
}

/// The folder with the policies of the package, which is fetched once.
fn fetched() -> Result<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let kept = target.join("libvirt-policies");
    if !kept.exists() {
        let folder = tempfile::Builder::new().prefix("libvirt-").tempdir_in(target)?;
        package::fetch("libvirt-daemon-system", folder.path())?;
        let new = folder.path().join("new");
        package::unpack(folder.path(), &["*/org.libvirt.*.policy"], &new)?;
        fs::rename(new.join(ACTIONS.trim_start_matches('/')), &kept)?;
    }
    Ok(kept)
}

const AS_USER: &str = r#"exec setpriv --reuid "$1" --regid "$(id -g "$1")" --init-groups --reset-env \
    timeout 60 sh -c "$2""#;
const POLKITD: &str = "/usr/lib/polkit-1/polkitd";
const ACTIONS: &str = "/usr/share/polkit-1/actions";
const RULES: &str = "/usr/share/polkit-1/rules.d";
const RULE: &str = "/usr/share/polkit-1/rules.d/50-agentd.rules";
const POLICIES: [&str; 2] = ["org.libvirt.unix.policy", "org.libvirt.api.policy"];
/// What a connection takes that may order.
const MANAGE: &str = "org.libvirt.unix.manage";
const LIBVIRTD_CONF: &str = "/etc/libvirt/libvirtd.conf";
const PROGRAM: &str = "/run/lab/agentd-program";
const CONFIG: &str = "/run/lab/agentd.toml";
const BUS: [&str; 3] = ["--system", "--nofork", "--nopidfile"];
const HAS_OWNER: &str = "dbus-send --system --print-reply --dest=org.freedesktop.DBus / \
    org.freedesktop.DBus.NameHasOwner string:org.freedesktop.PolicyKit1";
/// Nothing of what this machine has polkit know counts here, and the user is the package's.
const PREPARE: &str = "set -e
for folder in /usr/share/polkit-1/actions /usr/share/polkit-1/rules.d /etc/polkit-1/rules.d; do
    mkdir -p $folder
    mount -t tmpfs -o mode=755 agentd-lab $folder
done
mkdir -p /run/dbus
getent passwd agentd >/dev/null || {
    echo 'agentd:x:64057:64057::/run/agentd:/usr/sbin/nologin' >>/etc/passwd
    echo 'agentd:x:64057:' >>/etc/group
}
install -d -m 755 -o agentd -g agentd /run/agentd";
/// Before any other rule: has polkitd say what it is asked for.
const TELLS: &str = "polkit.addRule(function(action, subject) {
    polkit.log(\"told: \" + action.id + \" \" + subject.user);
    return polkit.Result.NOT_HANDLED;
});
";
const TOLD: &str = "told: ";
