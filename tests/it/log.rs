//! Where agentd's log goes: entries with their fields where standard error is the journal, and lines
//! elsewhere.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    process::Command,
    time::Duration,
};

use agentd_tests::lab::clock::wait_until;

use crate::sim_host::{Agentd, SCENARIO, World};

/// A journal of its own, in a mount namespace of agentd's own.
struct Own {
    world: World,
    journal: UnixDatagram,
}

impl Own {
    /// `None` where this machine does not let us.
    fn new(test: &str) -> Option<Self> {
        if !is_root() {
            let skipped = format!("skipped {test}: it needs root for a /run of its own\n");
            std::io::stderr().write_all(skipped.as_bytes()).unwrap();
            return None;
        }
        let world = World::new(SCENARIO);
        let folder = world.path("journal");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let journal = UnixDatagram::bind(folder.join("socket")).unwrap();
        journal.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Some(Self { world, journal })
    }

    fn start(&self) -> Agentd {
        let inner = self.world.agentd("local");
        let mut command = Command::new("unshare");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.args(["--mount", "sh", "-ceu", BEGIN, "sh"]).arg(self.world.path("journal"));
        command.arg(inner.get_program()).args(inner.get_args());
        self.world.start_as("local", command)
    }
}

#[test]
fn under_systemd_a_line_is_an_entry_of_the_journal_with_its_fields() {
    let Some(own) = Own::new("under_systemd_a_line_is_an_entry") else { return };
    let agentd = own.start();
    let journal = &own.journal;
    let start = entry(journal, "agentd starts");
    let text = |key: &str| start.get(key).map(String::as_str);
    assert_eq!(text("SYSLOG_IDENTIFIER"), Some("agentd"), "{start:?}");
    assert!(text("PRIORITY").is_some() && text("AGENTD_MODE") == Some("active"), "{start:?}");
    let came = entry(journal, "VM came");
    let vms = ["web1", "db1"].map(Some);
    assert!(vms.contains(&came.get("AGENTD_NAME").map(String::as_str)), "{came:?}");
    assert!(came.contains_key("AGENTD_VM") && came.contains_key("AGENTD_STATE"), "{came:?}");
    assert_eq!(agentd.log(), "", "nothing is said twice");
}

#[test]
fn a_journal_that_hangs_stops_no_tick_and_gets_its_entries_once_it_does_not() {
    let Some(own) = Own::new("a_journal_that_hangs") else { return };
    let other = UnixDatagram::unbound().unwrap();
    other.set_nonblocking(true).unwrap();
    while other.send_to(b"of another", own.world.path("journal/socket")).is_ok() {}
    let agentd = own.start();
    let tick = || own.world.ask(&["status"], "status")["tick"].as_u64().unwrap_or(0);
    let first = tick();
    wait_until("ticks that go on", Duration::from_secs(60), || Ok(tick() > first + 3)).unwrap();
    entry(&own.journal, "agentd starts");
    entry(&own.journal, "VM came");
    assert_eq!(agentd.log(), "", "nothing is said elsewhere");
}

/// The variable is inherited by whoever is started from a service, and says nothing of where they write.
#[test]
fn where_standard_error_is_not_the_journal_it_has_lines() {
    let world = World::new(SCENARIO);
    let mut command = world.agentd("local");
    command.env("JOURNAL_STREAM", "8:12345");
    let agentd = world.start_as("local", command);
    agentd.until_log("VM came");
    assert!(
        agentd.log().lines().any(|line| line.contains("INFO") && line.contains("agentd starts"))
    );
    drop(agentd);

    let mut command = world.agentd("json");
    command.args(["--log-format", "json"]);
    let agentd = world.start_as("json", command);
    agentd.until_log("VM came");
    for line in agentd.log().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
    }
}

/// The first entry from here on that says this.
fn entry(journal: &UnixDatagram, message: &str) -> BTreeMap<String, String> {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let length = journal.recv(&mut bytes).expect("another entry");
        let fields = fields(&bytes[..length]);
        if fields.get("MESSAGE").is_some_and(|own| own == message) {
            return fields;
        }
    }
}

/// The fields of an entry in the journal's own protocol: `KEY=value`, or for values of any kind the key,
/// its length in eight bytes, and the value.
fn fields(mut bytes: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
        bytes = rest;
        if let Some(equals) = line.iter().position(|byte| *byte == b'=') {
            fields.insert(text(&line[..equals]), text(&line[equals + 1..]));
            continue;
        }
        let length = usize::try_from(u64::from_le_bytes(rest[..8].try_into().unwrap())).unwrap();
        fields.insert(text(line), text(&rest[8..8 + length]));
        bytes = &rest[8 + length + 1..];
    }
    fields
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

/// A /run with nothing but the journal's folder in it, and what systemd says of standard error.
const BEGIN: &str = "mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/journal; \
    mount --bind \"$1\" /run/systemd/journal; shift; \
    JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2); export JOURNAL_STREAM; exec \"$@\"";
