//! Progress of long work on standard error: a bar with the time left on a terminal, now and then a
//! line elsewhere, nothing at all when quiet or when the work is short.

use crate::output::to_stderr;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

/// Work shorter than this shows no progress.
const SHORT: Duration = Duration::from_secs(2);
/// How often a line is printed where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(30);

/// Progress of one piece of work, in units of about equal size.
pub struct Progress {
    shown: Shown,
    label: String,
    begun: Instant,
    last_line: Instant,
}

enum Shown {
    Nothing,
    Lines,
    /// Made when the work turns out to be long.
    Bar(Option<ProgressBar>),
}

impl Progress {
    /// Begins. `quiet` shows nothing.
    pub fn new(label: &str, quiet: bool) -> Self {
        let shown = match (quiet, stderr().is_terminal()) {
            (true, _) => Shown::Nothing,
            (false, true) => Shown::Bar(None),
            (false, false) => Shown::Lines,
        };
        let now = Instant::now();
        Progress { shown, label: label.to_owned(), begun: now, last_line: now }
    }

    /// What is being done now.
    pub fn label(&mut self, label: &str) {
        label.clone_into(&mut self.label);
        if let Shown::Bar(Some(bar)) = &self.shown {
            bar.set_message(self.label.clone());
        }
    }

    /// `done` of `total` units are done.
    pub fn at(&mut self, done: usize, total: usize) {
        let taken = self.begun.elapsed();
        if taken < SHORT {
            return;
        }
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                let bar = bar.get_or_insert_with(|| new_bar(&self.label, taken));
                bar.set_length(total as u64);
                bar.set_position(done as u64);
            }
            Shown::Lines => {
                if self.last_line.elapsed() >= BETWEEN_LINES {
                    self.last_line = Instant::now();
                    let left =
                        time_left(taken, done, total).map_or(String::new(), |left| format!(", about {left} left"));
                    to_stderr(&format!("{}: {done} of {total}{left}\n", self.label));
                }
            }
        }
    }

    /// A line beside the progress.
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
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// The rest at the pace so far, in words.
fn time_left(taken: Duration, done: usize, total: usize) -> Option<String> {
    let pace = taken.as_secs_f64() / (done > 0).then_some(done as f64)?;
    let seconds = (pace * total.saturating_sub(done) as f64).round() as u64;
    Some(match seconds {
        0..=99 => format!("{seconds} s"),
        _ => format!("{} min", seconds.div_ceil(60)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_from_the_pace_so_far() {
        assert_eq!(time_left(Duration::from_secs(30), 3, 9).as_deref(), Some("60 s"));
        assert_eq!(time_left(Duration::from_secs(300), 1, 4).as_deref(), Some("15 min"));
        assert_eq!(time_left(Duration::from_secs(5), 0, 4), None);
    }
}
