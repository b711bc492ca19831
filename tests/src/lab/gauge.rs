//! A gauge on a host: what its VMs hold, read again and again as fast as virsh goes, and what the
//! host has left, ten times a second and more, also while libvirtd or a VM hangs.
//!
//! Each sample is two passes over the VMs. What a VM held in between was not less than the lesser
//! of both readings as long as it moved in one direction, so the sum of these is memory that was
//! held at one moment: a gauge may miss an overrun of milliseconds, but never invents one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use super::clock::{Deadline, breathe};
use super::host::{actuals_script, parse_actuals, virsh};
use super::space::Space;

/// What was read at one moment, in KiB by the name of the VM.
pub type Actuals = BTreeMap<String, u64>;

/// Reads until it is stopped or dropped.
#[derive(Debug)]
pub struct Gauge {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    samples: Mutex<Vec<Actuals>>,
    /// `MemAvailable` of the host, in KiB.
    available: Mutex<Vec<u64>>,
}

impl Gauge {
    /// Starts reading these VMs, and rests so long after each reading.
    pub(crate) fn start(space: &Arc<Space>, names: &[&str], rest: Duration) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let script = actuals_script(names.iter().copied());
        let (inside, inner) = (Arc::clone(space), Arc::clone(&shared));
        let mut gauge = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        // While libvirtd is away there is nothing to read.
        gauge.repeat("gauge", rest, move || note(&inner.samples, sample(&inside, &script)))?;
        let inside = Arc::clone(space);
        gauge.repeat("gauge-host", Duration::ZERO, move || {
            note(&shared.available, available_kib(&inside));
        })?;
        Ok(gauge)
    }

    fn repeat(
        &mut self,
        name: &str,
        rest: Duration,
        look: impl Fn() + Send + 'static,
    ) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let stops = || shared.stop.load(Ordering::Relaxed);
            while !stops() {
                look();
                let rested = Deadline::after(rest);
                breathe();
                while !rested.is_over() && !stops() {
                    breathe();
                }
            }
        })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Everything read so far.
    pub fn samples(&self) -> Vec<Actuals> {
        self.shared.samples.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The largest sum of all samples.
    pub fn largest_sum_kib(&self) -> u64 {
        self.samples().iter().map(|sample| sample.values().sum()).max().unwrap_or(0)
    }

    /// The least that the host had available at any time.
    pub fn least_available_kib(&self) -> Option<u64> {
        let available = self.shared.available.lock().unwrap_or_else(PoisonError::into_inner);
        available.iter().min().copied()
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Keeps what was read, if anything was and there is room.
fn note<T>(all: &Mutex<Vec<T>>, read: Result<T>) {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    if all.len() < MOST_SAMPLES {
        all.extend(read);
    }
}

/// What the host's kernel says it can still give away.
pub(crate) fn available_kib(space: &Space) -> Result<u64> {
    let meminfo = space.read("/proc/meminfo")?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.context("/proc/meminfo says nothing of MemAvailable")
}

fn sample(space: &Space, script: &str) -> Result<Actuals> {
    let printed = virsh(space, &[&format!("{script} echo {BETWEEN}; {script}")])?;
    let (first, second) = printed.split_once(BETWEEN).context("virsh printed one pass only")?;
    let (first, second) = (parse_actuals(first)?, parse_actuals(second)?);
    let lesser =
        |(name, kib): (&String, &u64)| Some((name.clone(), (*kib).min(*second.get(name)?)));
    Ok(first.iter().filter_map(lesser).collect())
}

/// Stands between the two passes.
const BETWEEN: &str = "====";

/// Hours.
const MOST_SAMPLES: usize = 100_000;
