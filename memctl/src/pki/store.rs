//! [`Store`]: the folder of the authority, and what is done in it, by one memctl at a time.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::authority::{Authority, Subject, Validity};
use super::files::{self, Readers};
use super::index::{Entry, Index, Kind};
use super::names::AltName;
use crate::certificate::Role;
use crate::failure::{Code, Failure};

/// The folder of an authority, held until this is dropped.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    index: Index,
    _lock: File,
}

/// Where a certificate and its key are.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    /// What was issued.
    pub(crate) entry: Entry,
    /// Its certificate.
    pub(crate) cert: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
}

/// What came of the end of a rotation.
#[derive(Debug)]
pub(crate) enum Rotated {
    /// The old CA is trusted no longer.
    Finished,
    /// Nothing was under way.
    NothingToDo,
}

impl Store {
    /// Makes a new authority, unless there is one.
    pub(crate) fn create(folder: &Path, now: Timestamp, ttl: Duration) -> Result<Entry, Failure> {
        if folder.join(INDEX).exists() || folder.join(CA).exists() || folder.join(KEY).exists() {
            let what = format!("there is a CA in {} already", folder.display());
            return Err(Failure::new(Code::AlreadyExists, "CA_EXISTS", what).hint(
                "memctl ca show shows it, memctl ca rotate replaces it without a cut, --dir makes \
                 another one elsewhere",
            ));
        }
        let validity = Validity::starting(now, ttl)?;
        let (authority, key) = Authority::create(validity)?;
        let entry = authority.own_entry(validity);
        let mut index = Index::new();
        index.issued.push(entry.clone());
        let list = revocations(&mut index, &[&authority], now, CRL_TTL)?;
        let index = index.text()?;
        files::place_folder(folder, |place| {
            files::write(&place.join(INDEX), &index, Readers::Owner)?;
            files::write(&place.join(CRL), &list, Readers::All)?;
            files::write(&place.join(KEY), &key, Readers::Owner)?;
            files::write(&place.join(CA), &authority.pem, Readers::All)
        })?;
        Ok(entry)
    }

    /// Opens an authority to change it.
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        Self::entries_of(folder)?;
        let _lock = lock(folder)?;
        // Read once more: whoever held it may have changed it.
        Ok(Self { folder: folder.to_owned(), index: Self::entries_of(folder)?, _lock })
    }

    /// Everything that was issued, the oldest first, and until when the list of what was revoked
    /// counts.
    pub(crate) fn show(folder: &Path) -> Result<(Vec<Entry>, Option<Timestamp>), Failure> {
        let index = Self::entries_of(folder)?;
        Ok((index.issued, index.crl_next_update))
    }

    /// Issues a certificate for a server. Without names, a renewal keeps those of before.
    pub(crate) fn issue_server(
        &mut self,
        name: &str,
        sans: &[AltName],
        terms: &Terms,
    ) -> Result<Issued, Failure> {
        let mut all: Vec<AltName> = name.parse::<AltName>().into_iter().collect();
        let before = self.latest(Kind::Server, name).filter(|_| terms.renew && sans.is_empty());
        all.extend(before.iter().flat_map(|e| &e.sans).filter_map(|san| san.parse().ok()));
        all.extend(sans.iter().cloned());
        let mut sans: Vec<AltName> = Vec::with_capacity(all.len());
        for san in all {
            if !sans.contains(&san) {
                sans.push(san);
            }
        }
        if sans.is_empty() {
            let what = format!("\"{name}\" is no host name, so the server needs another one");
            return Err(Failure::new(Code::Usage, "NO_SAN", what)
                .hint("say by which names and addresses it is reached: --san node1.lan"));
        }
        self.issue(&Subject::Server { name: name.to_owned(), sans }, terms)
    }

    /// Issues a certificate for a client. Without a role, a renewal keeps that of before.
    pub(crate) fn issue_client(
        &mut self,
        name: &str,
        role: Option<Role>,
        terms: &Terms,
    ) -> Result<Issued, Failure> {
        let before = self.latest(Kind::Client, name).and_then(|entry| entry.role.as_deref());
        let before = before.and_then(|role| <Role as clap::ValueEnum>::from_str(role, false).ok());
        let role = role.or_else(|| before.filter(|_| terms.renew)).ok_or_else(|| {
            Failure::usage(format!("which role is \"{name}\" to have?"))
                .hint("--role reader asks and watches, --role operator also changes, --role admin may do everything")
        })?;
        self.issue(&Subject::Client { name: name.to_owned(), role }, terms)
    }

    /// Revokes what a name or a serial number names, and writes the list of all that was revoked,
    /// which counts for `ttl`; without a name it only writes the list anew.
    pub(crate) fn revoke(
        &mut self,
        word: Option<&str>,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Vec<Entry>, Failure> {
        let marked = match word {
            Some(word) => self.index.revoke(word, now)?,
            None => Vec::new(),
        };
        self.write_revocations(now, ttl)?;
        Ok(marked)
    }

    /// Makes a new CA that signs from now on, and leaves the old one trusted beside it.
    pub(crate) fn rotate(&mut self, now: Timestamp, ttl: Duration) -> Result<Entry, Failure> {
        if self.path(OLD_CA).exists() {
            let what = "the rotation before is not finished: two CAs are trusted";
            return Err(Failure::new(Code::FailedPrecondition, "ROTATION_UNFINISHED", what)
                .hint("memctl ca rotate --finish ends the trust in the older one"));
        }
        let old = self.authority()?;
        let old_key = self.read(KEY)?;
        let validity = Validity::starting(now, ttl)?;
        let (new, key) = Authority::create(validity)?;
        let entry = new.own_entry(validity);
        self.index.issued.push(entry.clone());
        let list = revocations(&mut self.index, &[&new, &old], now, CRL_TTL)?;
        files::write(&self.path(OLD_KEY), &old_key, Readers::Owner)?;
        files::write(&self.path(OLD_CA), &old.pem, Readers::All)?;
        self.write_index()?;
        files::write(&self.path(CRL), &list, Readers::All)?;
        // The old key goes on to sign until the new one is in its place: ca.pem has both.
        files::write(&self.path(CA), &format!("{}{}", new.pem, old.pem), Readers::All)?;
        files::write(&self.path(KEY), &key, Readers::Owner)?;
        Ok(entry)
    }

    /// Ends the trust in the CA before; refuses while something that it signed is still needed,
    /// unless forced.
    pub(crate) fn finish_rotation(
        &mut self,
        now: Timestamp,
        force: bool,
    ) -> Result<Rotated, Failure> {
        if !self.path(OLD_CA).exists() {
            return Ok(Rotated::NothingToDo);
        }
        let current = self.authority()?;
        let needed = self.only_of_others(&current.serial, now);
        if !needed.is_empty() && !force {
            let names: Vec<String> =
                needed.iter().map(|e| format!("{} ({})", e.name, e.kind)).collect();
            let what = format!("the old CA is still needed by {}", names.join(", "));
            return Err(Failure::new(Code::FailedPrecondition, "OLD_CA_IN_USE", what).hint(
                "first issue them anew with --renew and copy them to their places, or revoke what \
                 nobody needs; --force cuts them off",
            ));
        }
        files::write(&self.path(CA), &current.pem, Readers::All)?;
        files::remove(&self.path(OLD_CA))?;
        files::remove(&self.path(OLD_KEY))?;
        self.write_revocations(now, CRL_TTL)?;
        Ok(Rotated::Finished)
    }

    /// A file of the authority.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn issue(&mut self, subject: &Subject, terms: &Terms) -> Result<Issued, Failure> {
        let (folder, stem) = match subject.kind() {
            Kind::Server => ("servers", "server"),
            Kind::Client | Kind::Ca => ("clients", "client"),
        };
        let place = self.folder.join(folder).join(subject.name());
        let (cert, key) = (place.join(format!("{stem}.pem")), place.join(format!("{stem}.key")));
        let is_there = place.exists();
        if is_there && !terms.renew {
            let what =
                format!("{stem} \"{}\" has a certificate in {}", subject.name(), place.display());
            return Err(Failure::new(Code::AlreadyExists, "CERT_EXISTS", what)
                .hint("--renew makes another one in its place; the one before stays valid until it expires or is revoked"));
        }
        let validity = Validity::starting(terms.now, terms.ttl)?;
        let (pair, entry) = self.authority()?.sign(subject, validity)?;
        // Remembered first: what exists can be revoked.
        self.index.issued.push(entry.clone());
        self.write_index()?;
        if is_there {
            files::write(&key, &pair.key, Readers::Owner)?;
            files::write(&cert, &pair.certificate, Readers::All)?;
        } else {
            files::place_folder(&place, |place| {
                files::write(&place.join(format!("{stem}.key")), &pair.key, Readers::Owner)?;
                files::write(&place.join(format!("{stem}.pem")), &pair.certificate, Readers::All)
            })?;
        }
        Ok(Issued { entry, cert, key })
    }

    /// The CA that signs.
    fn authority(&self) -> Result<Authority, Failure> {
        Authority::load(&self.read(CA)?, &self.read(KEY)?)
    }

    fn write_revocations(&mut self, now: Timestamp, ttl: Duration) -> Result<(), Failure> {
        let current = self.authority()?;
        let old = match files::read(&self.path(OLD_CA))? {
            Some(old) => Some(Authority::load(&old, &self.read(OLD_KEY)?)?),
            None => None,
        };
        let old = old.iter().filter(|old| old.serial != current.serial);
        let trusted: Vec<&Authority> = std::iter::once(&current).chain(old).collect();
        let list = revocations(&mut self.index, &trusted, now, ttl)?;
        // Remembered first: a list that could not be written is written by the next command.
        self.write_index()?;
        files::write(&self.path(CRL), &list, Readers::All)
    }

    fn write_index(&self) -> Result<(), Failure> {
        files::write(&self.path(INDEX), &self.index.text()?, Readers::Owner)
    }

    fn read(&self, name: &str) -> Result<String, Failure> {
        let path = self.path(name);
        files::read(&path)?.ok_or_else(|| {
            Failure::new(Code::NotFound, "CA_INCOMPLETE", format!("there is no {}", path.display()))
                .hint("take it from a backup, or begin anew: memctl ca init --dir FOLDER")
        })
    }

    fn latest(&self, kind: Kind, name: &str) -> Option<&Entry> {
        self.index.issued.iter().rev().find(|e| e.kind == kind && e.name == name)
    }

    /// What counts of other CAs, and was not issued anew by this one.
    fn only_of_others(&self, issuer: &str, now: Timestamp) -> Vec<&Entry> {
        let issued = self.index.issued.iter().filter(|e| e.kind != Kind::Ca);
        let others = issued.filter(|e| e.issuer != issuer && e.counts(now));
        let anew = |e: &&Entry| {
            self.index.counting(e.kind, &e.name, now).iter().any(|other| other.issuer == issuer)
        };
        others.filter(|e| !anew(e)).collect()
    }

    fn entries_of(folder: &Path) -> Result<Index, Failure> {
        let path = folder.join(INDEX);
        let text = files::read(&path)?.ok_or_else(|| {
            Failure::new(Code::NotFound, "NO_CA", format!("there is no CA in {}", folder.display()))
                .hint("memctl ca init makes one; --dir names another folder")
        })?;
        Index::parse(&text, &path.display().to_string())
    }
}

/// How a certificate is issued.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// The time.
    pub(crate) now: Timestamp,
    /// For how long it is to be valid.
    pub(crate) ttl: Duration,
    /// Whether it may take the place of one that is there.
    pub(crate) renew: bool,
}

/// The lists of all CAs that are trusted, in one text.
fn revocations(
    index: &mut Index,
    trusted: &[&Authority],
    now: Timestamp,
    ttl: Duration,
) -> Result<String, Failure> {
    let validity = Validity::starting(now, ttl)?;
    index.crl_number += 1;
    index.crl_next_update = Some(validity.not_after);
    let mut text = String::new();
    for authority in trusted {
        text.push_str(&authority.revocations(&index.issued, index.crl_number, validity)?);
    }
    Ok(text)
}

fn lock(folder: &Path) -> Result<File, Failure> {
    let path = folder.join(".lock");
    let unusable = |error: &std::io::Error| {
        let what = format!("cannot write {}: {error}", path.display());
        Failure::new(Code::Unknown, "CA_UNWRITABLE", what)
    };
    let file = File::options().create(true).append(true).open(&path).map_err(|e| unusable(&e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let what = format!("another memctl is changing the CA in {}", folder.display());
            Err(Failure::new(Code::Aborted, "CA_BUSY", what).hint("try again when it is done"))
        }
        Err(TryLockError::Error(error)) => Err(unusable(&error)),
    }
}

/// The CA's certificate, or those of both.
pub(crate) const CA: &str = "ca.pem";
/// What was revoked.
pub(crate) const CRL: &str = "crl.pem";
const KEY: &str = "ca.key";
const OLD_CA: &str = "old-ca.pem";
const OLD_KEY: &str = "old-ca.key";
const INDEX: &str = "issued.json";
/// A list that is out of date lets nobody in, and nobody renews one every week.
const CRL_TTL: Duration = Duration::from_secs(365 * 24 * 3600);
