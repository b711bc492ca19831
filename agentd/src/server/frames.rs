//! [`Frames`]: a connection of which every SETTINGS frame counts as many bytes as it costs, and which ends where
//! they have no end.
//!
//! HTTP/2 answers each at once and has no bound for how many come; libraries count resets and empty frames,
//! and not these. So they are looked for in what is read, before it is understood.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{limits, metered::Meter};

/// A connection whose SETTINGS are counted.
#[derive(Debug)]
pub(super) struct Frames<I> {
    io: I,
    /// Of all bytes, over all connections of a name.
    meter: Arc<Meter>,
    /// Of settings, over this connection.
    settings: Meter,
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
    pub(super) fn new(io: I, meter: Arc<Meter>) -> Self {
        let settings = Meter::new(limits::SETTINGS_RATE, limits::SETTINGS_AT_ONCE);
        Self { io, meter, settings, place: Place { skip: PREFACE, head: Vec::new() } }
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
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        let settings = self.place.pass(buffer.filled().get(before..).unwrap_or_default());
        if settings > 0 {
            if self.settings.count(settings).is_some() {
                return Poll::Ready(Err(io::Error::other("it sends settings without end")));
            }
            // Whoever reads the bytes below waits for that.
            let _ = self.meter.count(settings.saturating_mul(limits::SETTINGS_COST));
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

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

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

    /// What one connection brings of this frame, sent so often at a time with a second between, until it ends or
    /// for so many seconds.
    async fn brought(one: &[u8], at_a_time: usize, seconds: usize) -> usize {
        let (mut client, server) = duplex(64 << 10);
        let flood = one.repeat(at_a_time);
        tokio::spawn(async move {
            let mut written = client.write_all(PRI).await;
            for _ in 0..seconds {
                written = written.and(client.write_all(&flood).await);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            written
        });
        let metered = Metered::new(server);
        let meter = metered.meter();
        let (mut server, mut bytes, mut read) = (Frames::new(metered, meter), vec![0; 8192], 0);
        while let Ok(more) = server.read(&mut bytes).await.map(|more| more.min(8192)) {
            read += more;
            if more == 0 {
                break;
            }
        }
        read.saturating_sub(PRI.len()) / one.len()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_sends_settings_without_end_is_ended() {
        let settings = frame(SETTINGS, 0, b"123456");
        assert!(brought(&settings, 1000, 10).await <= limits::SETTINGS_AT_ONCE);
        // A client that finds out now and then what its line can do is none of those.
        assert_eq!(brought(&settings, 1, 600).await, 600);
        assert_eq!(brought(&frame(6, 0, b"12345678"), 1000, 10).await, 10_000);
    }

    #[tokio::test]
    async fn settings_count_as_what_they_cost_for_all_connections_of_the_name() {
        let settings = frame(SETTINGS, 0, b"123456").repeat(limits::SETTINGS_AT_ONCE);
        let meter = Arc::new(Meter::new(limits::NAME_READ_RATE, limits::READ_AT_ONCE));
        let (mut bytes, most) = (vec![0; 8192], limits::READ_AT_ONCE / limits::SETTINGS_COST);
        for _ in 0..most / limits::SETTINGS_AT_ONCE {
            assert_eq!(meter.count(0), None);
            let all = [PRI, &settings].concat();
            let mut server = Frames::new(all.as_slice(), Arc::clone(&meter));
            assert_eq!(server.read(&mut bytes).await.unwrap(), all.len());
        }
        assert!(meter.count(limits::READ_AT_ONCE / 4).is_some());
    }
}
