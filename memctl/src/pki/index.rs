//! The list of all that was ever issued: what can be revoked, and what `memctl ca show` shows.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::failure::{Code, Failure};

/// Everything that the authority remembers.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Index {
    /// Form of this file: 1.
    schema: u32,
    /// How many lists of revoked certificates were written.
    pub(super) crl_number: u64,
    /// Until when the last list of revoked certificates counts.
    pub(super) crl_next_update: Option<Timestamp>,
    /// What was issued, the oldest first.
    pub(super) issued: Vec<Entry>,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Whose it is: its common name.
    pub(crate) name: String,
    /// What it is for.
    pub(crate) kind: Kind,
    /// What its owner may do; only clients have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
    /// Names and addresses that it is for; only servers have some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) sans: Vec<String>,
    /// Serial number, in lower hexadecimal digits.
    pub(crate) serial: String,
    /// Serial number of the CA that signed it; its own for a CA.
    pub(crate) issuer: String,
    /// From when it is valid.
    pub(crate) not_before: Timestamp,
    /// Until when it is valid.
    pub(crate) not_after: Timestamp,
    /// When it was revoked, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revoked: Option<Timestamp>,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Signs the others.
    Ca,
    /// A host's.
    Server,
    /// A person's or a program's.
    Client,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ca => "ca",
            Self::Server => "server",
            Self::Client => "client",
        })
    }
}

impl Entry {
    /// Whether it opens a door at `now`.
    pub(crate) fn counts(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && self.not_after > now
    }
}

impl Index {
    /// Nothing was issued.
    pub(super) fn new() -> Self {
        Self { schema: SCHEMA, ..Self::default() }
    }

    /// Reads the text of the file; `origin` is its name in messages.
    pub(super) fn parse(text: &str, origin: &str) -> Result<Self, Failure> {
        let refused = |what: String| {
            Failure::new(Code::InvalidArgument, "CA_INDEX_INVALID", format!("{origin}: {what}"))
                .hint("take it from a backup: without it nothing can be revoked")
        };
        let index: Self = serde_json::from_str(text).map_err(|error| refused(error.to_string()))?;
        match index.schema {
            SCHEMA => Ok(index),
            other => {
                Err(refused(format!("schema {other} is not known; this memctl reads {SCHEMA}")))
            }
        }
    }

    /// The text of the file.
    pub(super) fn text(&self) -> Result<String, Failure> {
        let text = serde_json::to_string_pretty(self).map_err(|error| {
            Failure::new(Code::Internal, "CA_INDEX", format!("cannot write the index: {error}"))
        })?;
        Ok(format!("{text}\n"))
    }

    /// What counts of one name and kind.
    pub(super) fn counting(&self, kind: Kind, name: &str, now: Timestamp) -> Vec<&Entry> {
        let same = |e: &&Entry| e.kind == kind && e.name == name && e.counts(now);
        self.issued.iter().filter(same).collect()
    }

    /// Marks what `word`, a name or a serial number, names as revoked; returns what it marked.
    /// Servers and clients of one name are told apart by the serial number alone.
    pub(super) fn revoke(&mut self, word: &str, now: Timestamp) -> Result<Vec<Entry>, Failure> {
        let serial = word.replace(':', "").to_ascii_lowercase();
        let named = |e: &Entry| e.kind != Kind::Ca && (e.name == word || e.serial == serial);
        let found: Vec<&Entry> = self.issued.iter().filter(|e| named(e)).collect();
        if found.is_empty() {
            return Err(self.unknown(word, &serial));
        }
        let due: Vec<Entry> = found.into_iter().filter(|e| e.counts(now)).cloned().collect();
        let kinds = |kind| due.iter().any(|e| e.kind == kind && e.name == word);
        if kinds(Kind::Server) && kinds(Kind::Client) {
            let serials: Vec<String> =
                due.iter().map(|e| format!("{} ({})", e.serial, e.kind)).collect();
            let what = format!("\"{word}\" is a server and a client");
            return Err(Failure::new(Code::InvalidArgument, "CA_AMBIGUOUS", what)
                .hint(format!("name one by its serial number: {}", serials.join(", "))));
        }
        if due.is_empty() {
            let what = format!("\"{word}\" has no certificate that is still valid");
            return Err(Failure::new(Code::FailedPrecondition, "NOTHING_TO_REVOKE", what).hint(
                "memctl ca show lists them; memctl ca revoke without a name renews the list",
            ));
        }
        for entry in &mut self.issued {
            if due.iter().any(|e| e.serial == entry.serial) {
                entry.revoked = Some(now);
            }
        }
        let marked = due.into_iter().map(|entry| Entry { revoked: Some(now), ..entry });
        Ok(marked.collect())
    }

    fn unknown(&self, word: &str, serial: &str) -> Failure {
        let ca = |e: &&Entry| e.kind == Kind::Ca && (e.serial == serial || e.name == word);
        if self.issued.iter().any(|e| ca(&e)) {
            let what = format!("\"{word}\" is a CA, which no list of its own can revoke");
            return Failure::new(Code::FailedPrecondition, "CA_NOT_REVOCABLE", what)
                .hint("memctl ca rotate makes another one");
        }
        let names: Vec<&str> =
            self.issued.iter().filter(|e| e.kind != Kind::Ca).map(|e| e.name.as_str()).collect();
        let what = format!("no certificate has the name or serial number \"{word}\"");
        let failure = Failure::new(Code::NotFound, "UNKNOWN_CERTIFICATE", what);
        match crate::suggest::did_you_mean(word, &names) {
            Some(close) => failure.hint(format!("did you mean \"{close}\"?")),
            None => failure.hint("memctl ca show lists them"),
        }
    }
}

const SCHEMA: u32 = 1;
