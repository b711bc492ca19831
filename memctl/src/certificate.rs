//! What a certificate says, in our words. Reads DER and judges nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

/// What somebody may do: the organization of a client certificate is "agentd:" and this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// Ask and watch.
    Reader,
    /// Also pause, try policies and reserve memory.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// Its organization in a certificate.
    pub(crate) fn organization(self) -> String {
        format!("{ORGANIZATION}{self}")
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Its common name; empty without one.
    pub(crate) name: String,
    /// Its organizations.
    pub(crate) organizations: Vec<String>,
    /// The common name of the CA that it says signed it; empty without one.
    pub(crate) issuer: String,
    /// Its serial number, in lower hexadecimal digits.
    pub(crate) serial: String,
    /// From when it is valid.
    pub(crate) not_before: Timestamp,
    /// Until when it is valid.
    pub(crate) not_after: Timestamp,
    /// The host names and IP addresses that it is for, as a person writes them.
    pub(crate) names: Vec<String>,
    /// Whether a client may show it.
    pub(crate) for_clients: bool,
    /// Whether a server may show it.
    pub(crate) for_servers: bool,
    /// Whether it may sign others.
    pub(crate) is_ca: bool,
}

impl Facts {
    /// Reads a certificate; says what is wrong with what is none.
    pub(crate) fn read(der: Option<&CertificateDer<'_>>) -> Result<Self, String> {
        let der = der.ok_or("holds no certificate")?;
        let (_, parsed) = x509_parser::parse_x509_certificate(der)
            .map_err(|error| format!("holds what is no certificate: {error}"))?;
        let usage = parsed.extended_key_usage().ok().flatten().map(|usage| usage.value);
        Ok(Self {
            name: common_name(parsed.subject()),
            organizations: texts(parsed.subject().iter_organization()),
            issuer: common_name(parsed.issuer()),
            serial: hexadecimal(parsed.raw_serial()),
            not_before: timestamp(parsed.validity().not_before),
            not_after: timestamp(parsed.validity().not_after),
            names: names(&parsed),
            for_clients: usage.is_some_and(|usage| usage.client_auth),
            for_servers: usage.is_some_and(|usage| usage.server_auth),
            is_ca: parsed.is_ca(),
        })
    }

    /// The role that its organizations give; the most powerful of several.
    pub(crate) fn role(&self) -> Option<Role> {
        let roles = [Role::Admin, Role::Operator, Role::Reader];
        roles.into_iter().find(|role| self.organizations.contains(&role.organization()))
    }
}

/// A serial number in lower hexadecimal digits, without what only keeps it positive.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let bytes = match bytes {
        [0, rest @ ..] if !rest.is_empty() => rest,
        bytes => bytes,
    };
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn common_name(name: &X509Name<'_>) -> String {
    texts(name.iter_common_name()).into_iter().next().unwrap_or_default()
}

fn texts<'a>(
    attributes: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'a>>,
) -> Vec<String> {
    attributes.filter_map(|value| value.as_str().ok()).map(str::to_owned).collect()
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let written = names.iter().filter_map(|name| {
        if let GeneralName::DNSName(name) = name {
            return Some((*name).to_owned());
        }
        if let GeneralName::IPAddress(bytes) = name {
            return address(bytes).map(|address| address.to_string());
        }
        None
    });
    written.collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
    let v6 = || <[u8; 16]>::try_from(bytes).ok().map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)));
    v4.or_else(v6)
}

/// What lies outside of any calendar is as far away as can be.
fn timestamp(time: ASN1Time) -> Timestamp {
    let seconds = time.timestamp();
    let far = if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(seconds).unwrap_or(far)
}

const ORGANIZATION: &str = "agentd:";
