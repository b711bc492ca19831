//! [`Numbers`]: how fast and how large things are in a simulated VM.
//!
//! The defaults follow what was measured on real guests; a scenario sets any of them for all VMs
//! under `[sim]` and for one VM in its `[[vm]]`.

use std::time::Duration;

use agentd_core::bytes::ByteCount;

use crate::fields::{FieldError, Fields};

/// How fast and how large things are in a simulated VM. Rates are per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// How fast it gives memory while more than `watermark` is unused.
    pub shrink_rate: ByteCount,
    /// How fast it takes memory.
    pub grow_rate: ByteCount,
    /// How fast its swap device reads and writes.
    pub swap_rate: ByteCount,
    /// How fast it reads files into its page cache.
    pub read_rate: ByteCount,
    /// How fast it fills memory that it wants.
    pub touch_rate: ByteCount,
    /// What its kernel keeps unused; an eighth of its memory where that is less.
    pub watermark: ByteCount,
    /// Part of its demand that is in use all the time, and is not given up.
    pub working_set_percent: u64,
    /// Size of its swap device.
    pub swap: ByteCount,
    /// Files that it reads, and keeps in its page cache while there is room.
    pub cache: ByteCount,
    /// What its process needs on the host beside its memory.
    pub process_overhead: ByteCount,
    /// How often its kernel reports figures; zero for never again after the first.
    pub stats_period: Duration,
    /// The shortest time between two balloon events, which the bulk actual follows.
    pub event_period: Duration,
    /// From its start until its balloon driver works.
    pub boot_time: Duration,
    /// How far rates stray from the above, either way.
    pub noise_percent: u64,
}

impl Numbers {
    /// The keys of a scenario that these are read from.
    pub(super) const KEYS: [&'static str; 14] = [
        "shrink_rate",
        "grow_rate",
        "swap_rate",
        "read_rate",
        "touch_rate",
        "watermark",
        "working_set_percent",
        "swap",
        "cache",
        "process_overhead",
        "stats_period",
        "event_period",
        "boot_time",
        "noise_percent",
    ];

    /// These numbers with those of a table in their place.
    pub(super) fn read(self, fields: &Fields<'_>) -> Result<Self, FieldError> {
        let percent = |key: &str, or| fields.get(key).map_or(Ok(or), |field| field.number(100));
        Ok(Self {
            shrink_rate: fields.size_or("shrink_rate", self.shrink_rate)?,
            grow_rate: fields.size_or("grow_rate", self.grow_rate)?,
            swap_rate: fields.size_or("swap_rate", self.swap_rate)?,
            read_rate: fields.size_or("read_rate", self.read_rate)?,
            touch_rate: fields.size_or("touch_rate", self.touch_rate)?,
            watermark: fields.size_or("watermark", self.watermark)?,
            working_set_percent: percent("working_set_percent", self.working_set_percent)?,
            swap: fields.size_or("swap", self.swap)?,
            cache: fields.size_or("cache", self.cache)?,
            process_overhead: fields.size_or("process_overhead", self.process_overhead)?,
            stats_period: fields.time_or("stats_period", self.stats_period)?,
            event_period: fields.time_or("event_period", self.event_period)?,
            boot_time: fields.time_or("boot_time", self.boot_time)?,
            noise_percent: percent("noise_percent", self.noise_percent)?,
        })
    }
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            shrink_rate: ByteCount::mib(700),
            grow_rate: ByteCount::gib(2),
            swap_rate: ByteCount::mib(100),
            read_rate: ByteCount::mib(100),
            touch_rate: ByteCount::gib(1),
            watermark: ByteCount::mib(48),
            working_set_percent: 50,
            swap: ByteCount::gib(1),
            cache: ByteCount::mib(64),
            process_overhead: ByteCount::mib(64),
            stats_period: Duration::from_secs(1),
            event_period: Duration::from_secs(1),
            boot_time: Duration::from_secs(10),
            noise_percent: 10,
        }
    }
}
