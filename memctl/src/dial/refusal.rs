//! Every way in which a connection with TLS fails, in words: what is wrong, and what mends it.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "what is not known to have a remedy is told in the words of the library"
)]

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, CertificateError, Error};

use crate::certificate::{Facts, Role};
use crate::failure::{Code, Failure};
use crate::identity::{day, quoted};

/// Who was dialled, and with what.
#[derive(Debug)]
pub(super) struct Dialled {
    /// The address.
    pub(super) address: String,
    /// The name that the server's certificate is to be for.
    pub(super) expected: String,
    /// Where our certificate is.
    pub(super) cert: PathBuf,
    /// Where the CAs are that we trust.
    pub(super) ca: PathBuf,
    /// What our certificate says.
    pub(super) facts: Facts,
}

/// The alert that the other side sent, if that is what went wrong.
pub(super) fn alert(error: &io::Error) -> Option<AlertDescription> {
    if let Error::AlertReceived(alert) = tls_error(error)? { Some(*alert) } else { None }
}

impl Dialled {
    /// Nobody answered.
    pub(super) fn no_connection(&self, error: &io::Error) -> Failure {
        let address = &self.address;
        let failure = |reason, what| Failure::new(Code::Unavailable, reason, what);
        match error.kind() {
            ErrorKind::ConnectionRefused => {
                failure("CONNECTION_REFUSED", format!("nobody listens on {address}"))
                    .hint("is agentd running there, with [tls] and this port in its listen?")
            }
            ErrorKind::NotFound => {
                failure("NAME_UNKNOWN", format!("{address}: the name is not known: {error}"))
                    .hint("check the spelling, or use the IP address")
            }
            _ => failure("CONNECT_FAILED", format!("cannot connect to {address}: {error}"))
                .hint("is the host up, and is the port open on the way there?"),
        }
    }

    /// The two sides came to no terms; `seen` is the server's certificate, if it showed one.
    pub(super) fn no_handshake(
        &self,
        error: &io::Error,
        seen: Option<&CertificateDer<'_>>,
    ) -> Failure {
        let Some(tls) = tls_error(error) else { return self.broke_off(error) };
        let seen = seen.and_then(|seen| Facts::read(Some(seen)).ok());
        match tls {
            Error::InvalidCertificate(wrong) => self.bad_server(wrong, seen.as_ref()),
            Error::AlertReceived(AlertDescription::ProtocolVersion)
            | Error::PeerIncompatible(_) => self
                .untrusted("TLS_VERSION", "does not speak TLS 1.3")
                .hint("agentd does: is it something else that listens on this port?"),
            Error::AlertReceived(
                AlertDescription::NoApplicationProtocol | AlertDescription::HandshakeFailure,
            ) => self.no_agent(),
            Error::AlertReceived(alert) => self.refused(*alert).unwrap_or_else(|| {
                self.untrusted("TLS_FAILED", &format!("broke off: {error}"))
                    .hint("the agent's log says why")
            }),
            Error::InvalidMessage(_) => self
                .untrusted("NOT_TLS", "answers, but not with TLS")
                .hint("is it a plain HTTP server, or an agentd that listens without TLS?"),
            other => self.untrusted("TLS_FAILED", &format!("cannot be spoken to: {other}")),
        }
    }

    /// It speaks TLS, and not gRPC.
    pub(super) fn no_agent(&self) -> Failure {
        self.untrusted("NOT_AN_AGENT", "speaks TLS, and not HTTP/2, which agentd does")
            .hint("is it another program that listens on this port?")
    }

    /// It closed the connection before it said anything.
    pub(super) fn closed(&self) -> Failure {
        let what = format!("{} closed the connection before it said anything", self.address);
        Failure::new(Code::Unavailable, "CONNECTION_CLOSED", what).hint(
            "the agent is stopping or has no place for another connection; its log says which",
        )
    }

    /// What the agent has against our certificate; none if that is not what the alert is about.
    pub(super) fn refused(&self, alert: AlertDescription) -> Option<Failure> {
        let cert = self.cert.display();
        let again = self.renewal();
        let (reason, why, mend) = match alert {
            AlertDescription::UnknownCA => (
                "CLIENT_CA_UNKNOWN",
                format!("it does not trust the CA that signed {cert}, \"{}\"", self.facts.issuer),
                "copy the CA's ca.pem to the host, as client_ca in [tls] of agentd.toml; or is the \
                 list of revoked certificates there (client_crl) out of date? memctl ca revoke \
                 writes it anew"
                    .to_owned(),
            ),
            AlertDescription::CertificateExpired => (
                "CLIENT_CERT_EXPIRED",
                format!("by its clock {cert} is not valid now, but until {}", day(self.facts.not_after)),
                format!("compare the clocks (timedatectl on both), or renew it: {again}"),
            ),
            AlertDescription::CertificateRevoked => (
                "CLIENT_CERT_REVOKED",
                format!("{cert}, serial number {}, was revoked", self.facts.serial),
                format!(
                    "the CA revoked it (client_crl in [tls] of agentd.toml), or the host denies it \
                     (client_deny); if it was not meant to be: {again}"
                ),
            ),
            AlertDescription::AccessDenied => (
                "CLIENT_DENIED",
                format!("it denies {cert}, serial number {}", self.facts.serial),
                "the host denies it (client_deny in [tls] of agentd.toml)".to_owned(),
            ),
            AlertDescription::CertificateUnknown => (
                "CLIENT_CERT_REFUSED",
                format!("{cert} is from a CA that it trusts, and is not what it takes"),
                format!(
                    "is it valid for longer than client_validity in [tls] of agentd.toml, 100 days \
                     by default? The agent's log says why; another one: {again}"
                ),
            ),
            AlertDescription::CertificateRequired => (
                "CLIENT_CERT_MISSING",
                "it asks for a certificate, and got none".to_owned(),
                again,
            ),
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::DecryptError => (
                "CLIENT_CERT_REFUSED",
                format!("it does not take {cert} ({alert:?})"),
                format!("the agent's log says why; another one: {again}"),
            ),
            _ => return None,
        };
        let what = format!("{} refuses us: {why}", self.address);
        Some(Failure::new(Code::Unauthenticated, reason, what).hint(mend))
    }

    fn bad_server(&self, wrong: &CertificateError, seen: Option<&Facts>) -> Failure {
        use CertificateError as Wrong;
        let (name, again) = (seen.map_or("HOST", |s| s.name.as_str()), self.server_renewal(seen));
        match wrong {
            Wrong::UnknownIssuer | Wrong::BadSignature => {
                let issuer = seen.map_or("an unknown CA", |s| s.issuer.as_str());
                let what = format!(
                    "shows a certificate that \"{issuer}\" signed, which {} does not hold",
                    self.ca.display()
                );
                self.untrusted("SERVER_CA_UNKNOWN", &what).hint(
                    "is it the right host? If so, --ca (or ca in the configuration) takes the file \
                     of its CA; after memctl ca rotate, that of both",
                )
            }
            Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => {
                let names = seen.map(|s| s.names.as_slice()).unwrap_or_default();
                let first = quoted(names.first().map_or("NAME", String::as_str));
                let listed = if names.is_empty() { "no name".into() } else { names.join(", ") };
                let what =
                    format!("shows a certificate for {listed}, and not for {}", self.expected);
                let others = names.iter().filter(|other| *other != name);
                let sans: Vec<String> = others
                    .chain([&self.expected])
                    .map(|name| format!("--san {}", quoted(name)))
                    .collect();
                self.untrusted("SERVER_NAME_MISMATCH", &what).hint(format!(
                    "if it is the right host: --server-name {first} (server_name in its entry), or \
                     a certificate for this name too: memctl ca issue-server {} {} --renew",
                    quoted(name),
                    sans.join(" ")
                ))
            }
            Wrong::Expired | Wrong::ExpiredContext { .. } => {
                let when = seen.map(|s| format!(" on {}", day(s.not_after))).unwrap_or_default();
                self.untrusted(
                    "SERVER_CERT_EXPIRED",
                    &format!("shows a certificate that expired{when}"),
                )
                .hint(again)
            }
            Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
                let when = seen.map(|s| day(s.not_before)).unwrap_or_default();
                let what = format!("shows a certificate that is not valid before {when}");
                self.untrusted("SERVER_CERT_NOT_YET_VALID", &what)
                    .hint("compare the clocks: timedatectl, here and there")
            }
            Wrong::InvalidPurpose | Wrong::InvalidPurposeContext { .. } => self
                .untrusted("SERVER_CERT_PURPOSE", "shows a certificate that is no server's")
                .hint(again),
            other => self
                .untrusted(
                    "SERVER_CERT_INVALID",
                    &format!("shows a certificate that is not good: {other}"),
                )
                .hint(again),
        }
    }

    fn broke_off(&self, error: &io::Error) -> Failure {
        let what = format!("{} broke off the TLS handshake: {error}", self.address);
        Failure::new(Code::Unavailable, "TLS_BROKEN_OFF", what)
            .hint("is it agentd that listens there, with [tls]? Its log says why it closed")
    }

    fn untrusted(&self, reason: &str, what: &str) -> Failure {
        Failure::new(Code::Unauthenticated, reason, format!("{} {what}", self.address))
    }

    fn renewal(&self) -> String {
        let role = self.facts.role().unwrap_or(Role::Operator);
        format!("memctl ca issue-client {} --role {role} --renew", quoted(&self.facts.name))
    }

    fn server_renewal(&self, seen: Option<&Facts>) -> String {
        let name = seen.map_or("HOST", |seen| seen.name.as_str());
        format!("memctl ca issue-server {} --renew, and copy it to the host", quoted(name))
    }
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn dialled() -> Dialled {
        let facts = Facts {
            name: "alice".to_owned(),
            organizations: vec![Role::Operator.organization()],
            issuer: "agentd CA 1".to_owned(),
            serial: "4a".to_owned(),
            not_before: Timestamp::UNIX_EPOCH,
            not_after: Timestamp::UNIX_EPOCH,
            names: Vec::new(),
            for_clients: true,
            for_servers: false,
            is_ca: false,
        };
        Dialled {
            address: "https://node1:7433".to_owned(),
            expected: "node1".to_owned(),
            cert: "/pki/client.pem".into(),
            ca: "/pki/ca.pem".into(),
            facts,
        }
    }

    #[test]
    fn every_alert_about_a_certificate_has_its_cause_and_what_mends_it() {
        for (alert, reason, words) in [
            (AlertDescription::UnknownCA, "CLIENT_CA_UNKNOWN", "client_ca"),
            (AlertDescription::CertificateExpired, "CLIENT_CERT_EXPIRED", "timedatectl"),
            (AlertDescription::CertificateRevoked, "CLIENT_CERT_REVOKED", "client_deny"),
            (AlertDescription::AccessDenied, "CLIENT_DENIED", "client_deny"),
            (AlertDescription::CertificateUnknown, "CLIENT_CERT_REFUSED", "client_validity"),
            (AlertDescription::BadCertificate, "CLIENT_CERT_REFUSED", "issue-client alice"),
            (AlertDescription::UnsupportedCertificate, "CLIENT_CERT_REFUSED", "log says why"),
            (AlertDescription::CertificateRequired, "CLIENT_CERT_MISSING", "issue-client alice"),
        ] {
            let failure = dialled().refused(alert).unwrap();
            assert_eq!((failure.reason.as_str(), failure.code), (reason, Code::Unauthenticated));
            assert!(failure.hint.unwrap().contains(words), "{reason}");
            assert!(failure.message.starts_with("https://node1:7433 refuses us: "));
        }
        assert!(dialled().refused(AlertDescription::CloseNotify).is_none());
    }

    #[test]
    fn nobody_there_is_told_from_no_such_name() {
        for (kind, reason) in [
            (ErrorKind::ConnectionRefused, "CONNECTION_REFUSED"),
            (ErrorKind::NotFound, "NAME_UNKNOWN"),
            (ErrorKind::HostUnreachable, "CONNECT_FAILED"),
        ] {
            let failure = dialled().no_connection(&io::Error::from(kind));
            assert_eq!((failure.reason.as_str(), failure.code), (reason, Code::Unavailable));
            assert!(failure.hint.is_some());
        }
    }
}
