//! [`turn_away`]: the end of an HTTP/2 connection before it began, with a reason that its client shows.

use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    time,
};

use super::limits;

/// Says why, and hangs up.
pub(super) async fn turn_away(mut io: impl AsyncWrite + Unpin, why: &str) {
    let say = async {
        io.write_all(&frames(why)).await?;
        io.shutdown().await
    };
    // Whoever does not take these few bytes does not want to know.
    let _ = time::timeout(limits::FAREWELL, say).await;
}

/// Settings, with which every connection has to begin, and the frame that ends it (RFC 9113, 6.5 and 6.8).
fn frames(why: &str) -> Vec<u8> {
    let why: Vec<u8> = why.bytes().take(limits::REASON).collect();
    let length = u32::try_from(why.len()).unwrap_or(0).saturating_add(8);
    let [_, length @ ..] = length.to_be_bytes();
    let mut frames = vec![0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];
    frames.extend(length);
    frames.extend([GOAWAY, 0, 0, 0, 0, 0]);
    // No stream was begun.
    frames.extend([0, 0, 0, 0]);
    frames.extend(ENHANCE_YOUR_CALM.to_be_bytes());
    frames.extend(why);
    frames
}

const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
/// The client takes more than it may.
const ENHANCE_YOUR_CALM: u32 = 0xb;
