//! A frame: an entry with its length and checksums, so that one that was torn off by the end of its
//! writer can be told from one that was damaged later.
//!
//! ```text
//! length: u32 | CRC-32 of length: u32 | CRC-32 of entry: u32 | entry          little-endian
//! ```

/// Bytes before the entry.
pub(super) const HEAD: usize = 12;
/// Longest entry that is written or read: ten thousand VMs take a few MiB.
pub(super) const LONGEST: usize = 64 << 20;

/// What stands before an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    /// Length of the entry.
    pub(super) length: usize,
    sum: u32,
}

/// An entry in its frame; `None` where it is longer than any may be.
pub(super) fn framed(entry: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(entry.len()).ok().filter(|_| entry.len() <= LONGEST)?;
    let length = length.to_le_bytes();
    let mut frame = Vec::with_capacity(entry.len().saturating_add(HEAD));
    frame.extend_from_slice(&length);
    frame.extend_from_slice(&checksum(&length).to_le_bytes());
    frame.extend_from_slice(&checksum(entry).to_le_bytes());
    frame.extend_from_slice(entry);
    Some(frame)
}

impl FrameHead {
    /// Reads it; `None` where it is damaged.
    pub(super) fn read(head: [u8; HEAD]) -> Option<Self> {
        let word = |at: usize| {
            let bytes = head.get(at..at.saturating_add(4))?;
            bytes.try_into().ok().map(u32::from_le_bytes)
        };
        let (length, own, sum) = (word(0)?, word(4)?, word(8)?);
        let whole = checksum(&length.to_le_bytes()) == own;
        let length = usize::try_from(length).ok().filter(|length| whole && *length <= LONGEST)?;
        Some(Self { length, sum })
    }

    /// True for the entry that was written behind it.
    pub(super) fn fits(&self, entry: &[u8]) -> bool {
        entry.len() == self.length && checksum(entry) == self.sum
    }
}

/// CRC-32 as in Ethernet and zip: finds every single damage of up to 32 bits in a row.
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        let [low, ..] = sum.to_le_bytes();
        TABLE[usize::from(low ^ byte)] ^ (sum >> 8)
    })
}

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    let mut start: u32 = 0;
    while index < table.len() {
        let (mut sum, mut bit) = (start, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
            bit += 1;
        }
        table[index] = sum;
        index += 1;
        start += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_world() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
        assert_eq!(checksum(b""), 0);
    }

    #[test]
    fn every_changed_bit_of_a_frame_shows() {
        let frame = framed(b"a tick").unwrap();
        let intact = |frame: &[u8]| {
            let (head, entry) = frame.split_at(HEAD);
            FrameHead::read(head.try_into().unwrap()).is_some_and(|head| head.fits(entry))
        };
        assert!(intact(&frame));
        for bit in 0..frame.len() * 8 {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!intact(&changed), "bit {bit}");
        }
    }
}
