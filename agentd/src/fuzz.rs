//! What the fuzz targets in `tests/fuzz` call, one function for each kind of input that others write,
//! and what has to hold of any such input: no panic, and nothing read wrongly.
//!
//! The tests below run the same functions on random input, on changed seeds and on whatever once
//! broke them, without the targets' compiler flags.

use std::{io, path::Path};

use crate::{
    config::Config,
    hypervisor::{libvirt, sim::Scenario},
    recording, server,
    simulate::Simulation,
    store,
};

/// The config file. One that is taken makes sense.
pub fn config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match Config::parse("agentd.toml", text) {
        Ok(config) => {
            assert!(config.policy.validate().is_empty(), "a policy that makes no sense was taken");
            assert!(config.tick.settle() <= config.tick.interval);
        }
        Err(faults) => assert!(faults.to_string().starts_with("agentd.toml:"), "{faults}"),
    }
}

/// A scenario. One that is taken can be simulated.
pub fn scenario(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match Scenario::parse("fuzz.toml", text) {
        Ok(scenario) => {
            let policy = scenario.policy.clone().unwrap_or_default();
            let (name, ticks) = (Path::new("fuzz.toml"), TICKS);
            let simulation = Simulation { name, scenario: &scenario, policy, ticks };
            assert!(simulation.run(&mut io::sink()).is_ok(), "a sink takes everything");
        }
        Err(fault) => assert!(fault.to_string().starts_with("fuzz.toml:"), "{fault}"),
    }
}

/// A recording, and one tick of it. What is read is written as it was read.
pub fn recording(data: &[u8]) {
    recording::fuzz::recording(data);
}

/// The state: a policy as JSON; rows of a database, after a "!"; or a database file as it is.
pub fn state(data: &[u8]) {
    store::fuzz::state(data);
}

/// What libvirt and the kernel say of VMs and host, through a decision and its check.
pub fn statistics(data: &[u8]) {
    libvirt::fuzz::statistics(data);
}

/// What a client shows of itself, in DER form; or a list of those who are not let in.
pub fn certificate(data: &[u8]) {
    server::fuzz::certificate(data);
}

/// A request as it is decoded and checked.
pub fn request(data: &[u8]) {
    server::fuzz::request(data);
}

/// Bytes of a client, as they come over a socket.
pub fn connection(data: &[u8]) {
    server::fuzz::connection(data);
}

/// Enough for a VM to be proven, asked, and seen to move.
const TICKS: u64 = 8;

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use proptest::{
        prelude::*,
        sample::Index,
        test_runner::{Config as Runner, TestRunner},
    };

    use super::*;

    type Target = (&'static str, fn(&[u8]), u32);

    /// Each with how many inputs it gets here: a second's work or two.
    const TARGETS: [Target; 8] = [
        ("config", config, 1500),
        ("scenario", scenario, 250),
        ("recording", recording, 1500),
        ("state", state, 800),
        ("statistics", statistics, 1500),
        ("certificate", certificate, 1500),
        ("request", request, 1500),
        ("connection", connection, 400),
    ];

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    fn files(dir: &str) -> Vec<Vec<u8>> {
        let Ok(entries) = fs::read_dir(root().join(dir)) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
            .into_iter()
            .filter(|path| path.is_file())
            .map(|path| fs::read(path).unwrap())
            .collect()
    }

    fn seeds(target: &str) -> Vec<Vec<u8>> {
        match target {
            "config" => vec![fs::read(root().join("packaging/agentd.toml")).unwrap()],
            "scenario" => files("packaging/scenarios"),
            other => files(&format!("tests/fuzz/seeds/{other}")),
        }
    }

    /// One change of an input.
    #[derive(Clone, Debug)]
    enum Change {
        Byte(Index, u8),
        Cut(Index, usize),
        Copy(Index, Index, usize),
        Number(Index, u64),
    }

    fn change() -> impl Strategy<Value = Change> {
        let odd = prop_oneof![Just(0), Just(u64::MAX), Just(u64::MAX / 2 + 1), any::<u64>()];
        prop_oneof![
            (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
            (any::<Index>(), 1..40_usize).prop_map(|(at, count)| Change::Cut(at, count)),
            (any::<Index>(), any::<Index>(), 1..80_usize)
                .prop_map(|(from, to, count)| Change::Copy(from, to, count)),
            (any::<Index>(), odd).prop_map(|(at, number)| Change::Number(at, number)),
        ]
    }

    fn changed(mut data: Vec<u8>, changes: &[Change]) -> Vec<u8> {
        for change in changes.iter().filter(|_| !data.is_empty()).collect::<Vec<_>>() {
            if data.is_empty() {
                break;
            }
            match change {
                Change::Byte(at, byte) => {
                    let at = at.index(data.len());
                    data[at] = *byte;
                }
                Change::Cut(at, count) => {
                    let at = at.index(data.len());
                    data.drain(at..data.len().min(at + count));
                }
                Change::Copy(from, to, count) => {
                    let (from, to) = (from.index(data.len()), to.index(data.len()));
                    let piece = data[from..data.len().min(from + count)].to_vec();
                    data.splice(to..to, piece);
                }
                Change::Number(at, number) => {
                    // The next number that stands there becomes another.
                    let at = at.index(data.len());
                    let Some(first) = data[at..].iter().position(u8::is_ascii_digit) else {
                        continue;
                    };
                    let first = at + first;
                    let count =
                        data[first..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                    data.splice(first..first + count, number.to_string().into_bytes());
                }
            }
        }
        data
    }

    #[test]
    fn no_input_breaks_a_decoder() {
        for (name, target, cases) in TARGETS {
            let seeds = seeds(name);
            assert!(!seeds.is_empty(), "{name} has no seed");
            let wild = prop::collection::vec(any::<u8>(), 0..300);
            let near = (prop::sample::select(seeds), prop::collection::vec(change(), 1..12))
                .prop_map(|(seed, changes)| changed(seed, &changes));
            let input = prop_oneof![1 => wild, 5 => near];
            let runner = Runner { cases, failure_persistence: None, ..Runner::default() };
            let outcome = TestRunner::new(runner).run(&input, |data| {
                target(&data);
                Ok(())
            });
            outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    /// Every seed, which is not random, and every input that once broke a decoder.
    #[test]
    fn what_once_broke_a_decoder_does_so_no_more() {
        for (name, target, _) in TARGETS {
            for data in seeds(name).into_iter().chain(files(&format!("tests/fuzz/crashes/{name}")))
            {
                target(&data);
            }
        }
    }

    /// The targets are these functions, and `make fuzz` runs all of them.
    #[test]
    fn every_function_has_its_target() {
        let manifest = fs::read_to_string(root().join("tests/fuzz/Cargo.toml")).unwrap();
        let run = fs::read_to_string(root().join("tests/fuzz/run.sh")).unwrap();
        for (name, ..) in TARGETS {
            assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name}");
            let target = root().join(format!("tests/fuzz/targets/{name}.rs"));
            let text = fs::read_to_string(target).unwrap();
            assert!(text.contains(&format!("agentd::fuzz::{name}(data)")), "{name}");
            assert!(run.contains(name), "{name}");
        }
    }
}
