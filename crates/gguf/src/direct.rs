//! [`DirectWriter`] writes a large file from front to back, past the page cache where the file system allows it
//! (`O_DIRECT`).
//!
//! Otherwise a model that is written once would use as many fresh pages of memory as it has bytes. Each page costs a
//! copy and a page fault. The pages push what other programs read out of memory, and they count against a container's
//! limit.
//!
//! ```text
//! bytes that lie in a page of memory as they will in a page of the file:   pages ─────────────▶ file
//! any others, and the ends of those:                                       ──copy──▶ buffer ──▶ file
//! ```

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs::File;
use std::io::{self, IoSlice, Write};

/// Smaller files than this, in bytes, go through the page cache, because they are likely to be read again soon.
const LEAST_BYTES: u64 = 64 << 20;

/// The size of a page, in bytes. The addresses, offsets and lengths of such writes are multiples of it. If a device
/// wants a larger multiple and refuses a write, the writer falls back to the ordinary way. Bytes are written without a
/// copy if their address and their place in the file are equally far behind a multiple of this.
pub const WRITE_PAGE: usize = 4096;

/// The number of bytes written in one call.
const BUFFER: usize = 4 << 20;

/// Fewer bytes than these are copied into the buffer, because a write of their own would cost more.
const LEAST_UNCOPIED: usize = 256 << 10;

/// A file and the bytes that are not yet written to it.
#[derive(Debug)]
pub(crate) struct DirectWriter {
    file: File,
    /// The bytes that are not yet written. `None` when bytes are written as they come.
    buffer: Option<Buffer>,
}

/// Bytes that start at an aligned address.
#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    filled: usize,
}

impl DirectWriter {
    /// A writer for a file that will have `file_bytes` bytes, all of them written through it.
    pub(crate) fn new(file: File, file_bytes: u64) -> Self {
        let buffer = (file_bytes >= LEAST_BYTES && set_direct(&file, true).is_ok()).then(Buffer::new);
        DirectWriter { file, buffer }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Writes the bytes that are left. Further bytes go through the page cache.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let Some(buffer) = self.buffer.take() else { return Ok(()) };
        set_direct(&self.file, false)?;
        self.file.write_all(buffer.held())
    }

    /// Writes the bytes in the buffer and then `pages`, as whole pages.
    fn hand_over(&mut self, pages: &[u8]) -> io::Result<()> {
        let Some(buffer) = &mut self.buffer else { return self.file.write_all(pages) };
        let mut slices = [IoSlice::new(buffer.held()), IoSlice::new(pages)];
        let mut left = &mut slices[..];
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match self.file.write_vectored(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => IoSlice::advance_slices(&mut left, n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // The file system or device takes the flag but refuses these bytes, or the disk became full in the
                // middle of a page. In the second case the ordinary write reports the error.
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                    set_direct(&self.file, false)?;
                    left.iter().try_for_each(|slice| self.file.write_all(slice))?;
                    self.buffer = None;
                    return Ok(());
                }
                Err(e) => return Err(e),
            }
        }
        buffer.filled = 0;
        Ok(())
    }
}

impl Write for DirectWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(buffer) = &mut self.buffer else { return self.file.write(bytes) };
        // Wherever the buffer is empty, the place in the file is a multiple of a page.
        let in_page = buffer.filled % WRITE_PAGE;
        if bytes.len() >= LEAST_UNCOPIED && bytes.as_ptr().addr() % WRITE_PAGE == in_page {
            let head = (WRITE_PAGE - in_page) % WRITE_PAGE;
            let whole = head + (bytes.len() - head) / WRITE_PAGE * WRITE_PAGE;
            buffer.push(&bytes[..head]);
            self.hand_over(&bytes[head..whole])?;
            return Ok(whole);
        }
        let n = bytes.len().min(BUFFER - buffer.filled);
        buffer.push(&bytes[..n]);
        if buffer.filled == BUFFER {
            self.hand_over(&[])?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    fn new() -> Self {
        let bytes = vec![0; BUFFER + WRITE_PAGE];
        let start = bytes.as_ptr().addr().wrapping_neg() % WRITE_PAGE;
        Buffer { bytes, start, filled: 0 }
    }

    /// Adds bytes to the buffer, which must have room for them.
    fn push(&mut self, bytes: &[u8]) {
        let from = self.start + self.filled;
        self.bytes[from..from + bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
    }

    fn held(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.filled]
    }
}

fn set_direct(file: &File, on: bool) -> io::Result<()> {
    let mut flags = fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, on);
    Ok(fcntl_setfl(file, flags)?)
}

#[cfg(test)]
#[path = "../tests/support/skip.rs"]
mod skip;

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::{Read, Seek};

    const STEPS: [usize; 5] = [1, 4095, 4096, 100_000, 3 << 20];

    fn pattern(n: usize) -> Vec<u8> {
        (0..n).map(|i| (i * 7 + i / 251) as u8).collect()
    }

    fn contents(writer: &DirectWriter) -> Vec<u8> {
        let (mut file, mut found) = (writer.file().try_clone().expect("a handle"), Vec::new());
        file.rewind().and_then(|()| file.read_to_end(&mut found)).expect("read");
        found
    }

    /// Writes `n` bytes in unequal steps, each from memory that begins `shift` bytes behind its place in a page of the
    /// file. Returns whether all bytes arrived, and whether they went past the page cache.
    fn arrives(n: usize, file_bytes: u64, shift: usize) -> (bool, bool) {
        let bytes = pattern(n);
        let mut writer = DirectWriter::new(tempfile::tempfile().expect("a file"), file_bytes);
        let was_direct = writer.buffer.is_some();
        let mut done = 0;
        for step in STEPS.iter().cycle() {
            let now = &bytes[done..bytes.len().min(done + step)];
            let mut placed = vec![0; now.len() + WRITE_PAGE];
            let start = (done + shift).wrapping_sub(placed.as_ptr().addr()) % WRITE_PAGE;
            placed[start..start + now.len()].copy_from_slice(now);
            writer.write_all(&placed[start..start + now.len()]).expect("written");
            done += now.len();
            if done == bytes.len() {
                break;
            }
        }
        writer.finish().expect("finished");
        (contents(&writer) == bytes, was_direct)
    }

    #[test]
    fn every_byte_arrives_whatever_the_steps_the_memory_and_the_end() {
        for n in [0, 1, 4096, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER + 4097] {
            for file_bytes in [n as u64, LEAST_BYTES] {
                for shift in [0, 1, 32, WRITE_PAGE - 1] {
                    let (arrived, was_direct) = arrives(n, file_bytes, shift);
                    assert!(arrived, "{n} of {file_bytes} bytes, {shift} behind, direct: {was_direct}");
                    assert!(file_bytes >= LEAST_BYTES || !was_direct);
                }
            }
        }
    }

    /// Whole pages of memory are written as they are. Where the file system has no such writes, the test says so.
    #[test]
    fn pages_in_their_place_are_not_copied() {
        let mut writer = DirectWriter::new(tempfile::tempfile().expect("a file"), LEAST_BYTES);
        if writer.buffer.is_none() {
            skip::skipped("no direct writing where temporary files are");
            return;
        }
        let placed = vec![5; 2 * LEAST_UNCOPIED + WRITE_PAGE];
        let start = placed.as_ptr().addr().wrapping_neg() % WRITE_PAGE;
        let n = writer.write(&placed[start..start + LEAST_UNCOPIED + 100]).expect("written");
        assert_eq!((n, writer.buffer.as_ref().map(|buffer| buffer.filled)), (LEAST_UNCOPIED, Some(0)));
        // These bytes begin one byte too late, so they are copied whatever their length.
        let n = writer.write(&placed[start + 1..][..LEAST_UNCOPIED]).expect("written");
        assert_eq!((n, writer.buffer.as_ref().map(|buffer| buffer.filled)), (LEAST_UNCOPIED, Some(LEAST_UNCOPIED)));
        writer.finish().expect("finished");
        assert!(contents(&writer) == vec![5; 2 * LEAST_UNCOPIED]);
    }

    #[test]
    fn a_file_that_refuses_such_writes_is_written_the_ordinary_way() {
        let file = tempfile::tempfile().expect("a file");
        // This is refused on every file system, at the latest because the buffer's address is odd.
        let mut writer = DirectWriter { buffer: Some(Buffer::new()), file };
        let is_direct = set_direct(&writer.file, true).is_ok();
        if let Some(buffer) = &mut writer.buffer {
            buffer.start ^= 1;
        }
        let bytes = pattern(BUFFER + 5);
        writer.write_all(&bytes[..BUFFER]).expect("written");
        assert_eq!(writer.buffer.is_none(), is_direct, "an odd address is refused by any device");
        writer.write_all(&bytes[BUFFER..]).expect("written");
        if writer.buffer.is_some() {
            writer.hand_over(&[]).expect("written");
        }
        assert!(contents(&writer) == bytes);
    }
}
