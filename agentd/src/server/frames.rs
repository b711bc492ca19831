//! [`Frames`]: a connection of which every SETTINGS frame counts as many bytes as it costs. A client that floods
//! the server with them is read as slowly as one that sends as much.
//!
//! HTTP/2 answers each at once and has no bound for how many come; libraries count resets and empty frames,
//! and not these. So they are looked for in what is read, before it is understood.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep_until},
};

use super::{limits, metered::Meter};

/// A connection whose SETTINGS are counted.
#[derive(Debug)]
pub(super) struct Frames<I> {
    io: I,
    meter: Arc<Meter>,
    /// Until it may be read again.
    rest: Option<Pin<Box<Sleep>>>,
    place: Place,
}

/// Where in what a client sends the last byte was.
#[derive(Debug)]
struct Place {
    /// Bytes until the next frame begins.
    skip: usize,
    /// What was read of its head.
    head: Vec<u8>,
}

impl<I> Frames<I> {
    /// With the meter that holds of the bytes, too.
    pub(super) const fn new(io: I, meter: Arc<Meter>) -> Self {
        Self { io, meter, rest: None, place: Place { skip: PREFACE, head: Vec::new() } }
    }
}

impl Place {
    /// Goes on behind these bytes, and counts the settings whose heads end in them, but not what says
    /// that those of the server have come.
    fn pass(&mut self, mut bytes: &[u8]) -> usize {
        let mut settings = 0_usize;
        loop {
            let (_, rest) = bytes.split_at(self.skip.min(bytes.len()));
            self.skip = self.skip.saturating_sub(bytes.len());
            let (head, rest) = rest.split_at(HEAD.saturating_sub(self.head.len()).min(rest.len()));
            self.head.extend(head);
            let &[high, middle, low, kind, flags, ..] = self.head.as_slice() else {
                return settings;
            };
            if self.head.len() < HEAD {
                return settings;
            }
            settings = settings.saturating_add(usize::from(kind == SETTINGS && flags & ACK == 0));
            let length = u32::from_be_bytes([0, high, middle, low]);
            self.skip = usize::try_from(length).unwrap_or(usize::MAX);
            self.head.clear();
            bytes = rest;
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Frames<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(rest) = &mut self.rest {
            ready!(rest.as_mut().poll(context));
            self.rest = None;
        }
        let mut part = [0; PART];
        let (part, _) = part.split_at_mut(PART.min(buffer.remaining()));
        let mut part = ReadBuf::new(part);
        ready!(Pin::new(&mut self.io).poll_read(context, &mut part))?;
        buffer.put_slice(part.filled());
        let settings = self.place.pass(part.filled());
        if settings > 0 {
            let cost = settings.saturating_mul(limits::SETTINGS_COST);
            self.rest = self.meter.count(cost).map(|until| Box::pin(sleep_until(until)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Frames<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// Bytes that are looked at together: what of them is settings has come before it is waited for.
const PART: usize = 1 << 10;
/// Bytes that every client says first.
const PREFACE: usize = 24;
/// Bytes of a frame before what it carries.
const HEAD: usize = 9;
/// The kind of a frame of settings, and the flag of one that only acknowledges (RFC 9113, 6.5).
const SETTINGS: u8 = 4;
const ACK: u8 = 1;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::Instant,
    };

    use super::*;
    use crate::server::metered::Metered;

    const PRI: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, 0], payload].concat()
    }

    #[test]
    fn settings_are_found_however_they_are_cut_and_nothing_else_passes_for_them() {
        let like_settings = frame(0, 0, &frame(SETTINGS, 0, b"123456"));
        let all = [
            PRI.to_vec(),
            frame(SETTINGS, 0, b"123456"),
            frame(SETTINGS, ACK, b""),
            like_settings,
            frame(6, 0, b"12345678"),
            frame(SETTINGS, 0, b""),
        ]
        .concat();
        for size in 1..=all.len() {
            let mut place = Place { skip: PREFACE, head: Vec::new() };
            let found: usize = all.chunks(size).map(|part| place.pass(part)).sum();
            assert_eq!(found, 2, "in parts of {size}");
        }
    }

    /// What one connection brings of a flood of this frame in ten seconds.
    async fn frames_in_ten_seconds(one: Vec<u8>) -> usize {
        let (mut client, server) = duplex(64 << 10);
        let flood = one.repeat(1000);
        tokio::spawn(async move {
            let _ = client.write_all(PRI).await;
            while client.write_all(&flood).await.is_ok() {}
        });
        let metered = Metered::new(server);
        let meter = metered.meter();
        let mut server = Frames::new(metered, meter);
        let (end, mut bytes, mut read) =
            (Instant::now() + Duration::from_secs(10), vec![0; 8192], 0);
        while let Ok(more) = tokio::time::timeout_at(end, server.read(&mut bytes)).await {
            read += more.unwrap();
        }
        read / one.len()
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_settings_comes_as_slowly_as_what_they_cost() {
        let ten_seconds = limits::READ_AT_ONCE + 10 * limits::READ_RATE as usize;
        let settings = frames_in_ten_seconds(frame(SETTINGS, 0, b"123456")).await;
        let most = ten_seconds / limits::SETTINGS_COST + PART / 15 + 1;
        assert!((most * 9 / 10..=most).contains(&settings), "{settings} of {most}");
        let pings = frames_in_ten_seconds(frame(6, 0, b"12345678")).await;
        assert!(pings > 20 * settings, "{pings} pings");
    }
}
