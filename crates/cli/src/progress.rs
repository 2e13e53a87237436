//! The progress of long work on standard error. A terminal shows a bar with the time left. Elsewhere only the lines that
//! say what begins and what is found are printed, and with `--quiet` nothing is.

use crate::output::to_stderr;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

/// The time that work must take before its progress is shown.
const SHORT: Duration = Duration::from_secs(2);

/// The progress of one piece of work, in units of about equal size.
pub struct Progress {
    shown: Shown,
    label: String,
    begun: Instant,
}

enum Shown {
    Nothing,
    Lines,
    /// The bar is made when the work turns out to be long.
    Bar(Option<ProgressBar>),
}

impl Progress {
    /// Starts the clock. With `quiet` nothing is shown.
    pub fn new(label: &str, quiet: bool) -> Self {
        let shown = match (quiet, stderr().is_terminal()) {
            (true, _) => Shown::Nothing,
            (false, true) => Shown::Bar(None),
            (false, false) => Shown::Lines,
        };
        Progress { shown, label: label.to_owned(), begun: Instant::now() }
    }

    /// Says what is being done now.
    pub fn label(&mut self, label: &str) {
        label.clone_into(&mut self.label);
        if let Shown::Bar(Some(bar)) = &self.shown {
            bar.set_message(self.label.clone());
        }
    }

    /// Shows that `done` of `total` units are done.
    pub fn at(&mut self, done: usize, total: usize) {
        let taken = self.begun.elapsed();
        if taken < SHORT {
            return;
        }
        if let Shown::Bar(bar) = &mut self.shown {
            let bar = bar.get_or_insert_with(|| new_bar(&self.label, taken));
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        }
    }

    /// Prints a line beside the progress.
    pub fn say(&self, line: &str) {
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(Some(bar)) => bar.suspend(|| to_stderr(&format!("{line}\n"))),
            _ => to_stderr(&format!("{line}\n")),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Shown::Bar(Some(bar)) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn new_bar(label: &str, taken: Duration) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {elapsed} so far, {eta} left  {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(0).with_style(style).with_message(label.to_owned()).with_elapsed(taken);
    // The bar needs a thread for its clock, and panics where the system refuses one.
    if std::thread::Builder::new().spawn(|| ()).is_ok_and(|probe| probe.join().is_ok()) {
        bar.enable_steady_tick(Duration::from_millis(500));
    }
    bar
}
