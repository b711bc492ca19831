//! One's own identity on the network: the certificate, its key, and the CAs that are trusted. Reads
//! them and says, before anybody is dialled, what an agent would only refuse without a word.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::certificate::{Facts, Role};
use crate::failure::{Code, Failure};

/// Where the identity for one host is kept; absent where nothing was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdentityFiles {
    /// Certificates of the CAs whose servers are trusted.
    pub(crate) ca: Option<PathBuf>,
    /// One's certificate.
    pub(crate) cert: Option<PathBuf>,
    /// Its key.
    pub(crate) key: Option<PathBuf>,
}

/// An identity that is fit to dial with.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The CAs whose servers are trusted.
    pub(crate) roots: Arc<RootCertStore>,
    /// The certificate and its key, which match.
    pub(crate) own: Arc<CertifiedKey>,
    /// What the certificate says.
    pub(crate) facts: Facts,
    /// Where it is from.
    pub(crate) cert: PathBuf,
    /// Where the CAs are from.
    pub(crate) ca: PathBuf,
    /// What is not wrong yet.
    pub(crate) warnings: Vec<String>,
}

impl IdentityFiles {
    /// These files, and those of `others` where nothing is said here. A certificate and its key
    /// come from one place.
    pub(crate) fn or(self, others: &Self) -> Self {
        let own = self.cert.is_some() || self.key.is_some();
        let (cert, key) =
            if own { (self.cert, self.key) } else { (others.cert.clone(), others.key.clone()) };
        Self { ca: self.ca.or_else(|| others.ca.clone()), cert, key }
    }

    /// Whether it says all that https needs.
    pub(crate) fn is_whole(&self) -> bool {
        self.ca.is_some() && self.cert.is_some() && self.key.is_some()
    }
}

impl Identity {
    /// Reads the files, and refuses what no agent would accept at `now`.
    pub(crate) fn load(
        files: &IdentityFiles,
        provider: &CryptoProvider,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let (ca, cert, key) = match (&files.ca, &files.cert, &files.key) {
            (Some(ca), Some(cert), Some(key)) => (ca, cert, key),
            (ca, cert, key) => return Err(missing(ca.is_none(), cert.is_none(), key.is_none())),
        };
        let chain = certificates(cert, "cert")?;
        let facts = Facts::read(chain.first()).map_err(|what| {
            refused("CERT_INVALID", cert, &what).hint(renewal(None, Role::Operator))
        })?;
        check(&facts, cert, now)?;
        let own = CertifiedKey::from_der(chain, private_key(key)?, provider)
            .map_err(|error| unfit_key(&error, cert, key))?;
        let roots = roots(ca, now)?;
        let warnings = [soon_expired(&facts, cert, now), open_key(key)];
        Ok(Self {
            roots: Arc::new(roots),
            own: Arc::new(own),
            facts,
            cert: cert.clone(),
            ca: ca.clone(),
            warnings: warnings.into_iter().flatten().collect(),
        })
    }
}

/// What an agent checks, in its order.
fn check(facts: &Facts, cert: &Path, now: Timestamp) -> Result<(), Failure> {
    let again = || renewal(Some(facts), facts.role().unwrap_or(Role::Operator));
    if now > facts.not_after {
        let what = format!("is a certificate that expired on {}", day(facts.not_after));
        return Err(refused("CERT_EXPIRED", cert, &what).hint(again()));
    }
    if now < facts.not_before {
        let what = format!(
            "is a certificate that is not valid before {}, and this machine's clock says {}",
            second(facts.not_before),
            second(now)
        );
        return Err(refused("CERT_NOT_YET_VALID", cert, &what)
            .hint(format!("set the clock (timedatectl shows it); if it is right: {}", again())));
    }
    if !facts.for_clients {
        let (what, mend) = match facts.for_servers {
            true => ("is a server's certificate", renewal(None, Role::Operator)),
            false => ("is not a client's certificate", again()),
        };
        let what = format!("{what}: its extended key usage lacks clientAuth");
        return Err(refused("CERT_PURPOSE", cert, &what).hint(mend));
    }
    if facts.role().is_none() {
        let what = match facts.organizations.is_empty() {
            true => "is a certificate without a role: it has no organization (O)".to_owned(),
            false => format!(
                "is a certificate without a role: its organization (O) is \"{}\"",
                facts.organizations.join("\", \"")
            ),
        };
        return Err(refused("CERT_NO_ROLE", cert, &what).hint(format!(
            "a role is O = agentd:reader, agentd:operator or agentd:admin: {}",
            again()
        )));
    }
    Ok(())
}

fn certificates(path: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let text = read(path, key)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(refused("CERT_INVALID", path, "holds no certificate in PEM form")),
        Err(error) => Err(refused("CERT_INVALID", path, &format!("is no PEM file: {error}"))),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Failure> {
    let text = read(path, "key")?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        refused("KEY_INVALID", path, "holds no private key in PEM form")
            .hint("an encrypted key is not supported; memctl ca issue-client makes another pair")
    })
}

fn roots(path: &Path, now: Timestamp) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let mut latest: Option<Timestamp> = None;
    for certificate in certificates(path, "ca")? {
        let facts = Facts::read(Some(&certificate));
        let facts = facts.map_err(|what| refused("CA_INVALID", path, &what))?;
        if !facts.is_ca {
            let what = format!("holds the certificate \"{}\", which is not a CA's", facts.name);
            return Err(refused("CA_INVALID", path, &what)
                .hint("ca names the file ca.pem that memctl ca init wrote"));
        }
        latest = latest.max(Some(facts.not_after));
        roots.add(certificate).map_err(|error| {
            refused("CA_INVALID", path, &format!("holds a CA that cannot be used: {error}"))
        })?;
    }
    match latest.filter(|&latest| latest < now) {
        Some(latest) => {
            let what = format!("holds no CA that is valid: the last expired on {}", day(latest));
            Err(refused("CA_EXPIRED", path, &what).hint("memctl ca rotate makes a new one"))
        }
        None => Ok(roots),
    }
}

fn read(path: &Path, key: &str) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| {
        let what = format!("cannot read {} ({key}): {error}", path.display());
        let made = match key {
            "ca" => "memctl ca init makes a CA; a copy of its ca.pem belongs here",
            _ => "memctl ca issue-client NAME --role ROLE makes a certificate with its key",
        };
        Failure::new(Code::Unauthenticated, "IDENTITY_UNREADABLE", what).hint(made)
    })
}

fn unfit_key(error: &rustls::Error, cert: &Path, key: &Path) -> Failure {
    if matches!(error, rustls::Error::InconsistentKeys(_)) {
        let what = format!(
            "the key {} does not belong to the certificate {}",
            key.display(),
            cert.display()
        );
        return Failure::new(Code::Unauthenticated, "KEY_MISMATCH", what).hint(
            "name the two files that memctl ca issue-client wrote together: cert = client.pem, \
             key = client.key",
        );
    }
    refused("KEY_INVALID", key, &format!("holds a key that cannot be used: {error}"))
}

fn soon_expired(facts: &Facts, cert: &Path, now: Timestamp) -> Option<String> {
    let left = facts.not_after.duration_since(now);
    if left > EXPIRY_WARNING {
        return None;
    }
    let role = facts.role().unwrap_or(Role::Operator);
    let left = match left.as_hours() {
        hours if hours >= 48 => format!("{} days", hours / 24),
        hours if hours >= 2 => format!("{hours} hours"),
        _ => format!("{} minutes", left.as_mins()),
    };
    Some(format!(
        "warning: the certificate {} expires in {left}, on {}: {}",
        cert.display(),
        day(facts.not_after),
        renewal(Some(facts), role)
    ))
}

#[cfg(unix)]
fn open_key(key: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(key).ok()?.permissions().mode() & 0o077;
    let open = mode != 0;
    let key = key.display();
    open.then(|| format!("warning: others may read the key {key}: chmod 600 {key}"))
}

#[cfg(not(unix))]
fn open_key(_: &Path) -> Option<String> {
    None
}

fn missing(ca: bool, cert: bool, key: bool) -> Failure {
    let named = [(ca, "ca"), (cert, "cert"), (key, "key")];
    let lacks: Vec<&str> =
        named.iter().filter(|(lacks, _)| *lacks).map(|(_, name)| *name).collect();
    let what =
        format!("https:// takes a certificate on both sides, and no {} is named", lacks.join(", "));
    Failure::new(Code::Unauthenticated, "IDENTITY_MISSING", what).hint(
        "name the files with --ca, --cert and --key or in the configuration, for the host or \
         under [defaults]; memctl ca issue-client NAME --role operator --default makes them",
    )
}

fn refused(reason: &str, path: &Path, what: &str) -> Failure {
    Failure::new(Code::Unauthenticated, reason, format!("{} {what}", path.display()))
}

/// The command that makes such a certificate anew.
fn renewal(facts: Option<&Facts>, role: Role) -> String {
    let name = facts.map_or("NAME", |facts| facts.name.as_str());
    let renew = if facts.is_some() { " --renew" } else { "" };
    format!("memctl ca issue-client {} --role {role}{renew}", quoted(name))
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./@:+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A day, in UTC.
pub(crate) fn day(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}

fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Long enough to get another one in time.
pub(crate) const EXPIRY_WARNING: SignedDuration = SignedDuration::from_hours(14 * 24);
