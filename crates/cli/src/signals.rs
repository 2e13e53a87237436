//! What signals do to this process.

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Lets a write beyond the limit of a file's size (`ulimit -f`) fail with an error that can be told. The system would end the
/// process without a word. Both the program and its workers call it first.
pub fn let_large_writes_fail() {
    // A signal that is caught ends nothing. Where it cannot be caught, all is as before.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// Removes files that are not finished when SIGINT or SIGTERM ends the process, which then ends by that signal. A signal that
/// the process was started to ignore stays ignored.
pub fn remove_unfinished_at_the_end() {
    // The signals are caught in the thread: without it, nothing would end the process. Where the system refuses the
    // thread, the next program that writes there removes the files.
    let _ = std::thread::Builder::new().name("signals".into()).spawn(|| {
        let caught = [SIGINT, SIGTERM].into_iter().filter(|signal| !is_ignored(*signal));
        let Ok(mut signals) = Signals::new(caught) else { return };
        for signal in signals.forever() {
            gguf::remove_unfinished();
            record::store::atomic::remove_unfinished();
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    });
}

/// Whether whoever started this process made it ignore a signal, as shells do for commands in the background.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}
