//! What the programs beside the tests say of themselves, and how they end.

#![allow(clippy::print_stdout, reason = "what a program says of itself goes where its tables go")]

use std::process::ExitCode;

use anyhow::Result;

/// Has a program do what its command line asks for, or tells how it is called. Ends with 1 where that came to
/// "no", and with 2 where it was not possible.
pub fn run(
    name: &str,
    usage: &str,
    words: impl Iterator<Item = String>,
    program: impl FnOnce(std::vec::IntoIter<String>) -> Result<bool>,
) -> ExitCode {
    let words: Vec<String> = words.collect();
    if words.iter().any(|word| matches!(word.as_str(), "--help" | "-h")) {
        println!("{}", usage.trim_end());
        return ExitCode::SUCCESS;
    }
    match program(words.into_iter()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{name}: {error:#}");
            ExitCode::from(2)
        }
    }
}
