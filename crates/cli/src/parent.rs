//! Makes processes end with the process that started them.
//!
//! The parent keeps the other end of the child's standard input open until the child has ended. When that input ends,
//! the parent has died, in whatever way.

use crate::failure::Failure;
use crate::threads;
use std::time::Duration;

/// The time that a process may take to end by itself after its parent has died.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Ends this process, because nobody waits for it any more. It is called in a thread of its own, when standard input
/// has ended.
pub fn is_gone() {
    std::thread::sleep(LAST_WORDS);
    // A computation cannot be asked to stop in the middle, and it leaves nothing behind that a signal could damage.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

/// Watches standard input and ends this process when it ends. Nothing else may read standard input.
///
/// # Errors
/// When the system refuses the thread.
pub fn watch() -> Result<(), Failure> {
    threads::spawn("parent", || {
        // The bytes that arrive have no meaning. An error also counts as the end.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        is_gone();
    })?;
    Ok(())
}
