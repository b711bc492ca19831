//! Writes the archive that the kernel unpacks as a VM's first file system ("newc" cpio).
//!
//! Owner is root, times are zero, so that the same content gives the same bytes.

/// An archive under construction.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds an empty folder.
    pub(crate) fn folder(&mut self, path: &str) {
        self.entry(&Entry { path, mode: 0o040_755, device: (0, 0), content: &[] });
    }

    /// Adds a file that may be executed.
    pub(crate) fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(&Entry { path, mode: 0o100_755, device: (0, 0), content });
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &str, to: &str) {
        self.entry(&Entry { path, mode: 0o120_777, device: (0, 0), content: to.as_bytes() });
    }

    /// Adds a character device.
    pub(crate) fn device(&mut self, path: &str, device: (u32, u32)) {
        self.entry(&Entry { path, mode: 0o020_600, device, content: &[] });
    }

    /// The finished archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry(&Entry { path: "TRAILER!!!", mode: 0, device: (0, 0), content: &[] });
        self.bytes
    }

    fn entry(&mut self, entry: &Entry<'_>) {
        self.entries += 1;
        let header = [
            self.entries,                 // inode
            entry.mode,                   // type and rights
            0,                            // owner
            0,                            // group
            1,                            // links
            0,                            // time
            length(entry.content.len()),  // size
            0,                            // device of the file system, major
            0,                            // minor
            entry.device.0,               // device, major
            entry.device.1,               // minor
            length(entry.path.len() + 1), // size of the name
            0,                            // checksum: none in this kind
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in header {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(entry.path.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(entry.content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

struct Entry<'a> {
    path: &'a str,
    mode: u32,
    device: (u32, u32),
    content: &'a [u8],
}

/// The format holds 32 bits; busybox and four modules are far from it.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn an_entry_has_the_layout_that_the_kernel_reads() {
        let mut archive = Archive::default();
        archive.file("init", b"hello");
        let bytes = archive.finish();

        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[54..62], b"00000005", "the size of the content");
        assert_eq!(&bytes[94..102], b"00000005", "the size of the name with its zero");
        assert_eq!(&bytes[110..115], b"init\0");
        assert_eq!(&bytes[116..124], b"hello\0\0\0", "content starts and ends on multiples of 4");
        assert_eq!(&bytes[124..130], b"070701", "the trailer follows");
    }
}
