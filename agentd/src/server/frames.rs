//! [`Frames`]: a connection of which every frame that carries nothing counts as many bytes as it costs.
//!
//! HTTP/2 answers settings and pings at once, looks at every other frame, and has no bound for how many come; libraries
//! count resets, and not these. So they are looked for in what is read, before it is understood. Whoever sends
//! them without end is read as slowly as that takes, and keeps its connection: a new one costs more than they do.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

use super::{limits, metered::Meter, through::writes_through};

/// A connection whose frames are counted.
#[derive(Debug)]
pub(super) struct Frames<I> {
    io: I,
    /// Of all bytes, over all connections of a name.
    meter: Arc<Meter>,
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
        Self { io, meter, place: Place { skip: PREFACE, head: Vec::new() } }
    }
}

impl Place {
    /// Goes on behind these bytes: what the frames whose heads end in them cost beyond what they are long.
    fn pass(&mut self, mut bytes: &[u8]) -> usize {
        let mut costs = 0_usize;
        loop {
            let (_, rest) = bytes.split_at(self.skip.min(bytes.len()));
            self.skip = self.skip.saturating_sub(bytes.len());
            let (head, rest) = rest.split_at(HEAD.saturating_sub(self.head.len()).min(rest.len()));
            self.head.extend(head);
            let &[high, middle, low, kind, flags, _, _, _, _] = self.head.as_slice() else {
                return costs;
            };
            let length = u32::from_be_bytes([0, high, middle, low]);
            costs = costs.saturating_add(cost(kind, flags, length));
            self.skip = usize::try_from(length).unwrap_or(usize::MAX);
            self.head.clear();
            bytes = rest;
        }
    }
}

/// What a frame costs beyond what it is long.
const fn cost(kind: u8, flags: u8, length: u32) -> usize {
    match kind {
        // What says that those of the server have come moves nothing.
        SETTINGS if flags & ACK == 0 => limits::SETTINGS_COST,
        HEADERS => 0,
        DATA | CONTINUATION if length > 0 => 0,
        DATA if flags & END_STREAM != 0 => 0,
        _ => limits::FRAME_COST,
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
        let costs = self.place.pass(buffer.filled().get(before..).unwrap_or_default());
        if costs > 0 {
            // Whoever reads the bytes below waits for that.
            let _ = self.meter.count(costs);
        }
        Poll::Ready(Ok(()))
    }
}

writes_through!(Frames);

/// Bytes that every client says first.
const PREFACE: usize = 24;
/// Bytes of a frame before what it carries.
const HEAD: usize = 9;
/// Kinds of frames and their flags (RFC 9113, 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::Instant,
    };

    use super::*;
    use crate::server::metered::Metered;

    const PRI: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, 0], payload].concat()
    }

    #[test]
    fn frames_are_found_however_they_are_cut_and_nothing_else_passes_for_them() {
        let like_settings = frame(DATA, 0, &frame(SETTINGS, 0, b"123456"));
        let all = [
            PRI.to_vec(),
            frame(SETTINGS, 0, b"123456"),
            frame(SETTINGS, ACK, b""),
            like_settings,
            frame(PING, 0, b"12345678"),
            frame(DATA, 0, b""),
            frame(DATA, END_STREAM, b""),
            frame(HEADERS, 0, b""),
            frame(0xee, 0, b"12"),
            frame(SETTINGS, 0, b""),
        ]
        .concat();
        let costs = 2 * limits::SETTINGS_COST + 4 * limits::FRAME_COST;
        for size in 1..=all.len() {
            let mut place = Place { skip: PREFACE, head: Vec::new() };
            let found: usize = all.chunks(size).map(|part| place.pass(part)).sum();
            assert_eq!(found, costs, "in parts of {size}");
        }
    }

    /// How many of this frame are read of connections of one name in so many seconds.
    async fn read_in(seconds: u64, one: Vec<u8>, connections: usize) -> usize {
        let meter = Arc::new(Meter::new(limits::NAME_READ_RATE, limits::READ_AT_ONCE));
        let until = Instant::now() + std::time::Duration::from_secs(seconds);
        let mut reading = tokio::task::JoinSet::new();
        for _ in 0..connections {
            let (mut client, server) = duplex(64 << 10);
            let flood = one.repeat(100);
            tokio::spawn(async move {
                let mut written = client.write_all(PRI).await;
                while written.is_ok() {
                    written = client.write_all(&flood).await;
                }
            });
            let mut server = Metered::new(server);
            server.count_with(Arc::clone(&meter));
            let mut server = Frames::new(server, Arc::clone(&meter));
            reading.spawn(async move {
                let (mut bytes, mut read) = (vec![0; 1024], 0);
                while let Ok(more) = tokio::time::timeout_at(until, server.read(&mut bytes)).await {
                    read += more.unwrap();
                }
                read
            });
        }
        reading.join_all().await.iter().sum::<usize>() / one.len()
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_sends_frames_of_nothing_is_read_as_slowly_as_they_cost() {
        let bytes = limits::READ_AT_ONCE + 10 * usize::try_from(limits::NAME_READ_RATE).unwrap();
        for (one, cost) in [
            (frame(SETTINGS, 0, b"123456"), limits::SETTINGS_COST),
            (frame(PING, 0, b"12345678"), limits::FRAME_COST),
            (frame(DATA, 0, b""), limits::FRAME_COST),
        ] {
            for connections in [1, 16] {
                let (read, most) = (read_in(10, one.clone(), connections).await, bytes / cost);
                // What one reads at once comes before it is counted.
                let ahead = connections * 1024 / one.len();
                assert!(read > most / 2 && read <= most + ahead, "{read} of {most}: {one:?}");
            }
        }
    }
}
