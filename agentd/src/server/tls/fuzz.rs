//! What has to hold of any certificate that a client shows, and of any deny list.

use super::{deny::Denied, identity::shown};
use crate::server::{limits, peer};

/// A certificate. One that is taken names somebody, by a name that can be written into any log.
pub(crate) fn certificate(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        // A list that is taken was written whole.
        assert!(Denied::parse(text).is_err() || text.is_empty() || text.ends_with('\n'));
    }
    let Ok(shown) = shown(data) else { return };
    let name = &shown.certificate.name;
    assert!(!name.trim().is_empty() && name.len() <= limits::NAME, "{name:?}");
    assert!(!name.chars().any(char::is_control) && !peer::is_ours(name), "{name:?}");
    let serial = &shown.certificate.serial;
    assert!(serial.chars().all(|c| c.is_ascii_hexdigit()) && !serial.starts_with("00"), "{serial}");
}
