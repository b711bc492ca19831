//! `memctl ca issue-server` and `issue-client`.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::places::ON_A_HOST;
use super::{Ended, install, now, show, tell};
use crate::address::Ssh;
use crate::certificate::Role;
use crate::config_edit;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::identity::{IdentityFiles, quoted};
use crate::pki::{self, AltName, Issued, Store, Terms, check_name};
use crate::quantity::parse_positive_duration;
use crate::session::Session;

/// Options of `memctl ca issue-server`.
#[derive(Args, Debug)]
pub(crate) struct ServerArgs {
    /// Name of the host. A host name or an address is among what it is reached by.
    #[arg(value_name = "HOST")]
    name: String,
    /// Another name or address that it is reached by. May be repeated.
    #[arg(long = "san", value_name = "NAME|ADDRESS")]
    sans: Vec<AltName>,
    /// Put it with all that agentd needs into /etc/agentd/tls there, through ssh.
    #[arg(long, value_name = "[USER@]HOST", value_parser = install::parse_target)]
    install: Option<Ssh>,
    /// For how long it is valid.
    #[arg(long, value_name = "TIME", default_value = "365d")]
    #[arg(value_parser = parse_positive_duration)]
    ttl: Duration,
    /// Take the place of the one that is there, and keep its names if none is given.
    #[arg(long)]
    renew: bool,
}

/// Options of `memctl ca issue-client`.
#[derive(Args, Debug)]
pub(crate) struct ClientArgs {
    /// Whose it is: the name that agents write down beside every change.
    name: String,
    /// What its owner may do.
    #[arg(long, required_unless_present = "renew")]
    role: Option<Role>,
    /// For how long it is valid.
    #[arg(long, value_name = "TIME", default_value = "90d")]
    #[arg(value_parser = parse_positive_duration)]
    ttl: Duration,
    /// Take the place of the one that is there, and keep its role if none is given.
    #[arg(long)]
    renew: bool,
    /// Make it the identity that this memctl shows to every host that has no other one.
    #[arg(long)]
    default: bool,
}

/// Issues a certificate for the agent of a host, and installs it or tells how.
pub(super) fn server(args: &ServerArgs, folder: &Path, session: &Session) -> Ended {
    check_name(&args.name).map_err(Failure::usage)?;
    let mut store = Store::open(folder)?;
    let terms = Terms { now: now(), ttl: args.ttl, renew: args.renew };
    let Issued { entry, cert, key } = store.issue_server(&args.name, &args.sans, &terms)?;
    show(std::slice::from_ref(&entry), session)?;
    let (ca, list) = (store.path(pki::CA), store.path(pki::CRL));
    if let Some(target) = &args.install {
        let files = [
            (pki::CA, ca.as_path()),
            (pki::CRL, list.as_path()),
            ("server.pem", cert.as_path()),
            ("server.key", key.as_path()),
        ];
        install::install(target, &files)?;
        tell(
            session,
            &format!(
                "installed in {ON_A_HOST} of {}: a running agentd takes it by itself, and one that did \
             not listen for TLS yet from its next start on",
                target.destination()
            ),
        )?;
        return Ok(Exit::Done);
    }
    let sources = [ca, list, cert, key].map(|path| quoted(&path.display().to_string()));
    let login = entry.sans.first().map_or("HOST", String::as_str);
    tell(
        session,
        &format!(
            "copy them to the host (--install root@HOST does it):\n  ssh root@{login} mkdir -p -m 700 \
         {ON_A_HOST}\n  scp {} root@{login}:{ON_A_HOST}/\nand name them in [tls] of its \
         agentd.toml:\n  cert = \"{ON_A_HOST}/server.pem\"\n  key = \"{ON_A_HOST}/server.key\"\n  \
         client_ca = \"{ON_A_HOST}/ca.pem\"\n  client_crl = \"{ON_A_HOST}/crl.pem\"",
            sources.join(" ")
        ),
    )?;
    Ok(Exit::Done)
}

/// Issues a certificate for a client, and makes it the default identity or tells how.
pub(super) fn client(args: &ClientArgs, folder: &Path, session: &Session) -> Ended {
    check_name(&args.name).map_err(Failure::usage)?;
    let mut store = Store::open(folder)?;
    let terms = Terms { now: now(), ttl: args.ttl, renew: args.renew };
    let Issued { entry, cert, key } = store.issue_client(&args.name, args.role, &terms)?;
    show(std::slice::from_ref(&entry), session)?;
    if args.ttl > MOST_VALIDITY {
        tell(
            session,
            "warning: agents take certificates of at most 100 days, unless client_validity in \
             [tls] of their agentd.toml allows more",
        )?;
    }
    let ca = store.path(pki::CA);
    if args.default {
        let files = IdentityFiles { ca: Some(ca), cert: Some(cert), key: Some(key) };
        let path = session.places.own.as_deref();
        config_edit::change(path, |text| config_edit::with_default_identity(text, &files))?;
        let path = path.unwrap_or_else(|| Path::new("the configuration")).display();
        tell(
            session,
            &format!(
                "memctl shows it to every https:// host that has no other one: [defaults] in {path}"
            ),
        )?;
        return Ok(Exit::Done);
    }
    tell(
        session,
        &format!(
            "for memctl, under [defaults] of its configuration or in a host's entry (--default writes \
         it):\n  ca = \"{}\"\n  cert = \"{}\"\n  key = \"{}\"",
            ca.display(),
            cert.display(),
            key.display()
        ),
    )?;
    Ok(Exit::Done)
}

/// What agentd takes by default, less its allowance for clocks.
const MOST_VALIDITY: Duration = Duration::from_secs(99 * 24 * 3600);
