//! `memctl policy edit`: the policy of one host in an editor. What was changed in between by
//! somebody else is not overwritten.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use clap::Args;
use tokio::process::Command;

use super::apply::{unfit, whole};
use super::change::{ChangeArgs, make};
use super::get;
use crate::commands::Ended;
use crate::exit::Exit;
use crate::failure::{Code, Failure};
use crate::fleet::ask_one;
use crate::policy_file;
use crate::render::policy::PolicyBody;
use crate::render::text::safe;
use crate::session::Session;

/// Options of `memctl policy edit`.
#[derive(Args, Debug)]
pub(crate) struct EditArgs {
    #[command(flatten)]
    change: ChangeArgs,
}

/// Lets the policy be edited with $VISUAL or $EDITOR, and makes what is left of it the policy.
pub(crate) async fn run(args: &EditArgs, session: &mut Session) -> Ended {
    if session.global.no_input {
        let what = "policy edit opens an editor, and nobody is to be asked anything";
        return Err(Failure::usage(what).hint("memctl policy set and apply take no editor").into());
    }
    let editor = editor()?;
    let hosts = session.hosts()?;
    let [host] = hosts.as_slice() else {
        let what = format!("policy edit with {} hosts: each has its own policy", hosts.len());
        return Err(Failure::usage(what)
            .hint("edit that of one, then memctl policy get --as-file and apply -f for the others")
            .into());
    };
    let PolicyBody { current, defaults, .. } =
        ask_one(host, session.global.timeout, get::ask).await?;
    let text = policy_file::text(&current.policy, &defaults);
    let head = format!(
        "# The policy of {}, revision {}. A value with \"# \" before it is the default.\n\
         # Save and leave the editor to make it so; memctl policy explain tells of the keys.\n\n",
        safe(&host.name),
        current.revision
    );
    let file = temporary(&format!("{head}{text}"))?;
    edited(&editor, file.path()).await?;
    let after = std::fs::read_to_string(file.path())?;
    if after == format!("{head}{text}") {
        session.output.notice("the text was not changed, and so the policy is not")?;
        return Ok(Exit::Done);
    }
    let made = match policy_file::parse(&after) {
        Ok(policy) => {
            let etag = args.change.if_match.clone().unwrap_or(current.etag);
            let change = ChangeArgs { if_match: Some(etag), ..args.change.clone() };
            make(change.request(whole(policy))?, &hosts, change.intent(), session).await
        }
        Err(what) => Err(unfit("the edited policy", &what).into()),
    };
    // What is only tried is not in force anywhere.
    if (args.change.dry_run || !matches!(made, Ok(Exit::Done)))
        && let Ok((_, path)) = file.keep()
    {
        let again = format!("your text is kept: memctl policy apply -f {}", path.display());
        session.output.notice(&again)?;
    }
    made
}

fn temporary(text: &str) -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix("memctl-policy-").suffix(".toml").tempfile()?;
    file.write_all(text.as_bytes())?;
    file.flush()?;
    Ok(file)
}

/// The editor that is named. The usual one wants a terminal; a named one may be no program for people.
fn editor() -> Result<String, Failure> {
    let named = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    if let Some(editor) = named("VISUAL").or_else(|| named("EDITOR")) {
        return Ok(editor);
    }
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        return Ok(USUAL.to_owned());
    }
    let what = format!("policy edit opens {USUAL}, and there is no terminal for it");
    let hint = "name another editor in EDITOR, or: memctl policy get --as-file writes the policy, memctl policy \
                apply -f FILE takes it";
    Err(Failure::usage(what).hint(hint))
}

/// Runs the editor, which may be a command line of its own.
async fn edited(editor: &str, path: &Path) -> Result<(), Failure> {
    let mut run = command_line(editor);
    run.arg(path);
    let failed = |what: String| {
        Failure::new(Code::Unknown, "EDITOR_FAILED", what)
            .hint("EDITOR names the editor: EDITOR=nano memctl policy edit")
    };
    match run.status().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(format!("the editor \"{editor}\" ended with {status}"))),
        Err(error) => Err(failed(format!("the editor \"{editor}\" cannot be run: {error}"))),
    }
}

/// The command line with one more argument to come.
#[cfg(not(windows))]
fn command_line(editor: &str) -> Command {
    let mut run = Command::new("sh");
    run.arg("-c").arg(format!("{editor} \"$1\"")).arg("sh");
    run
}

/// The same where there is no shell that takes arguments: its words.
#[cfg(windows)]
fn command_line(editor: &str) -> Command {
    let mut words = editor.split_whitespace();
    let mut run = Command::new(words.next().unwrap_or(USUAL));
    run.args(words);
    run
}

/// The editor of whoever names none.
const USUAL: &str = if cfg!(windows) { "notepad" } else { "vi" };
