//! Certificates for tests, made when they are needed: a CA, what it issues, and what it revokes.

use std::{
    error,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, Error, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub pem: String,
    now: SystemTime,
    issued: AtomicU16,
}

/// A certificate that was issued, and its key.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub pem: String,
    /// Its key.
    pub key: String,
    /// Its serial number, in lower hexadecimal digits.
    pub serial: String,
}

/// What a certificate is to say.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The common name; `None` for none.
    pub name: Option<String>,
    /// The organization; `None` for none.
    pub organization: Option<String>,
    /// URIs among the alternative names.
    pub uris: Vec<String>,
    /// Host names and addresses among the alternative names.
    pub hosts: Vec<String>,
    /// What it is for.
    pub usages: Vec<ExtendedKeyUsagePurpose>,
    /// Its first moment.
    pub from: SystemTime,
    /// Its last.
    pub until: SystemTime,
}

impl Authority {
    /// A CA of this name. What it issues without a wish is valid at `now`.
    pub fn new(name: &str, now: SystemTime) -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem, now, issued: AtomicU16::new(1) })
    }

    /// A wish for a client's certificate of 90 days: a common name, and a role as its organization.
    pub fn client(&self, name: &str, organization: &str) -> Wish {
        Wish {
            name: Some(name.to_owned()),
            organization: Some(organization.to_owned()),
            uris: Vec::new(),
            hosts: Vec::new(),
            usages: vec![ExtendedKeyUsagePurpose::ClientAuth],
            from: self.now - BACKDATED,
            until: self.now + 90 * DAY,
        }
    }

    /// A wish for the certificate of a host, which is valid for longer than any test lasts.
    pub fn server(&self, hosts: &[&str]) -> Wish {
        Wish {
            name: None,
            organization: None,
            uris: Vec::new(),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            usages: vec![ExtendedKeyUsagePurpose::ServerAuth],
            from: self.now - BACKDATED,
            until: self.now + 200 * 365 * DAY,
        }
    }

    /// Issues a certificate as it is wished for.
    pub fn issue(&self, wish: &Wish) -> Result<Issued, Error> {
        let [high, low] = self.issued.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let serial = [0x4a, high, low];
        let mut params = CertificateParams::new(wish.hosts.clone())?;
        for uri in &wish.uris {
            params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
        }
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = &wish.name {
            params.distinguished_name.push(DnType::CommonName, name.as_str());
        }
        if let Some(organization) = &wish.organization {
            params.distinguished_name.push(DnType::OrganizationName, organization.as_str());
        }
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.extended_key_usages.clone_from(&wish.usages);
        let epoch = date_time_ymd(1970, 1, 1);
        params.not_before = epoch + since_epoch(wish.from);
        params.not_after = epoch + since_epoch(wish.until);
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let pem = params.signed_by(&key, &self.issuer)?.pem();
        let serial = serial.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Issued { pem, key: key.serialize_pem(), serial })
    }

    /// The list of what it has revoked, good until `until`.
    pub fn revoke(&self, revoked: &[&Issued], until: SystemTime) -> Result<String, Error> {
        let epoch = date_time_ymd(1970, 1, 1);
        let now = epoch + since_epoch(self.now - BACKDATED);
        let revoked = revoked.iter().map(|one| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&bytes(&one.serial)),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: now,
            next_update: epoch + since_epoch(until),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer)?.pem()
    }
}

impl Issued {
    /// Writes it as NAME.pem and NAME.key into a folder, the key for its owner alone, and gives the two
    /// paths.
    pub fn write(&self, folder: &Path, name: &str) -> io::Result<(PathBuf, PathBuf)> {
        let (cert, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        fs::write(&cert, &self.pem)?;
        let mut options = File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&key)?;
        file.write_all(self.key.as_bytes())?;
        Ok((cert, key))
    }
}

/// A host's files of `[tls]` in a folder, "HOST.pem", "HOST.key" and "clients.pem", and that table of its
/// config.
pub fn serve(
    folder: &Path,
    authority: &Authority,
    hosts: &[&str],
) -> Result<String, Box<dyn error::Error>> {
    let name = hosts.first().copied().unwrap_or("server");
    let (cert, key) = authority.issue(&authority.server(hosts))?.write(folder, name)?;
    let clients = folder.join("clients.pem");
    fs::write(&clients, &authority.pem)?;
    Ok(format!("[tls]\ncert = {cert:?}\nkey = {key:?}\nclient_ca = {clients:?}\n"))
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// The bytes of an even number of hexadecimal digits.
fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    let number = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.filter_map(number).collect()
}

const DAY: Duration = Duration::from_secs(24 * 3600);
/// For clocks that are late.
const BACKDATED: Duration = Duration::from_secs(300);
