//! Taking places without a word: connections on which nothing comes, or next to nothing. Deadlines end them,
//! and caps leave places to others.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::foe::Foe;
use super::frames;

/// Connects, and says nothing.
pub(super) async fn tcp(foe: &Foe) -> io::Result<()> {
    until_over(&mut foe.connect().await?).await
}

/// Begins TLS, and leaves the answer without one.
pub(super) async fn tls(foe: &Foe) -> io::Result<()> {
    let hello = foe.hello()?;
    let mut io = foe.connect().await?;
    foe.send_plain(&mut io, &hello).await?;
    until_over(&mut io).await
}

/// Begins TLS a byte at a time.
pub(super) async fn slow_tls(foe: &Foe) -> io::Result<()> {
    let hello = foe.hello()?;
    let mut io = foe.connect().await?;
    for byte in hello {
        foe.send_plain(&mut io, &[byte]).await?;
        sleep(SLOWLY).await;
    }
    until_over(&mut io).await
}

/// Speaks no TLS at all, but HTTP/2 in plain.
pub(super) async fn no_tls(foe: &Foe) -> io::Result<()> {
    let mut io = foe.connect().await?;
    let words = [frames::PREFACE, &frames::settings(&[]), &frames::call(1, super::STATUS, &[])];
    foe.send_plain(&mut io, &words.concat()).await?;
    until_over(&mut io).await
}

/// Shakes hands, and says nothing more.
pub(super) async fn no_preface(foe: &Foe) -> io::Result<()> {
    let mut io = foe.shake().await?;
    let mut bytes = Vec::new();
    io.read_to_end(&mut bytes).await.map(drop)
}

/// Shakes hands, and goes on a byte at a time.
pub(super) async fn slow_preface(foe: &Foe) -> io::Result<()> {
    let mut io = foe.shake().await?;
    let words = [frames::PREFACE, &frames::settings(&[])].concat();
    for byte in words.into_iter().cycle() {
        io.write_all(&[byte]).await?;
        io.flush().await?;
        sleep(SLOWLY).await;
    }
    Ok(())
}

async fn until_over(io: &mut TcpStream) -> io::Result<()> {
    let mut bytes = [0; 1024];
    while io.read(&mut bytes).await? > 0 {}
    Ok(())
}

/// Between two bytes.
const SLOWLY: Duration = Duration::from_millis(100);
