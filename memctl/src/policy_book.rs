//! The book of the policy: what each key does, told for an operator. Pure. The tests hold it against
//! the keys that there are and the defaults of the agent's own file.

use serde::Serialize;

use crate::policy_keys::{Key, of_group};
use crate::suggest::did_you_mean;

/// What is to be known of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub(crate) struct Entry {
    /// The key, with NAME where a VM's name or UUID stands.
    pub(crate) key: &'static str,
    /// What it does.
    pub(crate) description: &'static str,
    /// How a value is written.
    pub(crate) unit: &'static str,
    /// The value where none is given.
    pub(crate) default: &'static str,
    /// Which values are taken.
    pub(crate) range: &'static str,
    /// The algorithm that goes by it, or "all".
    pub(crate) algorithm: &'static str,
    /// What to type.
    pub(crate) example: &'static str,
}

/// The entries of a key, or of a group of keys, as typed, or why there is none.
pub(crate) fn entries(typed: &str) -> Result<Vec<Entry>, String> {
    let group = of_group(typed);
    if group.is_empty() {
        return entry(typed).map(|entry| vec![entry]);
    }
    Ok(BOOK.into_iter().filter(|entry| group.contains(&entry.key)).collect())
}

/// The entry of a key as typed, or why there is none.
fn entry(typed: &str) -> Result<Entry, String> {
    let found = |key: &str| BOOK.into_iter().find(|entry| entry.key == key);
    if let Some(entry) = found(typed) {
        return Ok(entry);
    }
    let (name, general) = match Key::parse(typed)? {
        Key::General(_) => (None, typed.to_owned()),
        Key::Vm(name, field) => (Some(name), format!("vm.NAME.{}", field.word())),
        Key::WholeVm(name) => (Some(name), "vm.NAME".to_owned()),
    };
    // A VM may be called "web1.wieght", but hardly is.
    let ending = name.as_deref().filter(|_| general == "vm.NAME").and_then(|n| n.rsplit_once('.'));
    if let Some((name, ending)) = ending
        && let Some(field) = did_you_mean(ending, &VM_WORDS)
    {
        let meant = format!("did you mean vm.{name}.{field}?");
        return Err(format!("\"{typed}\" is not a key of the policy; {meant}"));
    }
    found(&general).ok_or_else(|| format!("nothing is known of \"{typed}\""))
}

const ALL: &str = "all";
const TWO_POINTER: &str = "two-pointer";
const WORKING_SET: &str = "working-set";
const SIZE: &str = "memory with its unit: 512MiB, 2GiB";
const TIME: &str = "time with its unit: 500ms, 3s, 1m";
const VM_WORDS: [&str; 4] = ["min", "max", "weight", "pinned"];

/// Every key, in the order in which `policy get` shows them.
pub(crate) const BOOK: [Entry; 19] = [
    Entry {
        key: "algorithm",
        description: "Who decides which VM gives memory and which gets some. two-pointer moves \
            memory in steps from VMs with much unused to VMs whose use grows; working-set gives \
            each VM what its programs work with and some headroom, and when that is too much for \
            all, its weighted fair share. A change is in force from the next tick on.",
        unit: "name",
        default: "two-pointer",
        range: "two-pointer, working-set",
        algorithm: ALL,
        example: "memctl policy set algorithm=working-set --revert-after 10m",
    },
    Entry {
        key: "host-reserve",
        description: "Memory that the host keeps for itself: it gives a VM nothing that would \
            leave it this or less. Below half of it, VMs are made to give what they do not use. \
            Root of a host may have fixed the least value: policy get shows it.",
        unit: SIZE,
        default: "200 MiB",
        range: "0B to 1024 TiB",
        algorithm: ALL,
        example: "memctl policy set host-reserve=1GiB",
    },
    Entry {
        key: "pool-limit",
        description: "Upper bound of what all VMs hold together. host-reserve is taken off it as \
            well: with 2 GiB and a reserve of 200 MiB, VMs are grown to 1.8 GiB together, and nothing \
            is taken back between that and 2 GiB. Unset means no bound but the host's memory. It has to hold what vm.NAME.min guarantee together.",
        unit: SIZE,
        default: "unset",
        range: "16 MiB to 1024 TiB",
        algorithm: ALL,
        example: "memctl policy set pool-limit=48GiB",
    },
    Entry {
        key: "floor",
        description: "Least memory that any VM is left with. A VM that holds less already is given \
            what it lacks by working-set; two-pointer does not raise it, and takes nothing from \
            it. Root of a host may have fixed the least value: policy get shows it.",
        unit: SIZE,
        default: "64 MiB",
        range: "16 MiB to 1024 TiB",
        algorithm: ALL,
        example: "memctl policy set floor=256MiB",
    },
    Entry {
        key: "shrink-step",
        description: "Most memory that one VM gives in one tick, unless 5 % of its maximum is \
            more, or with working-set the share of what is unused in it that \
            working-set.shrink-percent says. Larger steps move memory faster and hurt more when \
            they turn out wrong. Root of a host may have fixed the most: policy get shows it.",
        unit: SIZE,
        default: "64 MiB",
        range: "1 MiB to 1024 TiB",
        algorithm: ALL,
        example: "memctl policy set shrink-step=128MiB",
    },
    Entry {
        key: "two-pointer.need-below",
        description: "A VM with less than this unused whose use grows needs memory.",
        unit: SIZE,
        default: "200 MiB",
        range: "1 MiB to 1024 TiB",
        algorithm: TWO_POINTER,
        example: "memctl policy set two-pointer.need-below=256MiB",
    },
    Entry {
        key: "two-pointer.spare-above",
        description: "A VM with more than this unused whose use does not grow can spare the \
            difference.",
        unit: SIZE,
        default: "100 MiB",
        range: "0B to two-pointer.need-below",
        algorithm: TWO_POINTER,
        example: "memctl policy set two-pointer.spare-above=150MiB",
    },
    Entry {
        key: "two-pointer.step",
        description: "Least need, most spare, and what the host grants at a time.",
        unit: SIZE,
        default: "50 MiB",
        range: "1 MiB to 1024 TiB",
        algorithm: TWO_POINTER,
        example: "memctl policy set two-pointer.step=100MiB",
    },
    Entry {
        key: "working-set.headroom",
        description: "Least memory that a VM is to have beyond what its programs work with: what \
            it can take at once, before agentd has seen that it needs more. More of it makes \
            bursts hurt less and leaves less for others.",
        unit: SIZE,
        default: "64 MiB",
        range: "1 MiB to 1024 TiB",
        algorithm: WORKING_SET,
        example: "memctl policy set working-set.headroom=128MiB",
    },
    Entry {
        key: "working-set.headroom-percent",
        description: "The same in percent of what the VM's programs work with, so that large VMs \
            have more headroom than small ones; the larger of the two counts.",
        unit: "percent, a whole number: 10",
        default: "10",
        range: "0 to 200",
        algorithm: WORKING_SET,
        example: "memctl policy set working-set.headroom-percent=20",
    },
    Entry {
        key: "working-set.lead",
        description: "For how long ahead a VM is given what its demand grows by: a VM that grows \
            by 50 MiB a second asks for 150 MiB more with 3 s. Make it about as long as memory \
            takes to arrive, which is a tick or two.",
        unit: TIME,
        default: "3s",
        range: "0s to 1m",
        algorithm: WORKING_SET,
        example: "memctl policy set working-set.lead=5s",
    },
    Entry {
        key: "working-set.keep-for",
        description: "For how long, about, a VM is spared what it had a use for: of memory that \
            nobody needs now, those give first who have had no use for theirs the longest. Five \
            times as long a VM that burst has room for its next burst, where others do not need \
            it. Longer suits work that comes back, shorter sets memory free sooner.",
        unit: TIME,
        default: "60s",
        range: "1s to 24h",
        algorithm: WORKING_SET,
        example: "memctl policy set working-set.keep-for=5m",
    },
    Entry {
        key: "working-set.dead-band",
        description: "Differences between what a VM holds and what it is to hold that are smaller \
            than this are not worth an order. Smaller follows more closely with more orders; keep \
            it below working-set.headroom.",
        unit: SIZE,
        default: "16 MiB",
        range: "1 MiB to 1024 TiB",
        algorithm: WORKING_SET,
        example: "memctl policy set working-set.dead-band=32MiB",
    },
    Entry {
        key: "working-set.shrink-percent",
        description: "Share of what is unused in a VM that it may give in one tick, where that is \
            more than shrink-step: nobody misses what is unused, and the rest of it stays until \
            the next figures. More lets bursts that take turns find memory sooner; 0 leaves it \
            at shrink-step. Root of a host may have fixed the most: policy get shows it.",
        unit: "percent, a whole number: 25",
        default: "50",
        range: "0 to 75",
        algorithm: WORKING_SET,
        example: "memctl policy set working-set.shrink-percent=25",
    },
    Entry {
        key: "vm.NAME.min",
        description: "The VM, by name or UUID, is never shrunk below this. Where it holds less \
            already, working-set gives it what it lacks, before anybody gets more than their \
            minimum, but nothing that others work with; two-pointer does not raise it, and takes \
            nothing from it.",
        unit: SIZE,
        default: "unset (the floor)",
        range: "floor to vm.NAME.max",
        algorithm: ALL,
        example: "memctl policy set vm.db1.min=4GiB",
    },
    Entry {
        key: "vm.NAME.max",
        description: "The VM never grows above this. What the hypervisor allows it is a bound as \
            well.",
        unit: SIZE,
        default: "unset (what the hypervisor allows)",
        range: "floor to 1024 TiB",
        algorithm: ALL,
        example: "memctl policy set vm.db1.max=16GiB",
    },
    Entry {
        key: "vm.NAME.weight",
        description: "The VM's share of memory that is short, beside that of others: one of 200 \
            is entitled to twice what one of 100 is, between its minimum and what it asks for. \
            It divides what is idle and what becomes free: what programs of others work with is \
            not taken for it. Without shortage it changes nothing.",
        unit: "whole number: 200",
        default: "unset (100)",
        range: "1 to 10000",
        algorithm: WORKING_SET,
        example: "memctl policy set vm.db1.weight=400",
    },
    Entry {
        key: "vm.NAME.pinned",
        description: "true: the VM is left alone and counted in full; its other exceptions then \
            have no effect.",
        unit: "true or false",
        default: "unset (false)",
        range: "true, false",
        algorithm: ALL,
        example: "memctl policy set vm.db1.pinned=true",
    },
    Entry {
        key: "vm.NAME",
        description: "All exceptions for one VM, by name or UUID. It takes only unset, which \
            leaves the general rule in force for the VM.",
        unit: "unset",
        default: "unset",
        range: "unset",
        algorithm: ALL,
        example: "memctl policy set vm.db1=unset",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantity::{Units, format_size, parse_duration, parse_size};

    #[test]
    fn every_key_has_an_entry_that_takes_its_own_example() {
        let general = Key::general().map(str::to_owned);
        let of_vms = VM_WORDS.iter().map(|word| format!("vm.NAME.{word}"));
        let keys: Vec<String> = general.chain(of_vms).chain(["vm.NAME".to_owned()]).collect();
        assert_eq!(BOOK.map(|entry| entry.key).to_vec(), keys);
        for entry in BOOK {
            let example = entry.example.strip_prefix("memctl policy set ").unwrap();
            let (key, value) = example.split(' ').next().unwrap().split_once('=').unwrap();
            let parsed = Key::parse(key).unwrap();
            parsed.assign(&mut agentd_proto::v1::Policy::default(), value).unwrap();
            assert_eq!(super::entry(key), Ok(entry), "{example}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_agents_own_file() {
        let text = include_str!("../../packaging/agentd.toml");
        let file: toml::Table = toml::from_str(text).unwrap();
        for entry in BOOK.iter().filter(|entry| !entry.key.starts_with("vm.")) {
            let mut at = &file["policy"];
            for part in entry.key.split('.') {
                at = &at[part.replace('-', "_").as_str()];
            }
            let number = at.as_integer().map(|number| number.to_string());
            let is_same = match (number, at.as_str().unwrap_or_default()) {
                (Some(number), _) => number == entry.default,
                (None, "") => entry.default == "unset",
                (None, value) => match (parse_size(value), parse_duration(value)) {
                    (Ok(size), _) => entry.default == format_size(size, Units::Iec),
                    (_, Ok(time)) => parse_duration(entry.default) == Ok(time),
                    _ => value == entry.default,
                },
            };
            assert!(is_same, "{}: {at} in the file", entry.key);
        }
    }

    #[test]
    fn what_a_minimum_guarantees_is_told_for_each_algorithm() {
        for key in ["vm.NAME.min", "floor"] {
            let told = entry(key).unwrap().description;
            assert!(told.contains("two-pointer does not raise it"), "{key}: {told}");
            let gives = ["working-set gives it what it lacks", "what it lacks by working-set"];
            assert!(gives.iter().any(|gives| told.contains(gives)), "{key}: {told}");
        }
    }

    #[test]
    fn a_key_that_another_one_widens_names_it() {
        let told = entry("shrink-step").unwrap().description;
        assert!(told.contains("working-set.shrink-percent"), "{told}");
    }

    #[test]
    fn the_operators_book_lists_every_key() {
        let book = include_str!("../../docs/OPERATING.md");
        let missing: Vec<_> =
            BOOK.iter().filter(|e| !book.contains(&format!("`{}`", e.key))).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn a_group_is_told_key_by_key() {
        let keys = entries("working-set").unwrap().into_iter().map(|entry| entry.key);
        assert_eq!(keys.collect::<Vec<_>>(), of_group("working-set"));
        assert_eq!(entries("floor").unwrap(), [entry("floor").unwrap()]);
        assert!(entries("working").is_err());
    }

    #[test]
    fn what_was_hardly_meant_gets_a_suggestion() {
        assert_eq!(entry("vm.web.1.weight").unwrap().key, "vm.NAME.weight");
        assert_eq!(entry("vm.web.1").unwrap().key, "vm.NAME");
        let error = entry("vm.web1.wieght").unwrap_err();
        assert!(error.ends_with("did you mean vm.web1.weight?"), "{error}");
        let error = entry("working-set.led").unwrap_err();
        assert!(error.ends_with("did you mean working-set.lead?"), "{error}");
    }
}
