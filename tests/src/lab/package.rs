//! Packages of Debian, fetched through apt and not installed: for what a test needs out of one.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::shell;

/// Puts a package's file into a folder, in the version that apt would install.
pub fn fetch(package: &str, folder: &Path) -> Result<()> {
    download(package, folder).or_else(|_| {
        // A fresh machine has no lists yet, and lists older than the archive name a version that is gone.
        update()?;
        download(package, folder)
    })
}

/// Takes files out of the one package in a folder, by patterns of tar, into another folder.
pub fn unpack(folder: &Path, patterns: &[&str], to: &Path) -> Result<()> {
    let script = r#"from=$1 to=$2; shift 2; mkdir -p "$to" &&
        dpkg-deb --fsys-tarfile "$from"/*.deb | tar -x -C "$to" --wildcards "$@""#;
    let (from, to) = (folder.to_string_lossy(), to.to_string_lossy());
    let args = [&["-c", script, "sh", &from, &to][..], patterns].concat();
    shell::run("sh", &args, LIMIT).map(drop)
}

/// Has apt read anew what there is.
pub(crate) fn update() -> Result<()> {
    shell::run("apt-get", &["-qq", "update"], LIMIT).map(drop)
}

fn download(package: &str, folder: &Path) -> Result<()> {
    let script = r#"cd "$1" && exec apt-get -qq -o APT::Sandbox::User=root download "$2""#;
    let place = folder.to_string_lossy();
    shell::run("sh", &["-c", script, "sh", &place, package], LIMIT).map(drop)
}

/// A kernel has 27 MB to 40 MB.
const LIMIT: Duration = Duration::from_secs(300);
