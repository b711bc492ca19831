//! What a scenario may say, and what it is told when it says something else.

use std::{path::Path, time::Duration};

use agentd_core::{bytes::ByteCount, sample::Share};

use super::{Kind, Numbers, Scenario, Window, derived_id};

const GOOD: &str = r#"tick_interval = "1s"
seed = 1
[sim]
ideal = true
[host]
total = "8GiB"
other = "1GiB"
[[vm]]
name = "web1"
uuid = "00000000-0000-0000-0000-000000000001"
max = "2GiB"
actual = "512MiB"
demand = [{ at = "0s", used = "150MiB" }, { at = "10s", used = "900MiB" }]
"#;

fn parse(text: &str) -> Scenario {
    Scenario::parse("demo.toml", text).unwrap_or_else(|error| panic!("{error}"))
}

/// The error of the good scenario with `from` replaced by `to`.
fn error(from: &str, to: &str) -> String {
    let text = GOOD.replacen(from, to, 1);
    assert_ne!(text, GOOD, "{from} does not occur");
    Scenario::parse("demo.toml", &text).unwrap_err().to_string()
}

#[test]
fn reads_the_documented_form() {
    let scenario = parse(GOOD);
    assert_eq!(scenario.tick_interval, Duration::from_secs(1));
    assert!(scenario.sim.ideal);
    assert_eq!(scenario.host.total, ByteCount::gib(8));
    assert_eq!(scenario.host.other.at(Duration::ZERO), ByteCount::gib(1));
    let [vm] = &scenario.vms[..] else { panic!("one VM") };
    assert_eq!(vm.id.to_string(), "00000000-0000-0000-0000-000000000001");
    assert_eq!(vm.demand.at(Duration::from_secs(5)), ByteCount::mib(525));
    assert_eq!((vm.life, scenario.policy), (Window::ALWAYS, None));
}

#[test]
fn reads_everything_that_is_optional() {
    let scenario = parse(
        r#"
        policy = { host_reserve = "100MiB" }
        host = { total = "8GiB", other = [{ at = "0s", used = "1GiB" }, { at = "5s", used = "2GiB" }] }
        [sim]
        shrink_rate = "1GiB"
        silent = [{ from = "5s", until = "7s" }, { from = "20s" }]
        [[vm]]
        name = "db"
        max = "2GiB"
        actual = "1GiB"
        demand = "300MiB"
        start = "5s"
        stop = "1m"
        watermark = "20MiB"
        behaviour = ["stuck", { kind = "reboots", from = "20s", every = "30s" }]
        "#,
    );
    assert_eq!((scenario.tick_interval.as_secs(), scenario.seed), (1, 1));
    assert_eq!(scenario.host.other.at(Duration::from_secs(5)), ByteCount::gib(2));
    assert_eq!(scenario.sim.silent.len(), 2);
    assert_eq!(scenario.policy.map(|policy| policy.host_reserve), Some(ByteCount::mib(100)));
    let vm = &scenario.vms[0];
    let numbers = Numbers {
        shrink_rate: ByteCount::gib(1),
        watermark: ByteCount::mib(20),
        ..Numbers::default()
    };
    assert_eq!((vm.id, vm.numbers), (derived_id("db"), numbers));
    let kinds: Vec<_> = vm.behaviours.iter().map(|behaviour| behaviour.kind).collect();
    assert_eq!(kinds, [Kind::Stuck, Kind::Reboots]);
    assert!(!vm.life.holds_at(Duration::from_secs(60)));
}

#[test]
fn pressure_is_in_percent_and_all_work_waits_at_most_when_some_does() {
    let text = |spell: &str| {
        let host = format!("other = \"1GiB\"\npressure = [{spell}]");
        GOOD.replace("ideal = true", "").replace("other = \"1GiB\"", &host)
    };
    let error = |spell| Scenario::parse("demo.toml", &text(spell)).unwrap_err().to_string();
    for (spell, expected) in [
        ("{ from = \"1s\" }", ".some is missing: write for example some = 40"),
        ("{ some = 1 }", ".from is missing: write for example from = \"10s\""),
        ("{ from = \"1s\", some = 101 }", ".some = 101: must be a whole number from 0 to 100"),
        (
            "{ from = \"1s\", some = 10, full = 20 }",
            ".full = 20: must be at most some, which is 10.00 %",
        ),
    ] {
        assert_eq!(error(spell), format!("demo.toml:8: host.pressure[0]{expected}"));
    }
    let scenario = parse(&text("{ from = \"1s\", some = 10 }"));
    let [spell] = &scenario.host.pressure[..] else { panic!("one spell") };
    assert_eq!((spell.pressure.some, spell.pressure.full), (Share(1_000), Share(0)));
}

#[test]
fn a_derived_uuid_never_changes() {
    assert_eq!(derived_id("web1").to_string(), "69db22b4-2c75-8277-b806-e997b9879538");
    assert_ne!(derived_id("web1"), derived_id("web2"));
}

#[test]
fn every_error_names_file_line_key_value_and_what_would_be_right() {
    for (from, to, expected) in ERRORS {
        assert_eq!(error(from, to), *expected);
    }
}

#[test]
fn no_two_vms_share_a_name_or_a_uuid() {
    let with = |name: &str, uuid: &str| {
        let vm = format!(
            "[[vm]]\nname = \"{name}\"\n{uuid}max = \"1GiB\"\nactual = \"1GiB\"\ndemand = \"1GiB\"\n"
        );
        Scenario::parse("demo.toml", &format!("{GOOD}{vm}")).unwrap_err().to_string()
    };
    assert_eq!(
        with("web1", ""),
        "demo.toml:15: vm[1].name = \"web1\": vm[0] has this name at the same time: each VM needs its own"
    );
    assert_eq!(
        with("web2", "uuid = \"00000000000000000000000000000001\"\n"),
        "demo.toml:16: vm[1].uuid = \"00000000000000000000000000000001\": vm[0] has the UUID \
         00000000-0000-0000-0000-000000000001: each VM needs its own"
    );
}

#[test]
fn behaviours_say_which_kinds_and_keys_there_are() {
    let error = |behaviour: &str| {
        let text = GOOD.replace("ideal = true", "ideal = false");
        let text = format!("{text}behaviour = {behaviour}\n");
        Scenario::parse("demo.toml", &text).unwrap_err().to_string()
    };
    for (behaviour, expected) in [
        ("\"stukc\"", "vm[0].behaviour = \"stukc\": did you mean \"stuck\"?"),
        (
            "\"foreign-order\"",
            "vm[0].behaviour = \"foreign-order\": needs an amount: write for example { kind = \"foreign-order\", amount = \"1GiB\" }",
        ),
        (
            "[\"max-changes\"]",
            "vm[0].behaviour[0] = \"max-changes\": needs an amount: write for example { kind = \"max-changes\", amount = \"1GiB\" }",
        ),
        ("[\"lying\", 3]", "vm[0].behaviour[1] = 3: must be a table: { ... }"),
        (
            "[{ from = \"1s\" }]",
            "vm[0].behaviour[0].kind is missing: write for example kind = \"stuck\"",
        ),
        (
            "{ kind = \"stuck\", rate = \"1MiB\" }",
            "vm[0].behaviour.rate is no key that is known: there is kind, from, until",
        ),
        (
            "{ kind = \"lying\", claims = \"much\" }",
            "vm[0].behaviour.claims = \"much\": must be one of nothing-unused, all-unused, sawtooth, absurd, garbage, absent",
        ),
        (
            "{ kind = \"reboots\", every = \"1ms\" }",
            "vm[0].behaviour.every = \"1ms\": must be at least 100ms",
        ),
        (
            "{ kind = \"partial\", percent = 101 }",
            "vm[0].behaviour.percent = 101: must be a whole number from 0 to 100",
        ),
        (
            "{ kind = \"max-changes\" }",
            "vm[0].behaviour.amount is missing: write for example amount = \"1GiB\"",
        ),
        (
            "{ kind = \"foreign-order\" }",
            "vm[0].behaviour.amount is missing: write for example amount = \"1GiB\"",
        ),
    ] {
        assert_eq!(error(behaviour), format!("demo.toml:14: {expected}"));
    }
    assert!(error("\"takse-back\"").ends_with("did you mean \"takes-back\"?"));
    assert!(error("\"fast\"").contains("must be one of stuck, slow, partial, intermittent"));
    assert!(error("{ kind = \"foreign-order\", amount = \"9GiB\" }").contains("at most max"));
}

#[test]
fn the_bundled_scenarios_make_sense() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/scenarios");
    for name in ["demo", "one-grows", "all-grow", "two-grow-one-stops"] {
        let scenario = Scenario::load(&folder.join(name).with_extension("toml"));
        assert_eq!(scenario.map(|scenario| scenario.vms.len()).ok(), Some(4), "{name}");
    }
    let missing = Scenario::load(Path::new("/nowhere.toml")).unwrap_err().to_string();
    assert!(missing.starts_with("cannot read the scenario /nowhere.toml: "), "{missing}");
}

/// What is replaced in the good scenario, by what, and what is said of it.
const ERRORS: &[(&str, &str, &str)] = &[
    (
        "actual",
        "actaul",
        "demo.toml:12: vm[0].actaul is no key that is known: did you mean \"actual\"?",
    ),
    ("seed", "sim.seed", "demo.toml:3: duplicate key"),
    (
        "\"8GiB\"",
        "\"8GB\"",
        "demo.toml:6: host.total = \"8GB\": \"GB\" is no unit: use B, KiB, MiB, GiB or TiB",
    ),
    (
        "\"8GiB\"",
        "8",
        "demo.toml:6: host.total = 8: must be an amount of memory in quotes, for example \"512MiB\"",
    ),
    (
        "\"8GiB\"",
        "\"1.4GiB\"",
        "demo.toml:6: host.total = \"1.4GiB\": must be at least other, 1 GiB, and every actual, 512 MiB in all",
    ),
    (
        "\"1s\"",
        "\"1\"",
        "demo.toml:1: tick_interval = \"1\": \"1\" has no unit: write for example \"1s\"",
    ),
    ("ideal = true", "step = \"2s\"", "demo.toml:4: sim.step = \"2s\": must be from 1ms to 1s"),
    (
        "ideal = true",
        "ideal = true\nstep = \"20ms\"",
        "demo.toml:5: sim.step = \"20ms\": has no effect with sim.ideal = true: leave out one of the two",
    ),
    (
        "other = \"1GiB\"\n",
        "other = \"1GiB\"\npressure = []\n",
        "demo.toml:8: host.pressure = []: has no effect with sim.ideal = true: leave out one of the two",
    ),
    ("\"1s\"", "\"2h\"", "demo.toml:1: tick_interval = \"2h\": must be from 2ms to 1h"),
    (
        "seed = 1",
        "seed = -1",
        "demo.toml:2: seed = -1: must be a whole number from 0 to 18446744073709551615",
    ),
    ("ideal = true", "ideal = 1", "demo.toml:4: sim.ideal = 1: must be true or false"),
    (
        "ideal = true",
        "idael = true",
        "demo.toml:4: sim.idael is no key that is known: did you mean \"ideal\"?",
    ),
    (
        "name = \"web1\"",
        "name = \"host\"",
        "demo.toml:9: vm[0].name = \"host\": means the host itself in transfers: choose another name",
    ),
    (
        "name = \"web1\"\n",
        "",
        "demo.toml:8: vm[0].name is missing: write for example name = \"web1\"",
    ),
    (
        "\"00000000-0000-0000-0000-000000000001\"",
        "\"1\"",
        "demo.toml:10: vm[0].uuid = \"1\": \"1\" is no UUID: it takes 32 hex digits, for example 00000000-0000-0000-0000-000000000001",
    ),
    (
        "\"512MiB\"",
        "\"3GiB\"",
        "demo.toml:12: vm[0].actual = \"3GiB\": must be at most max, which is 2 GiB",
    ),
    ("\"512MiB\"", "\"8MiB\"", "demo.toml:12: vm[0].actual = \"8MiB\": must be at least 16 MiB"),
    (
        "\"10s\"",
        "\"soon\"",
        "demo.toml:13: vm[0].demand[1].at = \"soon\": a duration is a number with a unit, for example \"10s\", \"1m30s\" or \"500ms\"",
    ),
    (
        "\"0s\"",
        "\"20s\"",
        "demo.toml:13: vm[0].demand[1].at = \"10s\": must not be before the last point, at 20s",
    ),
    (
        "demand = [",
        "behaviour = \"stuck\"\ndemand = [",
        "demo.toml:13: vm[0].behaviour = \"stuck\": has no effect with sim.ideal = true: leave out one of the two",
    ),
    (
        "demand = [",
        "start = \"9s\"\nstop = \"9s\"\ndemand = [",
        "demo.toml:14: vm[0].stop = \"9s\": must be after start, which is 9s",
    ),
    (
        "[host]\ntotal = \"8GiB\"\nother = \"1GiB\"\n",
        "",
        "demo.toml:1: host is missing: write for example host = { total = \"8GiB\", other = \"1GiB\" }",
    ),
    ("[host]", "[host", "demo.toml:5: unclosed table, expected `]`"),
];

#[test]
fn reads_reservations_and_refuses_what_nobody_could_reserve() {
    let with = |own: &str| Scenario::parse("demo.toml", &format!("{GOOD}{own}"));
    let text = "[[reservation]]\nfrom = \"5s\"\nuntil = \"9s\"\nmin = \"1GiB\"\nvm = \"db7\"\n";
    let later = text.replace("9s", "12s").replace("5s", "9s");
    let scenario = with(&format!("{text}{later}")).unwrap();
    let [one, two] = &scenario.reservations[..] else { panic!("two reservations") };
    assert_eq!((one.min, one.max), (ByteCount::gib(1), ByteCount::gib(1)));
    assert_eq!((&one.vm, &two.vm), (&Some("db7".into()), &Some("db7".into())));
    assert_eq!(
        (two.during.from, two.during.until),
        (Duration::from_secs(9), Some(Duration::from_secs(12)))
    );
    let error = |own: String| with(&own).unwrap_err().to_string();
    assert_eq!(
        error(format!("{text}{text}")),
        "demo.toml:23: reservation[1].vm = \"db7\": reservation[0] is for this VM at the same time"
    );
    assert_eq!(
        error(format!("{text}max = \"512MiB\"\n")),
        "demo.toml:19: reservation[0].max = \"512MiB\": must be at least min, which is 1 GiB"
    );
    assert!(error(text.replace("1GiB", "0B")).ends_with("must be more than nothing"));
    assert!(error(text.repeat(17)).contains("must have at most 16 items"));
}

#[test]
fn the_policy_of_the_book_is_one() {
    let book = include_str!("../../../../docs/SCENARIOS.md");
    let examples: String =
        book.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let policy = parse(&examples).policy.unwrap();
    assert_eq!(policy.host_reserve, ByteCount::mib(400));
    assert_eq!(policy.working_set.lead, Duration::from_secs(5));
    let web1 = policy.vms[&"web1".into()];
    assert_eq!((web1.min, web1.weight), (Some(ByteCount::mib(384)), Some(200)));
}
