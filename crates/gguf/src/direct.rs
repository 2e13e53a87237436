//! [`DirectWriter`]: a large file front to back, past the page cache where the file system allows it (`O_DIRECT`).
//!
//! A model that is written once would otherwise go through as many fresh pages of memory as it has bytes: they cost a copy and
//! a page fault each, push what other programs read out of memory, and count against a container's limit.

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs::File;
use std::io::{self, Write};

/// Files below this go the ordinary way: they are likely to be read again at once.
const LEAST_BYTES: u64 = 64 << 20;

/// What addresses, offsets and lengths are multiples of. Where a device wants more, its refusal is met.
const ALIGNMENT: usize = 4096;

/// Bytes handed over at once.
const BUFFER: usize = 4 << 20;

/// A file and what is not yet in it.
#[derive(Debug)]
pub(crate) struct DirectWriter {
    file: File,
    /// `None`: bytes are handed over as they come.
    buffer: Option<Buffer>,
}

/// Bytes at an aligned address.
#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    filled: usize,
}

impl DirectWriter {
    /// For a file that will have `file_bytes` bytes, all written from here on.
    pub(crate) fn new(file: File, file_bytes: u64) -> Self {
        let buffer = (file_bytes >= LEAST_BYTES && set_direct(&file, true).is_ok()).then(Buffer::new);
        DirectWriter { file, buffer }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Hands over what is left. Further bytes go the ordinary way.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let Some(buffer) = self.buffer.take() else { return Ok(()) };
        set_direct(&self.file, false)?;
        self.file.write_all(buffer.held())
    }

    /// Hands a full buffer over.
    fn hand_over(&mut self) -> io::Result<()> {
        let Some(buffer) = &mut self.buffer else { return Ok(()) };
        let mut done = 0;
        while done < buffer.filled {
            match self.file.write(&buffer.held()[done..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // This file system, or device, takes the flag but not these bytes; or the disk was full in the middle of a
                // page, and what there is to be said of that the ordinary way will say.
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                    set_direct(&self.file, false)?;
                    self.file.write_all(&buffer.held()[done..])?;
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
        let n = bytes.len().min(BUFFER - buffer.filled);
        let from = buffer.start + buffer.filled;
        buffer.bytes[from..from + n].copy_from_slice(&bytes[..n]);
        buffer.filled += n;
        if buffer.filled == BUFFER {
            self.hand_over()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    fn new() -> Self {
        let bytes = vec![0; BUFFER + ALIGNMENT];
        // `align_offset` may decline; then the first write does, and the ordinary way is taken.
        let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Buffer { bytes, start, filled: 0 }
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
mod tests {
    use super::*;
    use std::io::{Read, Seek};

    /// What is in the file after `n` bytes have been written in unequal steps.
    fn written(n: usize, file_bytes: u64) -> (Vec<u8>, bool, Vec<u8>) {
        let bytes: Vec<u8> = (0..n).map(|i| (i * 7 + i / 251) as u8).collect();
        let mut writer = DirectWriter::new(tempfile::tempfile().expect("a file"), file_bytes);
        let was_direct = writer.buffer.is_some();
        let mut left = bytes.as_slice();
        for step in [1usize, 4095, 4096, 100_000, 3 << 20].iter().cycle() {
            let (now, rest) = left.split_at((*step).min(left.len()));
            writer.write_all(now).expect("written");
            left = rest;
            if left.is_empty() {
                break;
            }
        }
        writer.finish().expect("finished");
        let mut found = Vec::new();
        let mut file = writer.file().try_clone().expect("a handle");
        file.rewind().and_then(|()| file.read_to_end(&mut found)).expect("read");
        (bytes, was_direct, found)
    }

    #[test]
    fn every_byte_arrives_whatever_the_steps_and_the_end() {
        for n in [0, 1, 4096, BUFFER - 1, BUFFER, BUFFER + 1, 2 * BUFFER + 4097] {
            for file_bytes in [n as u64, LEAST_BYTES] {
                let (bytes, was_direct, found) = written(n, file_bytes);
                assert!(found == bytes, "{n} of {file_bytes} bytes, direct: {was_direct}");
                assert!(file_bytes >= LEAST_BYTES || !was_direct);
            }
        }
    }

    #[test]
    fn a_file_that_refuses_such_writes_is_written_the_ordinary_way() {
        let mut writer = DirectWriter::new(tempfile::tempfile().expect("a file"), LEAST_BYTES);
        let Some(buffer) = &mut writer.buffer else { return };
        // An odd address is refused by any device.
        buffer.start |= 1;
        writer.write_all(&vec![3; BUFFER + 5]).expect("written");
        writer.finish().expect("finished");
        let mut file = writer.file().try_clone().expect("a handle");
        let mut found = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut found)).expect("read");
        assert!(found == vec![3; BUFFER + 5]);
    }
}
