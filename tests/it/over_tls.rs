//! Mutual TLS from nothing, by the commands of the README, with the real agentd behind it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use agentd_tests::agent::patient;

use crate::sim_host::{Agentd, Answer, SCENARIO, World, run, until};

/// Hosts by the addresses that this machine has for itself.
const HOSTS: [&str; 2] = ["127.0.0.1", "127.0.0.2"];

#[test]
fn five_commands_lead_from_nothing_to_mutual_tls() {
    let world = World::new(SCENARIO);
    let path = install(&world);
    let memctl = |args: &[&str]| run(command(&world, &path).args(patient(args)).args(args));
    done(&memctl(&["ca", "init"]));
    done(&memctl(&["ca", "issue-client", "alice", "--role", "admin", "--default"]));
    for host in HOSTS {
        let login = format!("root@{host}");
        done(&memctl(&["ca", "issue-server", host, "--install", &login]));
    }
    let agents = HOSTS.map(|host| serve(&world, host));
    let uris = agents.each_ref().map(|(_, uri)| uri.as_str());
    let both = ["--host", uris[0], "--host", uris[1]];
    let ask = |args: &[&str]| memctl(&[args, &both].concat());
    let status = ask(&["status", "-o", "name"]);
    assert_eq!(done(&status), format!("{}\n{}\n", uris[0], uris[1]));

    // What is changed has the name of the certificate on it.
    done(&ask(&["policy", "set", "--yes", "two-pointer.step=32MiB"]));
    assert!(done(&ask(&["policy", "history"])).contains("alice"));

    // A rotation cuts nobody off.
    let spread = |files: &[&str]| {
        for (file, host) in files.iter().flat_map(|file| HOSTS.map(|host| (*file, host))) {
            let there = world.path(&format!("{host}.etc/tls/{file}"));
            fs::copy(world.path("memctl/pki").join(file), there).unwrap();
        }
    };
    done(&memctl(&["ca", "rotate"]));
    spread(&["ca.pem", "crl.pem"]);
    agents.iter().for_each(|(agentd, _)| until_read(agentd, 1));
    done(&ask(&["status"]));
    done(&memctl(&["ca", "issue-client", "alice", "--renew"]));
    done(&ask(&["status"]));

    // Who is revoked is out, and says why.
    done(&memctl(&["ca", "revoke", "alice"]));
    spread(&["crl.pem"]);
    agents.iter().for_each(|(agentd, _)| until_read(agentd, 2));
    let mut refused = ask(&["status"]);
    until("both to refuse", || {
        refused = ask(&["status"]);
        Ok(refused.exit == Some(5))
    });
    assert!(refused.stderr.contains("was revoked"), "{refused:?}");
}

/// A program `ssh` for which each host's files are in a folder of this world.
fn install(world: &World) -> String {
    let bin = world.path("bin");
    fs::create_dir(&bin).unwrap();
    let there = world.path("").display().to_string();
    let ssh = format!(
        "#!/bin/sh\nwhile [ \"$2\" != sh ]; do shift; done\nhost=${{1#root@}}\n\
         sed \"s|/etc/agentd|{there}/$host.etc|g\" | sh\n"
    );
    for (name, text) in [("ssh", ssh.as_str()), ("systemctl", "#!/bin/sh\nexit 3\n")] {
        fs::write(bin.join(name), text).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    for host in HOSTS {
        let etc = world.path(&format!("{host}.etc"));
        fs::create_dir(&etc).unwrap();
        let config = world.run_agentd(&["print-default-config"]).stdout;
        fs::write(etc.join("agentd.toml"), config).unwrap();
    }
    format!("{}:/usr/bin:/bin", bin.display())
}

/// agentd of a host with the config that was installed, and where it is reached.
fn serve(world: &World, host: &str) -> (Agentd, String) {
    let installed = world.path(&format!("{host}.etc/agentd.toml"));
    let checked = world.run_agentd(&["check-config", &installed.display().to_string()]);
    done(&checked);
    fs::copy(&installed, world.path("agentd.toml")).unwrap();
    let listen = format!("tcp://{host}:0");
    let mut command = world.agentd(host);
    command.args(["--listen", &listen]);
    let agentd = world.start_as(host, command);
    // It answers on its socket before.
    let address = format!("tcp://{host}:");
    agentd.until_log(&address);
    let log = agentd.log();
    let port = log.split(&address).nth(1);
    let port = port.and_then(|rest| rest.split_whitespace().next()).unwrap();
    (agentd, format!("https://{host}:{port}"))
}

/// Waits until the files of TLS were read again so many times.
fn until_read(agentd: &Agentd, times: usize) {
    let read = || Ok(agentd.log().matches("the files of [tls] were read again").count() >= times);
    until("the files to be read again", read);
}

fn command(world: &World, path: &str) -> Command {
    let mut command = world.memctl_command();
    command.env("PATH", path);
    command
}

fn done(answer: &Answer) -> &str {
    assert_eq!(answer.exit, Some(0), "{answer:?}");
    &answer.stdout
}
