//! [`Merge`]: records of several hosts, held back a little so that they come in the order of their times. Those of
//! one host stay in theirs, whatever its clock does. Knows no host and reads no clock.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::dto::Record;

/// Records that wait for earlier ones of other hosts.
#[derive(Debug)]
pub(crate) struct Merge {
    wait: Wait,
    held: BTreeMap<Place, (usize, Record)>,
    /// Those that are held in the order in which they came, with when each goes on at the latest; those
    /// that have gone on, too, for as long as they stand before one that has not.
    arrivals: VecDeque<(Place, Instant)>,
    /// How many of each host are held, and where its last one stands.
    hosts: Vec<(usize, Timestamp)>,
    count: u64,
}

/// How long a record is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all: records come as they arrive.
    None,
    /// So long, unless every other host has told its next one before.
    For(Duration),
    /// Until every other host has told its next one.
    ForAll,
}

/// Where a record stands: its time, and its number among all.
type Place = (Timestamp, u64);

impl Merge {
    /// For so many hosts.
    pub(crate) fn new(hosts: usize, wait: Wait) -> Self {
        let (held, arrivals) = (BTreeMap::new(), VecDeque::new());
        Self { wait, held, arrivals, hosts: vec![(0, Timestamp::MIN); hosts], count: 0 }
    }

    /// Takes a record of the host of this number.
    pub(crate) fn push(&mut self, number: usize, record: Record, now: Instant) {
        let Some((held, last)) = self.hosts.get_mut(number) else { return };
        // What is no entry stands behind the last one: of a gap the place matters, not the time.
        let time = record.time.filter(|_| record.is_entry());
        *last = time.map_or(*last, |time| time.0.max(*last));
        *held += 1;
        let place = (*last, self.count);
        self.count += 1;
        self.held.insert(place, (number, record));
        if let Wait::For(wait) = self.wait {
            self.arrivals.push_back((place, now + wait));
        }
    }

    /// The next record, where it need not wait any more. `is_awaited` says of a host whether it may tell
    /// something that comes before.
    pub(crate) fn pop(
        &mut self,
        now: Instant,
        is_awaited: impl Fn(usize) -> bool,
    ) -> Option<(usize, Record)> {
        let ((time, _), _) = self.held.first_key_value()?;
        let all_have_told = || {
            let mut hosts = self.hosts.iter().enumerate();
            hosts.all(|(number, (held, _))| *held > 0 || !is_awaited(number))
        };
        let goes_on = self.wait == Wait::None
            // Nobody knows a time of this host yet.
            || *time == Timestamp::MIN
            || self.held.len() > MOST_HELD
            || all_have_told()
            || self.due().is_some_and(|due| due <= now);
        if goes_on { self.take() } else { None }
    }

    /// The next record, whether or not it was to wait.
    pub(crate) fn take(&mut self) -> Option<(usize, Record)> {
        let (_, (number, record)) = self.held.pop_first()?;
        if let Some((held, _)) = self.hosts.get_mut(number) {
            *held = held.saturating_sub(1);
        }
        while self.arrivals.front().is_some_and(|(place, _)| !self.held.contains_key(place)) {
            self.arrivals.pop_front();
        }
        Some((number, record))
    }

    /// When the next record goes on at the latest; `None` where none is held for a time.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.arrivals.front().map(|(_, due)| *due)
    }
}

/// More than this are not held back, whoever has not told its next one.
const MOST_HELD: usize = 20_000;

#[cfg(test)]
mod tests {
    use agentd_proto::v1;
    use agentd_proto::v1::watch_response::Body;

    use super::*;

    fn record(host: usize, body: Body, seconds: i64) -> Record {
        let time = Some(prost_types::Timestamp { seconds, nanos: 0 });
        let wire = v1::WatchResponse { time, body: Some(body), ..Default::default() };
        Record::new(&host.to_string(), wire)
    }

    fn tick(host: usize, seconds: i64) -> Record {
        record(host, Body::Tick(v1::Tick::default()), seconds)
    }

    /// Seconds of those that go on now, by host.
    fn told(merge: &mut Merge, now: Instant, awaited: &[usize]) -> Vec<(usize, i64)> {
        let next = || merge.pop(now, |number| awaited.contains(&number));
        let told = std::iter::from_fn(next);
        told.map(|(number, record)| (number, record.time.unwrap().0.as_second())).collect()
    }

    #[test]
    fn without_a_wait_records_come_as_they_arrive() {
        let (mut merge, now) = (Merge::new(2, Wait::None), Instant::now());
        for (host, second) in [(0, 9), (1, 3)] {
            merge.push(host, tick(host, second), now);
            assert_eq!(told(&mut merge, now, &[0, 1]), [(host, second)]);
        }
    }

    #[test]
    fn each_waits_for_an_earlier_one_of_another_host_and_not_for_longer_than_it_may() {
        let wait = Duration::from_millis(500);
        let (mut merge, now) = (Merge::new(2, Wait::For(wait)), Instant::now());
        merge.push(0, tick(0, 9), now);
        assert_eq!(told(&mut merge, now, &[0, 1]), []);
        merge.push(1, tick(1, 3), now + wait / 2);
        // Both have told: nothing comes before the first. The other one waits on.
        assert_eq!(told(&mut merge, now + wait / 2, &[0, 1]), [(1, 3)]);
        assert_eq!(merge.due(), Some(now + wait));
        assert_eq!(told(&mut merge, now + wait, &[0, 1]), [(0, 9)]);
        assert_eq!(merge.due(), None);
        // What is due takes along what comes before it.
        merge.push(0, tick(0, 20), now);
        merge.push(0, tick(0, 21), now);
        merge.push(1, tick(1, 19), now + wait);
        assert_eq!(told(&mut merge, now + wait, &[0, 1]), [(1, 19), (0, 20), (0, 21)]);
    }

    #[test]
    fn who_is_not_awaited_keeps_nobody_waiting() {
        let (mut merge, now) = (Merge::new(3, Wait::ForAll), Instant::now());
        merge.push(0, tick(0, 1), now);
        merge.push(1, tick(1, 2), now);
        merge.push(0, tick(0, 3), now);
        assert_eq!(told(&mut merge, now, &[0, 1, 2]), []);
        assert_eq!(told(&mut merge, now, &[0, 1]), [(0, 1), (1, 2)]);
        assert_eq!(told(&mut merge, now, &[0]), [(0, 3)]);
    }

    #[test]
    fn the_records_of_a_host_keep_their_order_though_its_clock_goes_back() {
        let (mut merge, now) = (Merge::new(2, Wait::ForAll), Instant::now());
        merge.push(0, tick(0, 5), now);
        merge.push(0, record(0, Body::Gap(v1::Gap::default()), 0), now);
        merge.push(0, tick(0, 2), now);
        merge.push(1, tick(1, 4), now);
        let order = [(1, 4), (0, 5), (0, 0), (0, 2)];
        assert_eq!(told(&mut merge, now, &[]), order);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let (mut merge, now) = (Merge::new(2, Wait::ForAll), Instant::now());
        for second in 0..i64::try_from(MOST_HELD).unwrap() + 10 {
            merge.push(0, tick(0, second), now);
        }
        assert_eq!(told(&mut merge, now, &[0, 1]).len(), 10);
    }
}
