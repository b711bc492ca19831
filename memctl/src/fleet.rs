//! Asks many hosts at once: in parallel, bounded, each with its own deadline. One dead host costs
//! one deadline and nobody else anything.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::{Connection, timed_out};
use crate::failure::{Code, Failure};
use crate::hosts::Host;

/// What one host answered.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    /// The host's name.
    pub(crate) host: String,
    /// What it said.
    pub(crate) result: Result<T, Failure>,
}

/// How to ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// For one host, connecting included.
    pub(crate) timeout: Duration,
    /// Hosts asked at the same time.
    pub(crate) max_parallel: usize,
}

/// Asks every host, and returns the answers in the order of `hosts`.
pub(crate) async fn ask_all<T, Ask, Asked>(
    hosts: &[Host],
    bounds: Bounds,
    ask: Ask,
) -> Vec<Answer<T>>
where
    T: Send + 'static,
    Ask: Fn(Connection) -> Asked + Clone + Send + 'static,
    Asked: Future<Output = Result<T, Failure>> + Send,
{
    let permits = Arc::new(Semaphore::new(bounds.max_parallel.max(1)));
    let mut tasks = JoinSet::new();
    for (index, host) in hosts.iter().cloned().enumerate() {
        let (permits, ask) = (Arc::clone(&permits), ask.clone());
        tasks.spawn(async move {
            let _permit = permits.acquire().await;
            (index, ask_one(&host, bounds.timeout, ask).await)
        });
    }
    let mut results: Vec<Option<Result<T, Failure>>> = hosts.iter().map(|_| None).collect();
    while let Some(finished) = tasks.join_next().await {
        if let Ok((index, result)) = finished
            && let Some(slot) = results.get_mut(index)
        {
            *slot = Some(result);
        }
    }
    let named = hosts.iter().zip(results);
    named
        .map(|(host, result)| Answer {
            host: host.name.clone(),
            result: result.unwrap_or_else(|| Err(broken_off())),
        })
        .collect()
}

/// Asks one host, within `timeout`.
pub(crate) async fn ask_one<T, Ask, Asked>(
    host: &Host,
    timeout: Duration,
    ask: Ask,
) -> Result<T, Failure>
where
    Ask: FnOnce(Connection) -> Asked,
    Asked: Future<Output = Result<T, Failure>>,
{
    let asked = async {
        let connection = Connection::open(host).await?;
        let link = connection.link();
        match ask(connection).await {
            Ok(answer) => Ok(answer),
            Err(failure) => Err(link.explained(failure).await),
        }
    };
    match tokio::time::timeout(timeout, asked).await {
        Ok(result) => result,
        Err(_) => Err(timed_out(host, timeout)),
    }
}

fn broken_off() -> Failure {
    Failure::new(Code::Internal, "BROKEN_OFF", "memctl itself broke off asking this host")
        .hint("this is a fault of memctl: please report it")
}
