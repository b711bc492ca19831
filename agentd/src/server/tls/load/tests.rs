//! Files that make no sense, and what is said of each.

use std::{os::unix::fs::chown, path::PathBuf, time::Duration};

use super::*;
use crate::{
    certificates::{Authority, Wish},
    clock::VirtualClock,
};

/// A folder with everything that is needed, and all of it good.
struct Folder {
    dir: tempfile::TempDir,
    authority: Authority,
    files: TlsConfig,
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1000)
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new("ca", now()).unwrap();
        let own = authority.issue(&authority.server(&["node1"])).unwrap();
        let (cert, key) = own.write(dir.path(), "node1").unwrap();
        let client_ca = dir.path().join("clients.pem");
        fs::write(&client_ca, &authority.pem).unwrap();
        let validity = Duration::from_secs(100 * 86_400);
        let files = TlsConfig {
            cert,
            key,
            client_ca,
            client_crl: None,
            client_deny: None,
            client_validity: validity,
        };
        Self { dir, authority, files }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn load(&self) -> Result<Terms, String> {
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock::default());
        load(&self.files, &clock).map_err(|error| error.to_string())
    }

    /// What is said, with the folder's name left out.
    fn refusal(&self) -> String {
        self.load().unwrap_err().replace(&format!("{}/", self.dir.path().display()), "")
    }

    /// Puts another certificate for the host, with its key.
    fn put(&self, wish: &Wish) {
        self.authority.issue(wish).unwrap().write(self.dir.path(), "node1").unwrap();
    }
}

#[test]
fn good_files_are_served_and_say_until_when() {
    let mut folder = Folder::new();
    let terms = folder.load().unwrap();
    assert_eq!(terms.not_after, folder.authority.server(&[]).until);
    assert_eq!(terms.revoked_until, None);
    assert_eq!(terms.server.alpn_protocols, [HTTP2]);
    assert_eq!((terms.server.send_tls13_tickets, terms.server.max_early_data_size), (0, 0));

    let (list, denied) = (folder.path("clients.crl"), folder.path("denied"));
    let until = now() + Duration::from_secs(3600);
    fs::write(&list, folder.authority.revoke(&[], until).unwrap()).unwrap();
    fs::write(&denied, "# nobody\n").unwrap();
    folder.files.client_crl = Some(list);
    folder.files.client_deny = Some(denied);
    assert_eq!(folder.load().unwrap().revoked_until, Some(until));
}

#[test]
fn a_file_that_is_not_there_is_empty_or_cut_off_is_named() {
    for (name, kind) in
        [("node1.pem", "certificate"), ("node1.key", "key"), ("clients.pem", "certificate")]
    {
        let folder = Folder::new();
        let file = folder.path(name);
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        let expected =
            format!("{name} has a {kind} that cannot be read: it has no end; write it again");
        assert!(folder.refusal().starts_with(&expected), "{}", folder.refusal());
        fs::write(&file, "").unwrap();
        let expected = format!("{name} has no {kind} in PEM form");
        assert!(folder.refusal().starts_with(&expected), "{}", folder.refusal());
        fs::remove_file(&file).unwrap();
        let expected = format!("cannot read {name}: No such file or directory");
        assert!(folder.refusal().starts_with(&expected), "{}", folder.refusal());
        fs::create_dir(&file).unwrap();
        assert!(folder.refusal().starts_with(&format!("{name} is no regular file")));
    }
}

#[test]
fn a_key_that_others_may_touch_is_refused() {
    let folder = Folder::new();
    for mode in [0o644, 0o604, 0o620, 0o601, 0o660] {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(&folder.files.key, permissions).unwrap();
        let expected = format!(
            "node1.key is open to others than its owner and the readers of its group (mode {mode:o}): \
             chmod 600 node1.key"
        );
        assert!(folder.refusal().starts_with(&expected), "{}", folder.refusal());
    }
    for mode in [0o400, 0o640] {
        fs::set_permissions(&folder.files.key, fs::Permissions::from_mode(mode)).unwrap();
        folder.load().unwrap();
    }
    if geteuid().is_root() {
        chown(&folder.files.key, Some(61_003), None).unwrap();
        let expected =
            "node1.key belongs to uid 61003, who is neither root nor the user that agentd";
        assert!(folder.refusal().starts_with(expected), "{}", folder.refusal());
    }
}

#[test]
fn a_certificate_has_to_fit_its_key_name_its_host_and_be_for_servers() {
    let folder = Folder::new();
    let good = folder.authority.server(&["node1"]);
    let other = folder.authority.issue(&good).unwrap();
    fs::write(&folder.files.cert, &other.pem).unwrap();
    let expected = "the key node1.key is not that of the certificate node1.pem";
    assert!(folder.refusal().starts_with(expected), "{}", folder.refusal());

    folder.put(&Wish { hosts: Vec::new(), name: Some("node1".to_owned()), ..good.clone() });
    let expected = "the certificate node1.pem has no subject alternative name: issue it anew";
    assert!(folder.refusal().starts_with(expected), "{}", folder.refusal());

    let usages = folder.authority.client("x", "y").usages;
    folder.put(&Wish { usages, ..good.clone() });
    assert!(folder.refusal().starts_with("the certificate node1.pem is not for servers"));
    folder.put(&Wish { usages: Vec::new(), ..good });
    folder.load().unwrap();
}

#[test]
fn those_who_vouch_are_cas_with_a_list_each_where_lists_are_asked_for() {
    let mut folder = Folder::new();
    let leaf = folder.authority.issue(&folder.authority.client("alice", "x")).unwrap();
    fs::write(&folder.files.client_ca, &leaf.pem).unwrap();
    assert!(folder.refusal().contains("which is no CA"), "{}", folder.refusal());

    let other = Authority::new("the other ca", now()).unwrap();
    fs::write(&folder.files.client_ca, format!("{}{}", folder.authority.pem, other.pem)).unwrap();
    folder.load().unwrap();
    let (list, until) = (folder.path("clients.crl"), now() + Duration::from_secs(3600));
    let own = folder.authority.revoke(&[&leaf], until).unwrap();
    fs::write(&list, &own).unwrap();
    folder.files.client_crl = Some(list.clone());
    let expected = "clients.crl has no list of the CA CN=the other ca, whose clients";
    assert!(folder.refusal().starts_with(expected), "{}", folder.refusal());
    let both = format!("{own}{}", other.revoke(&[], until + Duration::from_secs(1)).unwrap());
    fs::write(&list, both).unwrap();
    assert_eq!(folder.load().unwrap().revoked_until, Some(until), "the first to end counts");
    fs::write(&list, &own[..own.len() / 2]).unwrap();
    let expected = "clients.crl has a list of revoked certificates that cannot be read";
    assert!(folder.refusal().starts_with(expected), "{}", folder.refusal());
}

#[test]
fn a_deny_list_that_makes_no_sense_is_refused_with_its_line() {
    let mut folder = Folder::new();
    let denied = folder.path("denied");
    folder.files.client_deny = Some(denied.clone());
    assert!(folder.refusal().starts_with("cannot read denied"), "{}", folder.refusal());
    fs::write(&denied, "serial 01\nalice\n").unwrap();
    assert!(
        folder.refusal().starts_with("denied:2: \"alice\" denies nobody"),
        "{}",
        folder.refusal()
    );
    fs::write(&denied, [0xff, b'\n']).unwrap();
    assert!(folder.refusal().starts_with("denied: it is no text"), "{}", folder.refusal());
}
