//! [`Foe`]: who attacks: its certificate, if any, the addresses that it comes from, and a tally of what it did and
//! of what it was told.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::sockopt;
use rustls::{ClientConfig, ClientConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::frames::{self, Ear, kind};
use super::tls::server_name;

/// Who attacks.
#[derive(Debug)]
pub struct Foe {
    /// Where agentd listens.
    to: SocketAddr,
    /// What it shows: one certificate, several, or one set without any.
    shows: Vec<Arc<ClientConfig>>,
    /// Where it comes from; `None` for another address every time.
    from: Option<Ipv4Addr>,
    /// What it did, and what it was told.
    pub tally: Tally,
}

/// Counts of an attack.
#[derive(Debug, Default)]
pub struct Tally {
    /// Connections that it made.
    pub dialled: AtomicU64,
    /// Those on which TLS was spoken to its end, as far as a client can tell.
    pub shaken: AtomicU64,
    /// Bytes sent within TLS, or in plain where none was spoken.
    pub sent: AtomicU64,
    /// Bytes heard within TLS.
    pub heard: AtomicU64,
    /// Frames with something of an answer: a call that is refused has none.
    pub answers: AtomicU64,
    /// Connections that were ended with a reason.
    pub goodbyes: AtomicU64,
}

/// A connection over which HTTP/2 is spoken.
#[derive(Debug)]
pub(super) struct Line<'a> {
    foe: &'a Foe,
    from: ReadHalf<TlsStream<TcpStream>>,
    to: WriteHalf<TlsStream<TcpStream>>,
    ear: Ear,
}

impl Foe {
    /// One that shows these, in turn.
    pub fn new(to: SocketAddr, shows: Vec<Arc<ClientConfig>>) -> Self {
        Self { to, shows, from: None, tally: Tally::default() }
    }

    /// The same from one address, which it has in common with whoever else is there.
    pub fn from_one(self, address: Ipv4Addr) -> Self {
        Self { from: Some(address), ..self }
    }

    /// Connects, from another address every time if it can: one has only so many handshakes.
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        let number = self.tally.dialled.fetch_add(1, Ordering::Relaxed);
        let [.., high, low] = (number % ADDRESSES).to_be_bytes();
        let socket = TcpSocket::new_v4()?;
        let from = self.from.unwrap_or_else(|| Ipv4Addr::new(127, 7, high, low.max(1)));
        socket.bind((from, 0).into())?;
        socket.connect(self.to).await
    }

    /// Connects and shakes hands.
    pub(super) async fn shake(&self) -> io::Result<TlsStream<TcpStream>> {
        let io = self.connect().await?;
        // Once it is over it is over: what the kernel would go on to send is no part of the next quiet.
        sockopt::set_socket_linger(&io, Some(Duration::ZERO))?;
        let shaken = TlsConnector::from(self.next_config()?).connect(server_name()?, io).await?;
        add(&self.tally.shaken, 1);
        Ok(shaken)
    }

    /// What a client says first of all, in TLS.
    pub(super) fn hello(&self) -> io::Result<Vec<u8>> {
        let mut session =
            ClientConnection::new(self.next_config()?, server_name()?).map_err(io::Error::other)?;
        let mut bytes = Vec::new();
        session.write_tls(&mut bytes)?;
        Ok(bytes)
    }

    /// Begins to speak HTTP/2, with these settings. Nothing is asked of the other side: it may have been refused.
    pub(super) async fn speak(&self, settings: &[(u16, u32)]) -> io::Result<Line<'_>> {
        let (from, to) = split(self.shake().await?);
        let mut line = Line { foe: self, from, to, ear: Ear::default() };
        line.send(&[frames::PREFACE, &frames::settings(settings)].concat()).await?;
        Ok(line)
    }

    /// True for one connection of two.
    pub(super) fn is_every_other(&self) -> bool {
        self.tally.shaken.load(Ordering::Relaxed).is_multiple_of(2)
    }

    /// Sends without TLS, and counts it.
    pub(super) async fn send_plain(&self, io: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        io.write_all(bytes).await?;
        add(&self.tally.sent, bytes.len());
        Ok(())
    }

    fn next_config(&self) -> io::Result<Arc<ClientConfig>> {
        let number = usize::try_from(self.tally.dialled.load(Ordering::Relaxed)).unwrap_or(0);
        let config = self.shows.get(number % self.shows.len().max(1));
        config.cloned().ok_or_else(|| io::Error::other("a foe shows one set at least"))
    }
}

impl Line<'_> {
    /// Sends something.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes).await?;
        self.to.flush().await?;
        add(&self.foe.tally.sent, bytes.len());
        Ok(())
    }

    /// Takes in what comes, until the other side hangs up.
    pub(super) async fn listen(&mut self) -> io::Result<()> {
        self.listen_to(u64::MAX).await
    }

    /// The same until so many calls are over, refused or answered.
    pub(super) async fn listen_to(&mut self, calls: u64) -> io::Result<()> {
        listen(&mut self.from, &mut self.ear, &self.foe.tally, calls).await
    }

    /// Sends whatever comes next, again and again, and takes in what is said to it, until the other side hangs up.
    pub(super) async fn flood(self, mut next: impl FnMut() -> Vec<u8>) -> io::Result<()> {
        let Self { foe, mut from, mut to, mut ear } = self;
        let send = async {
            loop {
                let bytes = next();
                to.write_all(&bytes).await?;
                add(&foe.tally.sent, bytes.len());
            }
        };
        tokio::select! {
            over = listen(&mut from, &mut ear, &foe.tally, u64::MAX) => over,
            over = send => over,
        }
    }
}

impl Tally {
    /// What is counted in one place.
    pub fn read(count: &AtomicU64) -> u64 {
        count.load(Ordering::Relaxed)
    }
}

/// Takes in what comes, until so many calls are over or the other side hangs up.
async fn listen(
    from: &mut ReadHalf<TlsStream<TcpStream>>,
    ear: &mut Ear,
    tally: &Tally,
    calls: u64,
) -> io::Result<()> {
    let (mut bytes, mut over, mut last) = (vec![0; frames::FRAME], 0, None);
    while over < calls {
        let read = from.read(&mut bytes).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        add(&tally.heard, read);
        for head in ear.hear(bytes.get(..read).unwrap_or_default()) {
            // Who is refused before all was heard is told to stop, too: that is one end.
            let ends = match head.kind {
                kind::HEADERS => head.flags & frames::END_STREAM != 0,
                kind::RST_STREAM => last != Some(head.stream),
                _ => false,
            };
            if ends {
                (over, last) = (over + 1, Some(head.stream));
            }
            match head.kind {
                kind::DATA if head.length > 0 => add(&tally.answers, 1),
                kind::GOAWAY => add(&tally.goodbyes, 1),
                _ => {}
            }
        }
    }
    Ok(())
}

fn add(count: &AtomicU64, by: impl TryInto<u64>) {
    count.fetch_add(by.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Of this machine, all of which are 127.7.x.y.
const ADDRESSES: u64 = 1 << 16;
