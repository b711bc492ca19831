//! Attacks on a real agentd by real sockets: what a stranger who reaches the port can do, and what a reader can.
//!
//! [`ATTACKS`] is the list. [`silence`], [`flood`], [`bomb`] and [`crowd`] are what each does on one connection, in
//! bytes made by hand ([`frames`], [`gzip`]); [`foe`] is who does it, over and over. [`victim`] is the agentd that is
//! attacked, [`friend`] a client that behaves well meanwhile, and [`ticks`] what is seen of the victim's ticks.
//! [`trial`] puts them together, by turns with quiet; [`report`] tells what came of it, and [`verdict`] what can be
//! told of a ratio.

mod bomb;
mod crowd;
mod flood;
mod foe;
mod frames;
pub mod friend;
mod gzip;
pub mod report;
mod silence;
pub mod ticks;
mod tls;
pub mod trial;
pub mod verdict;
pub mod victim;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use foe::{Foe, Tally};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// One attack.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// What it is called.
    pub name: &'static str,
    /// Who can try.
    pub by: &'static [By],
    /// How many do it at a time.
    pub crowd: usize,
    /// Whether a reader has a right to some of what it asks for.
    pub earns: bool,
    /// Whether the victim has next to no descriptors meanwhile.
    pub starves: bool,
    /// Wait between one connection and the next of the same attacker: else every attack were one of connections.
    rest: Duration,
    /// What is done on one connection, until it is over.
    turn: fn(&Foe) -> Turn<'_>,
}

/// Who attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Somebody without a certificate.
    Nobody,
    /// Somebody with a reader's certificate.
    Reader,
    /// Many readers, each with a certificate of its own.
    Readers,
}

type Turn<'a> = Pin<Box<dyn Future<Output = io::Result<()>> + Send + 'a>>;

impl By {
    /// It in a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Reader => "a reader",
            Self::Readers => "64 readers",
        }
    }
}

impl Attack {
    /// Attacks until it is dropped.
    pub async fn go_on(self, foe: Arc<Foe>) {
        let mut crowd = JoinSet::new();
        for _ in 0..self.crowd {
            let foe = Arc::clone(&foe);
            crowd.spawn(async move {
                loop {
                    // However it ended, it begins anew: what was told is in the tally.
                    let _ = (self.turn)(&foe).await;
                    sleep(self.rest).await;
                }
            });
        }
        while crowd.join_next().await.is_some() {}
    }
}

/// One that only takes a stranger.
const fn stranger(name: &'static str, turn: fn(&Foe) -> Turn<'_>) -> Attack {
    let by = &[By::Nobody];
    Attack { name, by, crowd: CROWD, earns: false, starves: false, rest: REST, turn }
}

/// One within TLS, by a stranger, who is not let in, and by a reader, who is.
const fn anybody(name: &'static str, turn: fn(&Foe) -> Turn<'_>) -> Attack {
    let by = &[By::Nobody, By::Reader];
    Attack { name, by, crowd: CONNECTIONS, earns: false, starves: false, rest: REST, turn }
}

/// All of them.
pub const ATTACKS: &[Attack] = &[
    stranger("silent TCP clients", |foe| Box::pin(silence::tcp(foe))),
    stranger("silent TLS clients", |foe| Box::pin(silence::tls(foe))),
    stranger("handshakes byte by byte", |foe| Box::pin(silence::slow_tls(foe))),
    stranger("no TLS", |foe| Box::pin(silence::no_tls(foe))),
    Attack { rest: Duration::ZERO, ..stranger("knocks", |foe| Box::pin(crowd::knocks(foe))) },
    Attack { starves: true, ..stranger("no descriptors left", |foe| Box::pin(silence::tcp(foe))) },
    anybody("no preface", |foe| Box::pin(silence::no_preface(foe))),
    anybody("preface byte by byte", |foe| Box::pin(silence::slow_preface(foe))),
    anybody("rapid reset", |foe| Box::pin(flood::rapid_reset(foe))),
    anybody("CONTINUATION", |foe| Box::pin(flood::continuation(foe))),
    anybody("PING", |foe| Box::pin(flood::pings(foe))),
    anybody("PING, answers unread", |foe| Box::pin(flood::unread_pings(foe))),
    anybody("SETTINGS", |foe| Box::pin(flood::settings(foe))),
    anybody("empty DATA", |foe| Box::pin(flood::empty_data(foe))),
    anybody("WINDOW_UPDATE of 0", |foe| Box::pin(flood::window_of_nothing(foe))),
    anybody("WINDOW_UPDATE beyond", |foe| Box::pin(flood::window_of_too_much(foe))),
    anybody("PRIORITY", |foe| Box::pin(flood::priorities(foe))),
    anybody("unknown frames", |foe| Box::pin(flood::unknown(foe))),
    anybody("many and long headers", |foe| Box::pin(bomb::headers(foe))),
    anybody("HPACK bomb", |foe| Box::pin(bomb::hpack(foe))),
    anybody("64 MiB messages", |foe| Box::pin(bomb::large_message(foe))),
    anybody("nested fields", |foe| Box::pin(bomb::nested(foe))),
    anybody("repeated fields", |foe| Box::pin(bomb::repeated(foe))),
    anybody("compressed bombs", |foe| Box::pin(bomb::compressed(foe))),
    anybody("answers unread", |foe| Box::pin(crowd::unread_answers(foe))),
    anybody("denied calls", |foe| Box::pin(crowd::denied(foe))),
    Attack { earns: true, ..anybody("allowed calls", |foe| Box::pin(crowd::reads(foe))) },
    Attack {
        earns: true,
        crowd: CROWD,
        rest: Duration::ZERO,
        ..anybody("connection churn", |foe| Box::pin(crowd::churn(foe)))
    },
    Attack {
        by: &[By::Readers],
        earns: true,
        crowd: CROWD,
        ..anybody("1,000 watchers", |foe| Box::pin(crowd::watchers(foe)))
    },
];

/// More than the handshakes that a listener has at a time, and one for each of [`By::Readers`].
const CROWD: usize = 64;
/// As many connections as one name may have.
const CONNECTIONS: usize = 16;
/// Long beside a handshake, short beside an attack.
const REST: Duration = Duration::from_millis(50);
const STATUS: &str = "/agentd.v1.HostService/GetStatus";
const WATCH: &str = "/agentd.v1.EventService/Watch";
