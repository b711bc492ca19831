//! The `[recording]` table of a config.

use std::path::PathBuf;

use agentd_core::bytes::ByteCount;

use super::{read_path, section};
use crate::fields::{FieldError, Fields};

/// Where every tick is recorded for a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingConfig {
    /// The file; `None` for no recording.
    pub file: Option<PathBuf>,
    /// Bytes at which it ends.
    pub size: ByteCount,
}

impl RecordingConfig {
    pub(super) fn read(&mut self, root: &Fields<'_>) -> Result<(), FieldError> {
        let Some(fields) = section(root, "recording", &["file", "size"])? else { return Ok(()) };
        if let Some(file) = fields.get("file") {
            self.file = read_path(&file)?;
        }
        if let Some(size) = fields.get("size") {
            self.size = size.size()?;
            if self.size < LEAST {
                return Err(size.error(format!("must be at least {LEAST}")));
            }
        }
        Ok(())
    }
}

impl Default for RecordingConfig {
    fn default() -> Self {
        Self { file: None, size: ByteCount::gib(1) }
    }
}

const LEAST: ByteCount = ByteCount::mib(1);
