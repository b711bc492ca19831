//! HTTP/2 by hand (RFC 9113): frames that no library would send, and just enough to tell what comes back.

/// What every client says first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Which kind a frame is of.
pub(super) mod kind {
    /// Part of a message.
    pub(in crate::attacks) const DATA: u8 = 0;
    /// The begin of a call, or its end with its trailers.
    pub(in crate::attacks) const HEADERS: u8 = 1;
    /// What was once the priority of a stream.
    pub(in crate::attacks) const PRIORITY: u8 = 2;
    /// The end of a stream before its time.
    pub(in crate::attacks) const RST_STREAM: u8 = 3;
    /// What one side wants of the other.
    pub(in crate::attacks) const SETTINGS: u8 = 4;
    /// A question whether anybody is there.
    pub(in crate::attacks) const PING: u8 = 6;
    /// The end of a connection.
    pub(in crate::attacks) const GOAWAY: u8 = 7;
    /// Leave to send more.
    pub(in crate::attacks) const WINDOW_UPDATE: u8 = 8;
    /// More of a block of headers.
    pub(in crate::attacks) const CONTINUATION: u8 = 9;
}

/// Nothing more comes on this stream.
pub(super) const END_STREAM: u8 = 0x1;
/// No CONTINUATION follows.
pub(super) const END_HEADERS: u8 = 0x4;
/// The setting for what a stream's window is at first.
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
/// The largest that a window may be.
pub(super) const WIDEST_WINDOW: u32 = (1 << 31) - 1;
/// The most that a frame holds without leave to send more.
pub(super) const FRAME: usize = 16 << 10;

/// One frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let [_, length @ ..] = length.to_be_bytes();
    let mut bytes = Vec::with_capacity(payload.len() + HEAD);
    bytes.extend(length);
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Settings, each a number and its value.
pub(super) fn settings(all: &[(u16, u32)]) -> Vec<u8> {
    let one = |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(kind::SETTINGS, 0, 0, &all.iter().flat_map(one).collect::<Vec<u8>>())
}

/// Leave to send so many bytes more on a stream, or on the connection (0).
pub(super) fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// A header, written out, of which nobody is to remember anything.
pub(super) fn header(name: &str, value: &str) -> Vec<u8> {
    [&[0], text(name).as_slice(), text(value).as_slice()].concat()
}

/// A header that is to be remembered: 62 stands for it from then on, until there is another one.
pub(super) fn remembered(name: &str, value: &str) -> Vec<u8> {
    [&[0x40], text(name).as_slice(), text(value).as_slice()].concat()
}

/// The headers of a call of this method, in all that gRPC asks for.
pub(super) fn call_headers(path: &str) -> Vec<u8> {
    // Of the static table: method POST, scheme https, and the names of path and authority.
    let mut block = vec![0x83, 0x87, 0x04];
    block.extend(text(path));
    block.push(0x01);
    block.extend(text("node1"));
    block.extend(header("content-type", "application/grpc"));
    block.extend(header("te", "trailers"));
    block
}

/// The begin of a call, of which the message is still to come.
pub(super) fn begin(stream: u32, path: &str) -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS, stream, &call_headers(path))
}

/// A whole call.
pub(super) fn call(stream: u32, path: &str, message: &[u8]) -> Vec<u8> {
    let mut bytes = begin(stream, path);
    bytes.extend(body(stream, &message_of(message.len(), 0, message)));
    bytes
}

/// What a stream carries, in as many frames as it takes, and its end.
pub(super) fn body(stream: u32, bytes: &[u8]) -> Vec<u8> {
    let mut parts = bytes.chunks(FRAME).peekable();
    let mut frames = Vec::with_capacity(bytes.len() + HEAD);
    while let Some(part) = parts.next() {
        let flags = if parts.peek().is_none() { END_STREAM } else { 0 };
        frames.extend(frame(kind::DATA, flags, stream, part));
    }
    frames
}

/// A message of gRPC that says that it has so many bytes, compressed (1) or not (0).
pub(super) fn message_of(says: usize, compressed: u8, bytes: &[u8]) -> Vec<u8> {
    let mut message = vec![compressed];
    message.extend(u32::try_from(says).unwrap_or(u32::MAX).to_be_bytes());
    message.extend(bytes);
    message
}

/// Text as HPACK has it, without Huffman's code.
fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 4);
    // RFC 7541, 5.1, with a prefix of seven bits.
    match u8::try_from(text.len()) {
        Ok(short) if short < 127 => bytes.push(short),
        _ => {
            bytes.push(127);
            let mut rest = text.len().saturating_sub(127);
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128).unwrap_or_default() | 128);
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).unwrap_or_default());
        }
    }
    bytes.extend(text.bytes());
    bytes
}

/// What came, cut into frames.
#[derive(Debug, Default)]
pub(super) struct Ear {
    pending: Vec<u8>,
}

/// What is said of a frame before its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// How much it holds, in bytes.
    pub(super) length: usize,
    /// Which kind it is of.
    pub(super) kind: u8,
    /// What else is said of it.
    pub(super) flags: u8,
    /// Which stream it is of; 0 for the connection.
    pub(super) stream: u32,
}

impl Ear {
    /// The frames that are whole with these bytes.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Vec<Head> {
        self.pending.extend(bytes);
        let mut heads = Vec::new();
        while let Some(&[a, b, c, kind, flags, e, f, g, h]) = self.pending.first_chunk::<HEAD>() {
            let [length, stream] = [[0, a, b, c], [e & 0x7f, f, g, h]].map(u32::from_be_bytes);
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if self.pending.len() < HEAD + length {
                break;
            }
            self.pending.drain(..HEAD + length);
            heads.push(Head { length, kind, flags, stream });
        }
        heads
    }
}

/// Length, kind, flags and stream.
const HEAD: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_as_the_rfc_has_them_and_are_heard_however_they_come() {
        let ping = frame(kind::PING, 0, 0, &[7; 8]);
        assert_eq!(ping, [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], &[7; 8]].concat());
        assert_eq!(settings(&[(4, 1)])[9..], [0, 4, 0, 0, 0, 1]);
        assert_eq!(header("a", "bc"), [0, 1, b'a', 2, b'b', b'c']);
        // RFC 7541, C.1.2: 1337 with a prefix of five bits is 31, 154, 10; of seven it is this.
        assert_eq!(text(&"x".repeat(1337))[..3], [127, 0xba, 0x09]);
        let mut ear = Ear::default();
        let all = [ping, body(1, &vec![0; FRAME + 1])].concat();
        let heads: Vec<_> = all.iter().flat_map(|byte| ear.hear(&[*byte])).collect();
        let kinds: Vec<_> = heads.iter().map(|head| (head.kind, head.flags, head.length)).collect();
        assert_eq!(
            kinds,
            [(kind::PING, 0, 8), (kind::DATA, 0, FRAME), (kind::DATA, END_STREAM, 1)]
        );
    }
}
