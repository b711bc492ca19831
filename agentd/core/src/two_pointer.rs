//! The algorithm `two-pointer`.

use std::collections::BTreeMap;

use crate::{bytes::ByteCount, vm::VmId};

/// What the algorithm remembers from tick to tick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Where the rotation stands.
    pub offset: u64,
    /// Use of each VM at the last tick at which its figures counted.
    pub previous: BTreeMap<VmId, ByteCount>,
}
