//! agentd: parses the command line, does what it says, and turns the result into an exit code.

use std::{
    error::Error,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use agentd::{
    args::{Cli, Command},
    audit::audit,
    config::{Config, DEFAULT_FILE},
    lifecycle::EXIT_BUSY,
    manual,
    proxy::proxy,
    reload_command::reload,
    replay,
    run::{DEFAULT_CONFIG, run},
    simulate,
};
use clap::Parser as _;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run(&args).map_err(|error| {
            let code = if error.is_busy() { EXIT_BUSY } else { EXIT_FAILED };
            (chain(&error), code)
        }),
        Command::Simulate(args) => simulate::simulate(&args).map_err(failed),
        Command::Replay(args) => replay::replay(&args).map_err(|error| {
            let code = if error.is_difference() { EXIT_FAILED } else { EXIT_NO_ANSWER };
            (error.to_string(), code)
        }),
        Command::Audit(command) => audit(&command).map_err(failed),
        Command::Proxy(args) => proxy(&args).map_err(failed),
        Command::Reload(args) => match reload(&args) {
            Ok(words) if words.is_empty() => Ok(()),
            Ok(words) => print(&format!("{words}\n")),
            Err(error) => Err(failed(error)),
        },
        Command::CheckConfig { file } => check(file),
        Command::PrintDefaultConfig => print(DEFAULT_FILE),
        Command::Completion { shell } => print(&manual::completion(shell)),
        Command::Manual { folder } => manual::write_pages(&folder).map_err(|error| {
            (format!("cannot write into {}: {error}", folder.display()), EXIT_FAILED)
        }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err((problem, code)) => {
            // There is nobody left to tell if this fails.
            let _ = writeln!(io::stderr(), "agentd: {problem}");
            ExitCode::from(code)
        }
    }
}

fn check(file: Option<PathBuf>) -> Result<(), (String, u8)> {
    let file = file.unwrap_or_else(|| PathBuf::from(DEFAULT_CONFIG));
    let config = Config::load(&file).map_err(failed)?;
    agentd::run::check(&config).map_err(failed)?;
    print(&format!("{}: ok\n", file.display()))
}

fn print(text: &str) -> Result<(), (String, u8)> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err((format!("cannot write to standard output: {error}"), EXIT_FAILED))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn failed(error: impl Error) -> (String, u8) {
    (error.to_string(), EXIT_FAILED)
}

/// An error with what led to it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

const EXIT_FAILED: u8 = 1;
/// As diff has it.
const EXIT_NO_ANSWER: u8 = 2;
