//! A bomb: few bytes that become many (RFC 1951 and 1952, by hand).

/// A gzip file of so many zeros, in about a 158th of them. Its checksum is wrong, which shows only once
/// all is unpacked.
pub(super) fn zeros(bytes: usize) -> Vec<u8> {
    let mut bits = Bits { bytes: vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255], used: 0 };
    // The last block, with the fixed code.
    bits.push(1, 1);
    bits.push(1, 2);
    // One zero, then the same 258 times over as often as it takes, and the end.
    bits.push_code(0b0011_0000, 8);
    for _ in 0..bytes / REPEATED {
        bits.push_code(0b1100_0101, 8);
        bits.push_code(0, 5);
    }
    bits.push_code(0, 7);
    let mut all = bits.bytes;
    all.extend([0; 8]);
    all
}

/// Bits, the lowest of each byte first.
struct Bits {
    bytes: Vec<u8>,
    /// Of the last byte; 0 where it is full.
    used: u32,
}

impl Bits {
    /// The lowest `count` bits, the lowest first.
    fn push(&mut self, bits: u8, count: u32) {
        for at in 0..count {
            if self.used == 0 {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= (bits >> at & 1) << self.used;
            }
            self.used = (self.used + 1) % 8;
        }
    }

    /// A word of a code, which comes with its highest bit first.
    fn push_code(&mut self, bits: u8, count: u32) {
        self.push(bits.reverse_bits() >> (8 - count), count);
    }
}

/// The longest that is said at once.
const REPEATED: usize = 258;

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn gzip_makes_many_bytes_of_few() {
        let bomb = zeros(1 << 20);
        assert!(bomb.len() < 7000, "{}", bomb.len());
        let mut gzip = Command::new("gzip");
        gzip.arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = gzip.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&bomb).unwrap();
        drop(stdin);
        let unpacked = child.wait_with_output().unwrap().stdout;
        assert_eq!(unpacked.len(), (1 << 20) / REPEATED * REPEATED + 1);
        assert!(unpacked.iter().all(|byte| *byte == 0));
    }
}
