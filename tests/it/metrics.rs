//! What agentd tells Prometheus, read by a real one: every metric, every expression of the alert rules and
//! of the dashboard, and alerts that fire because what they are for has happened.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tokio::net::TcpSocket;

use crate::sim_host::{Agentd, LONG, World, run, until};

/// Three hosts, each with what one alert is for, and a Prometheus that reads them all.
#[test]
fn every_expression_is_answered_and_alerts_fire_for_what_they_are_for() {
    if !has_prometheus("every_expression_is_answered") {
        return;
    }
    let world = World::new(WELL);
    let well = Host::start(&world, "local", WELL);
    let lost = Host::start(&world, "lost", LOST);
    let stalled = Host::start(&world, "stalled", STALLED);
    // Somebody looks on, and changes something.
    world.done(&["policy", "set", "two-pointer.step=60MiB", "pool-limit=6GiB"]);
    world.done(&["mode", "observe"]);
    world.done(&["mode", "active", "-y"]);
    let mut watch = world.memctl_command();
    let mut watch = watch.arg("watch").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();

    let page = well.get("/metrics", "");
    let check = promtool_on(&world, &["check", "metrics"], &page);
    assert_eq!((check.0, check.1.as_str()), (Some(0), ""), "{page}");

    let prometheus = Prometheus::start(&world, &[&well, &lost, &stalled]);
    until("two scrapes of every host", || Ok(prometheus.scraped_twice()));
    for (what, query) in dashboard().into_iter().chain(alerts()) {
        prometheus.ask(&query).unwrap_or_else(|error| panic!("{what}: {query}: {error}"));
    }
    until("data for every panel", || Ok(prometheus.silent(dashboard()).is_empty()));
    for (alert, host) in [
        ("AgentdVmUncooperative", &well),
        ("AgentdLibvirtLost", &lost),
        ("AgentdTickStalled", &stalled),
    ] {
        let instance = &host.metrics;
        let query = format!(
            "ALERTS{{alertname=\"{alert}\",instance=\"{instance}\",alertstate=\"firing\"}}"
        );
        until(alert, || Ok(prometheus.ask(&query).is_ok_and(|found| !found.is_empty())));
    }
    let instance = &well.metrics;
    for said in [
        format!("agentd_watchers{{instance=\"{instance}\"}} == 1"),
        format!("agentd_policy_changes_total{{actor_kind=\"local\",instance=\"{instance}\"}} == 1"),
        format!("agentd_mode_changes_total{{actor_kind=\"local\",instance=\"{instance}\"}} == 2"),
        format!(
            "agentd_rpc_requests_total{{method=\"agentd.v1.HostService/SetMode\",code=\"OK\",instance=\"{instance}\"}} == 2"
        ),
    ] {
        until(&said, || Ok(prometheus.ask(&said).is_ok_and(|found| found.len() == 1)));
    }
    let wrong = prometheus.ask("ALERTS{alertname=~\"AgentdPlanRejected|AgentdReloadFailed\"}");
    assert_eq!(wrong, Ok(Vec::new()));
    assert!(!lost.get("/metrics", "").contains("uuid="), "what nobody sees is not told");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

/// A VM that goes takes its series with it, and what it is called stays in its label.
#[test]
fn a_vm_that_goes_leaves_nothing_and_its_name_can_be_anything() {
    let world = World::new(GOES);
    let host = Host::start(&world, "local", GOES);
    // It is served before the first tick.
    let has_both = |page: &str| page.contains("{domain=\"a") && page.contains("domain=\"goes\"");
    until("both VMs", || Ok(has_both(&host.get("/metrics", ""))));
    let page = host.get("/metrics", "");
    let odd = r#"agentd_guest_balloon_actual_bytes{domain="a\"b\\c{}",uuid="#;
    assert!(page.contains(odd), "{page}");
    assert!(page.contains("domain=\"goes\""), "{page}");
    let mut page = String::new();
    until("the VM to go", || {
        page = host.get("/metrics", "");
        Ok(!page.contains("domain=\"goes\"") && page.contains("agentd_vms{state=\"running\"} 1"))
    });
    assert!(page.contains(odd), "{page}");
    if has_prometheus("a_vm_that_goes_leaves_nothing") {
        let check = promtool_on(&world, &["check", "metrics"], &page);
        assert_eq!((check.0, check.1.as_str()), (Some(0), ""), "{page}");
    }
    let open = host.get("/metrics", "Accept: application/openmetrics-text\r\n");
    assert!(open.ends_with("# EOF\n"), "{open}");
    assert_eq!(host.get("/healthz", ""), "ok\n");
}

/// Two agentds with one address for metrics: the second goes on without, says so, and takes it once it
/// is free.
#[test]
fn an_address_that_is_taken_is_told_of_and_taken_once_it_is_free() {
    let world = World::new(GOES);
    let (_place, address) = keep_address();
    let taken = TcpListener::bind(address).unwrap();
    let mut command = world.agentd("local");
    command.args(["--metrics", &address.to_string()]);
    let agentd = world.start_as("local", command);
    let status = || world.done(&["status", "-o", "json"]);
    until("the condition", || Ok(status().contains("METRICS_NOT_SERVED")));
    drop(taken);
    agentd.until_log("metrics are served");
    until("the end of the condition", || Ok(!status().contains("METRICS_NOT_SERVED")));
    assert!(get(address, "/healthz", "").starts_with("ok"));
}

/// The rules as they are shipped, by promtool, and a runbook for each.
#[test]
fn the_rules_are_valid_and_each_has_a_runbook() {
    let rules = fs::read_to_string(shipped("prometheus/agentd.rules.yml")).unwrap();
    let book = fs::read_to_string(shipped("../docs/OPERATING.md")).unwrap();
    let headings: BTreeSet<String> =
        book.lines().filter_map(|line| line.strip_prefix("### ")).map(str::to_lowercase).collect();
    let named: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(named.len() >= 7, "{named:?}");
    for alert in &named {
        let anchor = alert.to_lowercase();
        assert!(rules.contains(&format!("docs/OPERATING.md#{anchor}\"")), "no runbook: {alert}");
        assert!(headings.contains(&anchor), "docs/OPERATING.md has no chapter {alert}");
    }
    for field in ["summary: ", "description: ", "runbook_url: ", "severity: "] {
        assert_eq!(rules.matches(field).count(), named.len(), "{field}");
    }
    if has_prometheus("the_rules_are_valid") {
        let folder = shipped("prometheus");
        for args in
            [["check", "rules", "agentd.rules.yml"], ["test", "rules", "agentd.rules.test.yml"]]
        {
            let mut command = Command::new("promtool");
            let answer = run(command.args(args).current_dir(&folder).env("PATH", path()));
            assert_eq!(answer.exit, Some(0), "{args:?}: {}{}", answer.stdout, answer.stderr);
        }
    }
}

/// An agentd on a simulated host, with the address of its metrics.
struct Host {
    _agentd: Agentd,
    metrics: SocketAddr,
}

impl Host {
    fn start(world: &World, name: &str, scenario: &str) -> Self {
        let file = world.path(&format!("{name}.toml"));
        fs::write(&file, scenario).unwrap();
        let config = world.path(&format!("{name}-agentd.toml"));
        fs::write(&config, CONFIG).unwrap();
        let mut command = Command::new(world.agentd_program());
        command.env_clear().stdin(Stdio::null()).arg("run").arg("--config").arg(config);
        command.arg("--hypervisor").arg(format!("sim:{}", file.display()));
        command.arg("--state-dir").arg(world.state(name)).args(["--listen", &world.uri(name)]);
        let agentd = world.start_as(name, command);
        agentd.until_log("metrics are served");
        let log = agentd.log();
        let address = log.split("http://").nth(1).and_then(|rest| rest.split("/metrics").next());
        let metrics = address.expect("an address in the log").parse().unwrap();
        Self { _agentd: agentd, metrics }
    }

    fn get(&self, path: &str, headers: &str) -> String {
        get(self.metrics, path, headers)
    }
}

/// A Prometheus with its data in the world's folder. Ended when dropped.
struct Prometheus {
    child: Child,
    _place: TcpSocket,
    address: SocketAddr,
    hosts: usize,
    log: PathBuf,
}

impl Prometheus {
    fn start(world: &World, hosts: &[&Host]) -> Self {
        let rules = fs::read_to_string(shipped("prometheus/agentd.rules.yml")).unwrap();
        // As they are but for the time that they wait before they fire.
        let at_once: Vec<&str> =
            rules.lines().filter(|line| !line.trim_start().starts_with("for: ")).collect();
        assert!(at_once.len() + 5 <= rules.lines().count(), "rules wait");
        fs::write(world.path("rules.yml"), at_once.join("\n")).unwrap();
        let targets: Vec<String> =
            hosts.iter().map(|host| format!("\"{}\"", host.metrics)).collect();
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\n\
             rule_files: [rules.yml]\nscrape_configs:\n  - job_name: agentd\n    \
             static_configs: [{{ targets: [{}] }}]\n",
            targets.join(", ")
        );
        fs::write(world.path("prometheus.yml"), config).unwrap();
        let (place, address) = keep_address();
        let log = world.path("prometheus.log");
        let child = Command::new("prometheus")
            .current_dir(world.path(""))
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"))
            .args(["--storage.tsdb.retention.time=1h", "--query.timeout=30s"])
            .env_clear()
            .env("PATH", path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut this = Self { child, _place: place, address, hosts: hosts.len(), log };
        until("Prometheus to be ready", || {
            let ended = this.child.try_wait()?;
            assert!(ended.is_none(), "{ended:?}: {}", fs::read_to_string(&this.log)?);
            Ok(TcpStream::connect(this.address).is_ok() && this.ask("1").is_ok())
        });
        this
    }

    /// What an expression comes to, or what Prometheus says is wrong with it.
    fn ask(&self, query: &str) -> Result<Vec<Value>, String> {
        let answer = get(self.address, &format!("/api/v1/query?query={}", escaped(query)), "");
        let answer: Value =
            serde_json::from_str(&answer).map_err(|error| format!("{error}: {answer}"))?;
        match (answer["status"].as_str(), &answer["data"]["result"]) {
            (Some("success"), Value::Array(found)) => Ok(found.clone()),
            _ => Err(answer.to_string()),
        }
    }

    fn scraped_twice(&self) -> bool {
        let twice = self.ask("count_over_time(up[1m]) >= 2 and up == 1");
        twice.is_ok_and(|found| found.len() == self.hosts)
    }

    /// The expressions that have no data.
    fn silent(&self, queries: Vec<(String, String)>) -> Vec<String> {
        let is_silent = |query: &String| self.ask(query).is_ok_and(|found| found.is_empty());
        queries.into_iter().map(|(_, query)| query).filter(is_silent).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every expression of the dashboard with the panel that it is of, for all hosts and VMs.
fn dashboard() -> Vec<(String, String)> {
    let text = fs::read_to_string(shipped("grafana/agentd.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array();
        assert!(panel["type"] == "row" || targets.is_some_and(|all| !all.is_empty()), "{title}");
        for target in targets.into_iter().flatten() {
            let query = target["expr"].as_str().unwrap().replace("$__rate_interval", "30s");
            queries.push((title.to_owned(), query.replace("$host", ".*").replace("$vm", ".*")));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        // label_values(SERIES, label) asks for a series.
        if let Some(query) = variable["query"]["query"].as_str() {
            let series = query.trim_start_matches("label_values(").rsplit_once(',').unwrap().0;
            queries.push(("a variable".to_owned(), series.replace("$host", ".*")));
        }
    }
    assert!(queries.len() >= 40 && queries.iter().all(|(_, query)| !query.contains('$')));
    // The certificate of a host that has none has no end.
    queries.retain(|(_, query)| !query.contains("certificate_expiry"));
    queries
}

/// Every expression of the alert rules. That they have no data is what is hoped for.
fn alerts() -> Vec<(String, String)> {
    let rules = fs::read_to_string(shipped("prometheus/agentd.rules.yml")).unwrap();
    let queries = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    queries.map(|query| ("an alert".to_owned(), query.to_owned())).collect()
}

/// `GET` over a connection of its own: the body of the answer.
fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    let mut io = TcpStream::connect_timeout(&address, LONG).unwrap();
    io.set_read_timeout(Some(LONG)).unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n{headers}\r\n");
    io.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned())
}

/// A query as a part of a URL.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        write!(all, "%{byte:02X}").unwrap();
        all
    })
}

/// An address that is nobody else's as long as the socket is there; whoever is told it can listen at it.
fn keep_address() -> (TcpSocket, SocketAddr) {
    let place = TcpSocket::new_v4().unwrap();
    place.set_reuseaddr(true).unwrap();
    place.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = place.local_addr().unwrap();
    (place, address)
}

/// promtool with a text on its standard input: its exit code and what it says.
fn promtool_on(world: &World, args: &[&str], input: &str) -> (Option<i32>, String) {
    let file = world.path("input");
    fs::write(&file, input).unwrap();
    let mut command = Command::new("promtool");
    command.args(args).env_clear().env("PATH", path()).stdin(fs::File::open(&file).unwrap());
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// Whether there is a Prometheus. `make test` installs it; where it is needed, its lack is a failure.
fn has_prometheus(test: &str) -> bool {
    let is_there =
        |name: &&str| path().split(':').any(|folder| Path::new(folder).join(name).is_file());
    let missing: Vec<&str> =
        ["prometheus", "promtool"].into_iter().filter(|name| !is_there(name)).collect();
    if missing.is_empty() {
        return true;
    }
    let required = std::env::var_os("LAB_REQUIRED").is_some_and(|value| value == "1");
    assert!(!required, "{test} needs {missing:?}: sh tests/install.sh installs it");
    let skipped = format!("skipped {test}: there is no {}\n", missing.join(", no "));
    std::io::stderr().write_all(skipped.as_bytes()).unwrap();
    false
}

fn path() -> String {
    std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned())
}

/// A file of packaging/.
fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(name)
}

/// A hypervisor that does not answer is waited for for so long: ticks stall.
const CONFIG: &str = "[listen]\nmetrics = \"127.0.0.1:0\"\n[tick]\ncall_timeout = \"60s\"\n";
/// A host under pressure with a VM that does not follow.
const WELL: &str = r#"
tick_interval = "200ms"
[host]
total = "8GiB"
other = "1GiB"
pressure = [{ from = "0s", until = "1h", some = 3 }]
[[vm]]
name = "web1"
max = "2GiB"
actual = "512MiB"
demand = [{ at = "0s", used = "300MiB" }, { at = "60s", used = "1500MiB" }]
[[vm]]
name = "db1"
max = "2GiB"
actual = "1GiB"
demand = "200MiB"
behaviour = "stuck"
[policy]
pool_limit = "2GiB"
"#;
const LOST: &str = r#"
tick_interval = "200ms"
[sim]
connection_lost = [{ from = "5s", until = "1h" }]
[host]
total = "8GiB"
[[vm]]
name = "web1"
max = "2GiB"
actual = "512MiB"
demand = "300MiB"
"#;
const STALLED: &str = r#"
tick_interval = "200ms"
[sim]
silent = [{ from = "5s", until = "1h" }]
[host]
total = "8GiB"
[[vm]]
name = "web1"
max = "2GiB"
actual = "512MiB"
demand = "300MiB"
"#;
const GOES: &str = r#"
tick_interval = "200ms"
[sim]
ideal = true
[host]
total = "8GiB"
[[vm]]
name = 'a"b\c{}'
max = "2GiB"
actual = "512MiB"
demand = "300MiB"
[[vm]]
name = "goes"
max = "2GiB"
actual = "512MiB"
demand = "300MiB"
stop = "40s"
"#;
