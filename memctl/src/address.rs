//! Addresses of agents, as a person types them: `unix:///path` or `tcp://host:port`. Pure; does
//! not look anything up.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use crate::failure::{Code, Failure};

/// Where an agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A socket on this machine.
    Unix(PathBuf),
    /// TCP without encryption.
    Tcp {
        /// Name or IP address, without brackets.
        host: String,
        /// Port.
        port: u16,
    },
}

impl Address {
    /// Reads `unix:///path` or `tcp://host:port`.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(invalid(text, "it has no scheme").hint(WHAT_WORKS));
        };
        match scheme {
            "unix" => parse_unix(text, rest),
            "tcp" => parse_tcp(text, rest),
            "ssh" | "https" | "http" => {
                Err(invalid(text, &format!("memctl does not speak {scheme}://")).hint(format!(
                    "{WHAT_WORKS}. For a remote host, forward its socket: {FORWARD}"
                )))
            }
            other => Err(invalid(text, &format!("unknown scheme \"{other}\"")).hint(WHAT_WORKS)),
        }
    }

    /// Whether everybody between here and there can read and change what is said.
    pub(crate) fn is_exposed(&self) -> bool {
        match self {
            Self::Unix(_) => false,
            Self::Tcp { host, .. } => {
                let loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
                !loopback && !host.eq_ignore_ascii_case("localhost")
            }
        }
    }

    /// The form that tonic's endpoint takes.
    pub(crate) fn to_endpoint_uri(&self) -> String {
        match self {
            Self::Unix(path) => format!("unix://{}", path.display()),
            Self::Tcp { host, port } => format!("http://{}:{port}", bracketed(host)),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port } => write!(f, "tcp://{}:{port}", bracketed(host)),
        }
    }
}

fn parse_unix(text: &str, rest: &str) -> Result<Address, Failure> {
    if !rest.starts_with('/') {
        return Err(invalid(text, "the path is not absolute")
            .hint("write three slashes: unix:///run/agentd/agentd.sock"));
    }
    if rest.contains(char::is_whitespace) || rest.contains(['?', '#', '%']) {
        return Err(invalid(text, "the path has a blank, \"?\", \"#\" or \"%\""));
    }
    Ok(Address::Unix(PathBuf::from(rest)))
}

fn parse_tcp(text: &str, rest: &str) -> Result<Address, Failure> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[') {
        Some(literal) => parse_bracketed(text, literal)?,
        None => parse_bare(text, rest)?,
    };
    let port = port
        .parse::<u16>()
        .ok()
        .filter(|&p| p != 0)
        .ok_or_else(|| invalid(text, &format!("\"{port}\" is not a port from 1 to 65535")))?;
    Ok(Address::Tcp { host: host.to_owned(), port })
}

fn parse_bracketed<'a>(text: &str, literal: &'a str) -> Result<(&'a str, &'a str), Failure> {
    let (host, rest) = literal.split_once(']').ok_or_else(|| invalid(text, "\"]\" is missing"))?;
    if host.contains('%') {
        return Err(invalid(text, "zone ids (\"%eth0\") are not supported")
            .hint("use an address that needs no zone, or a name"));
    }
    if host.parse::<Ipv6Addr>().is_err() {
        return Err(invalid(text, &format!("\"{host}\" is not an IPv6 address")));
    }
    let port = rest.strip_prefix(':').ok_or_else(|| missing_port(text))?;
    Ok((host, port))
}

fn parse_bare<'a>(text: &str, rest: &'a str) -> Result<(&'a str, &'a str), Failure> {
    if rest.matches(':').count() > 1 {
        let (host, port) = rest.rsplit_once(':').unwrap_or((rest, "PORT"));
        let (host, port) = if rest.parse::<Ipv6Addr>().is_ok() && host.parse::<Ipv6Addr>().is_err()
        {
            (rest, "PORT")
        } else {
            (host, port)
        };
        return Err(invalid(text, "an IPv6 address stands in brackets")
            .hint(format!("write tcp://[{host}]:{port}")));
    }
    let (host, port) = rest.split_once(':').ok_or_else(|| missing_port(text))?;
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.is_empty() || !host.chars().all(known) {
        return Err(invalid(text, &format!("\"{host}\" is not a host name")));
    }
    Ok((host, port))
}

fn missing_port(text: &str) -> Failure {
    invalid(text, "the port is missing").hint("write tcp://HOST:PORT")
}

fn invalid(text: &str, what: &str) -> Failure {
    Failure::new(Code::Usage, "ADDRESS_INVALID", format!("address \"{text}\": {what}"))
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

const WHAT_WORKS: &str =
    "what works: unix:///run/agentd/agentd.sock and tcp://HOST:PORT (IPv6: tcp://[::1]:PORT)";
const FORWARD: &str = "ssh -N -L /tmp/HOST.sock:/run/agentd/agentd.sock HOST, then \
                       memctl -H unix:///tmp/HOST.sock";

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.to_owned(), port }
    }

    fn hint(text: &str) -> String {
        Address::parse(text).unwrap_err().hint.unwrap_or_default()
    }

    #[test]
    fn reads_what_works_and_prints_it_back() {
        for (text, want) in [
            ("unix:///run/agentd/agentd.sock", Address::Unix("/run/agentd/agentd.sock".into())),
            ("tcp://127.0.0.1:7433", tcp("127.0.0.1", 7433)),
            ("tcp://node1.lan:7433", tcp("node1.lan", 7433)),
            ("tcp://[::1]:7433", tcp("::1", 7433)),
            ("tcp://[fd00::1:2]:1", tcp("fd00::1:2", 1)),
        ] {
            let got = Address::parse(text).unwrap();
            assert_eq!(got, want);
            assert_eq!(got.to_string(), text);
        }
        assert_eq!(tcp("::1", 7433).to_endpoint_uri(), "http://[::1]:7433");
    }

    #[test]
    fn an_ipv6_address_without_brackets_gets_the_right_spelling() {
        assert_eq!(hint("tcp://::1:7000"), "write tcp://[::1]:7000");
        assert_eq!(hint("tcp://fe80::1:2:3:7000"), "write tcp://[fe80::1:2:3]:7000");
        assert_eq!(hint("tcp://::1"), "write tcp://[::1]:PORT");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "node1:7433",
            "unix://run/x",
            "unix:///a b",
            "tcp://node1",
            "tcp://node1:0",
            "tcp://node1:70000",
            "tcp://:7433",
            "tcp://[::1]",
            "tcp://[fe80::1%eth0]:1",
            "tcp://[node1]:1",
            "tcp://a/b:1",
            "ftp://node1:1",
        ] {
            assert!(Address::parse(text).is_err(), "{text} was taken");
        }
    }

    #[test]
    fn ssh_and_https_are_refused_with_what_works() {
        for text in ["ssh://root@node1", "https://node1:7433"] {
            assert!(hint(text).contains("unix:///run/agentd/agentd.sock"));
            assert!(hint(text).contains("ssh -N -L"));
        }
    }

    #[test]
    fn only_loopback_is_not_exposed() {
        for (text, exposed) in [
            ("unix:///s", false),
            ("tcp://127.9.9.9:1", false),
            ("tcp://[::1]:1", false),
            ("tcp://LOCALHOST:1", false),
            ("tcp://192.0.2.1:1", true),
            ("tcp://localhost.example.org:1", true),
        ] {
            assert_eq!(Address::parse(text).unwrap().is_exposed(), exposed, "{text}");
        }
    }
}
