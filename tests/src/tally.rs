//! What came of many ticks, counted from what `memctl watch -o jsonl` told of them.

use std::collections::BTreeMap;

use serde_json::Value;

/// Sums over ticks.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many there were.
    pub ticks: usize,
    /// How many of them ordered something.
    pub busy_ticks: usize,
    /// What each gave to each, in bytes; by name, "host" for the host.
    pub moved: BTreeMap<(String, String), u64>,
    /// How long each tick took that ordered nothing, in milliseconds, in order of size.
    quiet_ms: Vec<u64>,
}

impl Tally {
    /// Counts the records of ticks.
    pub fn of(ticks: &[Value]) -> Self {
        let mut tally = Self::default();
        for tick in ticks {
            tally.add(tick);
        }
        tally.quiet_ms.sort_unstable();
        tally
    }

    /// The median of how long ticks took that ordered nothing.
    pub fn quiet_took_ms(&self) -> Option<u64> {
        self.quiet_ms.get(self.quiet_ms.len() / 2).copied()
    }

    fn add(&mut self, tick: &Value) {
        self.ticks += 1;
        let list = |key: &str| tick[key].as_array().into_iter().flatten();
        for transfer in list("transfers") {
            let name = |party: &str| transfer[party]["name"].as_str().unwrap_or("host").to_owned();
            let amount = transfer["granted_bytes"].as_u64().unwrap_or(0);
            if amount > 0 {
                *self.moved.entry((name("from"), name("to"))).or_default() += amount;
            }
        }
        if list("resizes").any(|resize| !resize["ordered_bytes"].is_null()) {
            self.busy_ticks += 1;
        } else if let Some(seconds) = tick["took_seconds"].as_f64() {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a float cast saturates, and times are small"
            )]
            self.quiet_ms.push((seconds * 1000.0).round() as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_who_gave_whom_and_what_quiet_ticks_took() {
        let transfer = json!({"from": {"name": "a"}, "to": null, "granted_bytes": 7});
        let busy = json!({"transfers": [transfer, transfer], "resizes": [{"ordered_bytes": 1}],
            "took_seconds": 0.5});
        let quiet = json!({"transfers": [], "resizes": [], "took_seconds": 0.004});
        let tally = Tally::of(&[busy, quiet]);
        assert_eq!((tally.ticks, tally.busy_ticks, tally.quiet_took_ms()), (2, 1, Some(4)));
        assert_eq!(tally.moved, [(("a".to_owned(), "host".to_owned()), 14)].into());
    }
}
