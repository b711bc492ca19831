//! [`Metrics`]: what agentd tells Prometheus, on a port and a thread of its own.
//!
//! ```text
//! tick, control -> Feed -> Tally --.
//! latest state, conditions ---------> Page -> text, at most ten a second -> GET /metrics
//! Meters (server, recorder, tls) --'
//! ```
//!
//! Everything comes from what is published, and whoever publishes waits for nothing here: what the feed
//! has no room for is counted as lost. What is told of VMs is made anew of the last tick for every page,
//! so that a VM that is gone leaves nothing behind, and nothing at all is told of VMs and host once ticks
//! stall: figures of then are not those of now.

mod answer;
pub mod catalogue;
mod host;
mod page;
mod process;
mod serve;
mod tally;
mod vms;

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use hyper::body::Bytes;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    config::{Config, MetricsAt},
    event::Event,
    publish::Publisher,
    uri::is_real,
};
use answer::Source;
use page::{Form, Page};
use tally::Tally;

/// What is served where.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Where it can be scraped.
    pub address: SocketAddr,
    /// What does not change while agentd runs.
    pub about: About,
    /// What is published.
    pub publisher: Arc<Publisher>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// What does not change while agentd runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Version of agentd.
    pub version: String,
    /// The commit that it was built from; "unknown" where that was no checkout, or a build for tests.
    pub commit: String,
    /// Time from tick to tick.
    pub tick_interval: Duration,
}

/// The thread that counts and serves. It ends with the process, or when it is stopped or dropped.
#[derive(Debug)]
pub struct Metrics {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Metrics {
    /// Starts it where somebody may read: by itself on this host alone, and of a simulated host not at
    /// all.
    ///
    /// # Errors
    ///
    /// See [`Metrics::start`].
    pub fn of_config(
        config: &Config,
        publisher: &Arc<Publisher>,
        clock: &Arc<dyn Clock>,
    ) -> io::Result<Option<Self>> {
        let address = match config.metrics {
            MetricsAt::Default if is_real(&config.hypervisor) => ADDRESS,
            MetricsAt::Default | MetricsAt::Nowhere => return Ok(None),
            MetricsAt::Address(address) => address,
        };
        let about = About {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("AGENTD_COMMIT").to_owned(),
            tick_interval: config.tick.interval,
        };
        let (publisher, clock) = (Arc::clone(publisher), Arc::clone(clock));
        Self::start(Parts { address, about, publisher, clock }).map(Some)
    }

    /// Starts to count and to serve.
    ///
    /// # Errors
    ///
    /// When the system gives no thread. An address that cannot be listened on is no error: it is told as a
    /// condition and tried again.
    pub fn start(parts: Parts) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let events = parts.publisher.feed().subscribe();
        let thread = thread::Builder::new().name("metrics".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = run(parts, events) => {}
                }
            });
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends it. Nothing in it waits for anything, so neither does this.
    pub fn stop(mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // It does not panic.
            let _ = thread.join();
        }
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn run(parts: Parts, events: Option<Receiver<Event>>) {
    let (address, publisher) = (parts.address, Arc::clone(&parts.publisher));
    let desk = Arc::new(Desk { parts, shared: Mutex::default() });
    let counting = async {
        let Some(mut events) = events else { return std::future::pending().await };
        while let Some(event) = events.recv().await {
            desk.lock().tally.count(&event);
        }
    };
    let serving = async {
        let listener = serve::listen(address, &publisher).await;
        serve::serve(listener, Arc::clone(&desk)).await;
    };
    tokio::join!(counting, serving);
}

/// Where pages are made.
#[derive(Debug)]
struct Desk {
    parts: Parts,
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    tally: Tally,
    /// The last page in each form, and when it was made.
    pages: BTreeMap<Form, (Duration, Bytes)>,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, tally: &Tally) -> Page {
        let Parts { about, publisher, .. } = &self.parts;
        let mut page = Page::default();
        process::tell(about, publisher, &mut page);
        tally.tell(&mut page);
        if let Some(latest) = publisher.latest() {
            process::last_tick(&latest.record, &mut page);
            if publisher.is_ticking(about.tick_interval) {
                host::tell(&latest.record, &mut page);
                vms::tell(&latest.record, &mut page);
            }
        }
        page
    }
}

impl Source for Desk {
    fn page(&self, form: Form) -> Result<Bytes, String> {
        let now = self.parts.clock.now();
        let mut shared = self.lock();
        let last = shared.pages.get(&form);
        if let Some((_, page)) = last.filter(|(made, _)| now.saturating_sub(*made) < FRESH) {
            return Ok(page.clone());
        }
        let page = self.make(&shared.tally).text(form);
        let page = Bytes::from(page.map_err(|error| format!("no page can be made: {error}"))?);
        shared.pages.insert(form, (now, page.clone()));
        Ok(page)
    }

    fn health(&self) -> Result<(), String> {
        let (interval, publisher) = (self.parts.about.tick_interval, &self.parts.publisher);
        if publisher.is_ticking(interval) {
            return Ok(());
        }
        Err(match publisher.last_tick_age() {
            Some(age) => format!("no tick has ended for {} s", age.as_secs()),
            None => "no tick has ended yet".to_owned(),
        })
    }
}

/// Where metrics are served unless the config says otherwise.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9433);
/// A page is shown for so long before another one is made: whoever asks without end costs ten a second.
const FRESH: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
