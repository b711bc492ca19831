//! Text scenarios with golden transcripts: for each sentence of the algorithm, what it does.
//!
//! A file of `tests/scenarios` is a scenario, a line `---`, and the transcript that it must give.
//! `UPDATE_EXPECT=1 cargo test -p agentd-core` writes the transcripts anew.
//!
//! ```text
//! policy FIELD SIZE            a constant other than the default
//! host TOTAL OTHER             memory of the host, and what of it others use
//! vm NAME ACTUAL MAX [FROM..TO] USE...   use at each tick; the last goes on; ticks it is there
//! ticks N
//! ```

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use crate::world::{Vm, World};
use agentd_core::{
    bytes::ByteCount, decision::Decision, explain, policy::Policy, sample::Sample, state::State,
    vm::VmId,
};

#[test]
fn scenarios_give_their_transcripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 12, "the scenarios are gone: {files:?}");
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let (input, expected) = text.split_once("---\n").unwrap_or((&text, ""));
        let transcript = run(input);
        if update {
            fs::write(&file, format!("{input}---\n{transcript}")).unwrap();
        } else if transcript != expected {
            wrong.push(format!("{}: got\n{transcript}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn run(input: &str) -> String {
    let (mut world, ticks) = parse(input);
    let mut transcript = String::new();
    for _ in 0..ticks {
        let (sample, decision) = world.turn();
        tell(&mut transcript, &world, &sample, &decision);
    }
    transcript
}

fn tell(out: &mut String, world: &World, sample: &Sample, decision: &Decision) {
    let (tick, offset, kept) = (decision.tick, decision.offset.unwrap(), decision.pool.kept);
    writeln!(out, "tick {tick}, offset {offset}, the host keeps {kept}").unwrap();
    for (id, verdict) in &decision.verdicts {
        let vm = sample.vms.get(id).unwrap();
        let why = explain::message(verdict, vm, &world.policy);
        writeln!(out, "  {} at {}, {}: {why}", vm.name, vm.actual, verdict.reason).unwrap();
    }
    for transfer in &decision.transfers {
        let (from, to) = (world.name(transfer.from), world.name(transfer.to));
        writeln!(out, "  {from} -> {to}: {}", transfer.amount).unwrap();
    }
}

fn parse(input: &str) -> (World, u64) {
    let mut world = World {
        total: ByteCount::gib(8),
        other: ByteCount::gib(1),
        policy: Policy::default(),
        vms: BTreeMap::new(),
        state: State::default(),
        tick: 0,
        reservations: Vec::new(),
    };
    let mut ticks = 0;
    for line in input.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["policy", field, value] => set(&mut world.policy, field, size(value)),
            ["host", total, other] => (world.total, world.other) = (size(total), size(other)),
            ["vm", name, actual, max, rest @ ..] => {
                let number = u8::try_from(world.vms.len() + 1).unwrap();
                let (life, demand) = match rest.first().and_then(|word| word.split_once("..")) {
                    Some((from, to)) => {
                        (from.parse().unwrap()..to.parse().unwrap_or(u64::MAX), &rest[1..])
                    }
                    None => (0..u64::MAX, rest),
                };
                let vm = Vm {
                    name: (*name).to_owned(),
                    actual: size(actual),
                    max: size(max),
                    demand: demand.iter().map(|text| size(text)).collect(),
                    life,
                };
                world.vms.insert(VmId::from_bytes([number; 16]), vm);
            }
            ["ticks", count] => ticks = count.parse().unwrap(),
            other => panic!("no such line: {other:?}"),
        }
    }
    (world, ticks)
}

fn set(policy: &mut Policy, field: &str, value: ByteCount) {
    match field {
        "host_reserve" => policy.host_reserve = value,
        "pool_limit" => policy.pool_limit = Some(value),
        "floor" => policy.floor = value,
        "shrink_step" => policy.shrink_step = value,
        "need_below" => policy.two_pointer.need_below = value,
        "spare_above" => policy.two_pointer.spare_above = value,
        "step" => policy.two_pointer.step = value,
        other => panic!("no such field: {other}"),
    }
    assert_eq!(policy.validate(), []);
}

/// A bare number is MiB here, so that tables stay narrow.
fn size(text: &str) -> ByteCount {
    match text.parse::<u32>() {
        Ok(mib) => ByteCount::mib(mib),
        Err(_) => text.parse().unwrap(),
    }
}
