//! Feeds the reader of recordings: see `crate::fuzz`.

use super::{
    Reader, Recorded,
    code::{Coded as _, Input},
};

/// A file, and an entry of one as it is within its frame.
pub(crate) fn recording(data: &[u8]) {
    if let Ok(mut reader) = Reader::new(data) {
        while let Ok(Some(recorded)) = reader.next_tick() {
            reads_as_written(&recorded);
        }
    }
    if let Ok(recorded) = Recorded::take(&mut Input::new(data)) {
        reads_as_written(&recorded);
    }
}

fn reads_as_written(recorded: &Recorded) {
    let mut entry = Vec::new();
    recorded.put(&mut entry);
    let again = Recorded::take(&mut Input::new(&entry));
    assert_eq!(again.as_ref(), Ok(recorded));
}
