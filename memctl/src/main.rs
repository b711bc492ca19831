//! memctl: asks, watches and steers agentd on many hosts. Knows the wire and nothing of agentd's
//! insides. A run reads: `args → session → commands → client → dto → render → output`.

mod address;
mod args;
mod asked;
mod backoff;
mod certificate;
mod client;
mod columns;
mod commands;
mod completers;
mod config;
mod config_edit;
mod dial;
mod dto;
mod exit;
mod failure;
mod fleet;
mod follow;
mod headings;
mod hosts;
mod identity;
mod merge;
mod moment;
mod output;
mod pki;
mod policy_book;
mod policy_file;
mod policy_keys;
mod progress;
mod quantity;
mod render;
mod schema;
mod session;
mod stop_signals;
mod suggest;
mod top;
mod versions;
mod wire_words;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::CompleteEnv;

use crate::args::Cli;
use crate::commands::Stop;
use crate::commands::completion::VARIABLE;
use crate::exit::Exit;
use crate::failure::{Code, Failure};
use crate::output::Output;
use crate::session::Session;

fn main() -> ExitCode {
    // A script of `memctl completion` asks what may follow, and nothing else happens.
    CompleteEnv::with_factory(Cli::command).var(VARIABLE).complete();
    let (cli, command) = match Cli::typed() {
        Ok(typed) => typed,
        Err(error) => return args::refused(&error).into(),
    };
    run(cli, &command).into()
}

fn run(cli: Cli, command: &str) -> Exit {
    let mut session = match Session::open(cli.global, cli.command.config_need()) {
        Ok(session) => session,
        Err(refused) => {
            let (output, failure) = *refused;
            return ended_early(&output, Stop::Failed(failure));
        }
    };
    if columns::asks_for_all(&session.global.columns) {
        let told = commands::columns::tell(command, &session);
        return told.unwrap_or_else(|stop| ended_early(&session.output, stop));
    }
    if let Err(failure) = session.choose(command) {
        return ended_early(&session.output, Stop::Failed(failure));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(commands::run(cli.command, &mut session));
            // A name that is still being looked up must not hold the exit.
            runtime.shutdown_background();
            ended
        }
        Err(error) => {
            let what = format!("cannot start: {error}");
            Err(Stop::Failed(Failure::new(Code::Internal, "RUNTIME", what)))
        }
    };
    ended.unwrap_or_else(|stop| ended_early(&session.output, stop))
}

fn ended_early(output: &Output, stop: Stop) -> Exit {
    let failure = match stop {
        Stop::Output(error) if error.kind() == ErrorKind::BrokenPipe => return Exit::BrokenPipe,
        Stop::Output(error) => {
            Failure::new(Code::Unknown, "OUTPUT", format!("cannot write to stdout: {error}"))
        }
        Stop::Failed(failure) => failure,
    };
    match output.refuse(&failure) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Exit::BrokenPipe,
        _ => failure.exit(),
    }
}
