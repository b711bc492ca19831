//! The line by which a test tells a VM what to do: a virtio serial port in the VM, a socket on the
//! host.
//!
//! An emulated UART would lose letters while the VM is short of memory; this waits until the VM
//! takes them. An order gets a number and, sooner or later, one answer with that number. Orders
//! that take long run in the VM's background, so answers come in any order; answers nobody has
//! asked for yet are kept.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::clock::Deadline;

/// An order that was given and not yet answered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// One end of the line; the other is `guest-init.sh`.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: PathBuf,
    stream: Option<UnixStream>,
    received: Vec<u8>,
    answers: BTreeMap<u64, String>,
    last: u64,
}

impl Channel {
    /// A channel over the socket at `socket`, connected when first used.
    pub(crate) fn over(socket: PathBuf) -> Self {
        Self { socket, stream: None, received: Vec::new(), answers: BTreeMap::new(), last: 0 }
    }

    /// Gives an order.
    pub(crate) fn send(&mut self, order: &str) -> Result<Ticket> {
        self.last += 1;
        let line = format!("{} {order}\n", self.last);
        if let Err(error) = self.stream()?.write_all(line.as_bytes()) {
            self.hang_up();
            return Err(error).with_context(|| format!("cannot send {order:?}"));
        }
        Ok(Ticket(self.last))
    }

    /// The text of the answer to an order, an error if the VM says that it failed.
    pub(crate) fn answer(&mut self, ticket: Ticket, limit: Duration) -> Result<String> {
        let deadline = Deadline::after(limit);
        loop {
            if let Some(answer) = self.answers.remove(&ticket.0) {
                return verdict(&answer);
            }
            if deadline.is_over() {
                bail!("no answer within {limit:?}");
            }
            self.receive(deadline)?;
        }
    }

    /// Forgets the connection; the next order makes a new one.
    pub(crate) fn hang_up(&mut self) {
        self.stream = None;
        self.received.clear();
    }

    fn stream(&mut self) -> Result<&mut UnixStream> {
        if self.stream.is_none() {
            let stream = UnixStream::connect(&self.socket)
                .with_context(|| format!("cannot connect to {}", self.socket.display()))?;
            stream.set_write_timeout(Some(WRITE_LIMIT))?;
            self.stream = Some(stream);
        }
        self.stream.as_mut().context("not connected")
    }

    fn receive(&mut self, deadline: Deadline) -> Result<()> {
        let wait = deadline.left().max(SHORTEST_READ);
        let stream = self.stream()?;
        stream.set_read_timeout(Some(wait))?;
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => {
                self.hang_up();
                bail!("the VM's end of the line is closed");
            }
            Ok(count) => self.received.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error).context("cannot read from the VM"),
        }
        self.sort_lines();
        Ok(())
    }

    /// Moves whole lines from what was received to the answers.
    fn sort_lines(&mut self) {
        while let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.received.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).trim().to_owned();
            let tagged =
                line.split_once(' ').and_then(|(tag, rest)| Some((tag.parse().ok()?, rest)));
            if let Some((tag, rest)) = tagged {
                self.answers.insert(tag, rest.to_owned());
            }
            if self.answers.len() > ANSWERS_KEPT {
                self.answers.pop_first();
            }
        }
        if self.received.len() > LONGEST_LINE {
            self.received.clear();
        }
    }
}

fn verdict(answer: &str) -> Result<String> {
    match answer.split_once(' ') {
        Some(("ok", text)) => Ok(text.to_owned()),
        Some(("failed", why)) => bail!("{why}"),
        Some(_) | None => bail!("the VM answered {answer:?}: expected ok or failed"),
    }
}

/// Answers that nobody fetched; the oldest goes.
const ANSWERS_KEPT: usize = 256;

/// Far over the longest answer, that of `meminfo`.
const LONGEST_LINE: usize = 64 * 1024;

/// A VM that does not read its port for so long is frozen.
const WRITE_LIMIT: Duration = Duration::from_secs(60);

/// A read timeout of zero would mean for ever.
const SHORTEST_READ: Duration = Duration::from_millis(1);
