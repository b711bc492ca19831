//! [`shown`]: what a client's certificate says of who has it. Whether it may be trusted is asked elsewhere.

use std::time::{Duration, SystemTime};

use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, parse_x509_certificate, time::ASN1Time,
    x509::AttributeTypeAndValue,
};

use crate::server::{
    limits,
    peer::{self, Certificate},
};

/// What a certificate says.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// Of who has it.
    pub(super) certificate: Certificate,
    /// True where it is for clients, and says so.
    pub(super) is_for_clients: bool,
    /// From its first moment to its last.
    pub(super) validity: Duration,
}

/// Why a certificate tells of nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Nobody {
    /// It cannot be read.
    #[error("it is no certificate")]
    Malformed,
    /// One URI is a name, several are none.
    #[error("it has {0} URIs among its alternative names, of which one at most may be")]
    ManyUris(usize),
    /// One common name is a name, several are none.
    #[error("it has no URI among its alternative names, and {0} common names instead of one")]
    CommonNames(usize),
    /// The name is none that can be written down.
    #[error(
        "its name is empty, has more than {} bytes, has control characters, or is one of agentd's own",
        limits::NAME
    )]
    BadName,
}

/// Reads a certificate.
pub(super) fn shown(der: &[u8]) -> Result<Shown, Nobody> {
    let (rest, parsed) = parse_x509_certificate(der).map_err(|_| Nobody::Malformed)?;
    if !rest.is_empty() {
        return Err(Nobody::Malformed);
    }
    let usage = parsed.extended_key_usage().map_err(|_| Nobody::Malformed)?;
    let validity = parsed.validity();
    let not_after = moment(validity.not_after);
    let first = moment(validity.not_before);
    Ok(Shown {
        certificate: Certificate {
            name: name(&parsed)?,
            organizations: texts(parsed.subject().iter_organization()).collect(),
            serial: serial(parsed.raw_serial()),
            not_after,
        },
        is_for_clients: usage.is_some_and(|usage| usage.value.client_auth),
        validity: not_after.duration_since(first).unwrap_or_default(),
    })
}

/// A moment as a certificate writes it; what lies before 1970 is the beginning of 1970.
pub(super) fn moment(time: ASN1Time) -> SystemTime {
    let since = Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0));
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The one URI, or else the one common name.
fn name(parsed: &X509Certificate<'_>) -> Result<String, Nobody> {
    let names = parsed.subject_alternative_name().map_err(|_| Nobody::Malformed)?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let uri = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some(Ok((*uri).to_owned())),
        // Whatever cannot be read may be a second URI.
        GeneralName::Invalid(..) => Some(Err(Nobody::Malformed)),
        GeneralName::OtherName(..)
        | GeneralName::RFC822Name(_)
        | GeneralName::DNSName(_)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::IPAddress(_)
        | GeneralName::RegisteredID(..) => None,
    };
    let mut uris = names.iter().filter_map(uri).collect::<Result<Vec<_>, _>>()?;
    let name = match (uris.pop(), uris.len()) {
        (Some(uri), 0) => uri,
        (Some(_), others) => return Err(Nobody::ManyUris(others.saturating_add(1))),
        (None, _) => common_name(parsed)?,
    };
    if is_good(&name) { Ok(name) } else { Err(Nobody::BadName) }
}

fn common_name(parsed: &X509Certificate<'_>) -> Result<String, Nobody> {
    let all: Vec<_> = parsed.subject().iter_common_name().collect();
    match texts(all.iter().copied()).next() {
        Some(name) if all.len() == 1 => Ok(name),
        _ => Err(Nobody::CommonNames(all.len())),
    }
}

fn texts<'a>(
    all: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>,
) -> impl Iterator<Item = String> {
    all.filter_map(|one| one.as_str().ok()).map(str::to_owned)
}

fn is_good(name: &str) -> bool {
    let sane = !name.trim().is_empty() && name.len() <= limits::NAME;
    sane && !peer::is_ours(name) && !name.chars().any(char::is_control)
}

/// Lower hexadecimal digits, without the zero that keeps a number positive.
fn serial(bytes: &[u8]) -> String {
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let digits = bytes.get(first..).unwrap_or_default();
    digits.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
