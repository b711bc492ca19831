//! The lab for a person: boots three VMs under a private libvirtd, says how to reach it, and ends
//! when its stdin does, or by Ctrl-C.

use std::io::{Write, stdin, stdout};

use agentd_tests::lab::{Lab, VmSpec};
use anyhow::Result;

fn main() -> Result<()> {
    let lab = Lab::open()?;
    let host = lab.host("node1")?;
    host.boot([VmSpec::new("vm1", 256), VmSpec::new("vm2", 256), VmSpec::new("vm3", 256)])?;
    writeln!(stdout(), "ready\n  keeper {}\n  uri {}", host.space().keeper(), host.uri())?;
    std::io::copy(&mut stdin(), &mut std::io::sink())?;
    Ok(())
}
