//! `memctl schema [KIND]`: the JSON Schema of what is printed. Asks no agent.

use clap::Args;

use super::Ended;
use crate::exit::Exit;
use crate::failure::{Code, Failure};
use crate::output::Format;
use crate::render::{json, yaml};
use crate::schema::{kinds, of, whole};
use crate::session::Session;
use crate::suggest::did_you_mean;

/// Options of `memctl schema`.
#[derive(Args, Debug)]
pub(crate) struct SchemaArgs {
    /// Only this kind of document, as its "kind" says: StatusList, Status, Error; Record is a line of
    /// a stream. All of them if none is given; -o name lists them.
    kind: Option<String>,
}

/// Prints it.
pub(crate) fn run(args: &SchemaArgs, session: &Session) -> Ended {
    let schema = match &args.kind {
        None => whole(),
        Some(kind) => of(kind).ok_or_else(|| unknown(kind))?,
    };
    let text = match session.output.format {
        Format::Name if args.kind.is_none() => kinds().join("\n"),
        Format::Name => args.kind.clone().unwrap_or_default(),
        Format::Jsonl => json::line(&schema).map_err(std::io::Error::from)?,
        Format::Yaml => yaml::document(&schema).map_err(std::io::Error::from)?,
        Format::Json | Format::Table | Format::Wide => {
            json::pretty(&schema).map_err(std::io::Error::from)?
        }
    };
    session.output.data(&format!("{}\n", text.trim_end()))?;
    Ok(Exit::Done)
}

fn unknown(kind: &str) -> Failure {
    let known = kinds();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let what = format!("memctl prints nothing of the kind \"{kind}\"");
    let failure = Failure::new(Code::NotFound, "UNKNOWN_KIND", what);
    failure.hint(match did_you_mean(kind, &known) {
        Some(close) => format!("did you mean {close}?"),
        None => "memctl schema -o name lists the kinds".to_owned(),
    })
}
