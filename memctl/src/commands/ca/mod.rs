//! `memctl ca`: certificates for servers and clients. Asks no agent.

mod install;
mod issue;
mod places;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::Ended;
use crate::dto::Item;
use crate::exit::Exit;
use crate::failure::{Code, Failure};
use crate::identity::{EXPIRY_WARNING, day};
use crate::pki::{self, Entry, Rotated, Store};
use crate::quantity::parse_positive_duration;
use crate::render::ca::CertificateBody;
use crate::session::Session;

/// Options of every `memctl ca` command.
#[derive(Args, Debug)]
pub(crate) struct CaArgs {
    /// Folder of the CA [default: $XDG_CONFIG_HOME/memctl/pki]
    #[arg(long, global = true, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// What to do with it.
    #[command(subcommand)]
    command: CaCommand,
}

/// What to do with the CA.
#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Make a CA: the key that signs the certificates of servers and clients
    Init {
        /// For how long it is valid.
        #[arg(long, value_name = "TIME", default_value = "3650d")]
        #[arg(value_parser = parse_positive_duration)]
        ttl: Duration,
    },
    /// Issue a certificate for the agent of a host
    IssueServer(issue::ServerArgs),
    /// Issue a certificate for a person or a program that uses memctl
    IssueClient(issue::ClientArgs),
    /// Make a new CA that takes over from the old one without cutting anybody off
    Rotate(RotateArgs),
    /// Revoke certificates, and write the list of all that are revoked
    Revoke(RevokeArgs),
    /// Show the CA and everything that it issued
    Show,
}

/// Options of `memctl ca rotate`.
#[derive(Args, Debug)]
pub(crate) struct RotateArgs {
    /// For how long the new CA is valid.
    #[arg(long, value_name = "TIME", default_value = "3650d")]
    #[arg(value_parser = parse_positive_duration)]
    ttl: Duration,
    /// End the trust in the old CA, when nothing that it signed is needed any more.
    #[arg(long, conflicts_with = "ttl")]
    finish: bool,
    /// With --finish: also where that cuts somebody off.
    #[arg(long, requires = "finish")]
    force: bool,
}

/// Options of `memctl ca revoke`.
#[derive(Args, Debug)]
pub(crate) struct RevokeArgs {
    /// Whose certificate: a name, which stands for all that it has, or a serial number. Without
    /// one, the list is only written anew.
    #[arg(value_name = "NAME|SERIAL")]
    which: Option<String>,
    /// For how long the list counts: agents that have an older one let nobody in.
    #[arg(long, value_name = "TIME", default_value = "365d")]
    #[arg(value_parser = parse_positive_duration)]
    next_update: Duration,
}

/// Does what is to be done with the CA.
pub(crate) fn run(args: &CaArgs, session: &Session) -> Ended {
    let folder = places::folder(args.dir.as_deref())?;
    match &args.command {
        CaCommand::Init { ttl } => {
            let made = Store::create(&folder, now(), *ttl)?;
            show(&[made], session)?;
            tell(
                session,
                &format!(
                    "made {}; keep {} to yourself, and a copy of the folder in a safe place\nnext: \
                 memctl ca issue-server HOST, memctl ca issue-client NAME --role operator --default",
                    folder.join(pki::CA).display(),
                    folder.join("ca.key").display()
                ),
            )?;
            Ok(Exit::Done)
        }
        CaCommand::IssueServer(args) => issue::server(args, &folder, session),
        CaCommand::IssueClient(args) => issue::client(args, &folder, session),
        CaCommand::Rotate(args) => rotate(args, &folder, session),
        CaCommand::Revoke(args) => revoke(args, &folder, session),
        CaCommand::Show => show_all(&folder, session),
    }
}

fn rotate(args: &RotateArgs, folder: &std::path::Path, session: &Session) -> Ended {
    let mut store = Store::open(folder)?;
    if args.finish {
        return match store.finish_rotation(now(), args.force)? {
            Rotated::Finished => {
                tell(session, "the old CA is trusted no longer here")?;
                tell(session, &places::spread(&store))?;
                Ok(Exit::Done)
            }
            Rotated::NothingToDo => {
                let what = "there is one CA, and no rotation to finish";
                Err(Failure::new(Code::FailedPrecondition, "NO_ROTATION", what)
                    .hint("memctl ca rotate begins one")
                    .into())
            }
        };
    }
    let made = store.rotate(now(), args.ttl)?;
    show(&[made], session)?;
    tell(
        session,
        &format!(
            "both CAs are trusted where {} is; nobody is cut off. In this order:\n\
         1. {}\n\
         2. issue every certificate anew: memctl ca issue-server HOST --renew, memctl ca \
         issue-client NAME --renew, and copy each to its place\n\
         3. memctl ca rotate --finish, and copy both files once more",
            store.path(pki::CA).display(),
            places::spread(&store)
        ),
    )?;
    Ok(Exit::Done)
}

fn revoke(args: &RevokeArgs, folder: &std::path::Path, session: &Session) -> Ended {
    let mut store = Store::open(folder)?;
    let marked = store.revoke(args.which.as_deref(), now(), args.next_update)?;
    if !marked.is_empty() {
        show(&marked, session)?;
    }
    let list = store.path(pki::CRL);
    tell(
        session,
        &format!(
            "wrote {}; it counts from when it is on the hosts: scp {} root@HOST:{}/{}, named by \
         client_crl in [tls] of agentd.toml",
            list.display(),
            list.display(),
            places::ON_A_HOST,
            pki::CRL
        ),
    )?;
    Ok(Exit::Done)
}

fn show_all(folder: &std::path::Path, session: &Session) -> Ended {
    let (issued, next_update) = Store::show(folder)?;
    show(&issued, session)?;
    let now = now();
    if let Some(until) = next_update.filter(|until| until.duration_since(now) < EXPIRY_WARNING) {
        tell(
            session,
            &format!(
                "warning: the list of what is revoked counts until {}, and after that agents that have \
             it let nobody in: memctl ca revoke writes it anew",
                day(until)
            ),
        )?;
    }
    Ok(Exit::Done)
}

fn show(entries: &[Entry], session: &Session) -> Result<(), super::Stop> {
    let now = now();
    let mut items: Vec<Item<CertificateBody>> = entries
        .iter()
        .map(|entry| Item::answered(NO_HOST, CertificateBody::new(entry, now)))
        .collect();
    session.output.show(&mut items)?;
    Ok(())
}

/// The time in whole seconds, as certificates have no others.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Tells a person what to do next, a line each.
fn tell(session: &Session, text: &str) -> std::io::Result<()> {
    text.lines().try_for_each(|line| session.output.notice(line))
}

/// What stands where the name of a host would.
const NO_HOST: &str = "-";
