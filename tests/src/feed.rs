//! [`Feed`]: what `memctl watch` tells, read once, tick by tick.
//!
//! Tests of faults count ticks and no seconds, so that a slow machine fails none of them: the only
//! limit by the clock is that ticks go on at all.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::agent::{Memctl, Watch};
use crate::lab::clock;

/// A watch that is read from its begin to its end.
#[derive(Debug)]
pub struct Feed {
    watch: Watch,
    memctl: Memctl,
    /// How much of its log was read.
    offset: u64,
    /// The last tick that does not count.
    passed: Option<u64>,
    /// Read and not yet asked for.
    waiting: std::collections::VecDeque<Value>,
}

impl Feed {
    /// Starts a watch with this log, and waits until the stream stands.
    pub fn start(memctl: &Memctl, name: &str) -> Result<Self> {
        let watch = memctl.watch(name, &[])?;
        watch.wait("the stream to stand", TICK_LIMIT, |record| record["type"] == "hello")?;
        let (memctl, waiting) = (memctl.clone(), std::collections::VecDeque::new());
        Ok(Self { watch, memctl, offset: 0, passed: None, waiting })
    }

    /// The next record of any type.
    pub fn record(&mut self) -> Result<Value> {
        clock::wait_for("another record", TICK_LIMIT, || {
            if self.waiting.is_empty() {
                self.read()?;
            }
            Ok(self.waiting.pop_front())
        })
    }

    /// The next tick that counts.
    pub fn tick(&mut self) -> Result<Value> {
        loop {
            let record = self.record()?;
            if record["type"] == "tick" && record["tick"].as_u64() > self.passed {
                return Ok(record);
            }
        }
    }

    /// The next `count` ticks.
    pub fn ticks(&mut self, count: usize) -> Result<Vec<Value>> {
        (0..count).map(|_| self.tick()).collect()
    }

    /// Reads on until a tick is as wanted, and gives all up to it. Fails where none of `most` is.
    pub fn until(
        &mut self,
        what: &str,
        most: usize,
        is: impl Fn(&Value) -> bool,
    ) -> Result<Vec<Value>> {
        let mut ticks = Vec::new();
        while ticks.len() < most {
            let tick = self.tick().with_context(|| format!("while waiting for {what}"))?;
            let found = is(&tick);
            ticks.push(tick);
            if found {
                return Ok(ticks);
            }
        }
        let all: String = ticks.iter().map(in_short).collect();
        bail!("{most} ticks, and none brought {what}:{all}\nthe last: {}", ticks[most - 1])
    }

    /// Passes over all ticks that are over by now, be they told yet or not: a busy machine tells them
    /// late. The next one may be under way.
    pub fn skip(&mut self) -> Result<()> {
        self.passed = self.last_over()?;
        Ok(())
    }

    /// All ticks that were told so far, be they passed over or not.
    pub fn told(&self) -> Result<Vec<Value>> {
        self.watch.ticks()
    }

    /// The number of the last tick that is over; `None` before the first.
    pub fn last_over(&self) -> Result<Option<u64>> {
        let items = self.memctl.items(&["status"])?;
        let status = items.first().context("memctl status tells of nobody")?;
        Ok(status["status"]["tick"].as_u64())
    }

    fn read(&mut self) -> Result<()> {
        let told = self.watch.told_since(self.offset)?;
        let whole = told.rsplit_once('\n').map_or("", |(whole, _)| whole);
        if whole.is_empty() {
            return Ok(());
        }
        self.offset += u64::try_from(whole.len())? + 1;
        for line in whole.lines().filter(|line| line.starts_with('{')) {
            let record = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
            self.waiting.push_back(record);
        }
        Ok(())
    }
}

/// A line that says what a tick saw and did: memory in MiB.
fn in_short(tick: &Value) -> String {
    let mib =
        |bytes: &Value| bytes.as_u64().map_or_else(|| "-".to_owned(), |b| (b >> 20).to_string());
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let items = |name: &str| tick[name].as_array().cloned().unwrap_or_default();
    let vms = items("vms").into_iter().map(|vm| {
        let reason = text(&vm["verdict"]["reason"]);
        format!(" {} {} {reason}", text(&vm["name"]), mib(&vm["memory"]["actual_bytes"]))
    });
    let transfers = items("transfers").into_iter().map(|transfer| {
        let [from, to] = ["from", "to"].map(|end| text(&transfer[end]["name"]));
        let [granted, amount] = ["granted_bytes", "amount_bytes"].map(|of| mib(&transfer[of]));
        format!(" {from}>{to} {granted}/{amount}")
    });
    let (vms, transfers): (String, String) = (vms.collect(), transfers.collect());
    format!("\n{} {}{vms};{transfers}", tick["tick"], text(&tick["error"]))
}

/// Far longer than a tick takes, also while everything hangs that can.
const TICK_LIMIT: Duration = Duration::from_secs(120);
