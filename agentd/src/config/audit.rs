//! The `[audit]` table of a config.

use agentd_core::bytes::ByteCount;

use super::section;
use crate::{
    audit::Limits,
    fields::{FieldError, Fields},
};

pub(super) fn read(limits: &mut Limits, root: &Fields<'_>) -> Result<(), FieldError> {
    let Some(fields) = section(root, "audit", &["size", "files"])? else { return Ok(()) };
    if let Some(field) = fields.get("size") {
        let size = field.size()?;
        if !(LEAST_SIZE..=MOST_SIZE).contains(&size) {
            return Err(field.error(format!("must be from {LEAST_SIZE} to {MOST_SIZE}")));
        }
        limits.size = size.as_u64();
    }
    if let Some(field) = fields.get("files") {
        let files = usize::try_from(field.number(MOST_FILES)?).unwrap_or(usize::MAX);
        if files < LEAST_FILES {
            return Err(field.error(format!("must be at least {LEAST_FILES}")));
        }
        limits.files = files;
    }
    Ok(())
}

/// Some years of a host on which a hundred changes are made a day; about as many weeks as files while
/// somebody is denied all the time.
pub(super) const DEFAULT: Limits = Limits { size: 16 << 20, files: 8 };
/// Some lines have to fit, the longest among them.
const LEAST_SIZE: ByteCount = ByteCount::kib(128);
const MOST_SIZE: ByteCount = ByteCount::gib(1);
/// The newest file, and one before it: a new file would else be all there is.
const LEAST_FILES: usize = 2;
const MOST_FILES: u64 = 1000;
