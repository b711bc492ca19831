//! [`load`]: the files of `[tls]`, read and checked as a whole. What it gives can be served; whatever is
//! wrong is told with the file and what to do.

use std::{
    fs::{self, File, Metadata},
    io::Read as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use rustix::process::geteuid;
use rustls::{
    InconsistentKeys, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime,
        pem::{self, PemObject},
    },
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    time_provider::TimeProvider,
    version::TLS13,
};
use x509_parser::{parse_x509_certificate, parse_x509_crl};

use super::{clients::Clients, deny::Denied, error::TlsError, identity::moment};
use crate::{clock::Clock, config::TlsConfig, server::limits};

/// What is shown to clients and demanded of them.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) server: Arc<ServerConfig>,
    pub(super) clients: Arc<Clients>,
    /// Until when this host's certificate is valid.
    pub(super) not_after: SystemTime,
    /// Until when what is revoked is known; `None` where nobody is asked, or for ever.
    pub(super) revoked_until: Option<SystemTime>,
}

/// Reads and checks every file.
pub(super) fn load(files: &TlsConfig, clock: &Arc<dyn Clock>) -> Result<Terms, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let (vouched, revoked_until) = vouched(files, &provider)?;
    let clients = Arc::new(Clients {
        vouched,
        denied: denied(files.client_deny.as_deref())?,
        validity: files.client_validity,
    });
    let (chain, key) = (certificates(&files.cert)?, key(&files.key)?);
    let not_after = check_own(&files.cert, &chain)?;
    let time = Arc::new(Time(Arc::clone(clock)));
    let builder = ServerConfig::builder_with_details(provider, time);
    let unserved = |error: rustls::Error| TlsError::Unserved(error.to_string());
    let mut server = builder
        .with_protocol_versions(&[&TLS13])
        .map_err(unserved)?
        .with_client_cert_verifier(clients.clone())
        .with_single_cert(chain, key)
        .map_err(|error| unfit(files, &error))?;
    server.alpn_protocols = vec![HTTP2.to_vec()];
    // A ticket would let in who was revoked since: the chain of before is not asked about again.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    // What came before the handshake is over could be sent again by anybody.
    server.max_early_data_size = 0;
    Ok(Terms { server: Arc::new(server), clients, not_after, revoked_until })
}

/// Who vouches for clients, and until when what they revoked is known.
fn vouched(
    files: &TlsConfig,
    provider: &Arc<CryptoProvider>,
) -> Result<(Arc<dyn ClientCertVerifier>, Option<SystemTime>), TlsError> {
    let file = &files.client_ca;
    let broken = |error: String| TlsError::Broken(file.clone(), CERTIFICATE, error);
    let authorities = certificates(file)?;
    let mut roots = RootCertStore::empty();
    let mut subjects = Vec::new();
    for authority in authorities {
        let (_, parsed) = parse_x509_certificate(&authority).map_err(|e| broken(e.to_string()))?;
        if !parsed.is_ca() {
            return Err(TlsError::NotACa(file.clone(), parsed.subject().to_string()));
        }
        subjects.push((parsed.subject().as_raw().to_vec(), parsed.subject().to_string()));
        roots.add(authority.clone()).map_err(|error| broken(error.to_string()))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let unserved = |error: rustls::server::VerifierBuilderError| match &files.client_crl {
        Some(crl) => TlsError::Broken(crl.clone(), LIST, error.to_string()),
        None => TlsError::Unserved(error.to_string()),
    };
    let Some(crl) = &files.client_crl else {
        return Ok((builder.build().map_err(unserved)?, None));
    };
    let lists: Vec<CertificateRevocationListDer<'_>> = items(crl, LIST)?;
    let until = check_lists(crl, &lists, &subjects)?;
    let builder = builder.with_crls(lists).enforce_revocation_expiration();
    Ok((builder.build().map_err(unserved)?, until))
}

/// The moment at which the first of the lists is too old to be believed.
fn check_lists(
    file: &Path,
    lists: &[CertificateRevocationListDer<'_>],
    authorities: &[(Vec<u8>, String)],
) -> Result<Option<SystemTime>, TlsError> {
    let (mut issuers, mut until) = (Vec::new(), None::<SystemTime>);
    for list in lists {
        let parsed = parse_x509_crl(list.as_ref());
        let broken = |error: String| TlsError::Broken(file.to_owned(), LIST, error);
        let (_, parsed) = parsed.map_err(|error| broken(error.to_string()))?;
        issuers.push(parsed.issuer().as_raw().to_vec());
        if let Some(next) = parsed.next_update().map(moment) {
            until = Some(until.map_or(next, |until| until.min(next)));
        }
    }
    let without = authorities.iter().find(|(subject, _)| !issuers.contains(subject));
    match without {
        Some((_, name)) => Err(TlsError::NoListOf(file.to_owned(), name.clone())),
        None => Ok(until),
    }
}

/// Until when this host's own certificate is valid, where clients can make use of it.
fn check_own(file: &Path, chain: &[CertificateDer<'_>]) -> Result<SystemTime, TlsError> {
    let own = chain.first().ok_or_else(|| TlsError::Nothing(file.to_owned(), CERTIFICATE))?;
    let broken = |error: String| TlsError::Broken(file.to_owned(), CERTIFICATE, error);
    let (_, parsed) = parse_x509_certificate(own).map_err(|error| broken(error.to_string()))?;
    let names = parsed.subject_alternative_name().map_err(|error| broken(error.to_string()))?;
    if names.is_none_or(|names| names.value.general_names.is_empty()) {
        return Err(TlsError::NoNames(file.to_owned()));
    }
    let usage = parsed.extended_key_usage().map_err(|error| broken(error.to_string()))?;
    if usage.is_some_and(|usage| !usage.value.server_auth && !usage.value.any) {
        return Err(TlsError::NotForServers(file.to_owned()));
    }
    Ok(moment(parsed.validity().not_after))
}

fn unfit(files: &TlsConfig, error: &rustls::Error) -> TlsError {
    if *error == rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) {
        return TlsError::Mismatch { cert: files.cert.clone(), key: files.key.clone() };
    }
    TlsError::Broken(files.key.clone(), KEY, error.to_string())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    items(file, CERTIFICATE)
}

/// At least one of a kind.
fn items<T: PemObject>(file: &Path, kind: &'static str) -> Result<Vec<T>, TlsError> {
    let (text, _) = read(file)?;
    let items: Result<Vec<T>, pem::Error> = T::pem_slice_iter(&text).collect();
    let items = items.map_err(|error| TlsError::Broken(file.to_owned(), kind, words(&error)))?;
    if items.is_empty() { Err(TlsError::Nothing(file.to_owned(), kind)) } else { Ok(items) }
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let (text, found) = read(file)?;
    let (mode, owner) = (found.permissions().mode(), found.uid());
    if ![0, geteuid().as_raw()].contains(&owner) {
        return Err(TlsError::Foreign(file.to_owned(), owner));
    }
    if mode & OTHERS != 0 {
        return Err(TlsError::Exposed(file.to_owned(), mode & 0o7777));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        if matches!(error, pem::Error::NoItemsFound) {
            return TlsError::Nothing(file.to_owned(), KEY);
        }
        TlsError::Broken(file.to_owned(), KEY, words(&error))
    })
}

fn denied(file: Option<&Path>) -> Result<Denied, TlsError> {
    let Some(file) = file else { return Ok(Denied::default()) };
    let (text, _) = read(file)?;
    let bad = |why: String| TlsError::Denied(file.to_owned(), why);
    let text = String::from_utf8(text).map_err(|_| bad(" it is no text".to_owned()))?;
    Denied::parse(&text).map_err(|line| bad(line.to_string()))
}

/// A file with its owner and mode: those of what was read, whatever has its name by now.
fn read(file: &Path) -> Result<(Vec<u8>, Metadata), TlsError> {
    let unreadable = |error| TlsError::Unreadable(file.to_owned(), error);
    // Before it is opened, which waits where it is a pipe.
    if !fs::metadata(file).map_err(unreadable)?.is_file() {
        return Err(TlsError::NotAFile(file.to_owned()));
    }
    let opened = File::open(file).map_err(unreadable)?;
    let found = opened.metadata().map_err(unreadable)?;
    let mut text = Vec::new();
    let more = limits::TLS_FILE.saturating_add(1);
    opened.take(more).read_to_end(&mut text).map_err(unreadable)?;
    if u64::try_from(text.len()).is_ok_and(|length| length <= limits::TLS_FILE) {
        Ok((text, found))
    } else {
        Err(TlsError::NotAFile(file.to_owned()))
    }
}

fn words(error: &pem::Error) -> String {
    if matches!(error, pem::Error::MissingSectionEnd { .. }) {
        return "it has no end".to_owned();
    }
    error.to_string()
}

/// The clock as rustls asks it.
#[derive(Debug)]
struct Time(Arc<dyn Clock>);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix(self.0.wall()))
    }
}

/// A time as rustls counts it.
pub(super) fn unix(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// What is spoken within TLS.
pub(super) const HTTP2: &[u8] = b"h2";
const CERTIFICATE: &str = "certificate";
const KEY: &str = "key";
const LIST: &str = "list of revoked certificates";
/// Any access of others, and of the group all but reading: that is how root gives a key of its own to an
/// agentd that does not run as root.
const OTHERS: u32 = 0o037;

#[cfg(test)]
mod tests;
