//! A gauge on a host: what its VMs hold, read again and again as fast as virsh goes.
//!
//! Each sample is two passes over the VMs. What a VM held in between was not less than the lesser
//! of both readings as long as it moved in one direction, so the sum of these is memory that was
//! held at one moment: a gauge may miss an overrun of milliseconds, but never invents one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

use super::host::{actuals_script, parse_actuals, virsh};
use super::space::Space;

/// What was read at one moment, in KiB by the name of the VM.
pub type Actuals = BTreeMap<String, u64>;

/// Reads until it is stopped or dropped.
#[derive(Debug)]
pub struct Gauge {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    samples: Mutex<Vec<Actuals>>,
}

impl Gauge {
    /// Starts reading these VMs.
    pub(crate) fn start(space: &Arc<Space>, names: &[&str]) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let script = actuals_script(names.iter().copied());
        let (space, inner) = (Arc::clone(space), Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("gauge".to_owned()).spawn(move || {
            while !inner.stop.load(Ordering::Relaxed) {
                // While libvirtd is away there is nothing to read.
                if let Ok(sample) = sample(&space, &script) {
                    let mut samples = inner.samples.lock().unwrap_or_else(PoisonError::into_inner);
                    if samples.len() < MOST_SAMPLES {
                        samples.push(sample);
                    }
                }
                super::clock::breathe();
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Everything read so far.
    pub fn samples(&self) -> Vec<Actuals> {
        self.shared.samples.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The largest sum of all samples.
    pub fn largest_sum_kib(&self) -> u64 {
        self.samples().iter().map(|sample| sample.values().sum()).max().unwrap_or(0)
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
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
