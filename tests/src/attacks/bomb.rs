//! Requests that are more than they seem: little to send, much to keep or to look through. Bounds of headers, of
//! messages and of nesting refuse them, and nothing of a request is unpacked.

use std::io;

use super::flood::odd;
use super::foe::Foe;
use super::frames::{
    self, END_HEADERS, FRAME, body, call_headers, frame, header, kind, message_of, remembered,
};
use super::{STATUS, WATCH, gzip};

/// Thousands of headers, and then one that is as long as all of them.
pub(super) async fn headers(foe: &Foe) -> io::Result<()> {
    let small = header("x", "y").repeat(HEADERS);
    let large = header("x", &"y".repeat(HEADERS));
    let (line, mut streams) = (foe.speak(&[]).await?, odd());
    line.flood(move || [block(streams(), &small), block(streams(), &large)].concat()).await
}

/// HPACK: a long header that is sent once, and named thousands of times by one byte each.
pub(super) async fn hpack(foe: &Foe) -> io::Result<()> {
    let long = remembered("x", &"y".repeat(3000));
    let (line, mut streams) = (foe.speak(&[]).await?, odd());
    line.flood(move || block(streams(), &[&long[..], &[0x80 | 62; HEADERS]].concat())).await
}

/// A message of 64 MiB, as much of it as is taken.
pub(super) async fn large_message(foe: &Foe) -> io::Result<()> {
    let mut line = foe.speak(&[]).await?;
    line.send(&frames::begin(1, STATUS)).await?;
    line.send(&frame(kind::DATA, 0, 1, &message_of(64 << 20, 0, &[]))).await?;
    let more = frame(kind::DATA, 0, 1, &[0; FRAME]);
    line.flood(move || more.clone()).await
}

/// Fields within fields, as deep as a request may be long.
pub(super) async fn nested(foe: &Foe) -> io::Result<()> {
    // The begin of a group of number 15, which nobody knows.
    calls(foe, STATUS, &message_of(REQUEST, 0, &[0x7b; REQUEST])).await
}

/// A hundred thousand names, none of which has a letter: each takes two bytes here and many there.
pub(super) async fn repeated(foe: &Foe) -> io::Result<()> {
    let names = [VMS, 0].repeat(REQUEST / 2);
    calls(foe, WATCH, &message_of(names.len(), 0, &names)).await
}

/// Zeros, a hundred and fifty times as many as are sent.
pub(super) async fn compressed(foe: &Foe) -> io::Result<()> {
    let bomb = gzip::zeros(32 << 20);
    let message = message_of(bomb.len(), 1, &bomb);
    let gzipped = header("grpc-encoding", "gzip");
    let (mut line, mut streams) = (foe.speak(&[]).await?, odd());
    loop {
        let stream = streams();
        line.send(&block(stream, &gzipped)).await?;
        line.send(&body(stream, message.get(..WINDOW).unwrap_or(&message))).await?;
        line.listen_to(1).await?;
    }
}

/// Calls with this body, as much of it as goes through a window, one after the other.
async fn calls(foe: &Foe, path: &str, bytes: &[u8]) -> io::Result<()> {
    let (mut line, mut streams) = (foe.speak(&[]).await?, odd());
    loop {
        let stream = streams();
        line.send(&[frames::begin(stream, path), body(stream, bytes)].concat()).await?;
        line.listen_to(1).await?;
    }
}

/// A call's headers and these, in as many frames as they take.
fn block(stream: u32, more: &[u8]) -> Vec<u8> {
    let all = [call_headers(STATUS).as_slice(), more].concat();
    let mut parts = all.chunks(FRAME).enumerate().peekable();
    let mut bytes = Vec::with_capacity(all.len());
    while let Some((number, part)) = parts.next() {
        let kind = if number == 0 { kind::HEADERS } else { kind::CONTINUATION };
        let flags = if parts.peek().is_none() { END_HEADERS } else { 0 };
        bytes.extend(frame(kind, flags, stream, part));
    }
    bytes
}

/// Headers of a block, or bytes of one.
const HEADERS: usize = 15_000;
/// What a stream's window is at first.
const WINDOW: usize = 65_535;
/// Bytes of a request that goes through the window at once.
const REQUEST: usize = 65_000;
/// The field of `WatchRequest` that names VMs: number 7, of bytes.
const VMS: u8 = 7 << 3 | 2;
