//! Where the files of the CA are here, and where they belong on the hosts.

use std::path::{Path, PathBuf};

use crate::config::Places;
use crate::failure::{Code, Failure};
use crate::pki::{self, Store};

/// The folder of the CA: as given, or beside the configuration.
pub(super) fn folder(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(given) = given {
        // Paths that are printed and configured hold from anywhere.
        return std::path::absolute(given)
            .map_err(|error| Failure::usage(format!("--dir {}: {error}", given.display())));
    }
    let configuration = Places::find(None).own;
    let beside = configuration.as_deref().and_then(Path::parent).map(|folder| folder.join("pki"));
    beside.ok_or_else(|| {
        Failure::new(Code::NotFound, "NO_HOME", "there is no home to keep a CA in")
            .hint("give --dir FOLDER, or set HOME")
    })
}

/// How what everybody needs gets to them.
pub(super) fn spread(store: &Store) -> String {
    let (ca, list) = (store.path(pki::CA), store.path(pki::CRL));
    format!(
        "copy {} to every host as {ON_A_HOST}/{} (client_ca) and {} as {ON_A_HOST}/{} \
         (client_crl), and to whoever uses memctl elsewhere the first of them (ca)",
        ca.display(),
        pki::CA,
        list.display(),
        pki::CRL
    )
}

/// Where agentd looks for its files.
pub(super) const ON_A_HOST: &str = "/etc/agentd/tls";
