//! [`Writer`]: appends ticks to a recording, up to its size.

use std::{
    io::{self, Write},
    sync::Arc,
};

use agentd_core::bytes::ByteCount;

use super::{Head, MAGIC, Recorded, VERSION, code::Coded as _, frame::framed};
use crate::{
    control::{Pins, Revision},
    event::TickRecord,
};

/// Why a recording does not go on. Nothing may be appended after it: ticks would be missing.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It is as large as it may be.
    #[error(
        "it has {0}, which is all that it may have; move it away and start agentd again for a new \
         one, or allow it more with \"size\" in [recording]"
    )]
    Full(ByteCount),
    /// A tick is too long to be read back.
    #[error("tick {0} is too long to be recorded")]
    TooLong(u64),
    /// What is in its place is no file that can be moved away: what it is.
    #[error("{0} is there, and only a file is moved away for it; name another file")]
    NoFile(&'static str),
    /// The disk refuses it.
    #[error("it cannot be written: {0}; look at the disk")]
    Disk(#[from] io::Error),
}

/// Appends ticks to a recording.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    written: u64,
    most: ByteCount,
    /// The policy that was written last, and the pins over it. Its number does not tell it from others: pins
    /// come and go.
    last: Option<(Arc<Revision>, Arc<Pins>)>,
}

impl<W: Write> Writer<W> {
    /// Begins a recording of at most so many bytes.
    ///
    /// # Errors
    ///
    /// When `out` refuses it, or not even its head fits.
    pub fn begin(out: W, head: &Head, most: ByteCount) -> Result<Self, WriteError> {
        let mut writer = Self { out, written: 0, most, last: None };
        let mut start = MAGIC.to_vec();
        start.extend_from_slice(&VERSION.to_le_bytes());
        let mut entry = Vec::new();
        head.put(&mut entry);
        start.extend(framed(&entry).ok_or(WriteError::Full(most))?);
        writer.append(&start)?;
        Ok(writer)
    }

    /// Appends a tick, whole or not at all unless the disk fails in between.
    ///
    /// # Errors
    ///
    /// When there is no room for it, or the disk refuses it.
    pub fn put(&mut self, record: &TickRecord) -> Result<(), WriteError> {
        let (now, pins) = (&record.policy, &record.pins);
        let is_same = |(policy, pinned): &(Arc<Revision>, Arc<Pins>)| {
            policy.says_as(now) && pinned.vms().eq(pins.vms())
        };
        self.put_recorded(&Recorded::of(record, !self.last.as_ref().is_some_and(is_same)))?;
        self.last = Some((Arc::clone(now), Arc::clone(pins)));
        Ok(())
    }

    /// The same with a tick that is to be written as it is.
    pub(crate) fn put_recorded(&mut self, recorded: &Recorded) -> Result<(), WriteError> {
        let mut entry = Vec::new();
        recorded.put(&mut entry);
        self.append(&framed(&entry).ok_or(WriteError::TooLong(recorded.tick))?)
    }

    /// One call, so that the end of this process leaves it whole or torn at the end.
    fn append(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let after = self.written.saturating_add(length);
        if after > self.most.as_u64() {
            return Err(WriteError::Full(ByteCount::bytes(self.written)));
        }
        self.out.write_all(bytes)?;
        self.written = after;
        Ok(self.out.flush()?)
    }
}
