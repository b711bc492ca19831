//! `memctl policy apply -f FILE`: makes a file the whole policy. What the file does not name gets
//! its default.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use agentd_proto::v1;
use clap::Args;

use super::change::{ChangeArgs, make};
use crate::commands::Ended;
use crate::failure::{Code, Failure};
use crate::policy_file;
use crate::session::Session;

/// Options of `memctl policy apply`.
#[derive(Args, Debug)]
pub(crate) struct ApplyArgs {
    /// File to read, as `memctl policy get --as-file` writes it; - for standard input. Keys that it
    /// does not name get their default, and VMs that it does not name no exception.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Makes the file the policy of every host.
pub(crate) async fn run(args: &ApplyArgs, session: &mut Session) -> Ended {
    let policy = read(&args.file)?;
    let request = args.change.request(whole(policy))?;
    let hosts = session.hosts()?;
    make(request, &hosts, args.change.intent(), session).await
}

/// A policy that replaces all of the one in force.
pub(super) fn whole(policy: v1::Policy) -> (v1::Policy, prost_types::FieldMask) {
    (policy, prost_types::FieldMask { paths: vec!["*".to_owned()] })
}

/// The policy of a file; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<v1::Policy, Failure> {
    let is_stdin = path == Path::new("-");
    let name = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
    let text =
        if is_stdin { text_of(io::stdin().lock()) } else { File::open(path).and_then(text_of) };
    let text = text.map_err(|error| {
        let what = format!("cannot read the policy {name}: {error}");
        Failure::new(Code::InvalidArgument, "POLICY_UNREADABLE", what)
    })?;
    policy_file::parse(&text).map_err(|what| unfit(&name, &what))
}

/// All of it, or nothing: a part of a policy is another policy.
fn text_of(source: impl io::Read) -> io::Result<String> {
    let mut text = Vec::new();
    source.take(MOST_BYTES + 1).read_to_end(&mut text)?;
    if text.len() > usize::try_from(MOST_BYTES).unwrap_or(usize::MAX) {
        let most = MOST_BYTES >> 20;
        return Err(io::Error::other(format!("it is longer than {most} MiB, which is no policy")));
    }
    String::from_utf8(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// What is wrong with the text of a policy.
pub(super) fn unfit(name: &str, what: &str) -> Failure {
    Failure::new(Code::InvalidArgument, "POLICY_INVALID", format!("{name}: {what}"))
        .hint("memctl policy get --as-file shows the form, memctl policy explain the keys")
}

/// Far more than any policy.
const MOST_BYTES: u64 = 16 << 20;
