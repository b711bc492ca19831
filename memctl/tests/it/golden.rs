//! Every command in every format, with no host, one host, and three of which one is down, compared
//! with the files of `tests/golden`. MEMCTL_GOLDEN=update writes them anew: read the difference.

use std::path::PathBuf;

use crate::agent::{Agent, Script, send};
use crate::memctl::{Run, World};
use crate::sample;
use crate::schema;

const FORMATS: [&str; 6] = ["table", "wide", "json", "jsonl", "yaml", "name"];

/// Runs a command in every situation and compares each with its file.
async fn check(name: &str, args: &[&str]) {
    for (situation, up, configured) in [
        ("none", &[][..], &[][..]),
        ("one", &["node1"][..], &["node1"][..]),
        ("three", &["node1", "node3"][..], &["node1", "node2", "node3"][..]),
    ] {
        let world = World::new();
        if !configured.is_empty() {
            world.configure(configured);
        }
        for host in up {
            let streams = FORMATS.iter().map(|_| send(sample::story())).collect();
            let trial_until = sample::time(600).filter(|_| name == "policy_confirm");
            let script = Script { streams, trial_until, ..Default::default() };
            Agent::start(&world.path(&format!("{host}.sock")), script);
        }
        let mut text = String::new();
        for format in FORMATS {
            let all: Vec<&str> = [&["-o", format, "--utc"], args].concat();
            let mut run = world.run(&all).await;
            if name.starts_with("watch") {
                run = settled(&run, format, situation == "three");
            }
            let is_text = ["as_file", "plot"].iter().any(|end| name.ends_with(end));
            if format.starts_with("json") && !is_text {
                schema::check_all(&run.stdout);
            }
            if unsteady(name) {
                run.stdout = steady(&run.stdout);
            }
            text.push_str(&format!("$ memctl {}\n{}", all.join(" "), told(&run)));
        }
        compare(&format!("{name}.{situation}.txt"), &text);
        if situation == "one" && !unsteady(name) && !args.contains(&"--sort-by") {
            check_order(&world, args).await;
        }
    }
}

/// One host comes in one order, whatever is listed of it: what there is to sort by is of what is shown.
async fn check_order(world: &World, args: &[&str]) {
    let plain = world.run(&[args, &["--utc"]].concat()).await;
    let sorted = world.run(&[args, &["--utc", "--sort-by", "host"]].concat()).await;
    if !sorted.stderr.contains("prints no table") {
        assert_eq!((sorted.exit, sorted.stdout), (plain.exit, plain.stdout), "{args:?}");
    }
}

fn told(run: &Run) -> String {
    let mut text = run.stdout.clone();
    text.extend(run.stderr.lines().map(|line| format!("stderr: {line}\n")));
    text.push_str(&format!("exit: {}\n\n", run.exit));
    text.replace(env!("CARGO_PKG_VERSION"), "VERSION").replace(sample::AGENT_VERSION, "9.8.7")
}

/// Commands that tell how long something took.
fn unsteady(name: &str) -> bool {
    ["host_test", "wait", "doctor"].iter().any(|unsteady| name.starts_with(unsteady))
}

/// The output without the time that things took, nor the width of a column of it.
fn steady(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let mut steady = String::new();
        let mut rest = line;
        while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
            let (before, from) = rest.split_at(at);
            let end = from.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(from.len());
            let (number, after) = from.split_at(end);
            let word = after.split_whitespace().next().unwrap_or_default();
            let named = ["seconds\":", "seconds\": ", "seconds: "];
            let told = named.iter().any(|name| before.ends_with(name));
            let is_time = told || ["ms", "s"].contains(&word) || word.starts_with("ms\"");
            steady.extend([before, if is_time { "N" } else { number }]);
            rest = after;
        }
        steady.push_str(rest);
        let is_table = !line.starts_with([' ', '{']);
        while is_table && steady.contains("   ") {
            steady = steady.replace("   ", "  ");
        }
        format!("{steady}\n")
    });
    lines.collect()
}

/// A stream says when it noticed that a host is down or ended; of several hosts it comes in any
/// order.
fn settled(run: &Run, format: &str, sorted: bool) -> Run {
    let divider = if format == "yaml" { "---\n" } else { "\n" };
    let mut records: Vec<String> = run.stdout.split(divider).map(without_our_clock).collect();
    let mut messages: Vec<&str> = run.stderr.lines().collect();
    if sorted {
        // What stands before the first divider of YAML, and behind the last one of lines, is empty
        // and stays where it is.
        let lines = if format == "yaml" { 1..records.len() } else { 0..records.len() - 1 };
        records[lines].sort();
        messages.sort_unstable();
    }
    Run { stdout: records.join(divider), stderr: messages.join("\n"), exit: run.exit }
}

fn without_our_clock(record: &str) -> String {
    let host = record.contains("type\":\"host\"") || record.starts_with("type: host");
    match (host, record.find("20"), record.find('Z')) {
        (true, Some(start), Some(end)) if start < end => {
            format!("{}TIME{}", &record[..start], &record[end + 1..])
        }
        _ => record.to_owned(),
    }
}

pub(crate) fn compare(file: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os("MEMCTL_GOLDEN").is_some_and(|v| v == "update") {
        std::fs::write(&path, text).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(!text.contains('\u{1b}'), "{file}: an escape sequence reached the output");
    if want != text {
        let line = want.lines().zip(text.lines()).position(|(w, t)| w != t);
        let at = line.unwrap_or_else(|| want.lines().count().min(text.lines().count()));
        panic!(
            "{file} line {}:\nwant {:?}\ngot  {:?}\nMEMCTL_GOLDEN=update takes the new one",
            at + 1,
            want.lines().nth(at),
            text.lines().nth(at)
        );
    }
}

macro_rules! goldens {
    ($($name:ident: $($arg:expr),+;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            check(stringify!($name), &[$($arg),+]).await;
        })*
    };
}

goldens! {
    status: "status";
    vms: "vms";
    vms_columns: "vms", "--columns", "name,actual,figures_age,verdict.reason", "--sort-by", "-actual";
    status_columns: "status", "--columns", "mode,pool.kept,conditions.reason,host_time";
    watch: "watch", "--oldest", "--no-follow", "--no-reconnect";
    explain: "explain", "web1";
    history: "history", "web1";
    history_of_several: "history", "web1", "00000000-0000-0000-0000-000000000003", "--step", "15m";
    history_all: "history", "--all";
    history_plot: "history", "--all", "--plot", "-";
    policy_get: "policy", "get";
    policy_set: "policy", "set", "two-pointer.step=60MiB", "--revert-after", "10m", "-y";
    policy_set_dry_run: "policy", "set", "two-pointer.step=60MiB", "--dry-run";
    policy_diff: "policy", "diff", "two-pointer.step=60MiB";
    policy_diff_defaults: "policy", "diff", "--defaults";
    policy_confirm: "policy", "confirm", "-y";
    policy_revert: "policy", "revert", "2", "-y";
    policy_history: "policy", "history";
    policy_explain: "policy", "explain", "working-set.lead", "vm.web1.weight";
    policy_explain_unknown: "policy", "explain", "working-set.led";
    watch_shadow: "watch", "--shadow", "--kind", "tick", "--oldest", "--no-follow", "--no-reconnect";
    shadow_status: "shadow", "status";
    shadow_set: "shadow", "set", "algorithm=working-set", "--reason", "to see";
    shadow_off: "shadow", "off";
    policy_unset: "policy", "unset", "pool-limit", "vm.db1", "-y";
    policy_apply_without_a_file: "policy", "apply", "-f", "/nonexistent/policy.toml";
    policy_get_as_file: "policy", "get", "--as-file";
    mode: "mode";
    mode_set_observe: "mode", "observe", "-y";
    pin: "pin", "web1", "--for", "1h", "-H", "node1";
    pin_ambiguous: "pin", "web1";
    unpin_what_is_not_pinned: "unpin", "web1", "-H", "node1";
    wait: "wait", "--for", "mode=active", "--for", "vm=web1:gone", "--within", "1ms";
    wait_for_what_is_so: "wait", "--for", "ready", "--within", "10ms";
    host_test: "host", "test";
    host_show: "host", "show";
    host_show_unknown: "host", "show", "nod1";
    host_use_nobody: "host", "use", "nod1";
    config_path: "config", "path";
    config_view: "config", "view";
    config_check: "config", "check";
    doctor: "doctor";
    schema_unknown: "schema", "Statuslist";
    mode_set: "mode", "paused", "--reason", "maintenance";
    reserve: "reserve", "2GiB..4GiB", "--vm", "db7", "--wait-for", "1ms", "-y";
    reserve_no_wait: "reserve", "2GiB", "--no-wait", "-y";
    reservations: "reservations";
    release: "release", "3", "--reason", "too late";
    host_list: "host", "list";
    audit: "audit";
    whoami: "whoami";
    ca_show_without_a_ca: "ca", "show";
    version: "version";
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn help() {
    let world = World::new();
    let mut text = String::new();
    for command in [
        "",
        "status",
        "vms",
        "watch",
        "explain",
        "history",
        "policy",
        "policy get",
        "policy set",
        "policy unset",
        "policy edit",
        "policy apply",
        "policy diff",
        "policy confirm",
        "policy revert",
        "policy history",
        "policy explain",
        "shadow",
        "shadow set",
        "shadow off",
        "shadow status",
        "mode",
        "pin",
        "unpin",
        "wait",
        "reserve",
        "reservations",
        "release",
        "host",
        "host add",
        "host list",
        "host show",
        "host rename",
        "host use",
        "host group",
        "host test",
        "host remove",
        "audit",
        "whoami",
        "ca",
        "ca init",
        "ca issue-server",
        "ca issue-client",
        "ca rotate",
        "ca revoke",
        "ca show",
        "doctor",
        "config",
        "config path",
        "config view",
        "config check",
        "schema",
        "version",
        "completion",
    ] {
        let args: Vec<&str> =
            command.split(' ').filter(|w| !w.is_empty()).chain(["--help"]).collect();
        let run = world.run(&args).await;
        // The options of every command are shown once.
        let heading = run.stdout.find("Options of every command").filter(|_| !command.is_empty());
        let own = &run.stdout[..heading.unwrap_or(run.stdout.len())];
        text.push_str(&format!("$ memctl {}\n{own}exit: {}\n\n", args.join(" "), run.exit));
    }
    compare("help.txt", &text);
}
