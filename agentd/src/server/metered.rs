//! [`Metered`]: a connection that is read no faster than it may send. Whatever a client floods the
//! server with, be it pings, settings or bits of a handshake, has to come through here.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::limits;

/// A connection that is read no faster than it may send.
#[derive(Debug)]
pub(super) struct Metered<I> {
    io: I,
    /// When all that was read would have come at the rate that is allowed.
    due: Instant,
    /// Until it may be read again.
    rest: Option<Pin<Box<Sleep>>>,
}

impl<I> Metered<I> {
    pub(super) fn new(io: I) -> Self {
        Self { io, due: Instant::now(), rest: None }
    }

    /// Counts what was read. What came faster than it may for a while has to be waited for.
    fn count(&mut self, bytes: usize) {
        let now = Instant::now();
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let takes = Duration::from_secs(1).saturating_mul(bytes) / limits::READ_RATE;
        self.due = self.due.max(now).checked_add(takes).unwrap_or(now);
        let ahead = self.due.duration_since(now);
        if let Some(rest) = ahead.checked_sub(limits::READ_BURST) {
            self.rest = now.checked_add(rest).map(|end| Box::pin(sleep_until(end)));
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Metered<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(rest) = &mut self.rest {
            ready!(rest.as_mut().poll(context));
            self.rest = None;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        let bytes = buffer.filled().len().saturating_sub(before);
        self.count(bytes);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Metered<I> {
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_comes_at_once_and_a_flood_at_its_rate() {
        let (mut client, server) = duplex(64 << 10);
        let mut server = Metered::new(server);
        let flood = tokio::spawn(async move {
            let bytes = vec![0; 64 << 10];
            while client.write_all(&bytes).await.is_ok() {}
        });
        let began = Instant::now();
        let mut bytes = vec![0; 1 << 20];
        server.read_exact(&mut bytes).await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
        for _ in 0..10 {
            server.read_exact(&mut bytes).await.unwrap();
        }
        let took = began.elapsed();
        assert!(took > Duration::from_millis(9_900) && took < Duration::from_secs(11), "{took:?}");
        drop(server);
        flood.await.unwrap();
    }
}
