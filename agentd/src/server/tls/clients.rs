//! [`Clients`]: who is let in. A CA of the config vouches for it, it is not revoked, it says who it is
//! and that it is a client, and it is not on the deny list.

use std::{sync::Arc, time::Duration};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

use super::{
    deny::Denied,
    identity::{Nobody, Shown, shown},
};
use crate::server::peer::Certificate;

/// Who is let in.
#[derive(Debug)]
pub(super) struct Clients {
    /// Asks whether a CA vouches for a certificate, now and for clients, and has not revoked it.
    pub(super) vouched: Arc<dyn ClientCertVerifier>,
    pub(super) denied: Denied,
    /// Longest validity of a certificate.
    pub(super) validity: Duration,
}

/// Why a certificate that a CA vouches for is not enough.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// It tells of nobody.
    #[error("the client's certificate is refused: {0}")]
    Nobody(#[from] Nobody),
    /// It is for something else.
    #[error("the certificate of {0} is refused: it lacks the extended key usage clientAuth")]
    NotForClients(String),
    /// It is valid for too long.
    #[error(
        "the certificate of {name} is refused: it is valid for {} days, and client_validity in [tls] \
         allows {}", days(.is), days(.most)
    )]
    TooLong {
        /// Whose it is.
        name: String,
        /// How long it is.
        is: Duration,
        /// How long it may be.
        most: Duration,
    },
}

impl Clients {
    /// Who shows this chain, its own certificate first; an error where it is not let in.
    pub(super) fn admit(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Certificate, Error> {
        let (own, others) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        self.vouched.verify_client_cert(own, others, now)?;
        let shown = shown(own).map_err(|nobody| other(nobody.into()))?;
        self.judge(&shown)?;
        Ok(shown.certificate)
    }

    fn judge(&self, shown: &Shown) -> Result<(), Error> {
        let Certificate { name, serial, .. } = &shown.certificate;
        if self.denied.has(&shown.certificate) {
            tracing::debug!(name, serial, "is on the deny list");
            return Err(CertificateError::Revoked.into());
        }
        if !shown.is_for_clients {
            return Err(other(Refusal::NotForClients(name.clone())));
        }
        if shown.validity > self.validity {
            let (name, is, most) = (name.clone(), shown.validity, self.validity);
            return Err(other(Refusal::TooLong { name, is, most }));
        }
        Ok(())
    }
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.vouched.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let own = std::iter::once(end_entity.clone());
        let chain: Vec<CertificateDer<'_>> = own.chain(intermediates.iter().cloned()).collect();
        self.admit(&chain, now).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.vouched.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.vouched.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.vouched.supported_verify_schemes()
    }
}

/// As the error of a certificate, with its own words for the log.
fn other(refusal: Refusal) -> Error {
    CertificateError::Other(OtherError(Arc::new(refusal))).into()
}

fn days(time: &Duration) -> u64 {
    time.as_secs().div_ceil(24 * 3600)
}
