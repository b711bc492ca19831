//! [`Begun`]: a connection of which the first bytes are read before it is its turn. So it is known that its client
//! wants something, and while it waits whether it is still there.

use std::{
    future::pending,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, Interest, ReadBuf},
    net::TcpStream,
};

use super::{
    limits,
    metered::{Line, is_hung_up},
    through::writes_through,
};

/// A connection whose client has begun to speak.
#[derive(Debug)]
pub(super) struct Begun<I> {
    io: I,
    /// What was read ahead.
    first: Vec<u8>,
}

impl<I: AsyncRead + Unpin> Begun<I> {
    /// Waits for the first bytes.
    ///
    /// # Errors
    ///
    /// Fails where the connection ends without any.
    pub(super) async fn read(io: I) -> io::Result<Self> {
        let mut begun = Self { io, first: Vec::new() };
        match begun.more().await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(begun),
        }
    }

    /// Returns once the client is gone; never where it says more than is kept.
    pub(super) async fn gone(&mut self) {
        while self.first.len() < limits::FIRST_BYTES {
            if self.more().await.unwrap_or(0) == 0 {
                return;
            }
        }
        pending::<()>().await;
    }

    pub(super) const fn get_ref(&self) -> &I {
        &self.io
    }

    async fn more(&mut self) -> io::Result<usize> {
        let mut bytes = [0; limits::FIRST_BYTES];
        let room = limits::FIRST_BYTES.saturating_sub(self.first.len());
        let read = self.io.read(bytes.get_mut(..room).unwrap_or_default()).await?;
        self.first.extend(bytes.get(..read).unwrap_or_default());
        Ok(read)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Begun<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.io).poll_read(context, buffer);
        }
        let fits = self.first.len().min(buffer.remaining());
        let rest = self.first.split_off(fits);
        buffer.put_slice(&self.first);
        self.first = rest;
        Poll::Ready(Ok(()))
    }
}

impl Line for Begun<TcpStream> {
    fn is_hung_up(&self, context: &mut Context<'_>) -> bool {
        is_hung_up(self.io.ready(Interest::READABLE), context)
    }
}

writes_through!(Begun);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn all_that_was_said_is_read_in_its_order() {
        let (mut client, server) = duplex(64 << 10);
        client.write_all(b"one ").await.unwrap();
        let mut begun = Begun::read(server).await.unwrap();
        client.write_all(b"two ").await.unwrap();
        tokio::select! {
            biased;
            () = begun.gone() => panic!("it is there"),
            () = tokio::task::yield_now() => {}
        }
        client.write_all(b"three").await.unwrap();
        drop(client);
        let (mut all, mut byte) = (String::new(), [0]);
        begun.read_exact(&mut byte).await.unwrap();
        begun.read_to_string(&mut all).await.unwrap();
        assert_eq!((byte, all.as_str()), ([b'o'], "ne two three"));
    }

    #[tokio::test]
    async fn whoever_goes_away_is_noticed_and_who_floods_is_not_read() {
        let (client, server) = duplex(64);
        drop(client);
        assert!(Begun::read(server).await.is_err());

        let (mut client, server) = duplex(64 << 10);
        client.write_all(b"hello").await.unwrap();
        let mut begun = Begun::read(server).await.unwrap();
        drop(client);
        begun.gone().await;

        let (mut client, server) = duplex(64 << 10);
        client.write_all(&vec![7; 64 << 10]).await.unwrap();
        let mut begun = Begun::read(server).await.unwrap();
        drop(client);
        tokio::select! {
            biased;
            () = begun.gone() => panic!("nobody knows"),
            () = tokio::task::yield_now() => {}
        }
        assert_eq!(begun.first.len(), limits::FIRST_BYTES);
    }
}
