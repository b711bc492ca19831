//! Where the programs under test are: `agentd` and `memctl`, as built from this very source.
//!
//! A test knows the programs of its own package by name; those of other packages it has to ask
//! cargo for, which builds them if it has not yet.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The programs under test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The daemon.
    pub agentd: PathBuf,
    /// The command.
    pub memctl: PathBuf,
}

impl Programs {
    /// The programs of this source, built by cargo where they are not yet.
    ///
    /// Asks for everything that `cargo test --workspace` builds: after that nothing is left to do,
    /// and nothing is built twice in two ways.
    pub fn built() -> Result<Self> {
        // One cargo at a time is enough for a process; several wait for one another.
        static BUILT: OnceLock<Result<Programs, String>> = OnceLock::new();
        let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
        built.clone().map_err(anyhow::Error::msg)
    }

    /// The programs in the folder that `LAB_PROGRAMS` names, or beside the one that is running.
    pub fn beside() -> Result<Self> {
        let folder = match std::env::var_os(FOLDER_VARIABLE) {
            Some(folder) => PathBuf::from(folder),
            None => std::env::current_exe()?.parent().map(Path::to_path_buf).unwrap_or_default(),
        };
        let find = |name: &str| {
            let path = folder.join(name);
            let found = path.is_file().then_some(path);
            found.with_context(|| {
                format!(
                    "there is no {name} in {}: build it there (make lab does), or say where it \
                     is with {FOLDER_VARIABLE}",
                    folder.display()
                )
            })
        };
        Ok(Self { agentd: find("agentd")?, memctl: find("memctl")? })
    }
}

fn build() -> Result<Programs> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .args(["build", "--workspace", "--all-targets", "--message-format=json"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo does not build: {}", String::from_utf8_lossy(&output.stderr));
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(Programs { agentd: program(&said, "agentd")?, memctl: program(&said, "memctl")? })
}

/// The program that cargo says it built for the binary target `name`.
fn program(said: &str, name: &str) -> Result<PathBuf> {
    let path = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(
        |message| {
            let target = &message["target"];
            let is_it = target["name"] == name && target["kind"][0] == "bin";
            let is_test = message["profile"]["test"] == true;
            message["executable"].as_str().filter(|_| is_it && !is_test).map(PathBuf::from)
        },
    );
    path.with_context(|| format!("cargo names no program {name}"))
}

/// Sets another folder for [`Programs::beside`].
pub const FOLDER_VARIABLE: &str = "LAB_PROGRAMS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_told_from_its_tests() {
        let said = r#"
            {"reason":"compiler-artifact","target":{"kind":["lib"],"name":"agentd"},"profile":{"test":false},"executable":null}
            {"reason":"compiler-artifact","target":{"kind":["bin"],"name":"agentd"},"profile":{"test":true},"executable":"/t/deps/agentd-1"}
            {"reason":"compiler-artifact","target":{"kind":["bin"],"name":"agentd"},"profile":{"test":false},"executable":"/t/agentd"}
            {"reason":"build-finished","success":true}"#;
        assert_eq!(program(said, "agentd").unwrap(), Path::new("/t/agentd"));
        assert!(program(said, "memctl").is_err());
    }
}
