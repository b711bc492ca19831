//! [`Handshakes`]: connections whose client has not shown yet who it is. So many are under way at a time, and so many
//! of one address. Where all places are taken, the handshake that has gone on for the longest makes way for a
//! new one: who is let in needs some milliseconds, and whoever is silent keeps nobody out.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::limits;

/// All of a listener.
#[derive(Debug)]
pub(super) struct Handshakes {
    each: usize,
    all: usize,
    under_way: Mutex<UnderWay>,
}

/// Those of now, the oldest first.
#[derive(Debug, Default)]
struct UnderWay {
    by_number: BTreeMap<u64, Begun>,
    next: u64,
}

#[derive(Debug)]
struct Begun {
    address: IpAddr,
    at: Instant,
    ousted: CancellationToken,
}

/// The place of one; free again when dropped.
#[derive(Debug)]
pub(super) struct Handshake {
    all: Arc<Handshakes>,
    number: u64,
    ousted: CancellationToken,
    /// Whether another one made way for it.
    pub(super) has_ousted: bool,
}

/// Whose places are all taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spent {
    /// Those of the address.
    Own,
    /// Those of all.
    All,
}

impl Handshakes {
    /// So many of each address, and of all.
    pub(super) fn new(each: usize, all: usize) -> Arc<Self> {
        Arc::new(Self { each, all, under_way: Mutex::default() })
    }

    /// Begins one. Where there is no place, the oldest makes way, if it has had [`limits::HANDSHAKE_LEAST`].
    pub(super) fn begin(self: &Arc<Self>, address: IpAddr) -> Result<Handshake, Spent> {
        let (mut under_way, now) = (self.lock(), Instant::now());
        let own = under_way.by_number.values().filter(|begun| begun.address == address);
        if own.count() >= self.each {
            return Err(Spent::Own);
        }
        let has_ousted = under_way.by_number.len() >= self.all;
        if has_ousted {
            let Some(oldest) = under_way.by_number.first_entry() else { return Err(Spent::All) };
            if now.duration_since(oldest.get().at) < limits::HANDSHAKE_LEAST {
                return Err(Spent::All);
            }
            oldest.remove().ousted.cancel();
        }
        let (number, ousted) = (under_way.next, CancellationToken::new());
        under_way.next = number.saturating_add(1);
        under_way.by_number.insert(number, Begun { address, at: now, ousted: ousted.clone() });
        Ok(Handshake { all: Arc::clone(self), number, ousted, has_ousted })
    }

    /// True where one could begin and nobody has to make way.
    pub(super) fn has_room(&self) -> bool {
        self.lock().by_number.len() < self.all
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handshake {
    /// Returns once it has to make way.
    pub(super) async fn ousted(&self) {
        self.ousted.cancelled().await;
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.all.lock().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[tokio::test(start_paused = true)]
    async fn each_address_has_so_many_and_gets_them_back() {
        let all = Handshakes::new(2, 10);
        let first = all.begin(address(1)).unwrap();
        let _second = all.begin(address(1)).unwrap();
        tokio::time::advance(limits::HANDSHAKE_LEAST).await;
        assert_eq!(all.begin(address(1)).err(), Some(Spent::Own));
        assert!(!all.begin(address(2)).unwrap().has_ousted);
        drop(first);
        assert!(all.begin(address(1)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_places_are_taken_the_oldest_makes_way_once_it_had_its_time() {
        let all = Handshakes::new(2, 3);
        let mut begun: Vec<_> = (0..3).map(|last| all.begin(address(last)).unwrap()).collect();
        assert!(!all.has_room());
        assert_eq!(all.begin(address(9)).err(), Some(Spent::All));
        tokio::time::advance(limits::HANDSHAKE_LEAST).await;
        let new = all.begin(address(9)).unwrap();
        assert!(new.has_ousted);
        begun.remove(0).ousted().await;
        // The place of whoever made way is taken, and is not given back twice.
        assert!(!all.has_room());
        assert_eq!(all.lock().by_number.len(), 3);
        drop(new);
        assert!(all.has_room());
    }
}
