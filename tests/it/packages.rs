//! The packages: installed, started, upgraded, removed and purged in a clean Debian where no systemd runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use agentd_tests::programs::Programs;

use crate::clean_debian::Debian;
use crate::sim_host::{SCENARIO, signal, until};

fn packaging(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(script)
}

/// The folder in which cargo has built both programs.
fn built() -> PathBuf {
    let programs = Programs::built().expect("cargo builds agentd and memctl");
    let folder = programs.agentd.parent().unwrap().to_owned();
    assert_eq!(programs.memctl.parent().unwrap(), folder);
    folder
}

/// Packages of this version, in a folder inside.
pub(crate) fn package(debian: &Debian, version: &str) -> String {
    let inside = format!("/packages-{version}");
    let mut command = Command::new("sh");
    command.arg(packaging("deb.sh")).arg(built()).arg(debian.path(&inside));
    // Nobody keeps them: packing them well would take longer than all else here.
    command.env("DEB_VERSION", version).env("DEB_FLAGS", "-Znone");
    let made = command.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    format!("{inside}/*.deb")
}

/// agentd started by hand as its service would be, on a simulated host.
struct Service<'a> {
    debian: &'a Debian,
    child: Child,
}

impl<'a> Service<'a> {
    fn start(debian: &'a Debian) -> Self {
        fs::write(debian.path("/scenario.toml"), SCENARIO).unwrap();
        let script = "install -d -m 755 -o agentd -g agentd /run/agentd && \
                      exec setpriv --reuid agentd --regid agentd --init-groups \
                      env STATE_DIRECTORY=/var/lib/agentd \
                      agentd run --hypervisor sim:/scenario.toml";
        let child = debian.start(script, "/agentd.log");
        let service = Self { debian, child };
        let answers = || Ok(debian.run("memctl status").exit == Some(0));
        until("agentd to answer", || {
            answers().inspect(|is| assert!(*is || service.is_alive(), "{}", service.log()))
        });
        service
    }

    fn is_alive(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.debian.path("/agentd.log")).unwrap()
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        // What bounds its time passes it on, and sees to it that the whole space goes; killed, it would leave it.
        signal(self.child.id(), "TERM");
        let _ = self.child.wait();
    }
}

#[test]
fn a_clean_debian_takes_them_keeps_what_is_whose_and_forgets_them_when_purged() {
    let Some(debian) = Debian::open("a_clean_debian_takes_them") else { return };
    // Nothing is to be started here, as where images of systems are made.
    fs::write(debian.path("/usr/sbin/policy-rc.d"), "#!/bin/sh\nexit 101\n").unwrap();
    debian.done("chmod 755 /usr/sbin/policy-rc.d");
    let before = everything(&debian);

    let first = package(&debian, "1.0");
    debian.done(&format!("dpkg -i {first}"));
    is_installed(&debian);
    {
        let _agentd = Service::start(&debian);
        debian.done("memctl policy set floor=77MiB --reason 'a test'");
        debian.done("memctl mode paused --reason 'a test'");
    }
    debian.done("sed -i 's/^level = \"info\"$/level = \"debug\"/' /etc/agentd/agentd.toml");

    let second = package(&debian, "2.0");
    debian.done(&format!("dpkg -i {second}"));
    assert_eq!(debian.done("dpkg-query -W -f '${Version}' agentd"), "2.0");
    {
        let _agentd = Service::start(&debian);
        assert!(debian.done("memctl policy get").contains("77 MiB"));
        assert!(debian.done("memctl mode").contains("paused"));
    }
    let is_changed = "grep -q '^level = \"debug\"$' /etc/agentd/agentd.toml";
    debian.done(is_changed);

    debian.done("dpkg -r agentd memctl");
    debian.done(&format!("{is_changed} && test -e /var/lib/agentd/agentd.db"));
    assert_eq!(debian.run("command -v agentd || command -v memctl").exit, Some(127));
    // What was removed comes back as it was.
    debian.done(&format!("dpkg -i {first} && {is_changed} && test -e /var/lib/agentd/agentd.db"));

    debian.done("dpkg -P agentd memctl");
    assert_eq!(debian.run("getent passwd agentd || getent group agentd").exit, Some(2));
    assert_eq!(everything(&debian), before);
}

fn is_installed(debian: &Debian) {
    assert_eq!(
        debian.done("agentd --version"),
        debian.done("memctl --version").replace("memctl", "agentd")
    );
    assert_eq!(debian.done("agentd check-config"), "/etc/agentd/agentd.toml: ok\n");
    let config = fs::read_to_string(debian.path("/etc/agentd/agentd.toml")).unwrap();
    assert!(config.contains("\nmode = \"observe\"\n") && config.contains("\n# What to do when"));
    assert_eq!(debian.done("stat -c '%U:%G %a' /var/lib/agentd"), "agentd:agentd 700\n");
    assert_eq!(debian.done("id -gn agentd"), "agentd\n");
    for file in [
        "/usr/lib/systemd/system/agentd.service",
        "/usr/lib/systemd/system/agentd.socket",
        "/usr/lib/sysusers.d/agentd.conf",
        "/usr/lib/tmpfiles.d/agentd.conf",
        "/usr/share/polkit-1/rules.d/50-agentd.rules",
        "/usr/share/man/man8/agentd.8.gz",
        "/usr/share/man/man8/agentd-run.8.gz",
        "/usr/share/man/man1/memctl.1.gz",
        "/usr/share/man/man1/memctl-policy-set.1.gz",
        "/usr/share/bash-completion/completions/agentd",
        "/usr/share/bash-completion/completions/memctl",
        "/usr/share/zsh/vendor-completions/_memctl",
        "/usr/share/fish/vendor_completions.d/memctl.fish",
        "/usr/share/doc/agentd/copyright",
        // Enabled, as an administrator would find it after the next boot.
        "/etc/systemd/system/multi-user.target.wants/agentd.service",
        "/etc/systemd/system/sockets.target.wants/agentd.socket",
    ] {
        debian.done(&format!("test -s {file} && test -r {file} || test -L {file}"));
    }
    let needs = debian.done("dpkg-query -W -f '${Depends}' agentd");
    assert!(needs.contains("libvirt0 (>= ") && needs.contains("libc6 (>= "), "{needs}");
    let needs = debian.done("dpkg-query -W -f '${Depends}' memctl");
    assert!(needs.contains("libc6 (>= ") && !needs.contains("libvirt"), "{needs}");
    // Nothing but the config belongs to the administrator.
    assert_eq!(debian.done("dpkg-query -W -f '${Conffiles}' agentd | wc -w"), "2\n");
    assert_eq!(debian.done("dpkg --verify agentd memctl"), "");
}

/// Every file and folder, but for those of dpkg and of this test, and what outlives every package.
fn everything(debian: &Debian) -> Vec<String> {
    let find = "find / -xdev -path /proc -prune -o -path /dev -prune -o -path /var/lib/dpkg -prune -o \
                -path '/packages-*' -prune -o -print";
    let found = debian.done(find);
    let ours = [
        "/scenario.toml",
        "/agentd.log",
        "/var/log/dpkg.log",
        "/etc/passwd-",
        "/etc/group-",
        "/etc/shadow-",
        "/etc/gshadow-",
        "/etc/.pwd.lock",
    ];
    let mut all: Vec<String> =
        found.lines().filter(|line| !ours.contains(line)).map(str::to_owned).collect();
    all.sort();
    all
}

/// What `make install` lays out elsewhere: the units name the programs that are there.
#[test]
fn an_installation_below_another_prefix_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    for program in ["agentd", "memctl"] {
        let mut stage = Command::new("sh");
        stage.arg(packaging("stage.sh")).arg(program).arg(built());
        let staged = stage.arg(folder.path()).arg("/usr/local").output().unwrap();
        assert!(staged.status.success(), "{}", String::from_utf8_lossy(&staged.stderr));
    }
    let read = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap();
    let unit = read("usr/local/lib/systemd/system/agentd.service");
    assert!(unit.contains("\nExecStart=/usr/local/sbin/agentd run\n"), "{unit}");
    assert!(!unit.contains("=/usr/sbin/agentd"), "{unit}");
    assert!(read("etc/agentd/agentd.toml").contains("\nmode = \"observe\"\n"));
    read("etc/polkit-1/rules.d/50-agentd.rules");
    for program in ["usr/local/sbin/agentd", "usr/local/bin/memctl"] {
        let said = Command::new(folder.path().join(program)).arg("--version").output().unwrap();
        assert!(said.status.success());
    }
}
