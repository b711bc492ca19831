//! Names in certificates: whose it is, and what a server is reached by. Pure.

use std::net::IpAddr;

use rcgen::SanType;

/// A name or an address that a server is reached by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AltName {
    /// A host name, in lower case.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

impl AltName {
    /// As a certificate holds it; `None` for a host name that is not ASCII, which none is.
    pub(super) fn to_san(&self) -> Option<SanType> {
        match self {
            Self::Dns(name) => name.as_str().try_into().ok().map(SanType::DnsName),
            Self::Ip(address) => Some(SanType::IpAddress(*address)),
        }
    }
}

impl std::fmt::Display for AltName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => write!(f, "{address}"),
        }
    }
}

impl std::str::FromStr for AltName {
    type Err = String;

    /// Reads `node1.lan`, `10.0.0.5`, `fd00::1` or `[fd00::1]`.
    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse() {
            return Ok(Self::Ip(address));
        }
        let refused = |what: &str| {
            Err(format!(
                "\"{text}\" {what}: write a host name (node1.lan) or an address (10.0.0.5, \
                 [fd00::1])"
            ))
        };
        let labels = || text.split('.');
        let plain = |label: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            (1..=63).contains(&label.len()) && !label.starts_with('-') && label.chars().all(known)
        };
        if text.contains("://") {
            return refused("is a URI");
        }
        if text.len() > MOST_OF_A_HOST_NAME || !labels().all(plain) {
            return refused("is no host name");
        }
        if labels().next_back().is_some_and(|last| last.chars().all(|c| c.is_ascii_digit())) {
            return refused("is neither an address nor a name");
        }
        Ok(Self::Dns(text.to_ascii_lowercase()))
    }
}

/// Refuses names that could be taken for something else, as a folder, a word of the shell or a
/// line of a log.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let what = if name.is_empty() {
        "is empty"
    } else if name.chars().any(crate::render::text::steers) {
        "has control characters"
    } else if name.contains(['/', '\\']) {
        "has a slash"
    } else if name.contains("..") {
        "has \"..\""
    } else if name.starts_with(['.', '-']) {
        "begins with \".\" or \"-\""
    } else if name.trim() != name {
        "begins or ends with a blank"
    } else if name.starts_with("uid:") || OURS.contains(&name) {
        "is one that agentd gives to who has no certificate"
    } else if name.chars().count() > MOST_OF_A_NAME {
        "is longer than 64 characters"
    } else {
        return Ok(());
    };
    Err(format!("the name \"{}\" {what}: choose another", name.escape_debug()))
}

/// Names that no agent lets in.
const OURS: [&str; 3] = ["config", "agent", "others"];
/// A common name has no more (RFC 5280).
const MOST_OF_A_NAME: usize = 64;
const MOST_OF_A_HOST_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_read_as_people_write_them() {
        for (text, want) in [
            ("node1", "node1"),
            ("Node1.LAN", "node1.lan"),
            ("10.0.0.5", "10.0.0.5"),
            ("[fd00::1]", "fd00::1"),
            ("fd00:0:0::1", "fd00::1"),
        ] {
            assert_eq!(text.parse::<AltName>().unwrap().to_string(), want);
        }
        for text in ["", "a b", "*.lan", "https://node1", "a..b", "-x", "10.0.0", "[node1]", "é"] {
            assert!(text.parse::<AltName>().is_err(), "{text} was taken");
        }
    }

    #[test]
    fn names_that_are_something_else_are_refused() {
        let long = "x".repeat(65);
        for name in
            ["", "a/b", "..", "a..b", ".x", "-x", "a\nb", "a\u{202e}b", " a", "uid:0", &long]
        {
            assert!(check_name(name).is_err(), "{name:?} was taken");
        }
        for name in OURS {
            assert!(check_name(name).is_err(), "{name:?} was taken");
        }
        for name in ["alice", "alice@example.org", "Zoë K.", "fd00::1"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }
}
