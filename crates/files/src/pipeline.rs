//! Reads, works on, hashes and writes pieces at the same time. Each stage has its own thread and keeps the order of the
//! pieces.
//!
//! ```text
//! read ──▶ work (all cores) ──▶ hash ──▶ write
//!     at most DEPTH pieces wait at each arrow, so memory is bounded; buffers go back to where they came from
//! ```

use gguf::WRITE_PAGE;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle, scope};

/// The number of pieces that may wait between two stages.
const DEPTH: usize = 2;

/// The place to which a stage passes its results. It returns `false` when the next stage has ended and takes no more.
pub(crate) struct Next<T>(SyncSender<T>);

impl<T> Next<T> {
    #[must_use]
    pub(crate) fn put(&self, item: T) -> bool {
        self.0.send(item).is_ok()
    }
}

/// Runs the stages until the first has no more pieces or one stage fails. `write` runs on the caller's thread. `refused` makes
/// the error where the system refuses a thread.
///
/// # Errors
/// The error of the earliest piece that fails. This is the error of the latest stage that fails, because every piece
/// before it goes through all stages. The other stages end as soon as they notice.
pub(crate) fn run<A: Send, B: Send, C: Send, E: Send>(
    read: impl FnOnce(Next<A>) -> Result<(), E> + Send,
    mut work: impl FnMut(A) -> Result<B, E> + Send,
    mut hash: impl FnMut(B) -> Result<C, E> + Send,
    mut write: impl FnMut(C) -> Result<(), E>,
    refused: impl Fn(io::Error) -> E,
) -> Result<(), E> {
    scope(|scope| {
        let (to_work, read_pieces) = sync_channel(DEPTH);
        let (to_hash, done_pieces) = sync_channel(DEPTH);
        let (to_write, hashed_pieces): (SyncSender<C>, Receiver<C>) = sync_channel(DEPTH);
        // Where a thread is refused, its ends of the channels are gone, so the stages before it end.
        let reader = spawned(scope, move || read(Next(to_work))).map_err(&refused)?;
        let worker = spawned(scope, move || pass_on(read_pieces, &mut work, to_hash)).map_err(&refused)?;
        let hasher = spawned(scope, move || pass_on(done_pieces, &mut hash, to_write)).map_err(&refused)?;
        let written = hashed_pieces.iter().try_for_each(&mut write);
        // A stage that still waits to pass something on must learn that nobody takes it.
        drop(hashed_pieces);
        let (reader, worker, hasher) = (joined(reader), joined(worker), joined(hasher));
        written.and(hasher).and(worker).and(reader)
    })
}

fn pass_on<A, B, E>(from: Receiver<A>, stage: &mut impl FnMut(A) -> Result<B, E>, to: SyncSender<B>) -> Result<(), E> {
    for item in from {
        if to.send(stage(item)?).is_err() {
            break;
        }
    }
    Ok(())
}

/// Runs a stage in a thread of its own.
fn spawned<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    stage: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    let refused = |error| io::Error::other(format!("the system refuses a thread: {error}"));
    Builder::new().spawn_scoped(scope, stage).map_err(refused)
}

fn joined<E>(stage: ScopedJoinHandle<'_, Result<(), E>>) -> Result<(), E> {
    stage.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Objects kept for use again, because each 4 KiB of a fresh one costs a page fault.
pub(crate) struct Spare<T>(Mutex<Vec<T>>);

impl<T> Default for Spare<T> {
    fn default() -> Self {
        Spare(Mutex::new(Vec::new()))
    }
}

impl<T: Default> Spare<T> {
    /// Returns an object that was given back, or a new one.
    pub(crate) fn take(&self) -> T {
        self.0.lock().ok().and_then(|mut spare| spare.pop()).unwrap_or_default()
    }

    /// Takes an object back. It must come from this store, otherwise the store would grow without end.
    pub(crate) fn give(&self, thing: T) {
        if let Ok(mut spare) = self.0.lock() {
            spare.push(thing);
        }
    }
}

/// Buffers for pieces of files, kept for use again.
#[derive(Default)]
pub(crate) struct Buffers(Spare<Vec<u8>>);

/// Bytes of a file that lie in a page of memory as in a page of the file, so that they are written without a copy.
pub(crate) struct PieceBuffer {
    bytes: Vec<u8>,
    start: usize,
    n: usize,
}

impl Deref for PieceBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.n]
    }
}

impl DerefMut for PieceBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.n]
    }
}

impl Buffers {
    /// A buffer for `n` bytes that belong at byte `place` of a file, with arbitrary contents. `None` when there is no
    /// memory for it.
    pub(crate) fn take(&self, n: usize, place: u64) -> Option<PieceBuffer> {
        let mut bytes = self.0.take();
        let with_slack = n.checked_add(WRITE_PAGE)?;
        if bytes.len() < with_slack {
            bytes.try_reserve_exact(with_slack - bytes.len()).ok()?;
            bytes.resize(with_slack, 0);
        }
        let start = (place as usize).wrapping_sub(bytes.as_ptr().addr()) % WRITE_PAGE;
        Some(PieceBuffer { bytes, start, n })
    }

    /// Like `take`, for a number of bytes so small that there is memory for them.
    pub(crate) fn take_piece(&self, n: usize, place: u64) -> PieceBuffer {
        self.take(n, place).unwrap_or_else(|| PieceBuffer { bytes: vec![0; n], start: 0, n })
    }

    /// Takes a buffer back, as [`Spare::give`] does.
    pub(crate) fn give(&self, buffer: PieceBuffer) {
        self.0.give(buffer.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn refused(error: io::Error) -> String {
        error.to_string()
    }

    fn numbers(n: u32) -> impl FnOnce(Next<u32>) -> Result<(), String> {
        move |next| {
            let _all_taken = (0..n).all(|i| next.put(i));
            Ok(())
        }
    }

    #[test]
    fn pieces_come_out_in_the_order_they_went_in_whatever_a_stage_takes() {
        let mut out = Vec::new();
        let slow_on = |k: u32| {
            move |i: u32| -> Result<u32, String> {
                std::thread::sleep(Duration::from_micros(if i.is_multiple_of(k) { 500 } else { 0 }));
                Ok(i + 1)
            }
        };
        let write = |i| {
            out.push(i);
            Ok(())
        };
        run(numbers(100), slow_on(7), slow_on(5), write, refused).expect("nothing fails");
        assert_eq!(out, (2..102).collect::<Vec<u32>>());
    }

    #[test]
    fn a_stage_that_fails_ends_the_others_and_the_failure_of_the_earliest_piece_is_told() {
        let fails_at = |k: u32, who: &'static str| {
            move |i: u32| -> Result<u32, String> { if i == k { Err(format!("{who} at {i}")) } else { Ok(i) } }
        };
        let never = u32::MAX;
        let told = |work: u32, hash: u32, write: u32| {
            let last = fails_at(write, "write");
            let write = move |i| last(i).map(|_| ());
            run(numbers(1000), fails_at(work, "work"), fails_at(hash, "hash"), write, refused)
                .expect_err("something fails")
        };
        assert_eq!(told(10, never, never), "work at 10");
        assert_eq!(told(never, 10, never), "hash at 10");
        assert_eq!(told(never, never, 10), "write at 10");
        assert_eq!((told(10, 9, never), told(9, never, 3)), ("hash at 9".into(), "write at 3".into()));
        let read = |next: Next<u32>| if next.put(1) { Err("read".to_owned()) } else { Ok(()) };
        assert_eq!(run(read, Ok, Ok, |_| Ok(()), refused), Err("read".to_owned()));
        assert_eq!(run(read, fails_at(1, "work"), Ok, |_| Ok(()), refused), Err("work at 1".to_owned()));
    }

    #[test]
    fn buffers_have_the_size_and_the_place_that_were_asked_for() {
        let buffers = Buffers::default();
        for (n, place) in [(10, 0), (4, 4095), (9000, 7), (0, 1 << 40), (5, u64::MAX)] {
            let mut buffer = buffers.take(n, place).expect("memory");
            buffer.fill(7);
            let in_page = place as usize % WRITE_PAGE;
            assert_eq!((buffer.len(), buffer.as_ptr().addr() % WRITE_PAGE), (n, in_page), "{n} bytes at {place}");
            buffers.give(buffer);
        }
        assert!(buffers.take(usize::MAX / 2, 0).is_none() && buffers.take(usize::MAX, 0).is_none());
    }
}
