//! [`Timepiece`]: the time, as the audit writes it down.

use std::{fs, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::chain::When;
use crate::clock::Clock;

/// A clock, and which boot of the kernel it runs in.
#[derive(Clone, Debug)]
pub(super) struct Timepiece {
    clock: Arc<dyn Clock>,
    boot: Arc<str>,
}

impl Timepiece {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self { clock, boot: boot.trim().into() }
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    pub(super) fn when(&self) -> When {
        // A time that the calendar cannot hold is that of a clock nobody has set.
        let time = Timestamp::try_from(self.clock.wall()).unwrap_or_default();
        let mono_ns = u64::try_from(self.clock.now().as_nanos()).unwrap_or(u64::MAX);
        When { time: format!("{time:.6}"), boot: self.boot.to_string(), mono_ns }
    }
}
