use super::*;

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn applied(paths: &[&str], values: wire::Policy, before: &Policy) -> Policy {
    let mut violations = Violations::default();
    let mask = prost_types::FieldMask { paths: paths.iter().map(ToString::to_string).collect() };
    let known = super::paths(&mask, &mut violations);
    let values = Values::read(values, NOW, &mut violations);
    assert_eq!(violations, Violations::default());
    values.applied(&known, before).unwrap()
}

fn vm(min: Option<u64>, pinned: Option<bool>) -> wire::VmPolicy {
    wire::VmPolicy { min_bytes: min, pinned, ..wire::VmPolicy::default() }
}

fn vms(vms: &[(&str, wire::VmPolicy)]) -> wire::Policy {
    let vms = vms.iter().map(|(name, vm)| ((*name).to_owned(), *vm));
    wire::Policy { vms: vms.collect(), ..wire::Policy::default() }
}

#[test]
fn only_named_fields_change_and_unset_ones_go_back_to_their_defaults() {
    let mut before = Policy { host_reserve: ByteCount::gib(1), ..Policy::default() };
    before.pool_limit = Some(ByteCount::gib(8));
    before.two_pointer.step = ByteCount::mib(60);
    let values = wire::Policy {
        floor_bytes: Some(1 << 27),
        shrink_step_bytes: Some(1 << 28),
        ..wire::Policy::default()
    };
    let after = applied(&["floor_bytes", "pool_limit_bytes"], values.clone(), &before);
    let expected = Policy { floor: ByteCount::mib(128), pool_limit: None, ..before.clone() };
    assert_eq!(after, expected);

    let zero = wire::Policy { host_reserve_bytes: Some(0), ..wire::Policy::default() };
    let none = applied(&["host_reserve_bytes"], zero, &before);
    assert_eq!(none.host_reserve, ByteCount::ZERO, "0 is a value, not the default");

    let step = applied(&["two_pointer.step_bytes"], values.clone(), &before);
    assert_eq!(step.two_pointer, Policy::default().two_pointer);
    let all = applied(&["*"], values, &before);
    let (floor, shrink_step) = (ByteCount::mib(128), ByteCount::mib(256));
    assert_eq!(all, Policy { floor, shrink_step, ..Policy::default() });
}

#[test]
fn exceptions_change_whole_singly_and_by_field() {
    let id = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";
    let gib = Some(1 << 30);
    let named = vms(&[("web.1", vm(gib, None)), (id, vm(None, Some(true)))]);
    let both = applied(&["vms"], named.clone(), &Policy::default());
    assert_eq!(both.vms.len(), 2);
    assert!(both.vms.contains_key(&VmKey::Id(id.parse().unwrap())));

    let one = applied(&["vms.`web.1`"], named.clone(), &Policy::default());
    assert_eq!(one.vms.keys().collect::<Vec<_>>(), [&VmKey::Name("web.1".to_owned())]);
    let none = applied(&["vms.`web.1`"], wire::Policy::default(), &one);
    assert_eq!(none.vms.len(), 0);

    let pinned = vms(&[("web.1", vm(None, Some(true)))]);
    let field = applied(&["vms.`web.1`.pinned"], pinned, &one);
    let expected =
        VmPolicy { min: Some(ByteCount::gib(1)), pinned: Some(true), ..VmPolicy::default() };
    assert_eq!(field.vms.values().collect::<Vec<_>>(), [&expected]);
    let cleared = applied(&["vms.`web.1`.min_bytes"], wire::Policy::default(), &one);
    assert_eq!(cleared.vms.len(), 0);
}

#[test]
fn constants_of_working_set_and_weights_change_whole_and_by_field() {
    let time = |seconds| Some(prost_types::Duration { seconds, nanos: 500_000_000 });
    let constants = wire::WorkingSet {
        headroom_bytes: Some(1 << 27),
        headroom_percent: Some(0),
        lead: time(1),
        keep_for: time(90),
        dead_band_bytes: Some(1 << 22),
        shrink_percent: Some(5),
    };
    let weight = wire::VmPolicy { weight: Some(300), ..wire::VmPolicy::default() };
    let values = wire::Policy { working_set: Some(constants), ..vms(&[("web1", weight)]) };
    let before = Policy::default();
    let expected = WorkingSet {
        headroom: ByteCount::mib(128),
        headroom_percent: 0,
        lead: Duration::from_millis(1500),
        keep_for: Duration::from_millis(90_500),
        dead_band: ByteCount::mib(4),
        shrink_percent: 5,
    };
    let whole = applied(&["working_set"], values.clone(), &before);
    assert_eq!(whole, Policy { working_set: expected, ..before.clone() });
    let defaults = applied(&["working_set"], wire::Policy::default(), &whole);
    assert_eq!(defaults, before);

    let own = Policy::default().working_set;
    for (path, only) in [
        ("headroom_bytes", WorkingSet { headroom: expected.headroom, ..own }),
        ("headroom_percent", WorkingSet { headroom_percent: 0, ..own }),
        ("lead", WorkingSet { lead: expected.lead, ..own }),
        ("keep_for", WorkingSet { keep_for: expected.keep_for, ..own }),
        ("dead_band_bytes", WorkingSet { dead_band: expected.dead_band, ..own }),
        ("shrink_percent", WorkingSet { shrink_percent: 5, ..own }),
    ] {
        let path = format!("working_set.{path}");
        assert_eq!(applied(&[&path], values.clone(), &before).working_set, only, "{path}");
        assert_eq!(applied(&[&path], wire::Policy::default(), &whole).vms.len(), 0);
        let back = applied(
            &[&path],
            wire::Policy::default(),
            &Policy { working_set: only, ..before.clone() },
        );
        assert_eq!(back, before, "{path} unset is the default");
    }
    let heavy = applied(&["vms.web1.weight"], values, &before);
    assert_eq!(heavy.vms[&"web1".into()].weight, Some(300));
    let all = applied(&["*"], wire::Policy::default(), &heavy);
    assert_eq!(all, before);
}

#[test]
fn the_end_of_a_pin_goes_with_the_pin_and_is_counted_from_the_call() {
    let pin_for = Some(prost_types::Duration { seconds: 9, nanos: 1 });
    let pin = wire::VmPolicy { pin_for, ..vm(None, Some(true)) };
    let pinned = applied(&["vms.web1.pinned"], vms(&[("web1", pin)]), &Policy::default());
    let web1 = |policy: &Policy| policy.vms.get(&"web1".into()).copied();
    let until = |seconds| VmPolicy {
        pinned: Some(true),
        unpin_at: Some(WallTime(seconds)),
        ..VmPolicy::default()
    };
    assert_eq!(web1(&pinned), Some(until(10)), "a second that has begun counts");
    let unpin_time = Some(prost_types::Timestamp { seconds: 20, nanos: 0 });
    let later = vms(&[("web1", wire::VmPolicy { unpin_time, ..vm(None, None) })]);
    let moved = applied(&["vms.web1.unpin_time"], later, &pinned);
    assert_eq!(web1(&moved), Some(until(20)));
    let for_good = vms(&[("web1", vm(None, Some(true)))]);
    let stays = applied(&["vms.web1.pinned"], for_good, &moved);
    assert_eq!(web1(&stays).and_then(|vm| vm.unpin_at), None, "a new pin replaces it");
    assert_eq!(web1(&applied(&["vms.web1.pinned"], wire::Policy::default(), &moved)), None);
}

#[test]
fn the_end_of_a_pin_that_is_none_is_refused_by_its_field() {
    let refused = |unpin_time, pin_for| {
        let mut violations = Violations::default();
        let own = wire::VmPolicy { unpin_time, pin_for, ..vm(None, Some(true)) };
        Values::read(vms(&[("a.b", own)]), NOW, &mut violations);
        violations.check().unwrap_err().message().to_owned()
    };
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let length = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    assert!(refused(time(-1), None).starts_with("vms.`a.b`.unpin_time: "));
    assert!(refused(None, length(0)).contains("vms.`a.b`.pin_for: 0 s and 0 ns: must be"));
    assert!(refused(time(1), length(1)).contains("pin_for: stands beside unpin_time"));
}

#[test]
fn a_mask_of_pins_alone_is_told_from_others() {
    let names_pins_alone = |paths: &[&str]| {
        let paths = paths.iter().map(ToString::to_string).collect();
        names_pins_alone(&prost_types::FieldMask { paths })
    };
    assert!(names_pins_alone(&["vms.web1.pinned", "vms.`a b`.unpin_time"]));
    for other in [&[][..], &["vms.web1"], &["vms.web1.pinned", "vms.web1.min_bytes"], &["vms"]] {
        assert!(!names_pins_alone(other), "{other:?}");
    }
}

#[test]
fn a_time_that_is_none_is_refused_by_its_field() {
    let lead = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    let constants = wire::WorkingSet { lead, ..wire::WorkingSet::default() };
    let mut violations = Violations::default();
    let policy = wire::Policy { working_set: Some(constants), ..wire::Policy::default() };
    Values::read(policy, NOW, &mut violations);
    let told = violations.check().unwrap_err();
    assert!(told.message().starts_with("working_set.lead: -1 s"), "{}", told.message());
}

#[test]
fn refuses_paths_that_name_nothing() {
    let bad = [
        "",
        "floor",
        "Floor_bytes",
        "two_pointer.",
        "two_pointer.step",
        "vms.",
        "vms.web.1",
        "vms.web1.",
        "vms.web1.min",
        "vms.web1.unpin_at",
        "vms.web1.pin_for",
        "vms.`web1",
        "vms.``",
        "vms.`a`b",
        "vms.my vm",
        " *",
    ];
    for bad in bad {
        assert_eq!(path(bad), None, "{bad}");
    }
    let long = format!("vms.{}", "n".repeat(limits::NAME + 1));
    assert_eq!(path(&long), None);
}

#[test]
fn refuses_names_that_mean_the_same_vm() {
    let id = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";
    let mut violations = Violations::default();
    let twice = vms(&[(id, vm(None, None)), (&id.to_uppercase(), vm(None, None))]);
    Values::read(twice, NOW, &mut violations);
    assert_ne!(violations, Violations::default());
}

#[test]
fn faults_of_the_core_get_the_paths_of_the_wire() {
    let mut policy = Policy { floor: ByteCount::ZERO, ..Policy::default() };
    policy.two_pointer.step = ByteCount::ZERO;
    policy.working_set = WorkingSet {
        headroom: ByteCount::ZERO,
        headroom_percent: 201,
        lead: Duration::from_secs(61),
        keep_for: Duration::ZERO,
        dead_band: ByteCount::ZERO,
        shrink_percent: 76,
    };
    let unpin_at = Some(WallTime(1));
    let (max, weight) = (Some(ByteCount::ZERO), Some(0));
    let tiny = VmPolicy { max, weight, unpin_at, ..VmPolicy::default() };
    policy.vms = [("a.b".into(), tiny), ("c".into(), tiny)].into();
    policy.floor = ByteCount::mib(1);
    let faults = policy.validate();
    let paths: Vec<String> = faults.iter().map(|fault| wire_path(&fault.path)).collect();
    let known: Vec<_> = paths.iter().map(|path| super::path(path)).collect();
    assert!(known.iter().all(Option::is_some), "{paths:?}");
    assert_eq!(paths.len(), 14);
}
