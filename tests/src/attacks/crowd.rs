//! Many at once: watchers, connections that come and go, answers that nobody takes, calls that are refused. Each
//! name, each address and each listener has only so much, and whatever is beyond is refused at once.

use std::future::pending;
use std::io;

use super::flood::odd;
use super::foe::Foe;
use super::frames::{self, INITIAL_WINDOW_SIZE, WIDEST_WINDOW, window_update};
use super::{STATUS, WATCH};

/// Shakes hands, asks once, goes away, and comes again at once.
pub(super) async fn churn(foe: &Foe) -> io::Result<()> {
    let mut line = foe.speak(&[]).await?;
    line.send(&frames::call(1, STATUS, &[])).await?;
    line.listen_to(1).await
}

/// Connects and goes away.
pub(super) async fn knocks(foe: &Foe) -> io::Result<()> {
    foe.connect().await.map(drop)
}

/// Watches all that ever was and comes, on many streams. One connection of two is never read.
pub(super) async fn watchers(foe: &Foe) -> io::Result<()> {
    let mut line = foe.speak(&[(INITIAL_WINDOW_SIZE, WIDEST_WINDOW)]).await?;
    let reads = foe.is_every_other();
    line.send(&window_update(0, WIDEST_WINDOW - FIRST_WINDOW)).await?;
    line.send(&calls(WATCHES, WATCH, &EVERYTHING)).await?;
    if reads { line.listen().await } else { pending().await }
}

/// Asks for all VMs on every stream there may be, and leaves no room for any answer.
pub(super) async fn unread_answers(foe: &Foe) -> io::Result<()> {
    let mut line = foe.speak(&[(INITIAL_WINDOW_SIZE, 0)]).await?;
    line.send(&calls(STREAMS, VMS, &[])).await?;
    line.listen().await
}

/// Asks for what it may ask for, as often as it can.
pub(super) async fn reads(foe: &Foe) -> io::Result<()> {
    again_and_again(foe, &[(STATUS, &[])]).await
}

/// Asks for what it may not: to pause, to set a policy, and for what there is not.
pub(super) async fn denied(foe: &Foe) -> io::Result<()> {
    again_and_again(foe, &[(SET_MODE, &PAUSED), (UPDATE_POLICY, &[]), (NOTHING, &[])]).await
}

/// These calls in turn, so many at a time.
async fn again_and_again(foe: &Foe, asked: &[(&str, &[u8])]) -> io::Result<()> {
    let (mut line, mut streams) = (foe.speak(&[]).await?, odd());
    let mut asked = asked.iter().cycle();
    loop {
        let some = asked.by_ref().take(usize::from(AT_ONCE));
        let calls = some.flat_map(|(path, message)| frames::call(streams(), path, message));
        let calls: Vec<u8> = calls.collect();
        line.send(&calls).await?;
        line.listen_to(AT_ONCE.into()).await?;
    }
}

/// So many of the same calls.
fn calls(count: usize, path: &str, message: &[u8]) -> Vec<u8> {
    let mut streams = odd();
    (0..count).flat_map(|_| frames::call(streams(), path, message)).collect()
}

/// Streams that a watcher opens on a connection: 64 readers make a thousand and more.
const WATCHES: usize = 16;
/// Calls at a time that a connection may have.
const STREAMS: usize = 32;
/// Calls at a time of one that reads its answers.
const AT_ONCE: u16 = 16;
/// What the window of a connection is at first.
const FIRST_WINDOW: u32 = 65_535;
/// `WatchRequest`: from the oldest entry on, for ever, with a snapshot.
const EVERYTHING: [u8; 6] = [4 << 3, 1, 5 << 3, 1, 6 << 3, 1];
/// `SetModeRequest`: paused.
const PAUSED: [u8; 2] = [1 << 3, 3];
const VMS: &str = "/agentd.v1.VmService/ListVms";
const SET_MODE: &str = "/agentd.v1.HostService/SetMode";
const UPDATE_POLICY: &str = "/agentd.v1.PolicyService/UpdatePolicy";
const NOTHING: &str = "/agentd.v1.HostService/Nothing";
