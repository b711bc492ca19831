//! A CA that signs: certificates of servers and clients, and lists of what was revoked.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::index::{Entry, Kind};
use super::names::AltName;
use crate::certificate::{Facts, Role};
use crate::failure::{Code, Failure};

/// How long something counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    /// From when: a little ago, as clocks differ.
    pub(super) not_before: Timestamp,
    /// Until when.
    pub(super) not_after: Timestamp,
}

/// A CA with its key.
pub(super) struct Authority {
    /// Serial number of its certificate.
    pub(super) serial: String,
    /// Until when it is valid.
    pub(super) not_after: Timestamp,
    /// Its certificate.
    pub(super) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, as texts in PEM form.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// What a certificate is to say.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    Server { name: String, sans: Vec<AltName> },
    Client { name: String, role: Role },
}

impl Validity {
    /// From now on, for `ttl`.
    pub(super) fn starting(now: Timestamp, ttl: Duration) -> Result<Self, Failure> {
        let ttl = SignedDuration::try_from(ttl).map_err(|error| out_of_time(&error))?;
        let not_after = now.checked_add(ttl).map_err(|error| out_of_time(&error))?;
        let not_before = now.checked_sub(BACKDATED).map_err(|error| out_of_time(&error))?;
        Ok(Self { not_before, not_after })
    }
}

impl Subject {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Server { name, .. } | Self::Client { name, .. } => name,
        }
    }

    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Server { .. } => Kind::Server,
            Self::Client { .. } => Kind::Client,
        }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.name());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        match self {
            Self::Server { sans, .. } => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                params.subject_alt_names = sans.iter().filter_map(AltName::to_san).collect();
            }
            Self::Client { role, .. } => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                params.distinguished_name.push(DnType::OrganizationName, role.organization());
            }
        }
        params
    }
}

impl Authority {
    /// Makes a CA of its own; returns it with its key in PEM form.
    pub(super) fn create(validity: Validity) -> Result<(Self, String), Failure> {
        let serial = random_serial()?;
        let hex = crate::certificate::hexadecimal(&serial);
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let name = format!("agentd CA {}", hex.get(..8).unwrap_or(&hex));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        date(&mut params, validity, &serial);
        let pair = KeyPair::generate().map_err(|error| unmade(&error))?;
        let key = pair.serialize_pem();
        let made = CertifiedIssuer::self_signed(params, pair).map_err(|error| unmade(&error))?;
        Self::load(&made.pem(), &key).map(|authority| (authority, key))
    }

    /// Reads the CA of this key from a file that may hold several.
    pub(super) fn load(bundle: &str, key: &str) -> Result<Self, Failure> {
        let invalid = |what: &str| Failure::new(Code::InvalidArgument, "CA_INVALID", what);
        let pair = KeyPair::from_pem(key)
            .map_err(|error| invalid(&format!("the key of the CA cannot be read: {error}")))?;
        let own = |text: &&str| {
            CertificateDer::from_pem_slice(text.as_bytes()).is_ok_and(|der| is_of(&der, &pair))
        };
        let text = bundle.split_inclusive(END).find(own).ok_or_else(|| {
            invalid("the key of the CA belongs to none of its certificates")
                .hint("take ca.pem and ca.key from one backup")
        })?;
        let found = CertificateDer::from_pem_slice(text.as_bytes())
            .map_err(|error| invalid(&format!("ca.pem: {error}")))?;
        let facts = Facts::read(Some(&found)).map_err(|what| invalid(&format!("ca.pem {what}")))?;
        let issuer = Issuer::from_ca_cert_der(&found, pair).map_err(|error| unmade(&error))?;
        Ok(Self {
            serial: facts.serial,
            not_after: facts.not_after,
            pem: format!("{}\n", text.trim()),
            issuer,
        })
    }

    /// Signs a certificate for a new key.
    pub(super) fn sign(
        &self,
        subject: &Subject,
        validity: Validity,
    ) -> Result<(Pair, Entry), Failure> {
        if validity.not_after > self.not_after {
            let what = format!(
                "the certificate would outlive its CA, which ends on {}",
                crate::identity::day(self.not_after)
            );
            return Err(Failure::new(Code::FailedPrecondition, "CA_ENDS_BEFORE", what)
                .hint("give a shorter --ttl, or make a new CA: memctl ca rotate"));
        }
        let serial = random_serial()?;
        let mut params = subject.params();
        date(&mut params, validity, &serial);
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(|error| unmade(&error))?;
        let made = params.signed_by(&key, &self.issuer).map_err(|error| unmade(&error))?;
        let pair = Pair { certificate: made.pem(), key: key.serialize_pem() };
        Ok((pair, self.entry(subject, validity, &serial)))
    }

    /// The list of what was revoked of all that it signed, in PEM form.
    pub(super) fn revocations(
        &self,
        issued: &[Entry],
        number: u64,
        validity: Validity,
    ) -> Result<String, Failure> {
        let own = issued.iter().filter(|entry| entry.issuer == self.serial);
        let revoked_certs = own.filter_map(|entry| {
            Some(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&bytes(&entry.serial)?),
                revocation_time: rcgen::date_time_ymd(1970, 1, 1) + since_1970(entry.revoked?),
                reason_code: Some(RevocationReason::Unspecified),
                invalidity_date: None,
            })
        });
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(1970, 1, 1) + since_1970(validity.not_before),
            next_update: rcgen::date_time_ymd(1970, 1, 1) + since_1970(validity.not_after),
            crl_number: SerialNumber::from_slice(&number.to_be_bytes()),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).map_err(|error| unmade(&error))?;
        list.pem().map_err(|error| unmade(&error))
    }

    /// How it is remembered.
    pub(super) fn own_entry(&self, validity: Validity) -> Entry {
        Entry {
            name: format!("agentd CA {}", self.serial.get(..8).unwrap_or(&self.serial)),
            kind: Kind::Ca,
            role: None,
            sans: Vec::new(),
            serial: self.serial.clone(),
            issuer: self.serial.clone(),
            not_before: validity.not_before,
            not_after: validity.not_after,
            revoked: None,
        }
    }

    fn entry(&self, subject: &Subject, validity: Validity, serial: &[u8]) -> Entry {
        let (role, sans) = match subject {
            Subject::Server { sans, .. } => (None, sans.iter().map(ToString::to_string).collect()),
            Subject::Client { role, .. } => (Some(role.to_string()), Vec::new()),
        };
        Entry {
            name: subject.name().to_owned(),
            kind: subject.kind(),
            role,
            sans,
            serial: crate::certificate::hexadecimal(serial),
            issuer: self.serial.clone(),
            not_before: validity.not_before,
            not_after: validity.not_after,
            revoked: None,
        }
    }
}

fn is_of(certificate: &CertificateDer<'_>, pair: &KeyPair) -> bool {
    let parsed = x509_parser::parse_x509_certificate(certificate).ok();
    parsed.is_some_and(|(_, c)| *c.public_key().subject_public_key.data == *pair.public_key_raw())
}

fn date(params: &mut CertificateParams, validity: Validity, serial: &[u8]) {
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_1970(validity.not_before);
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_1970(validity.not_after);
    params.serial_number = Some(SerialNumber::from_slice(serial));
}

/// Whole seconds, as certificates have no others; 0 before 1970.
fn since_1970(time: Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(time.as_second()).unwrap_or(0))
}

/// 126 bits of chance: positive, and of one length.
fn random_serial() -> Result<[u8; 16], Failure> {
    let mut serial = [0; 16];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut serial).map_err(|_| {
        Failure::new(Code::Internal, "NO_RANDOM", "the system gave no random numbers")
    })?;
    let [first, ..] = &mut serial;
    *first = *first & 0x7f | 0x40;
    Ok(serial)
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = (0..hex.len()).step_by(2).map(|at| hex.get(at..at + 2));
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

fn unmade(error: &rcgen::Error) -> Failure {
    Failure::new(Code::Internal, "CERTIFICATE_UNMADE", format!("cannot make it: {error}"))
}

fn out_of_time(error: &jiff::Error) -> Failure {
    Failure::new(Code::Usage, "TTL_INVALID", format!("the time does not work: {error}"))
        .hint("give a shorter --ttl, such as 90d")
}

/// What a certificate in PEM form ends with.
const END: &str = "-----END CERTIFICATE-----\n";
/// Clocks of other machines may be behind by this much.
const BACKDATED: SignedDuration = SignedDuration::from_mins(5);
