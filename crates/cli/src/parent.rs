//! Processes that end with the process that started them.
//!
//! The parent holds the other end of the child's standard input and never closes it before the child has ended. Where that
//! input ends, the parent is gone, however it died.

use std::time::Duration;

/// How long a process whose parent is gone may take to end by itself.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Ends this process, since nobody is left who waits for it. Called where standard input has ended, in a thread of its own.
pub fn is_gone() {
    std::thread::sleep(LAST_WORDS);
    // What is in the middle of a computation cannot be asked to stop, and leaves nothing behind that a signal could break.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

/// Watches standard input, which nothing else may read, and ends this process with it.
pub fn watch() {
    std::thread::spawn(|| {
        // Whatever is said there means nothing; an error is an end too.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        is_gone();
    });
}
