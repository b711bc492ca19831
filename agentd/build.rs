//! Says in builds for use which commit they are of, for `agentd_build_info`. `AGENTD_COMMIT` says it where the
//! sources are no checkout, as in a package of them.
//!
//! Builds for tests are not told: they would be made anew with every commit.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=AGENTD_COMMIT");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let is_for_use = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let checkout = sources.filter(|_| is_for_use);
    checkout.into_iter().flat_map(changes_with_it).for_each(|file| {
        println!("cargo::rerun-if-changed={file}");
    });
    let said = env::var("AGENTD_COMMIT").ok().filter(|said| !said.is_empty());
    let commit = said.or_else(|| commit_of(checkout?)).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=AGENTD_COMMIT={commit}");
}

/// The commit of these sources, in 12 digits; `None` where they are no checkout of their own, though they
/// may be in somebody else's.
pub(crate) fn commit_of(sources: &Path) -> Option<String> {
    let top = git(sources, &["rev-parse", "--show-toplevel"])?;
    let is_own = Path::new(&top).canonicalize().ok()? == sources.canonicalize().ok()?;
    is_own.then(|| git(sources, &["rev-parse", "--short=12", "HEAD"])).flatten()
}

/// Files of git's that change when another commit is checked out, or is made.
pub(crate) fn changes_with_it(sources: &Path) -> Vec<String> {
    let files = ["HEAD", "logs/HEAD"].map(|file| git(sources, &["rev-parse", "--git-path", file]));
    let absolute = files.into_iter().flatten().map(|file| sources.join(file));
    absolute.filter(|file| file.exists()).map(|file| file.display().to_string()).collect()
}

/// What git answers; `None` where it fails, or is not there.
pub(crate) fn git(folder: &Path, words: &[&str]) -> Option<String> {
    let answer = Command::new("git").current_dir(folder).args(words).output().ok()?;
    let text = String::from_utf8(answer.stdout).ok()?;
    answer.status.success().then(|| text.trim().to_owned())
}
