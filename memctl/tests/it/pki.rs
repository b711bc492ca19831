//! Certificates for the tests: those that `memctl ca` issues, and those that it would never issue.

use std::path::{Path, PathBuf};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType,
};

use crate::memctl::{Run, World};

/// A point in time as certificates have it.
macro_rules! days_from_now {
    ($days:expr) => {{
        let days: i64 = $days;
        let second = jiff::Timestamp::now().as_second() + days * 86_400;
        rcgen::date_time_ymd(1970, 1, 1)
            + std::time::Duration::from_secs(u64::try_from(second).unwrap())
    }};
}
pub(crate) use days_from_now;

/// A CA in a world, with a server "node1" and a client "alice" who is an operator.
pub(crate) struct Pki<'a> {
    world: &'a World,
    name: &'static str,
}

impl<'a> Pki<'a> {
    pub(crate) async fn new(world: &'a World, name: &'static str) -> Self {
        let pki = Self { world, name };
        pki.done(&["init"]).await;
        pki.done(&["issue-server", "node1", "--san", "127.0.0.1"]).await;
        pki.done(&["issue-client", "alice", "--role", "operator"]).await;
        pki
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.world.path(self.name)
    }

    /// `memctl ca` in this folder.
    pub(crate) async fn run(&self, args: &[&str]) -> Run {
        let folder = self.folder().display().to_string();
        self.world.run(&[&["ca", "--dir", &folder], args].concat()).await
    }

    pub(crate) async fn done(&self, args: &[&str]) -> Run {
        let run = self.run(args).await;
        assert_eq!(run.exit, 0, "{args:?}: {run:?}");
        run
    }

    /// The options that show this identity.
    pub(crate) fn shown(&self, client: &str) -> Vec<String> {
        let place = self.folder().join("clients").join(client);
        shown(&self.folder().join("ca.pem"), &place.join("client.pem"), &place.join("client.key"))
    }

    /// A certificate that is wrong in one way, signed by this CA; returns where it and its key are.
    pub(crate) fn forged(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (PathBuf, PathBuf) {
        let read = |file: &str| std::fs::read_to_string(self.folder().join(file)).unwrap();
        let issuer =
            Issuer::from_ca_cert_pem(&read("ca.pem"), KeyPair::from_pem(&read("ca.key")).unwrap());
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "alice");
        params.distinguished_name.push(DnType::OrganizationName, "agentd:operator");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![SanType::IpAddress("127.0.0.1".parse().unwrap())];
        params.not_before = days_from_now!(-10);
        params.not_after = days_from_now!(60);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &issuer.unwrap()).unwrap();
        let (cert_at, key_at) =
            (self.world.path(&format!("{name}.pem")), self.world.path(&format!("{name}.key")));
        std::fs::write(&cert_at, made.pem()).unwrap();
        std::fs::write(&key_at, key.serialize_pem()).unwrap();
        private(&key_at);
        (cert_at, key_at)
    }
}

/// The options that show this identity.
pub(crate) fn shown(ca: &Path, cert: &Path, key: &Path) -> Vec<String> {
    let named = [("--ca", ca), ("--cert", cert), ("--key", key)];
    named
        .into_iter()
        .flat_map(|(option, path)| [option.to_owned(), path.display().to_string()])
        .collect()
}

/// Makes a file its owner's alone.
pub(crate) fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
