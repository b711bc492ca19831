//! Every bound of the server, with its reason. tonic and hyper leave most of them open or
//! generous, so that each is set here and nowhere else.

use std::time::Duration;

use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto,
};
use rustix::process::{Resource, getrlimit};

/// Connections at a time, as far as there are descriptors. A tool takes one or two; this many tools
/// do not look at one host. Every listener has a share of its own: see [`Share`].
const CONNECTIONS: usize = 256;
/// Descriptors that are not for clients: libvirt's connections, the databases with their journals,
/// what a tick reads of the kernel, and one for whoever is turned away. About 40 are in use.
const OWN_DESCRIPTORS: usize = 64;
/// Connections at a time where there are next to no descriptors.
const LEAST_CONNECTIONS: usize = 4;
/// Calls at a time on one connection; tonic alone sets no bound. Further calls wait at the client.
const STREAMS: u32 = 32;
/// Calls at a time on all connections, shared as these are, each counted until its last byte is taken: a client that asks
/// and does not read holds this many responses at most.
pub(super) const CALLS: usize = 256;
/// Upload windows. Requests are small; the defaults of 1 MiB serve nobody here.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;
/// What a slow reader may have buffered for it per stream; hyper's own bound is 400 KiB.
const SEND_BUFFER: usize = 64 << 10;
/// Metadata of a request. Ours have next to none.
const HEADERS: u32 = 8 << 10;
/// The least that HTTP/2 allows: a connection's turns stay short.
const FRAME: u32 = 16 << 10;
/// Streams that a client may open and reset before the connection ends ("rapid reset").
const RESETS_PENDING: usize = 20;
/// Streams that this side may reset for a client's errors (RUSTSEC-2024-0003); tonic sets no
/// bound.
const RESETS_LOCAL: usize = 128;
/// Half-open connections are noticed after half a minute.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Newcomers that wait at a time at all listeners for TCP, as far as there are descriptors beside those of
/// [`CONNECTIONS`]: those that have said nothing yet, and those in line for a handshake. They take a descriptor and
/// [`FIRST_BYTES`] each.
const WAITING: usize = 128;
/// The same from one address: as many as have their turn in a second, so that who finds a place has it within one,
/// however many of its address come and go.
pub(super) const ADDRESS_WAITING: usize = 80;
/// What is read of a newcomer before its turn: the first message of TLS, which has some 300 bytes, or 1500 with keys that
/// are to outlast today's.
pub(super) const FIRST_BYTES: usize = 2 << 10;
/// Handshakes under way at a time at a listener, if that leaves half of its places to those whose is over:
/// who has not shown who it is takes a place for [`HANDSHAKE`] at most, and for [`HANDSHAKE_LEAST`] where others wait.
pub(super) const HANDSHAKES: usize = 64;
/// The same from one address: a tool opens one or two connections at once.
pub(super) const ADDRESS_HANDSHAKES: usize = 8;
/// A handshake takes two round trips and some milliseconds; what is slower is no client. So long may a newcomer wait
/// for its turn, too.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(5);
/// The place of a handshake is taken for so long at least: one address has 80 in a second, all have 640,
/// which is a quarter of one processor's time. A loop of tools begins some thirty.
pub(super) const HANDSHAKE_LEAST: Duration = Duration::from_millis(100);
/// The same where only others of its own address wait, who may be at the other end of the same slow line.
pub(super) const ADDRESS_HANDSHAKE_LEAST: Duration = Duration::from_millis(250);
/// Connections of one name at a time: a person with some terminals, or one program that asks all the time.
pub(super) const NAME_CONNECTIONS: usize = 16;
/// Calls of one name at a time, streams among them. A client that does not read what it is answered keeps
/// its places for as long as it likes, and must not keep everybody's.
pub(super) const NAME_CALLS: usize = 32;
/// What one connection may send in a second, once it has sent [`READ_AT_ONCE`]. Pings and settings, which HTTP/2
/// answers without end, are bounded by it.
pub(super) const READ_RATE: u32 = 1 << 20;
/// The same for all connections of one name together, be they at a time or one after the other: the largest
/// request each second, or a thousand calls. As pings it takes some hundredths of a processor's time, where
/// sixteen connections at [`READ_RATE`] took all that serves the others.
pub(super) const NAME_READ_RATE: u32 = 256 << 10;
/// How many bytes may come ahead of the rate: the largest request twice.
pub(super) const READ_AT_ONCE: usize = 512 << 10;
/// How often it is looked whether the client of a connection is there that may not be read yet.
pub(super) const HANG_UP_LOOK: Duration = Duration::from_millis(250);
/// How many bytes are read of one connection before others have their turn. As settings, of which each moves
/// the windows of all streams, these take a millisecond; without it one turn is as long as all that is there.
pub(super) const READ_TURN: usize = 16 << 10;
/// As how many bytes each frame of settings counts at [`NAME_READ_RATE`]: a name has 256 in a second, over however many
/// connections. A client sends one, and now and then another one as it finds out what its line can do; each moves
/// the windows of all streams.
pub(super) const SETTINGS_COST: usize = 1 << 10;
/// The same of every other frame that carries nothing of a call: a name has 2048 in a second. Whoever gives leave to send
/// more after each part of an answer can take 16 MiB in a second, and follow a thousand entries.
pub(super) const FRAME_COST: usize = 128;
/// The same of every handshake, which takes a millisecond: a name has 32 in a second, and 64 at once.
pub(super) const HANDSHAKE_COST: usize = 8 << 10;
/// What the kernel keeps of a TCP connection that is not read yet, and that its client does not take; it
/// makes twice of it. Its own bounds are some MiB, outside of all that agentd counts, and what was sent
/// before a client is gone has to be read, at [`READ_RATE`], before that is known.
pub(super) const SOCKET_BUFFER: usize = 128 << 10;
/// A TCP connection on which nothing was sent for so long is asked whether its client is still there, and
/// again after [`TCP_KEEPALIVE_AGAIN`]. HTTP/2's own pings ask more often where it has begun.
pub(super) const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
pub(super) const TCP_KEEPALIVE_AGAIN: Duration = Duration::from_secs(10);
/// A TCP connection on which nothing was acknowledged for so long is gone; the kernel's own bound is a
/// quarter of an hour.
pub(super) const TCP_UNANSWERED: Duration = Duration::from_secs(30);
/// Age at which a TCP connection is ended for its client to come again, a tenth more or less: nobody stays
/// for ever on what was shown once, and not all come again at once.
pub(super) const CONNECTION_AGE: Duration = Duration::from_secs(3600);
/// What is left to a connection whose client is not let in any more: enough to tell its streams why.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);
/// How often a connection is asked whether its client's certificate has expired.
pub(super) const LOOK_AT_CLOCK: Duration = Duration::from_secs(1);
/// How often the files of `[tls]` are looked at; new ones are in force after two looks.
pub(super) const LOOK_AT_FILES: Duration = Duration::from_secs(1);
/// Bytes of a file of `[tls]`. A list of a hundred thousand revoked certificates has less.
pub(super) const TLS_FILE: u64 = 4 << 20;
/// From so long before this host's certificate expires on that is told.
pub(super) const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// A connection that has sent no request by then ends: pings do not find those that never spoke.
pub(super) const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// A call that has not answered by then gets `DEADLINE_EXCEEDED`; a change goes on all the same.
/// The bodies of streams are not meant.
pub(super) const CALL: Duration = Duration::from_secs(10);
/// Largest request. Decoded messages take up to 52 times their bytes, so this stays small.
pub(super) const REQUEST: usize = 256 << 10;
/// Largest response that is not an entry of the log: what clients take by default.
pub(super) const RESPONSE: usize = 4 << 20;
/// Changes of policy or mode at a time; each holds a blocking thread while the disk works.
pub(super) const CHANGES: usize = 2;
/// Threads that answer calls. They only read published values.
pub(super) const WORKERS: usize = 2;
/// Threads for [`CHANGES`] of the policy, for as many of the mode, as many pauses and as many reads of the
/// policy's history, for one read of the history of ticks, for one of the audit, for one look for the freeze file, for one at the files of `[tls]`, and for one question to
/// the user database.
pub(super) const BLOCKING: usize = 13;
/// Longest wait of an answer for that look, which takes microseconds unless its disk hangs.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// Wait after a failed accept: without it, running out of descriptors would spin.
pub(super) const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// Bytes of entries that a stream reads of the history at a time, and one entry more: it holds them until its
/// client has taken them.
pub(super) const REPLAY: usize = 512 << 10;
/// Part of a snapshot, below what any client takes in one message.
pub(super) const SNAPSHOT_PART: usize = 900 << 10;
/// Gaps that a slow reader is told of: one in so long. More would only make it slower.
pub(super) const GAP_INTERVAL: Duration = Duration::from_secs(1);
/// Names in a filter of a watch.
pub(super) const FILTER_VMS: usize = 256;
/// Paths in a field mask.
pub(super) const MASK_PATHS: usize = 256;
/// Bytes of a reason that a caller gives.
pub(super) const REASON: usize = 512;
/// Bytes of a VM's name, of an etag, of a page token.
pub(super) const NAME: usize = 256;

/// A listener that turned nobody away for so long may have room again, and is looked at until it has.
pub(super) const CROWD_OVER: Duration = Duration::from_secs(5);
pub(super) const CROWD_LOOK: Duration = Duration::from_secs(1);
/// A listener says at most so often that it turns connections away.
pub(super) const CROWD_LOG: Duration = Duration::from_secs(60);
/// The server says at most so often that it refused a client.
pub(super) const REFUSAL_LOG: Duration = Duration::from_secs(10);

/// What a listener may take of what there is for all clients. Whoever fills one takes nothing from
/// the others: above all, nobody on the network keeps this host's root from its socket, which has the
/// half of it where there is TCP too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// One of so many equal shares.
    parts: usize,
    /// Of which so many are of its kind.
    alike: usize,
}

impl Share {
    /// Of a listener of a kind of which there are `alike`, where there are `others` of the other one.
    pub(super) fn new(alike: usize, others: usize) -> Self {
        let parts = if others == 0 { alike } else { alike.saturating_mul(2) };
        Self { parts: parts.max(1), alike: alike.max(1) }
    }

    /// At least one: a listener without a place were none.
    pub(super) fn of(self, all: usize) -> usize {
        all.checked_div(self.parts).unwrap_or(all).max(1)
    }

    /// The same of what no listener of the other kind needs.
    pub(super) fn of_kind(self, all: usize) -> usize {
        all.checked_div(self.alike).unwrap_or(all).max(1)
    }
}

/// Connections at a time: clients never take what the tick needs.
pub(super) fn connections() -> usize {
    descriptors().clamp(LEAST_CONNECTIONS, CONNECTIONS)
}

/// Newcomers that wait at a time.
pub(super) fn waiting() -> usize {
    descriptors().saturating_sub(CONNECTIONS).clamp(LEAST_CONNECTIONS, WAITING)
}

/// Descriptors for clients.
fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let all = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    all.saturating_sub(OWN_DESCRIPTORS)
}

/// HTTP/2 as this server speaks it.
pub(super) fn http2() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new()).http2_only();
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .adaptive_window(false)
        .max_frame_size(FRAME)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(HEADERS)
        .max_pending_accept_reset_streams(RESETS_PENDING)
        .max_local_error_reset_streams(RESETS_LOCAL)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}
/// When another try makes sense where there was too much at once.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// Warnings about VMs that a change of the policy is answered with: more nobody reads.
pub(super) const WARNINGS: usize = 32;

// What one identity may ask for. An admin of this host may ask for all that there is: who can stop agentd
// gains nothing by asking quickly, and whoever tests or repairs a host asks often.

/// How often somebody may do something: `burst` times at once, then once in `every`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) burst: u32,
    pub(super) every: Duration,
}

/// Changes, 20 a minute: each is synced to the disk, and a person makes fewer. A script that makes many
/// makes them in one.
pub(super) const CHANGES_EACH: Pace = Pace { burst: 20, every: Duration::from_secs(3) };
/// Reads, 200 a second: they cost microseconds, and a tool that shows a host makes a few a second.
pub(super) const READS: Pace = Pace { burst: 200, every: Duration::from_millis(5) };
/// Streams at a time: a tool takes one, and this many are an eighth of all watchers.
pub(super) const STREAMS_EACH: usize = 8;
/// Identities that are remembered at a time: more people do not look at one host.
pub(super) const IDENTITIES: usize = 1024;
/// Longest wait for the user database, which answers in microseconds unless it is far away.
pub(super) const DIRECTORY: Duration = Duration::from_secs(2);
/// For how long it counts what the user database said: who is taken out of a group has the role no longer.
pub(super) const DIRECTORY_KEPT: Duration = Duration::from_secs(60);
/// How often it is asked whether a stream may go on.
pub(super) const RECHECK: Duration = Duration::from_secs(30);
