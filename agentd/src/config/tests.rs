//! What a config may say, and what is told of one that makes no sense.

use agentd_core::policy::{Algorithm, WorkingSet};

use super::*;

#[test]
fn the_default_file_is_the_defaults() {
    assert_eq!(Config::parse("agentd.toml", DEFAULT_FILE), Ok(Config::default()));
    assert_eq!(Config::parse("empty.toml", ""), Ok(Config::default()));
}

#[test]
fn errors_name_file_line_key_value_and_what_would_be_right() {
    let table = [
        (
            "interval = 1",
            "a.toml:1: interval is no key that is known: there is host, mode, \
          listen, tls, hypervisor, tick, state, process, api, authz, bounds, audit, recording, log, shadow, policy",
        ),
        (
            "[tick]\nintervall = \"1s\"",
            "a.toml:2: tick.intervall is no key that is known: did \
          you mean \"interval\"?",
        ),
        (
            "[tick]\ninterval = 2",
            "a.toml:2: tick.interval = 2: must be a duration in quotes, \
          for example \"10s\"",
        ),
        (
            "[tick]\ninterval = \"2d\"",
            "a.toml:2: tick.interval = \"2d\": \"d\" is no unit of \
          time: use ms, s, m or h, the larger ones first",
        ),
        (
            "[tick]\ninterval = \"1ms\"",
            "a.toml:2: tick.interval = \"1ms\": must be from 100ms \
          to 1h",
        ),
        (
            "[tick]\nsettle = \"1500ms\"",
            "a.toml:2: tick.settle = \"1500ms\": must be from 0s \
          to 1s",
        ),
        (
            "mode = \"on\"",
            "a.toml:1: mode = \"on\": must be one of \"active\", \"observe\", \
          \"paused\"",
        ),
        (
            "[policy]\nfloor = \"8MiB\"",
            "a.toml:2: policy.floor = \"8MiB\": must be at least \
          16 MiB",
        ),
        (
            "[policy]\nhost_reserve = \"200MB\"",
            "a.toml:2: policy.host_reserve = \"200MB\": \
          \"MB\" is no unit: use B, KiB, MiB, GiB or TiB",
        ),
        (
            "[policy.vms.db1]\nmin = \"2GiB\"\nmax = \"1GiB\"",
            "a.toml:2: policy.vms.db1.min = \
          \"2GiB\": must be at most the VM's max, which is 1 GiB",
        ),
        (
            "[policy]\nalgorithm = \"best\"",
            "a.toml:2: policy.algorithm = \"best\": \"best\" is \
          no algorithm: there is two-pointer, working-set",
        ),
        ("[listen", "a.toml:1: unclosed table, expected `]`"),
        (
            "host = 7\n[api]\nmax_watchers = -1\n[policy]\nfloor = 1",
            "a.toml:1: host = 7: must be a text in quotes\na.toml:3: api.max_watchers = -1: must \
          be a whole number from 0 to 10000\na.toml:5: policy.floor = 1: must be an amount of \
          memory in quotes, for example \"512MiB\"",
        ),
    ];
    for (text, expected) in table {
        refused(text, expected);
    }
}

#[test]
fn constants_weights_and_guarantees_that_cannot_be_are_errors() {
    let table = [
        (
            "[policy.working_set]\nlead = 3",
            "a.toml:2: policy.working_set.lead = 3: must be a duration in quotes, for \
          example \"10s\"",
        ),
        (
            "[policy.working_set]\nlead = \"61s\"",
            "a.toml:2: policy.working_set.lead = \"61s\": must be at most 60s",
        ),
        (
            "[policy.working_set]\nheadroom_percent = 5000000000",
            "a.toml:2: policy.working_set.headroom_percent = 5000000000: must be a whole \
          number from 0 to 4294967295",
        ),
        (
            "[policy.working_set]\nhedroom = \"1GiB\"",
            "a.toml:2: policy.working_set.hedroom is no key that is known: did you mean \
          \"headroom\"?",
        ),
        (
            "[policy.vms.db1]\nweight = 0",
            "a.toml:2: policy.vms.db1.weight = 0: must be from 1 to 10000",
        ),
        (
            "[policy]\npool_limit = \"1GiB\"\n[policy.vms.db1]\nmin = \"2GiB\"",
            "a.toml:2: policy.pool_limit = \"1GiB\": must be at least 2 GiB, what minimums \
          of VMs guarantee: db1 2 GiB",
        ),
    ];
    for (text, expected) in table {
        refused(text, expected);
    }
}

fn refused(text: &str, expected: &str) {
    let error = Config::parse("a.toml", text).map_err(|error| error.to_string());
    assert_eq!(error, Err(expected.to_owned()), "{text}");
}

#[test]
fn files_have_one_place_wherever_agentd_was_started() {
    for key in ["freeze_file", "dir"] {
        let text = format!("[state]\n{key} = \"state/x\"");
        let error = Config::parse("a.toml", &text).unwrap_err();
        let expected = format!("a.toml:2: state.{key} = \"state/x\": must be an absolute path");
        assert_eq!(error.to_string(), expected);
    }
    let config = Config::parse("a.toml", "[state]\nfreeze_file = \"/run/x\"").unwrap();
    assert_eq!(config.freeze_file, Some(PathBuf::from("/run/x")));
}

#[test]
fn the_constants_of_working_set_and_weights_are_read() {
    let text = "[policy]\nalgorithm = \"working-set\"\n[policy.working_set]\n\
                headroom = \"128MiB\"\nheadroom_percent = 20\nlead = \"500ms\"\n\
                keep_for = \"5m\"\ndead_band = \"8MiB\"\nshrink_percent = 0\n[policy.vms.db1]\nweight = 400";
    let policy = Config::parse("a.toml", text).unwrap().policy;
    let expected = WorkingSet {
        headroom: ByteCount::mib(128),
        headroom_percent: 20,
        lead: Duration::from_millis(500),
        keep_for: Duration::from_secs(300),
        dead_band: ByteCount::mib(8),
        shrink_percent: 0,
    };
    assert_eq!((policy.algorithm, policy.working_set), (Algorithm::WorkingSet, expected));
    assert_eq!(policy.vms[&"db1".into()].weight, Some(400));
}

#[test]
fn tls_names_all_three_files_or_none() {
    let named = |text: &str| Config::parse("a.toml", &format!("[tls]\n{text}"));
    let whole = "cert = \"/c\"\nkey = \"/k\"\nclient_ca = \"/a\"\n";
    let tls = named(whole).unwrap().tls.unwrap();
    assert_eq!((tls.key, tls.client_crl, tls.client_deny), (PathBuf::from("/k"), None, None));
    assert_eq!(tls.client_validity, Duration::from_secs(100 * 86_400));
    assert_eq!(named("cert = \"\"\nkey = \"\"").unwrap().tls, None);
    let table = [
        ("key = \"/k\"", "a.toml:1: tls.cert is missing: write for example cert = "),
        ("cert = \"\"\nkey = \"/k\"", "a.toml:2: tls.cert = \"\": must name a file"),
        ("client_deny = \"/d\"", "a.toml:1: tls.cert is missing"),
        ("cert = \"c.pem\"", "a.toml:2: tls.cert = \"c.pem\": must be an absolute path"),
        ("client_auth = false", "a.toml:2: tls.client_auth is no key that is known"),
        ("client_validity = \"1m\"", "a.toml:2: tls.client_validity = \"1m\": must be from 1h"),
    ];
    for (text, expected) in table {
        let error = named(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}

#[test]
fn waits_follow_the_interval() {
    let config = Config::parse("a.toml", "[tick]\ninterval = \"400ms\"").unwrap();
    assert_eq!(config.tick.settle(), Duration::from_millis(200));
    assert_eq!(config.tick.call_timeout(), Duration::from_millis(500));
}

#[test]
fn who_has_which_role_is_read() {
    let text = "[authz]\nlocal_admin_uids = [0, 1000]\nlocal_operator_groups = [\"ops\", 990]\n\
                local_reader_groups = []";
    let authz = Config::parse("a.toml", text).unwrap().authz;
    let expected = AuthzConfig {
        local_admin_uids: vec![0, 1000],
        local_operator_groups: vec![Group::Name("ops".to_owned()), Group::Id(990)],
        local_reader_groups: Vec::new(),
    };
    assert_eq!(authz, expected);
    for (text, expected) in [
        (
            "[authz]\nlocal_admin_uids = [\"root\"]",
            "a.toml:2: authz.local_admin_uids[0] = \"root\": must be a whole number from 0 to 4294967295",
        ),
        (
            "[authz]\nlocal_operator_groups = [true]",
            "a.toml:2: authz.local_operator_groups[0] = true: must be a group's name in quotes, or \
          its number",
        ),
        (
            "[authz]\nlocal_reader_groups = [\"\"]",
            "a.toml:2: authz.local_reader_groups[0] = \"\": a group's name has 1 to 256 bytes in one line",
        ),
        (
            "[authz]\nlocal_reader_group = [\"x\"]",
            "a.toml:2: authz.local_reader_group is no key that is known: did you mean \
          \"local_reader_groups\"?",
        ),
    ] {
        refused(text, expected);
    }
}

#[test]
fn a_policy_beyond_the_bounds_beside_it_is_an_error_and_one_that_is_left_out_is_within() {
    let bounds = "[bounds]\nfloor = \"256MiB\"\nhost_reserve = \"2GiB\"\nshrink_step = \"32MiB\"\n\
                  shrink_percent = 10\n";
    let config = Config::parse("a.toml", bounds).unwrap();
    let policy = &config.policy;
    assert_eq!((policy.floor, policy.host_reserve), (ByteCount::mib(256), ByteCount::gib(2)));
    assert_eq!((policy.shrink_step, policy.working_set.shrink_percent), (ByteCount::mib(32), 10));
    let config = Config::parse("a.toml", &format!("{bounds}[policy]\nfloor = \"1GiB\"")).unwrap();
    assert_eq!(config.policy.floor, ByteCount::gib(1));
    assert_eq!(config.policy.host_reserve, ByteCount::gib(2));
    let fixed = "in [bounds] of agentd's config, which root alone changes";
    refused(
        &format!("{bounds}[policy]\nfloor = \"128MiB\""),
        &format!("a.toml:7: policy.floor = \"128MiB\": must be at least 256 MiB, floor {fixed}"),
    );
    refused(
        &format!("{bounds}[policy.working_set]\nshrink_percent = 25"),
        &format!(
            "a.toml:7: policy.working_set.shrink_percent = 25: must be at most 10, shrink_percent {fixed}"
        ),
    );
    refused(
        "[bounds]\nshrink_step = \"1KiB\"",
        "a.toml:2: bounds.shrink_step = \"1KiB\": must be at least 1 MiB",
    );
    refused(
        "[bounds]\nfloor = 1",
        "a.toml:2: bounds.floor = 1: must be an amount of memory in \
          quotes, for example \"512MiB\"",
    );
}

#[test]
fn the_default_file_says_what_else_a_vm_may_give_in_a_tick() {
    let above = DEFAULT_FILE.split("\nshrink_step = \"64MiB\"").next().unwrap();
    let comment = above.rsplit("\n\n").next().unwrap();
    assert!(comment.contains("working-set") && comment.contains("shrink_percent"), "{comment}");
}
