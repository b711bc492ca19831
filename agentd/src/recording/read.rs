//! [`Reader`]: a recording, tick by tick. Whatever is wrong with it is told with where.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use super::{
    Head, MAGIC, Recorded, VERSION,
    code::{Coded, Input},
    frame::{FrameHead, HEAD},
};

/// Why a recording cannot be read, or not further.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read the recording: {0}")]
    Disk(#[from] io::Error),
    /// It is something else.
    #[error("it is no recording: name a file that --record of agentd wrote")]
    Other,
    /// A newer agentd made it.
    #[error(
        "a newer agentd made it (form {found}, this one knows up to {VERSION}): replay it with \
         that one"
    )]
    Newer {
        /// The form of the recording.
        found: u32,
    },
    /// It was cut off before its first tick.
    #[error("it ends before its first tick")]
    Empty,
    /// It is not what was written.
    #[error(
        "at byte {at}: {damage}; what is before it is whole, so copy it anew from where it was made, \
         or cut it there: head -c {at} RECORDING > WHOLE"
    )]
    Damaged {
        /// Where the entry begins, from the start of the file.
        at: u64,
        /// What is wrong.
        damage: Damage,
    },
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Its length was changed.
    #[error("the length of the entry is damaged")]
    Length,
    /// It was changed.
    #[error("the entry is not the one that was written, by its checksum")]
    Checksum,
    /// It is whole and makes no sense here.
    #[error("the entry is whole and makes no sense to this agentd: {why}{}", hint(.made_by))]
    Odd {
        /// Which field, and why.
        why: String,
        /// Version of the agentd that made the recording; empty where its head makes no sense.
        made_by: String,
    },
}

fn hint(made_by: &str) -> String {
    if made_by.is_empty() || made_by == env!("CARGO_PKG_VERSION") {
        return String::new();
    }
    format!(" (agentd {} made it: replay it with that one)", made_by.escape_debug())
}

/// What was left of an entry when its writer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Where it begins, from the start of the file.
    pub at: u64,
}

/// A recording that is being read.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    at: u64,
    head: Head,
    torn: Option<Torn>,
}

impl Reader<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is no recording, or one of a newer agentd.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Self::new(BufReader::new(File::open(path)?))
    }
}

impl<R: Read> Reader<R> {
    /// Reads what a recording begins with.
    ///
    /// # Errors
    ///
    /// When it is no recording, or one of a newer agentd.
    pub fn new(input: R) -> Result<Self, ReadError> {
        let nobody = || Head {
            agent_version: String::new(),
            host: String::new(),
            hypervisor: String::new(),
            began: std::time::SystemTime::UNIX_EPOCH,
        };
        let mut reader = Self { input, at: 0, head: nobody(), torn: None };
        if reader.bytes(MAGIC.len())? != MAGIC {
            return Err(ReadError::Other);
        }
        let version = reader.bytes(4)?;
        let version = version.try_into().map(u32::from_le_bytes).map_err(|_| ReadError::Empty)?;
        if version > VERSION {
            return Err(ReadError::Newer { found: version });
        }
        reader.head = reader.entry()?.ok_or(ReadError::Empty)?;
        Ok(reader)
    }

    /// What the recording says of itself.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// What was left of the last entry when its writer ended; `None` where all are whole. Known at the
    /// end.
    #[must_use]
    pub const fn torn(&self) -> Option<Torn> {
        self.torn
    }

    /// The next tick; `None` at the end.
    ///
    /// # Errors
    ///
    /// When it is damaged, or the disk refuses it.
    pub fn next_tick(&mut self) -> Result<Option<Recorded>, ReadError> {
        self.entry()
    }

    fn entry<T: Coded>(&mut self) -> Result<Option<T>, ReadError> {
        let at = self.at;
        let damaged = |damage| ReadError::Damaged { at, damage };
        let head = self.bytes(HEAD)?;
        if head.is_empty() {
            return Ok(None);
        }
        let Ok(head) = <[u8; HEAD]>::try_from(head) else { return Ok(self.tear(at)) };
        let Some(head) = FrameHead::read(head) else {
            // Space that was set aside for an entry when the machine lost its power.
            let blank = head == [0; HEAD] && self.is_blank()?;
            return if blank { Ok(self.tear(at)) } else { Err(damaged(Damage::Length)) };
        };
        let entry = self.bytes(head.length)?;
        if entry.len() < head.length {
            return Ok(self.tear(at));
        }
        if !head.fits(&entry) {
            let last = self.bytes(1)?.is_empty();
            return if last { Ok(self.tear(at)) } else { Err(damaged(Damage::Checksum)) };
        }
        let read = T::take(&mut Input::new(&entry));
        read.map(Some).map_err(|odd| {
            let made_by = self.head.agent_version.clone();
            damaged(Damage::Odd { why: printable(&odd.to_string()), made_by })
        })
    }

    const fn tear<T>(&mut self, at: u64) -> Option<T> {
        self.torn = Some(Torn { at });
        None
    }

    /// So many bytes; fewer at the end. Takes memory as they come.
    fn bytes(&mut self, count: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::new();
        let most = u64::try_from(count).unwrap_or(u64::MAX);
        let read = self.input.by_ref().take(most).read_to_end(&mut bytes)?;
        self.at = self.at.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        Ok(bytes)
    }

    /// True where nothing but zeros follows.
    fn is_blank(&mut self) -> Result<bool, ReadError> {
        loop {
            let bytes = self.bytes(BLOCK)?;
            if bytes.is_empty() {
                return Ok(true);
            }
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
        }
    }
}

/// The words without what a terminal would obey: a recording may hold any text.
fn printable(words: &str) -> String {
    let escaped = |letter: char| {
        if letter.is_control() { letter.escape_debug().to_string() } else { letter.to_string() }
    };
    words.chars().map(escaped).collect()
}

const BLOCK: usize = 4096;
