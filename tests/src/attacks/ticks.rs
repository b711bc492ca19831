//! [`Ticks`]: how long the victim's ticks take, as its own watch stream tells.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentd_proto::v1 as wire;
use anyhow::{Result, bail};
use tokio::task::JoinHandle;
use wire::event_service_client::EventServiceClient;
use wire::watch_response::Body;

use super::friend::local;

/// A watch over the socket of this host, which goes on until it is dropped.
#[derive(Debug)]
pub struct Ticks {
    seen: Arc<Mutex<Vec<Duration>>>,
    reading: JoinHandle<Result<()>>,
}

impl Ticks {
    /// Begins with the next tick.
    pub async fn follow(socket: &Path) -> Result<Self> {
        let mut client = EventServiceClient::new(local(socket).await?);
        let wanted = wire::WatchRequest { follow: true, ..Default::default() };
        let mut stream = client.watch(wanted).await?.into_inner();
        let seen = Arc::default();
        let to = Arc::clone(&seen);
        let reading = tokio::spawn(async move {
            while let Some(message) = stream.message().await? {
                match message.body {
                    Some(Body::Tick(tick)) => lock(&to).push(took(&tick)),
                    Some(Body::Gap(gap)) => bail!("ticks are missing: {gap:?}"),
                    _ => {}
                }
            }
            bail!("the watch ended")
        });
        Ok(Self { seen, reading })
    }

    /// How long each tick took since this was last asked.
    pub async fn take(&mut self) -> Result<Vec<Duration>> {
        if self.reading.is_finished() {
            (&mut self.reading).await??;
        }
        Ok(std::mem::take(&mut *lock(&self.seen)))
    }
}

impl Drop for Ticks {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// What this many of a hundred do not exceed; nothing where there are none.
pub fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn took(tick: &wire::Tick) -> Duration {
    tick.took.and_then(|took| took.try_into().ok()).unwrap_or_default()
}

fn lock(seen: &Mutex<Vec<Duration>>) -> std::sync::MutexGuard<'_, Vec<Duration>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_times() {
        let times: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        let of = |percent| percentile(&times, percent).as_millis();
        assert_eq!([of(50), of(99), of(100)], [100, 198, 200]);
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }
}
