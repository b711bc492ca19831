//! A recording reads as it was written, and whatever happened to it is told.

use std::path::Path;

use agentd_core::{bytes::ByteCount, decision::Pool, policy::Policy};

use super::{
    code::{Coded, Input},
    frame::framed,
    *,
};
use crate::{hypervisor::sim::Scenario, simulate::Simulation};

const TICKS: u64 = 12;

/// VMs of many kinds, with swapping, silence, refusals and a lost connection.
const SCENARIO: &str = r#"
    [sim]
    connection_lost = [{ from = "5s", until = "6s" }]
    [host]
    total = "4GiB"
    other = "1GiB"
    [[vm]]
    name = "grows"
    max = "2GiB"
    actual = "512MiB"
    cache = "0MiB"
    demand = [{ at = "2s", used = "300MiB" }, { at = "8s", used = "900MiB" }]
    [[vm]]
    name = "idle"
    max = "1GiB"
    actual = "1GiB"
    demand = "100MiB"
    [[vm]]
    name = "refuses"
    max = "1GiB"
    actual = "512MiB"
    demand = "100MiB"
    behaviour = "refuses"
"#;

/// What was recorded, and the ticks as they were.
fn recorded(ticks: u64) -> (Vec<u8>, Vec<Recorded>) {
    let scenario = Scenario::parse("test.toml", SCENARIO).unwrap();
    let policy = Policy::default();
    let simulation =
        Simulation { name: Path::new("test.toml"), scenario: &scenario, policy, ticks };
    let mut bytes = Vec::new();
    let mut writer = simulation.begin_recording(&mut bytes).unwrap();
    let mut all = Vec::new();
    let run: Result<(), WriteError> = simulation.run_each(|record| {
        all.push(Recorded::of(record, record.tick == 0));
        writer.put(record)
    });
    run.unwrap();
    (bytes, all)
}

/// Every whole tick, and how it ends.
fn read(bytes: &[u8]) -> (Vec<Recorded>, Result<Option<Torn>, ReadError>) {
    let mut all = Vec::new();
    let mut reader = match Reader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return (all, Err(error)),
    };
    loop {
        match reader.next_tick() {
            Ok(Some(recorded)) => all.push(recorded),
            Ok(None) => return (all, Ok(reader.torn())),
            Err(error) => return (all, Err(error)),
        }
    }
}

#[test]
fn reads_what_was_written() {
    let (bytes, written) = recorded(TICKS);
    let (all, end) = read(&bytes);
    assert_eq!(end.unwrap(), None);
    assert_eq!(all, written);
    assert!(all.iter().any(|tick| tick.sample.is_none()), "a tick that saw nothing");
    let refused = |tick: &Recorded| {
        let refused = |own: &agentd_core::state::Resized| {
            matches!(own.outcome, agentd_core::state::Outcome::Refused(_))
        };
        tick.applied.resized.iter().any(refused)
    };
    assert!(all.iter().any(refused), "an order that was refused");
    let head = Reader::new(&*bytes).unwrap().head().clone();
    assert_eq!((head.host.as_str(), head.hypervisor.as_str()), ("simulated", "sim:test.toml"));
}

#[test]
fn whatever_is_cut_off_the_end_the_rest_is_whole() {
    let (bytes, written) = recorded(3);
    let (start, _) = recorded(0);
    let mut whole = Vec::new();
    for cut in start.len()..bytes.len() {
        let (all, end) = read(&bytes[..cut]);
        assert_eq!(all, written[..all.len()]);
        let torn = end.unwrap();
        match torn {
            None => whole.push((cut, all.len())),
            Some(torn) => assert_eq!(torn.at, u64::try_from(whole.last().unwrap().0).unwrap()),
        }
    }
    let ticks: Vec<usize> = whole.iter().map(|(_, ticks)| *ticks).collect();
    assert_eq!(ticks, [0, 1, 2], "cut between two entries it is whole");
}

#[test]
fn space_that_the_last_entry_never_filled_is_a_torn_end() {
    let (mut bytes, written) = recorded(2);
    let end = u64::try_from(bytes.len()).unwrap();
    bytes.extend([0; 10_000]);
    let (all, torn) = read(&bytes);
    assert_eq!((all, torn.unwrap()), (written, Some(Torn { at: end })));
}

#[test]
fn a_change_in_the_middle_is_told_with_its_place() {
    let (bytes, written) = recorded(3);
    let (first, _) = recorded(1);
    let at = first.len();
    for (byte, what) in [(at, Damage::Length), (at + 40, Damage::Checksum)] {
        let mut changed = bytes.clone();
        changed[byte] ^= 0x10;
        let (all, end) = read(&changed);
        assert_eq!(all, written[..1]);
        let error = end.unwrap_err();
        assert!(
            matches!(&error, ReadError::Damaged { at: place, damage }
                if *place == u64::try_from(at).unwrap() && *damage == what),
            "{error}"
        );
        assert!(error.to_string().contains(&format!("head -c {at} RECORDING")), "{error}");
    }
}

#[test]
fn says_what_is_no_recording_and_what_is_newer() {
    let (bytes, _) = recorded(1);
    assert!(matches!(Reader::new(&b"[policy]\n"[..]), Err(ReadError::Other)));
    assert!(matches!(Reader::new(&b""[..]), Err(ReadError::Other)));
    assert!(matches!(Reader::new(&bytes[..14]), Err(ReadError::Empty)));
    let mut newer = bytes;
    newer[8] = 9;
    let error = Reader::new(&*newer).unwrap_err();
    assert!(error.to_string().starts_with("a newer agentd made it (form 9"), "{error}");
}

#[test]
fn a_field_more_is_left_out_and_one_less_is_absent() {
    let (_, written) = recorded(1);
    let (mut entry, mut last, mut newest) = (Vec::new(), Vec::new(), Vec::new());
    written[0].settled.put(&mut last);
    written[0].pinned.put(&mut newest);
    written[0].put(&mut entry);

    let mut input = Input::new(&entry);
    let body = input.body().unwrap();
    let body = { body }.bytes(entry.len() - 2).unwrap().to_vec();
    let length = |body: &[u8]| {
        let mut bytes = Vec::new();
        body.len().put(&mut bytes);
        bytes.extend_from_slice(body);
        bytes
    };
    let longer = length(&[&body[..], b"\x05later"].concat());
    assert_eq!(Recorded::take(&mut Input::new(&longer)), Ok(written[0].clone()));

    // One of before agentd told what was pinned beside the policy.
    let older = &body[..body.len() - newest.len()];
    assert_eq!(Recorded::take(&mut Input::new(&length(older))), Ok(written[0].clone()));
    let shorter = length(&older[..older.len() - last.len()]);
    let odd = Recorded::take(&mut Input::new(&shorter)).unwrap_err();
    assert_eq!(odd.to_string(), "settled: is missing");

    // A pool of before agentd told what VMs that start may still take.
    let pool = written.iter().find_map(|own| own.decision.as_ref()).unwrap().pool;
    let (mut entry, mut last) = (Vec::new(), Vec::new());
    pool.put(&mut entry);
    pool.starting.put(&mut last);
    let body =
        Input::new(&entry).body().unwrap().bytes(entry.len() - 1 - last.len()).unwrap().to_vec();
    assert_eq!(
        Pool::take(&mut Input::new(&length(&body))).map(|pool| pool.starting),
        Ok(ByteCount::ZERO)
    );
}

#[test]
fn an_entry_that_makes_no_sense_is_told_by_its_field() {
    let (start, _) = recorded(0);
    let mut entry = Vec::new();
    // Tick 1, at 1970, in a mode that there is none of.
    for number in [4_u64, 1, 0, 0, 7] {
        number.put(&mut entry);
    }
    let odd = framed(&entry).unwrap();
    let error = read(&[&start[..], &odd].concat()).1.unwrap_err().to_string();
    assert!(error.contains("mode: 7 stands for nothing that is known here"), "{error}");
    assert!(!error.contains("replay it with that one"), "it is this one's own: {error}");

    let mut head = Reader::new(&*start).unwrap().head().clone();
    head.agent_version = "0.0.9\x1b[2J".to_owned();
    let mut bytes = Vec::new();
    Writer::begin(&mut bytes, &head, ByteCount::MAX).unwrap();
    let error = read(&[bytes, odd].concat()).1.unwrap_err().to_string();
    let hint = "(agentd 0.0.9\\u{1b}[2J made it: replay it with that one)";
    assert!(error.contains(hint), "{error}");
}

#[test]
fn ends_before_it_is_larger_than_it_may_be() {
    let (whole, _) = recorded(2);
    let scenario = Scenario::parse("test.toml", SCENARIO).unwrap();
    let policy = Policy::default();
    let simulation =
        Simulation { name: Path::new("test.toml"), scenario: &scenario, policy, ticks: 3 };
    let mut bytes = Vec::new();
    let head = Reader::new(&*whole).unwrap().head().clone();
    let most = ByteCount::bytes(u64::try_from(whole.len()).unwrap() + 1);
    let mut writer = Writer::begin(&mut bytes, &head, most).unwrap();
    let end: Result<(), WriteError> = simulation.run_each(|record| writer.put(record));
    assert!(matches!(end, Err(WriteError::Full(_))), "{end:?}");
    assert_eq!(bytes, whole);
}
