//! A fleet: hosts and a workstation on a network of their own.
//!
//! The workstation's network space holds a bridge; each host has one leg of a pair in it. Nothing
//! of this is visible on, or can reach, the machine's own network.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::host::Host;
use super::space::Space;
use super::{Ground, clock};

/// Several hosts and a workstation that reaches them by name.
#[derive(Debug)]
pub struct Fleet {
    hosts: Vec<Host>,
    workstation: Arc<Space>,
}

impl Fleet {
    pub(crate) fn make(ground: &Arc<Ground>, names: &[&str]) -> Result<Self> {
        if names.len() > LARGEST {
            bail!("a fleet of {} hosts is too large: at most {LARGEST}", names.len());
        }
        let lines = lines_of_hosts(names);
        let workstation = Arc::new(Space::make(ground, WORKSTATION, &lines)?);
        workstation.run(&["ip", "link", "add", BRIDGE, "type", "bridge"])?;
        let address = format!("{}/24", address(0));
        workstation.run(&["ip", "address", "add", &address, "dev", BRIDGE])?;
        workstation.run(&["ip", "link", "set", BRIDGE, "up"])?;
        let mut hosts = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let host = Host::make(ground, name, &lines)?;
            connect(&workstation, &host, index + 1)?;
            hosts.push(host);
        }
        for name in names {
            clock::wait_until(&format!("the network of {name}"), NETWORK_LIMIT, || {
                Ok(workstation.run(&["busybox", "ping", "-c", "1", "-W", "1", name]).is_ok())
            })?;
        }
        Ok(Self { hosts, workstation })
    }

    /// The hosts, in the order in which they were named.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The same, to restart their libvirtd.
    pub fn hosts_mut(&mut self) -> &mut [Host] {
        &mut self.hosts
    }

    /// The machine at which memctl is used: it has no libvirtd.
    pub fn workstation(&self) -> &Arc<Space> {
        &self.workstation
    }

    /// The address of a host on the fleet's network.
    pub fn address(&self, host: &str) -> Result<String> {
        Ok(address(self.place(host)?))
    }

    /// Pulls a host's network cable.
    pub fn cut(&self, host: &str) -> Result<()> {
        self.cable(host, "down")
    }

    /// Plugs a cut host in again.
    pub fn mend(&self, host: &str) -> Result<()> {
        self.cable(host, "up")
    }

    fn cable(&self, host: &str, state: &str) -> Result<()> {
        let port = port(self.place(host)?);
        self.workstation.run(&["ip", "link", "set", &port, state]).map(drop)
    }

    fn place(&self, host: &str) -> Result<usize> {
        let index = self.hosts.iter().position(|known| known.name() == host);
        index.map(|index| index + 1).with_context(|| format!("the fleet has no host {host:?}"))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // If it does not end now, the drop of the space ends it by force.
        let _ = self.workstation.end();
    }
}

/// A pair of interfaces: one on the workstation's bridge, one in the host.
fn connect(workstation: &Space, host: &Host, place: usize) -> Result<()> {
    let (port, address) = (port(place), format!("{}/24", address(place)));
    let script = r#"
        set -e
        ip link add eth0 type veth peer name "$1"
        ip address add "$2" dev eth0
        ip link set eth0 up
        ip link set "$1" netns "$3""#;
    let keeper = workstation.keeper().to_string();
    host.space().run_in_net(&["sh", "-c", script, "sh", &port, &address, &keeper])?;
    workstation.run(&["ip", "link", "set", &port, "master", BRIDGE, "up"]).map(drop)
}

fn lines_of_hosts(names: &[&str]) -> String {
    let all = std::iter::once(&WORKSTATION).chain(names);
    all.enumerate().fold(String::new(), |mut lines, (place, name)| {
        let _ = writeln!(lines, "{} {name}", address(place));
        lines
    })
}

fn address(place: usize) -> String {
    format!("10.213.0.{}", place + 1)
}

fn port(place: usize) -> String {
    format!("port{place}")
}

/// The kernel looks at new links once a second.
const NETWORK_LIMIT: Duration = Duration::from_secs(60);

const BRIDGE: &str = "fleet0";

const WORKSTATION: &str = "workstation";

/// Addresses are numbered in one byte.
const LARGEST: usize = 200;

#[cfg(test)]
mod tests {
    use super::lines_of_hosts;

    #[test]
    fn everyone_is_known_by_name() {
        let lines = lines_of_hosts(&["node1", "node2"]);
        assert_eq!(lines, "10.213.0.1 workstation\n10.213.0.2 node1\n10.213.0.3 node2\n");
    }
}
