//! [`Keeper`]: looks whether the files changed, puts new terms in force where they are good, and tells
//! where they are not, or where a certificate or list nears its end.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

use super::{
    Tls, TlsError,
    load::{Terms, load},
};
use crate::{clock::Clock, config::TlsConfig, publish::Publisher, server::limits};

/// Keeps the terms as the files say.
#[derive(Debug)]
pub(in crate::server) struct Keeper {
    files: TlsConfig,
    clock: Arc<dyn Clock>,
    publisher: Arc<Publisher>,
    terms: watch::Sender<Arc<Terms>>,
    /// The files that are in force, and those of the last look.
    in_force: Vec<Option<Print>>,
    looked: Vec<Option<Print>>,
}

/// What tells one state of a file from another: device, inode, mode, length, and when its content and
/// its inode last changed.
type Print = (u64, u64, u32, u64, (i64, i64), (i64, i64));

impl Keeper {
    /// Reads the files for the first time.
    pub(in crate::server) fn open(
        files: TlsConfig,
        clock: Arc<dyn Clock>,
        publisher: Arc<Publisher>,
    ) -> Result<(Tls, Self), TlsError> {
        let in_force = prints(&files);
        let (terms, told) = watch::channel(Arc::new(load(&files, &clock)?));
        let tls = Tls { terms: told, clock: Arc::clone(&clock) };
        let looked = in_force.clone();
        let keeper = Self { files, clock, publisher, terms, in_force, looked };
        keeper.tell_of_ends();
        Ok((tls, keeper))
    }

    /// Looks again and again until the server stops, and at once whenever it is `asked` to, for the files
    /// that it is asked for.
    pub(in crate::server) async fn keep(
        mut self,
        stop: CancellationToken,
        mut asked: watch::Receiver<Option<TlsConfig>>,
    ) {
        loop {
            let at_once = tokio::select! {
                () = stop.cancelled() => return,
                () = time::sleep(limits::LOOK_AT_FILES) => false,
                // It is gone only where the server is.
                asked = asked.changed() => asked.is_ok(),
            };
            if at_once && let Some(files) = asked.borrow_and_update().clone() {
                self.files = files;
            }
            let look = tokio::task::spawn_blocking(move || {
                self.look(at_once);
                self
            });
            match look.await {
                Ok(keeper) => self = keeper,
                // It does not panic; a runtime that ends takes no more of them.
                Err(_) => return,
            }
        }
    }

    /// Files that changed are read once they have stood still from one look to the next, so that none is
    /// read in the middle of being written, nor a certificate without its new key; at once on demand.
    fn look(&mut self, at_once: bool) {
        let now = prints(&self.files);
        let stand_still = now == self.looked;
        self.looked.clone_from(&now);
        if now == self.in_force && !at_once {
            self.publisher.tell(TLS_RELOAD_FAILED, None);
        } else if stand_still || at_once {
            self.read_again(now);
        }
        self.tell_of_ends();
    }

    fn read_again(&mut self, now: Vec<Option<Print>>) {
        match load(&self.files, &self.clock) {
            // What was read may be half old and half new: look again.
            Ok(_) if prints(&self.files) != now => {}
            Ok(terms) => {
                self.terms.send_replace(Arc::new(terms));
                self.in_force = now;
                self.publisher.tell(TLS_RELOAD_FAILED, None);
                tracing::info!("the files of [tls] were read again and are in force");
            }
            Err(error) => {
                let message = format!("{error}; what [tls] said before stays in force");
                self.publisher.tell(TLS_RELOAD_FAILED, Some(message));
            }
        }
    }

    fn tell_of_ends(&self) {
        let (terms, now) = (self.terms.borrow(), self.clock.wall());
        let meters = self.publisher.meters();
        meters.expires("server", Some(terms.not_after));
        meters.expires("client_crl", terms.revoked_until);
        let cert = self.files.cert.display();
        let own = match left(terms.not_after, now) {
            Left::Much => None,
            Left::Little(time) => Some(format!(
                "the certificate {cert} expires in {time}: put a new one with its key in its place"
            )),
            Left::Nothing => Some(format!(
                "the certificate {cert} has expired, and clients refuse this host: put a new one \
                 with its key in its place"
            )),
        };
        let is_past = terms.revoked_until.is_some_and(|until| until <= now);
        let list = self.files.client_crl.as_deref().filter(|_| is_past);
        let lists = list.map(|list| {
            format!(
                "{} is past its time, and clients are refused: put a new list in its place",
                list.display()
            )
        });
        drop(terms);
        self.publisher.tell(CERTIFICATE_EXPIRES, own);
        self.publisher.tell(CRL_EXPIRED, lists);
    }
}

/// How long something is still valid.
enum Left {
    /// Nobody has to do anything yet.
    Much,
    /// So long, in words.
    Little(String),
    /// No longer.
    Nothing,
}

fn left(until: SystemTime, now: SystemTime) -> Left {
    match until.duration_since(now) {
        Err(_) => Left::Nothing,
        Ok(left) if left > limits::EXPIRES_SOON => Left::Much,
        Ok(left) => Left::Little(in_words(left)),
    }
}

/// Whole days, or below two of them whole hours: a message that changes every second is hard to read.
fn in_words(left: Duration) -> String {
    let hours = left.as_secs() / 3600;
    if hours >= 48 { format!("{} days", hours / 24) } else { format!("{hours} hours") }
}

fn prints(files: &TlsConfig) -> Vec<Option<Print>> {
    let needed = [&files.cert, &files.key, &files.client_ca].map(Some);
    let all = needed.into_iter().chain([files.client_crl.as_ref(), files.client_deny.as_ref()]);
    all.map(|file| print(file?).ok()).collect()
}

/// Of the file itself, where its name is a link.
fn print(file: &Path) -> io::Result<Print> {
    let found = fs::metadata(file)?;
    let (written, changed) =
        ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
    Ok((found.dev(), found.ino(), found.mode(), found.len(), written, changed))
}

/// Raised while the files of `[tls]` are other ones than those in force, and cannot be taken.
const TLS_RELOAD_FAILED: &str = "TLS_RELOAD_FAILED";
/// Raised from two weeks before this host's certificate expires.
const CERTIFICATE_EXPIRES: &str = "CERTIFICATE_EXPIRES";
/// Raised while a list of revoked certificates is too old to be believed.
const CRL_EXPIRED: &str = "CRL_EXPIRED";
