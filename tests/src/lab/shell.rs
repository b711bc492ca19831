//! Running other programs to their end, with a limit on time and an error that says all.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Runs `program` with `args` and gives what it printed.
pub(crate) fn run(program: &str, args: &[&str], limit: Duration) -> Result<String> {
    feed(program, args, "", limit)
}

/// Runs `program` with `args`, hands it `stdin`, and gives what it printed.
///
/// coreutils' `timeout` ends it: a program that hangs must not hang the test that asked.
pub(crate) fn feed(program: &str, args: &[&str], stdin: &str, limit: Duration) -> Result<String> {
    let said = format!("{program} {}", args.join(" "));
    let mut child = Command::new("timeout")
        .args(["-k", "1", &format!("{:.3}", limit.as_secs_f64()), program])
        .args(args)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {said}"))?;
    if let Some(mut pipe) = child.stdin.take() {
        // A program that ended before it read everything says why by itself.
        let _ = pipe.write_all(stdin.as_bytes());
    }
    let output = child.wait_with_output().with_context(|| format!("cannot wait for {said}"))?;
    judge(&said, &output, limit)
}

fn judge(said: &str, output: &Output, limit: Duration) -> Result<String> {
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(printed);
    }
    if output.status.code() == Some(CODE_OF_TIMEOUT) {
        bail!("{said} did not end within {limit:?}");
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    bail!("{said} failed ({}): {}{}", output.status, printed.trim(), complaint.trim());
}

/// What `timeout` exits with when it had to end the program.
const CODE_OF_TIMEOUT: i32 = 124;
