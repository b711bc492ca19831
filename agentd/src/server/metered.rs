//! [`Metered`]: a connection that is read no faster than it may send. Whatever a client floods the
//! server with, be it pings, settings or bits of a handshake, has to come through here. All connections of
//! one name have one [`Meter`].

use std::{
    collections::BTreeMap,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, Interest, ReadBuf, Ready},
    net::UnixStream,
    time::{Instant, Sleep, sleep_until},
};

use super::{limits, through::writes_through};

/// A connection that is read no faster than it may send.
#[derive(Debug)]
pub(super) struct Metered<I> {
    io: I,
    meter: Arc<Meter>,
    /// Until it may be read again.
    rest: Option<Rest>,
    /// Bytes that were read without a break.
    turn: usize,
}

/// A connection that knows of its client's leaving before all is read that it sent.
pub(super) trait Line: AsyncRead + Unpin {
    /// True once its client has hung up.
    fn is_hung_up(&self, context: &mut Context<'_>) -> bool;
}

/// A wait, in which it is looked at now and then whether the client is still there.
#[derive(Debug)]
struct Rest {
    until: Instant,
    look: Pin<Box<Sleep>>,
}

/// How much was sent, over one connection or over several.
#[derive(Debug)]
pub(super) struct Meter {
    /// Bytes in a second.
    rate: u32,
    /// How many may come ahead of that.
    at_once: usize,
    /// When all that was read would have come at that rate.
    due: Mutex<Instant>,
}

/// The meter of every name that sent something lately.
#[derive(Debug, Default)]
pub(super) struct Meters {
    meters: Mutex<BTreeMap<String, Arc<Meter>>>,
}

impl Meters {
    /// The one of this name.
    pub(super) fn of(&self, name: &str) -> Arc<Meter> {
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        if meters.len() >= limits::IDENTITIES {
            // As many stay as have connections, which are few, or are ahead, which passes.
            meters.retain(|_, meter| Arc::strong_count(meter) > 1 || meter.is_ahead());
        }
        let new = || Arc::new(Meter::new(limits::NAME_READ_RATE, limits::READ_AT_ONCE));
        Arc::clone(meters.entry(name.to_owned()).or_insert_with(new))
    }
}

impl Meter {
    pub(super) fn new(rate: u32, at_once: usize) -> Self {
        Self { rate, at_once, due: Mutex::new(Instant::now()) }
    }

    /// Counts what was read. What came faster than it may for a while has to be waited for, until then.
    pub(super) fn count(&self, bytes: usize) -> Option<Instant> {
        let now = Instant::now();
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        *due = (*due).max(now).checked_add(self.takes(bytes)).unwrap_or(now);
        let ahead = due.saturating_duration_since(now);
        let rest = ahead.saturating_sub(self.takes(self.at_once));
        if rest.is_zero() { None } else { now.checked_add(rest) }
    }

    /// How long so many bytes take at this rate.
    fn takes(&self, bytes: usize) -> Duration {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Duration::from_secs(1).saturating_mul(bytes) / self.rate
    }

    fn is_ahead(&self) -> bool {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) > Instant::now()
    }
}

impl<I> Metered<I> {
    /// With a meter of its own.
    pub(super) fn new(io: I) -> Self {
        Self {
            io,
            meter: Arc::new(Meter::new(limits::READ_RATE, limits::READ_AT_ONCE)),
            rest: None,
            turn: 0,
        }
    }

    /// Where it is counted.
    pub(super) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// From now on it is counted here, and waits for what others have sent already.
    pub(super) fn count_with(&mut self, meter: Arc<Meter>) {
        self.rest = meter.count(0).map(Rest::new);
        self.meter = meter;
    }
}

impl Rest {
    fn new(until: Instant) -> Self {
        let mut rest = Self { until, look: Box::pin(sleep_until(until)) };
        rest.look_later();
        rest
    }

    /// Looks again at its end, or sooner where that is far.
    fn look_later(&mut self) {
        let now = Instant::now();
        let next = now.checked_add(limits::HANG_UP_LOOK).unwrap_or(now);
        self.look.as_mut().reset(self.until.min(next));
    }
}

/// Whether a socket that is ready for this is so because its other end has hung up.
pub(super) fn is_hung_up(
    ready: impl Future<Output = io::Result<Ready>>,
    context: &mut Context<'_>,
) -> bool {
    matches!(pin!(ready).poll(context), Poll::Ready(Ok(ready)) if ready.is_read_closed())
}

impl<I: Line> AsyncRead for Metered<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { io, rest: resting, .. } = &mut *self;
        while let Some(rest) = resting {
            ready!(rest.look.as_mut().poll(context));
            // All that it sent would take its time, and its name's places, long after it is gone.
            if io.is_hung_up(context) {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if Instant::now() < rest.until {
                rest.look_later();
            } else {
                *resting = None;
            }
        }
        if self.turn >= limits::READ_TURN {
            // What was read is looked at, and it is the turn of others, before more is.
            self.turn = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        if read.is_pending() {
            self.turn = 0;
        }
        ready!(read)?;
        let bytes = buffer.filled().len().saturating_sub(before);
        self.turn = self.turn.saturating_add(bytes);
        self.rest = self.meter.count(bytes).map(Rest::new);
        Poll::Ready(Ok(()))
    }
}

writes_through!(Metered);

impl Line for UnixStream {
    fn is_hung_up(&self, context: &mut Context<'_>) -> bool {
        is_hung_up(self.ready(Interest::READABLE), context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    impl Line for DuplexStream {
        fn is_hung_up(&self, _: &mut Context<'_>) -> bool {
            false
        }
    }

    impl Line for &[u8] {
        fn is_hung_up(&self, _: &mut Context<'_>) -> bool {
            false
        }
    }

    /// The far end of a connection whose near end never stops to send.
    fn flooded() -> DuplexStream {
        let (mut client, server) = duplex(64 << 10);
        tokio::spawn(async move {
            let bytes = vec![0; 64 << 10];
            while client.write_all(&bytes).await.is_ok() {}
        });
        server
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_comes_at_once_and_a_flood_at_its_rate() {
        let mut server = Metered::new(flooded());
        let began = Instant::now();
        let mut bytes = vec![0; limits::READ_AT_ONCE];
        server.read_exact(&mut bytes).await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
        for _ in 0..20 {
            server.read_exact(&mut bytes).await.unwrap();
        }
        let took = began.elapsed();
        assert!(took > Duration::from_millis(9_900) && took < Duration::from_secs(11), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_name_sends_no_more_over_many_connections_nor_over_one_after_the_other() {
        let meters = Meters::default();
        let (began, mut bytes) = (Instant::now(), vec![0; limits::READ_AT_ONCE]);
        for _ in 0..4 {
            let mut all: Vec<_> = (0..4).map(|_| Metered::new(flooded())).collect();
            for one in &mut all {
                one.count_with(meters.of("mallory"));
                one.read_exact(&mut bytes[..128 << 10]).await.unwrap();
            }
        }
        // Of two MiB the first half of one comes at once.
        let took = began.elapsed();
        assert!(took > Duration::from_millis(5_700) && took < Duration::from_secs(7), "{took:?}");
        // Nobody else has to wait for that.
        let (began, mut other) = (Instant::now(), Metered::new(flooded()));
        other.count_with(meters.of("alice"));
        other.read_exact(&mut bytes).await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn others_have_their_turn_while_much_is_read() {
        let (all, mut bytes) = (vec![0; 256 << 10], vec![0; 256 << 10]);
        let (mut server, mut turns) = (Metered::new(all.as_slice()), 0);
        let mut read = Box::pin(async {
            for part in bytes.chunks_mut(4 << 10) {
                server.read_exact(part).await.unwrap();
            }
        });
        let counted = std::future::poll_fn(|context| {
            turns += 1;
            read.as_mut().poll(context)
        });
        counted.await;
        assert_eq!(turns, (256 << 10) / limits::READ_TURN);
    }

    #[tokio::test(start_paused = true)]
    async fn names_are_forgotten_once_they_are_no_longer_ahead() {
        let meters = Meters::default();
        let held = meters.of("held");
        for name in 0..2 * limits::IDENTITIES {
            meters.of(&name.to_string()).count(1);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let names = meters.meters.lock().unwrap().len();
        assert!(names <= limits::IDENTITIES, "{names}");
        assert!(Arc::ptr_eq(&held, &meters.of("held")));
    }

    #[tokio::test]
    async fn who_has_hung_up_is_not_read_to_its_end() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let meter = Arc::new(Meter::new(1, 1));
        let _ = meter.count(3600);
        let mut server = Metered::new(server);
        server.count_with(meter);
        client.write_all(b"too much").await.unwrap();
        drop(client);
        let read = server.read_u8().await.unwrap_err();
        assert_eq!(read.kind(), io::ErrorKind::ConnectionReset);
    }
}
