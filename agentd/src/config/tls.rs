//! The `[tls]` table of a config.

use std::{path::PathBuf, time::Duration};

use super::{bounded, read_path, section};
use crate::fields::{FieldError, Fields};

/// What a `tcp://` listener shows to clients and demands of them. There is none without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// This host's certificate, and those between it and its CA.
    pub cert: PathBuf,
    /// The key of that certificate.
    pub key: PathBuf,
    /// The CAs that sign the certificates of clients.
    pub client_ca: PathBuf,
    /// What these CAs have revoked; `None` for nothing.
    pub client_crl: Option<PathBuf>,
    /// Clients that are not let in whatever they show; `None` for none.
    pub client_deny: Option<PathBuf>,
    /// Longest time from the first to the last moment of a client's certificate.
    pub client_validity: Duration,
}

impl TlsConfig {
    /// `None` where no file is named.
    pub(super) fn read(root: &Fields<'_>) -> Result<Option<Self>, FieldError> {
        let Some(fields) = section(root, "tls", &KEYS)? else { return Ok(None) };
        let client_validity = match fields.get("client_validity") {
            Some(field) => bounded(&field, LEAST_VALIDITY, MOST_VALIDITY)?,
            None => VALIDITY,
        };
        let is_named = |key: &&str| fields.get(key).is_some_and(|field| field.text() != Ok(""));
        if !FILES.iter().any(is_named) {
            return Ok(None);
        }
        let need = |key: &str| {
            let field = fields.need(key, "\"/etc/agentd/tls/FILE.pem\"")?;
            let missing = "must name a file, as [tls] names others";
            read_path(&field)?.ok_or_else(|| field.error(missing))
        };
        let may = |key: &str| fields.get(key).map_or(Ok(None), |field| read_path(&field));
        Ok(Some(Self {
            cert: need("cert")?,
            key: need("key")?,
            client_ca: need("client_ca")?,
            client_crl: may("client_crl")?,
            client_deny: may("client_deny")?,
            client_validity,
        }))
    }
}

const FILES: [&str; 5] = ["cert", "key", "client_ca", "client_crl", "client_deny"];
const KEYS: [&str; 6] =
    ["cert", "key", "client_ca", "client_crl", "client_deny", "client_validity"];
/// The 90 days for which certificates are issued where nobody says otherwise, and room for a clock
/// that is late.
const VALIDITY: Duration = Duration::from_secs(100 * 24 * 3600);
const LEAST_VALIDITY: Duration = Duration::from_secs(3600);
const MOST_VALIDITY: Duration = Duration::from_secs(366 * 24 * 3600);
