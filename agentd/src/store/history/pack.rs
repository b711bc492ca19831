//! What entries are made of on disk: a row's body, and those of a minute together. Pure.
//!
//! Entries that follow one another say nearly the same, so that together they take a fifth of what each
//! takes on its own. Whoever changes this writes another number into `packed`, and reads both.

use std::{
    io::Read as _,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    layout::{KINDS, number_of},
    read::{Found, Place},
};
use crate::{
    publish::{Entry, Epoch, Kind, Position, Stamp},
    record::HistoryError,
};

/// Compresses one entry, or a digest.
pub(super) fn squeeze(bytes: &[u8]) -> Result<Vec<u8>, HistoryError> {
    zstd::bulk::compress(bytes, LIGHT).map_err(|error| HistoryError(error.to_string()))
}

/// The bytes of [`squeeze`] as they were.
pub(super) fn restore(bytes: &[u8]) -> Result<Vec<u8>, HistoryError> {
    let broken = |error: std::io::Error| HistoryError(format!("an entry is broken: {error}"));
    let mut whole = Vec::new();
    let stream = zstd::stream::read::Decoder::new(bytes).map_err(broken)?;
    stream.take(MOST).read_to_end(&mut whole).map_err(broken)?;
    Ok(whole)
}

/// Entries of one run in their order, as one blob.
pub(super) fn pack(entries: &[Found]) -> Result<Vec<u8>, HistoryError> {
    let mut whole = Vec::new();
    for Found { place, entry } in entries {
        let seq = entry.position.seq;
        whole.extend_from_slice(&place.0.to_le_bytes());
        whole.extend_from_slice(&seq.to_le_bytes());
        whole.extend_from_slice(&to_nanos(entry.stamp.wall).to_le_bytes());
        let kind = u8::try_from(number_of(entry.kind)).unwrap_or(u8::MAX);
        whole.extend_from_slice(&[kind, u8::from(entry.eventful)]);
        let size = u32::try_from(entry.bytes.len());
        let size = size.map_err(|_| HistoryError(format!("entry {seq} is too large")))?;
        whole.extend_from_slice(&size.to_le_bytes());
        whole.extend_from_slice(&entry.bytes);
    }
    zstd::bulk::compress(&whole, THOROUGH).map_err(|error| HistoryError(error.to_string()))
}

/// The entries of a blob, but for kinds that only a newer agentd knows.
pub(super) fn unpack(epoch: &Epoch, blob: &[u8]) -> Result<Vec<Found>, HistoryError> {
    let whole = restore(blob)?;
    let mut rest = whole.as_slice();
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let short = || HistoryError("a block of entries is broken: it ends too soon".to_owned());
        let place = Place(i64::from_le_bytes(take(&mut rest).ok_or_else(short)?));
        let seq = u64::from_le_bytes(take(&mut rest).ok_or_else(short)?);
        let wall = i64::from_le_bytes(take(&mut rest).ok_or_else(short)?);
        let [kind, eventful] = take(&mut rest).ok_or_else(short)?;
        let size = u32::from_le_bytes(take(&mut rest).ok_or_else(short)?);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let (bytes, behind) = rest.split_at_checked(size).ok_or_else(short)?;
        rest = behind;
        let meta = Meta { epoch, seq, wall, eventful: eventful != 0 };
        let entry = kind_of(i64::from(kind)).map(|kind| meta.entry(kind, bytes.into()));
        entries.extend(entry.map(|entry| Found { place, entry }));
    }
    Ok(entries)
}

/// What is said of an entry beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta<'a> {
    pub(super) epoch: &'a Epoch,
    pub(super) seq: u64,
    pub(super) wall: i64,
    pub(super) eventful: bool,
}

impl Meta<'_> {
    /// The entry. When it was made by the monotonic clock is not kept beside it.
    pub(super) fn entry(self, kind: Kind, bytes: Arc<[u8]>) -> Entry {
        Entry {
            position: Position { epoch: self.epoch.clone(), seq: self.seq },
            stamp: Stamp { wall: from_nanos(self.wall), monotonic: Duration::ZERO },
            kind,
            eventful: self.eventful,
            bytes,
            shadow: None,
        }
    }
}

pub(super) fn kind_of(number: i64) -> Option<Kind> {
    KINDS.into_iter().find(|kind| number_of(*kind) == number)
}

pub(super) fn to_nanos(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

pub(super) fn from_nanos(nanos: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*first)
}

/// For what is packed again within the minute.
const LIGHT: i32 = 1;
/// For what stays for days: twice the time of the default for a sixth less.
const THOROUGH: i32 = 9;
/// No blob of ours is larger: a block ends at 4 MiB, or behind one entry.
const MOST: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_unpacked_as_they_were_and_a_torn_blob_is_an_error() {
        let epoch = Epoch::random();
        let entries: Vec<Found> = (1..=60_u8)
            .map(|n| {
                let (seq, wall) = (u64::from(n), i64::from(n));
                let meta = Meta { epoch: &epoch, seq, wall, eventful: n % 2 == 0 };
                let kind = KINDS[usize::from(n) % KINDS.len()];
                let entry = meta.entry(kind, vec![n; 3000].into());
                Found { place: Place(i64::from(n) * 2), entry }
            })
            .collect();
        let blob = pack(&entries).unwrap();
        assert!(blob.len() < 3000, "{}", blob.len());
        let read = unpack(&epoch, &blob).unwrap();
        assert_eq!(read.len(), entries.len());
        for (one, other) in entries.iter().zip(&read) {
            assert_eq!(one.place, other.place);
            let (one, other) = (&one.entry, &other.entry);
            assert_eq!((&one.position, one.stamp), (&other.position, other.stamp));
            assert_eq!((one.kind, one.eventful), (other.kind, other.eventful));
            assert_eq!(one.bytes, other.bytes);
        }
        assert!(unpack(&epoch, &blob[..blob.len() / 2]).is_err());
        assert!(unpack(&epoch, b"nonsense").is_err());
        assert!(unpack(&epoch, &squeeze(b"short").unwrap()).is_err());
    }
}
