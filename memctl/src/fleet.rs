//! Asks many hosts at once: in parallel, bounded, each with its own deadline. One dead host costs
//! one deadline and nobody else anything. An agent that goes by several names is asked once, or where that
//! would delay the question by each name and told of once.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentd_proto::v1;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::{Connection, timed_out};
use crate::failure::{Code, Failure};
use crate::hosts::Host;
use crate::progress::Progress;

/// What one host answered.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    /// The host's name: the first of those that were asked for.
    pub(crate) host: String,
    /// Other names of the same host that were asked for as well.
    pub(crate) also_named: Vec<String>,
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
    /// Whether a person at a terminal wants to see who is waited for.
    pub(crate) tells: bool,
}

/// Asks every host, once however many names it has, and returns the answers in the order of `hosts`.
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
    if hosts.len() < 2 {
        return ask_every(hosts, bounds, move |host| {
            let ask = ask.clone();
            async move { ask_one(&host, bounds.timeout, ask).await }
        })
        .await;
    }
    let places: HashMap<String, usize> =
        hosts.iter().enumerate().map(|(at, host)| (host.name.clone(), at)).collect();
    let (places, seen) = (Arc::new(places), Arc::new(Seen::default()));
    let answers = ask_every(hosts, bounds, move |host| {
        let (ask, places, seen) = (ask.clone(), Arc::clone(&places), Arc::clone(&seen));
        async move {
            let at = places.get(&host.name).copied().unwrap_or_default();
            ask_one(&host, bounds.timeout, move |connection| async move {
                match seen.claim(epoch(&connection).await, at) {
                    Some(first) => Ok(Heard::SameAs(first)),
                    None => ask(connection).await.map(Heard::Said),
                }
            })
            .await
        }
    });
    together(answers.await)
}

/// Asks every name, also those of one host, each with a time of its own: `ask` sees to that.
pub(crate) async fn ask_every<T, Ask, Asked>(
    hosts: &[Host],
    bounds: Bounds,
    ask: Ask,
) -> Vec<Answer<T>>
where
    T: Send + 'static,
    Ask: Fn(Host) -> Asked + Clone + Send + 'static,
    Asked: Future<Output = Result<T, Failure>> + Send,
{
    let permits = Arc::new(Semaphore::new(bounds.max_parallel.max(1)));
    let mut tasks = JoinSet::new();
    for (index, host) in hosts.iter().cloned().enumerate() {
        let (permits, ask) = (Arc::clone(&permits), ask.clone());
        tasks.spawn(async move {
            let _permit = permits.acquire().await;
            (index, ask(host).await)
        });
    }
    let names = hosts.iter().map(|host| host.name.as_str());
    let mut progress = Progress::new(bounds.tells, names);
    let mut results: Vec<Option<Result<T, Failure>>> = hosts.iter().map(|_| None).collect();
    while let Some(finished) = progress.beside(tasks.join_next()).await {
        if let Ok((index, result)) = finished
            && let Some(slot) = results.get_mut(index)
        {
            *slot = Some(result);
            progress.done(index);
        }
    }
    let named = hosts.iter().zip(results);
    named
        .map(|(host, result)| Answer {
            host: host.name.clone(),
            also_named: Vec::new(),
            result: result.unwrap_or_else(|| Err(broken_off())),
        })
        .collect()
}

/// Asks every name as [`ask_every`] does, where not even who an agent is may be asked before, and tells the answers
/// of one agent as one, under the first of its names: who it is, it is asked once all have answered. `merge` makes
/// one answer of two.
pub(crate) async fn ask_first<T, Ask, Asked>(
    hosts: &[Host],
    bounds: Bounds,
    ask: Ask,
    merge: impl Fn(T, T) -> T,
) -> Vec<Answer<T>>
where
    T: Send + 'static,
    Ask: Fn(Connection) -> Asked + Clone + Send + 'static,
    Asked: Future<Output = Result<T, Failure>> + Send,
{
    let answers = ask_every(hosts, bounds, move |host| {
        let ask = ask.clone();
        let asked = |connection: Connection| async move {
            Ok((ask(connection.clone()).await?, connection))
        };
        async move { ask_one(&host, bounds.timeout, asked).await }
    });
    let answers = answers.await;
    let connection = |answer: &Answer<(T, Connection)>| {
        let connection = answer.result.as_ref().ok().map(|(_, connection)| connection.clone());
        connection.map(|connection| (answer.host.clone(), connection))
    };
    let open: HashMap<String, Connection> = answers.iter().filter_map(connection).collect();
    let epochs = if open.len() > 1 { epochs(hosts, bounds, open).await } else { HashMap::new() };
    let mut whole: Vec<Answer<T>> = Vec::with_capacity(answers.len());
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for Answer { host, also_named, result } in answers {
        let at = whole.len();
        let first = epochs.get(&host).map_or(at, |epoch| *seen.entry(epoch).or_insert(at));
        match (result.map(|(said, _)| said), whole.get_mut(first)) {
            (Ok(said), Some(other)) => {
                other.also_named.push(host);
                let taken = std::mem::replace(&mut other.result, Err(broken_off()));
                other.result = taken.map(|before| merge(before, said));
            }
            (result, _) => whole.push(Answer { host, also_named, result }),
        }
    }
    whole
}

/// Who the agents behind these connections are, by name; those that say so soon.
async fn epochs(
    hosts: &[Host],
    bounds: Bounds,
    open: HashMap<String, Connection>,
) -> HashMap<String, String> {
    let asked: Vec<Host> =
        hosts.iter().filter(|host| open.contains_key(&host.name)).cloned().collect();
    let (open, soon) = (Arc::new(open), bounds.timeout.min(SOON));
    let answers = ask_every(&asked, bounds, move |host| {
        let open = Arc::clone(&open);
        async move {
            let own = async { epoch(open.get(&host.name)?).await };
            Ok(tokio::time::timeout(soon, own).await.ok().flatten())
        }
    });
    let said = answers.await.into_iter();
    said.filter_map(|answer| Some((answer.host, answer.result.ok()??))).collect()
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
        match ask(connection.clone()).await {
            Ok(answer) => Ok(answer),
            Err(failure) => Err(connection.explained(failure).await),
        }
    };
    match tokio::time::timeout(timeout, asked).await {
        Ok(result) => result,
        Err(_) => Err(timed_out(host, timeout)),
    }
}

/// So long at most an agent that has done what it was asked is waited for to say who it is.
const SOON: Duration = Duration::from_secs(1);

/// What came of one name.
enum Heard<T> {
    /// The answer.
    Said(T),
    /// It is the agent that another name, at this place, led to first.
    SameAs(usize),
}

/// Agents that were asked, by the epoch of their log: it is random, and new at every start.
#[derive(Default)]
struct Seen(Mutex<HashMap<String, usize>>);

impl Seen {
    /// The place of who asks this agent already. None where nobody does: then `at` does from now on.
    fn claim(&self, epoch: Option<String>, at: usize) -> Option<usize> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = *seen.entry(epoch?).or_insert(at);
        (first != at).then_some(first)
    }
}

/// What tells an agent from all others. None where it does not say: then it counts as another one.
async fn epoch(connection: &Connection) -> Option<String> {
    let answer = connection.hosts().get_status(v1::GetStatusRequest {}).await;
    let position = answer.ok()?.into_inner().position?;
    Some(position.epoch).filter(|epoch| !epoch.is_empty())
}

/// One answer for each host, under the first of its names, whichever of them was the fastest.
fn together<T>(answers: Vec<Answer<Heard<T>>>) -> Vec<Answer<T>> {
    let asked_by = |(at, answer): (usize, &Answer<Heard<T>>)| match &answer.result {
        Ok(Heard::SameAs(first)) => *first,
        Ok(Heard::Said(_)) | Err(_) => at,
    };
    let owners: Vec<usize> = answers.iter().enumerate().map(asked_by).collect();
    let names: Vec<String> = answers.iter().map(|answer| answer.host.clone()).collect();
    let mut results: Vec<Option<Result<T, Failure>>> = answers
        .into_iter()
        .map(|answer| match answer.result {
            Ok(Heard::Said(said)) => Some(Ok(said)),
            Ok(Heard::SameAs(_)) => None,
            Err(failure) => Some(Err(failure)),
        })
        .collect();
    let mut whole = Vec::with_capacity(names.len());
    for (at, host) in names.iter().enumerate() {
        let Some(owner) = owners.get(at).copied() else { continue };
        // The answer is taken by the first of its names; it is gone for the others.
        let Some(result) = results.get_mut(owner).and_then(Option::take) else { continue };
        let others = names.iter().zip(&owners).enumerate();
        let also_named = others
            .filter(|(other, (_, by))| *other != at && **by == owner)
            .map(|(_, (name, _))| name.clone())
            .collect();
        whole.push(Answer { host: host.clone(), also_named, result });
    }
    whole
}

fn broken_off() -> Failure {
    Failure::new(Code::Internal, "BROKEN_OFF", "memctl itself broke off asking this host")
        .hint("this is a fault of memctl: please report it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(host: &str, heard: Result<Heard<u8>, Failure>) -> Answer<Heard<u8>> {
        Answer { host: host.to_owned(), also_named: Vec::new(), result: heard }
    }

    #[test]
    fn an_agent_answers_once_under_the_first_of_its_names() {
        let dead = Failure::new(Code::Unavailable, "R", "m");
        let answers = together(vec![
            heard("a", Ok(Heard::SameAs(2))),
            heard("b", Ok(Heard::Said(1))),
            heard("c", Ok(Heard::Said(2))),
            heard("d", Err(dead)),
            heard("e", Ok(Heard::SameAs(2))),
        ]);
        let told: Vec<_> = answers
            .iter()
            .map(|a| (a.host.as_str(), a.also_named.join(","), a.result.as_ref().ok().copied()))
            .collect();
        let none = String::new;
        let want = [("a", "c,e".to_owned(), Some(2)), ("b", none(), Some(1)), ("d", none(), None)];
        assert_eq!(told, want);
    }

    fn host(number: usize) -> Host {
        Host {
            name: format!("node{number}"),
            address: crate::address::Address::by_ssh("node"),
            identity: crate::identity::IdentityFiles::default(),
            server_name: None,
            guess: None,
            connect_timeout: None,
        }
    }

    /// In virtual time: nothing here depends on how fast the machine is.
    #[tokio::test(start_paused = true)]
    async fn a_hundred_hosts_of_which_three_are_dead_and_two_hang_take_one_timeout() {
        let hosts: Vec<Host> = (0..100).map(host).collect();
        let timeout = Duration::from_secs(5);
        let bounds = Bounds { timeout, max_parallel: 16, tells: false };
        let started = tokio::time::Instant::now();
        let answers = ask_every(&hosts, bounds, move |host| async move {
            match host.name.as_str() {
                "node0" | "node1" => {
                    tokio::time::sleep(timeout).await;
                    Err(timed_out(&host, timeout))
                }
                "node2" | "node3" | "node4" => Err(broken_off()),
                name => Ok(name.to_owned()),
            }
        });
        let answers = answers.await;
        assert_eq!(started.elapsed(), timeout);
        assert_eq!(answers.iter().filter(|answer| answer.result.is_ok()).count(), 95);
        let names: Vec<String> = answers.into_iter().map(|answer| answer.host).collect();
        assert_eq!(names, hosts.into_iter().map(|host| host.name).collect::<Vec<_>>());
    }

    #[test]
    fn an_agent_is_claimed_once_and_one_without_an_identity_never() {
        let seen = Seen::default();
        assert_eq!(seen.claim(Some("x".to_owned()), 3), None);
        assert_eq!(seen.claim(Some("x".to_owned()), 3), None);
        assert_eq!(seen.claim(Some("x".to_owned()), 0), Some(3));
        assert_eq!(seen.claim(None, 0), None);
        assert_eq!(seen.claim(None, 1), None);
    }
}
