//! Addresses of agents, as a person types them: `unix:///path`, `https://host:port` or
//! `ssh://[user@]host[:port][/path]`. Pure; does not look anything up.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use crate::failure::{Code, Failure};

/// Where an agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A socket on this machine.
    Unix(PathBuf),
    /// A socket on another machine, reached through ssh.
    Ssh(Ssh),
    /// TCP with mutual TLS.
    Https {
        /// Name or IP address, without brackets.
        host: String,
        /// Port.
        port: u16,
    },
}

/// An agent that ssh leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ssh {
    /// Who to be there; otherwise as ssh's own configuration says.
    pub(crate) user: Option<String>,
    /// Name or IP address, without brackets, or a `Host` of ssh's configuration.
    pub(crate) host: String,
    /// Port; otherwise as ssh's own configuration says.
    pub(crate) port: Option<u16>,
    /// The agent's socket there; otherwise where agentd has it by default.
    pub(crate) socket: Option<String>,
}

impl Ssh {
    /// A host as ssh takes it: `user@host`.
    pub(crate) fn destination(&self) -> String {
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        format!("{user}{}", self.host)
    }
}

impl Address {
    /// Reads an address with its scheme.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(invalid(text, "it has no scheme").hint(WHAT_WORKS));
        };
        match scheme {
            "unix" => parse_unix(text, rest),
            "https" => parse_https(text, rest),
            "ssh" => parse_ssh(text, rest),
            "tcp" | "http" => Err(invalid(text, "memctl speaks no TCP without TLS").hint(format!(
                "write https://{rest} (memctl ca makes the certificates), or ssh://{}",
                without_port(rest)
            ))),
            other => Err(invalid(text, &format!("unknown scheme \"{other}\"")).hint(WHAT_WORKS)),
        }
    }

    /// What a name that is not configured stands for: a host that ssh knows.
    pub(crate) fn by_ssh(host: &str) -> Self {
        Self::Ssh(Ssh { user: None, host: host.to_owned(), port: None, socket: None })
    }

    /// What a name that is not configured stands for where there is a default identity.
    pub(crate) fn by_https(host: &str) -> Self {
        Self::Https { host: host.to_owned(), port: DEFAULT_PORT }
    }

    /// The form that tonic's endpoint takes. Over ssh it says nothing, as ssh finds the host.
    pub(crate) fn to_endpoint_uri(&self) -> String {
        match self {
            Self::Unix(path) => format!("unix://{}", path.display()),
            Self::Ssh(_) => "http://agentd".to_owned(),
            Self::Https { host, port } => format!("https://{}:{port}", bracketed(host)),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Https { host, port } => write!(f, "https://{}:{port}", bracketed(host)),
            Self::Ssh(Ssh { user, host, port, socket }) => {
                let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
                let port = port.map(|port| format!(":{port}")).unwrap_or_default();
                let socket = socket.as_deref().unwrap_or_default();
                write!(f, "ssh://{user}{}{port}{socket}", bracketed(host))
            }
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

fn parse_https(text: &str, rest: &str) -> Result<Address, Failure> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('@') {
        return Err(invalid(text, "https:// takes no user: the certificate says who you are"));
    }
    let (host, port) = parse_authority(text, "https", rest)?;
    Ok(Address::Https { host, port: port.unwrap_or(DEFAULT_PORT) })
}

fn parse_ssh(text: &str, rest: &str) -> Result<Address, Failure> {
    let (authority, socket) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if let Some(user) = user.filter(|user| !is_word(user)) {
        return Err(invalid(text, &format!("\"{user}\" is not a user name")));
    }
    let (host, port) = parse_authority(text, "ssh", host)?;
    let socket = Some(socket).filter(|path| !path.is_empty() && *path != "/");
    // A shell reads it on the other side.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:".contains(c);
    if let Some(socket) = socket.filter(|path| !path.chars().all(plain)) {
        let what = format!("the path \"{socket}\" has characters that are not plain");
        return Err(invalid(text, &what).hint("letters, digits and /._-+@: are"));
    }
    let socket = socket.map(str::to_owned);
    Ok(Address::Ssh(Ssh { user: user.map(str::to_owned), host, port, socket }))
}

/// Reads `host`, `host:port`, `[v6]` or `[v6]:port`.
fn parse_authority(text: &str, scheme: &str, rest: &str) -> Result<(String, Option<u16>), Failure> {
    let (host, port) = match rest.strip_prefix('[') {
        Some(literal) => split_bracketed(text, literal)?,
        None => split_bare(text, scheme, rest)?,
    };
    let Some(port) = port else { return Ok((host.to_owned(), None)) };
    let number = port.parse::<u16>().ok().filter(|&p| p != 0);
    let number = number.ok_or_else(|| {
        let what = match port {
            "" => "a port is to follow \":\"".to_owned(),
            port => format!("\"{port}\" is not a port from 1 to 65535"),
        };
        invalid(text, &what).hint(format!("write {scheme}://{}", bracketed(host)))
    })?;
    Ok((host.to_owned(), Some(number)))
}

fn split_bracketed<'a>(
    text: &str,
    literal: &'a str,
) -> Result<(&'a str, Option<&'a str>), Failure> {
    let (host, rest) = literal.split_once(']').ok_or_else(|| invalid(text, "\"]\" is missing"))?;
    if host.contains('%') {
        return Err(invalid(text, "zone ids (\"%eth0\") are not supported")
            .hint("use an address that needs no zone, or a name"));
    }
    if host.parse::<Ipv6Addr>().is_err() {
        return Err(invalid(text, &format!("\"{host}\" is not an IPv6 address")));
    }
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if rest.is_empty() => Ok((host, None)),
        None => Err(invalid(text, &format!("\"{rest}\" follows the address"))),
    }
}

fn split_bare<'a>(
    text: &str,
    scheme: &str,
    rest: &'a str,
) -> Result<(&'a str, Option<&'a str>), Failure> {
    if rest.matches(':').count() > 1 {
        return Err(invalid(text, "an IPv6 address stands in brackets")
            .hint(format!("write {scheme}://{}", with_brackets(rest))));
    }
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    if !is_word(host) {
        return Err(invalid(text, &format!("\"{host}\" is not a host name")));
    }
    Ok((host, port))
}

/// An IPv6 address without brackets, as it was meant: whole, or followed by a port.
fn with_brackets(rest: &str) -> String {
    match rest.rsplit_once(':') {
        Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => format!("[{host}]:{port}"),
        Some(_) | None => format!("[{rest}]"),
    }
}

/// Whether it is a name that neither ssh nor a shell takes for something else.
fn is_word(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !text.is_empty() && !text.starts_with('-') && text.chars().all(plain)
}

fn without_port(rest: &str) -> &str {
    match rest.rsplit_once(':') {
        Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => host,
        _ => rest,
    }
}

fn invalid(text: &str, what: &str) -> Failure {
    Failure::new(Code::Usage, "ADDRESS_INVALID", format!("address \"{text}\": {what}"))
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Where agentd listens with TLS unless it is told otherwise.
pub(crate) const DEFAULT_PORT: u16 = 7433;
const WHAT_WORKS: &str = "what works: unix:///run/agentd/agentd.sock, ssh://[USER@]HOST and \
                          https://HOST[:PORT] (IPv6: https://[fd00::1]:7433)";

#[cfg(test)]
mod tests {
    use super::*;

    fn https(host: &str, port: u16) -> Address {
        Address::Https { host: host.to_owned(), port }
    }

    fn ssh(user: Option<&str>, host: &str, port: Option<u16>, socket: Option<&str>) -> Address {
        let text = |text: &str| text.to_owned();
        Address::Ssh(Ssh {
            user: user.map(text),
            host: host.to_owned(),
            port,
            socket: socket.map(text),
        })
    }

    fn hint(text: &str) -> String {
        Address::parse(text).unwrap_err().hint.unwrap_or_default()
    }

    #[test]
    fn reads_what_works_and_prints_it_back() {
        for (text, want) in [
            ("unix:///run/agentd/agentd.sock", Address::Unix("/run/agentd/agentd.sock".into())),
            ("https://127.0.0.1:7433", https("127.0.0.1", 7433)),
            ("https://node1.lan:8000", https("node1.lan", 8000)),
            ("https://[::1]:7433", https("::1", 7433)),
            ("https://[fd00::1:2]:1", https("fd00::1:2", 1)),
            ("ssh://node1", ssh(None, "node1", None, None)),
            ("ssh://root@node1:22", ssh(Some("root"), "node1", Some(22), None)),
            ("ssh://[fd00::1]/run/a.sock", ssh(None, "fd00::1", None, Some("/run/a.sock"))),
        ] {
            let got = Address::parse(text).unwrap();
            assert_eq!(got, want);
            assert_eq!(got.to_string(), text);
        }
        assert_eq!(https("::1", 7433).to_endpoint_uri(), "https://[::1]:7433");
    }

    #[test]
    fn the_port_of_https_is_known() {
        assert_eq!(Address::parse("https://node1").unwrap(), https("node1", 7433));
        assert_eq!(Address::parse("https://[fd00::1]/").unwrap(), https("fd00::1", 7433));
    }

    #[test]
    fn an_ipv6_address_without_brackets_gets_the_right_spelling() {
        assert_eq!(hint("https://::1:7000"), "write https://[::1]:7000");
        assert_eq!(hint("https://fe80::1:2:3:7000"), "write https://[fe80::1:2:3]:7000");
        assert_eq!(hint("https://::1"), "write https://[::1]");
        assert_eq!(hint("ssh://1:2:3:4:5:6:7:8"), "write ssh://[1:2:3:4:5:6:7:8]");
    }

    #[test]
    fn plaintext_is_refused_with_what_takes_its_place() {
        for text in ["tcp://node1:7433", "http://node1:7433"] {
            let hint = hint(text);
            assert!(hint.contains("write https://node1:7433") && hint.contains("ssh://node1"));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "node1:7433",
            "unix://run/x",
            "unix:///a b",
            "https://node1:0",
            "https://node1:70000",
            "https://node1:",
            "https://:7433",
            "https://root@node1",
            "https://[fe80::1%eth0]:1",
            "https://[node1]:1",
            "https://[::1]x",
            "https://a/b:1",
            "ssh://",
            "ssh://-oProxyCommand=x",
            "ssh://-l@node1",
            "ssh://node1/run/$(x)",
            "ssh://node1/a b",
            "ftp://node1:1",
        ] {
            assert!(Address::parse(text).is_err(), "{text} was taken");
        }
    }
}
