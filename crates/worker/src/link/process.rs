//! A worker in a process of its own. Jobs and events go through pipes.

use super::kept;
use super::oom::OomKills;
use super::{DeathCause, LinkFactory, WorkerDied, WorkerLink};
use crate::protocol::{Event, Job};
use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Read, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};
use words::{first_line, printable};

/// The number of bytes at the end of a worker's standard error in which its last words are searched.
const LAST_WORDS_BYTES: usize = 2048;
/// The number of bytes of standard error that are kept until there is a log file.
const UNLOGGED_BYTES: usize = 1 << 20;
/// The longest line of an event, in bytes. A sample of the largest usable window has a few MB.
const MAX_EVENT_BYTES: u64 = 256 << 20;

/// Whether a line says that an allocation failed, in the words of Rust, C++, ggml or the system. ggml asserts in `ggml_init`
/// that it got the memory of a context.
fn tells_of_memory(line: &str) -> bool {
    let says = [
        "memory allocation of",
        "bad_alloc",
        "failed to allocate",
        "cannot allocate memory",
        "out of memory",
        "mem_buffer != null",
    ];
    let line = line.to_ascii_lowercase();
    says.iter().any(|words| line.contains(words))
}

/// Starts `program args…` and exchanges lines with it through pipes.
#[derive(Clone, Debug)]
pub struct ProcessWorkers {
    /// The program to start, usually this one.
    pub program: PathBuf,
    /// The arguments of the program, usually `worker`.
    pub args: Vec<OsString>,
}

impl LinkFactory for ProcessWorkers {
    fn start(&self) -> Result<Box<dyn WorkerLink>, WorkerDied> {
        let failed = |what: String| WorkerDied::not_started(&what);
        kept::sweep();
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(format!("{}: {error}", self.program.display())))?;
        let (Some(stdin), Some(stdout), Some(mut stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(failed("its pipes are missing".into()));
        };
        let said = Arc::new(Mutex::new(StderrSoFar::default()));
        let listener = {
            let said = Arc::clone(&said);
            let listen = move || {
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = stderr.read(&mut buffer) {
                    lock(&said).add(&buffer[..n]);
                }
            };
            std::thread::Builder::new().name("worker-stderr".into()).spawn(listen)
        };
        let listener = listener.map_err(|error| {
            // Nobody would hear the worker.
            drop((child.kill(), child.wait()));
            failed(format!("the system refuses a thread: {error}"))
        })?;
        Ok(Box::new(ProcessWorker {
            child,
            stdin: Some(stdin),
            stdout: BufReader::new(stdout),
            said,
            listener: Some(listener),
            oom_kills: OomKills::now(),
        }))
    }
}

/// What a worker wrote to standard error: the end of it in memory, all of it in the log.
#[derive(Default)]
struct StderrSoFar {
    tail: VecDeque<u8>,
    unlogged: Vec<u8>,
    log: Option<File>,
}

impl StderrSoFar {
    fn add(&mut self, bytes: &[u8]) {
        self.tail.extend(bytes);
        let excess = self.tail.len().saturating_sub(LAST_WORDS_BYTES);
        self.tail.drain(..excess);
        match &mut self.log {
            // A full disk must not end the run because of a log. The end of the text is still in memory.
            Some(log) => drop(log.write_all(readable(bytes).as_bytes())),
            None => {
                let room = UNLOGGED_BYTES.saturating_sub(self.unlogged.len());
                self.unlogged.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
        }
    }
}

/// The text of a log, in which nothing can steer the terminal on which it is read. Line feeds and tabs stay.
fn readable(bytes: &[u8]) -> String {
    let mut out = String::new();
    for piece in bytes.split_inclusive(|&byte| byte == b'\n' || byte == b'\t') {
        match piece.split_last() {
            Some((&end @ (b'\n' | b'\t'), text)) => {
                out.push_str(&printable(&String::from_utf8_lossy(text)));
                out.push(end.into());
            }
            _ => out.push_str(&printable(&String::from_utf8_lossy(piece))),
        }
    }
    out
}

/// The last lines of a log that say something. If the end of the log is cut in the middle of a line, that line is left
/// out.
fn last_lines(tail: &str) -> Vec<&str> {
    let whole = if tail.len() < LAST_WORDS_BYTES { tail } else { tail.split_once('\n').map_or(tail, |(_, rest)| rest) };
    // Where RUST_BACKTRACE is set, the stack follows what Rust says.
    let said = whole.lines().take_while(|line| line.trim() != "stack backtrace:");
    said.map(str::trim).filter(|line| !line.is_empty()).collect()
}

/// The most telling of the last lines: the last one that names an assertion or an error, otherwise the last line.
fn last_words(lines: &[&str]) -> String {
    let tells =
        |line: &&str| ["GGML_ASSERT", "memory allocation of", "error", "failed"].iter().any(|word| line.contains(word));
    first_line(lines.iter().copied().rfind(tells).or(lines.last().copied()).unwrap_or_default())
}

fn lock(said: &Mutex<StderrSoFar>) -> MutexGuard<'_, StderrSoFar> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A worker process, which is killed when this is dropped.
struct ProcessWorker {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    said: Arc<Mutex<StderrSoFar>>,
    listener: Option<JoinHandle<()>>,
    /// The kernel's counts when the worker was started.
    oom_kills: OomKills,
}

impl ProcessWorker {
    /// Ends the worker and says how it ended.
    fn died(&mut self, what: &str) -> WorkerDied {
        self.stdin = None;
        // The worker closed its pipe, so it is ending by itself. If it still runs after a while, it is stopped.
        let by_itself = (0..50).find_map(|_| {
            let status = self.child.try_wait().ok().flatten();
            if status.is_none() {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            status
        });
        let stopped = by_itself.is_none();
        let status = by_itself.or_else(|| {
            // If the process has gone already, that is fine.
            drop(self.child.kill());
            self.child.wait().ok()
        });
        if let Some(listener) = self.listener.take() {
            // The listener ends when the pipe does. If it panicked, there is nothing more to read.
            drop(listener.join());
        }
        let tail: Vec<u8> = lock(&self.said).tail.iter().copied().collect();
        let tail = String::from_utf8_lossy(&tail);
        let lines = last_lines(&tail);
        let last_words = last_words(&lines);
        let was_killed = status.is_some_and(|status| status.signal() == Some(9));
        let cause = match was_killed {
            true if stopped => Some(DeathCause::StoppedByAssay),
            true if OomKills::now().more_than(&self.oom_kills) => Some(DeathCause::OomKiller),
            true => Some(DeathCause::Killed),
            // What was said before something else has no part in how it ended.
            false => lines.last().is_some_and(|line| tells_of_memory(line)).then_some(DeathCause::AllocationFailed),
        };
        let status = status.map_or_else(|| "unknown".into(), |status| status.to_string());
        let log = if last_words.is_empty() { None } else { self.kept_log() };
        WorkerDied { what: what.to_owned(), status: Some(status), cause, last_words, log }
    }

    /// The file, among the temporary ones, with all that the worker wrote. `None` when a log has it.
    fn kept_log(&self) -> Option<PathBuf> {
        let mut said = lock(&self.said);
        if said.log.is_some() || said.unlogged.is_empty() {
            return None;
        }
        let unlogged = std::mem::take(&mut said.unlogged);
        kept::keep(&readable(&unlogged)).ok()
    }
}

impl WorkerLink for ProcessWorker {
    fn send(&mut self, job: &Job) -> Result<(), WorkerDied> {
        let sent = serde_json::to_vec(job).map_err(std::io::Error::other).and_then(|mut line| {
            line.push(b'\n');
            let stdin = self.stdin.as_mut().ok_or(std::io::ErrorKind::BrokenPipe)?;
            stdin.write_all(&line)?;
            stdin.flush()
        });
        sent.map_err(|error| self.died(&format!("it takes no job: {error}")))
    }

    fn recv(&mut self) -> Result<Event, WorkerDied> {
        let mut line = Vec::new();
        match (&mut self.stdout).take(MAX_EVENT_BYTES).read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\n") => serde_json::from_slice(&line).map_err(|error| {
                let start = String::from_utf8_lossy(&line[..line.len().min(200)]).trim().to_string();
                self.died(&format!("it said something that is not an event: {error}: {start}"))
            }),
            Ok(0) => Err(self.died("it ended")),
            Ok(_) => Err(self.died("it ended in the middle of an event")),
            Err(error) => Err(self.died(&format!("it cannot be heard: {error}"))),
        }
    }

    fn log_to(&mut self, path: &Path) {
        let mut said = lock(&self.said);
        if let Ok(mut log) = OpenOptions::new().create(true).append(true).open(path) {
            // As in `StderrSoFar::add`, a log that cannot be written does not stop the run.
            drop(log.write_all(readable(&said.unlogged).as_bytes()));
            said.unlogged.clear();
            said.log = Some(log);
        }
    }

    fn end(&mut self) {
        self.stdin = None;
        // If the process has gone already, that is fine.
        drop(self.child.kill());
        drop(self.child.wait());
        if let Some(listener) = self.listener.take() {
            drop(listener.join());
        }
    }
}

impl Drop for ProcessWorker {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use words::{Advice, Hint};

    /// Removes the file with the standard error of a worker that had no log.
    fn remove_log(died: &WorkerDied) {
        // Another test may have replaced it.
        died.log.iter().for_each(|path| drop(std::fs::remove_file(path)));
    }

    /// Held by tests whose workers have no log: a process keeps the words of one such worker at a time.
    static WITHOUT_LOG: Mutex<()> = Mutex::new(());

    fn shell(script: &str) -> Box<dyn WorkerLink> {
        ProcessWorkers { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()] }.start().expect("a shell")
    }

    #[test]
    fn a_worker_that_aborts_says_its_last_words_and_the_log_has_all_of_them() {
        let dir = tempfile::tempdir().expect("temp dir");
        let log = dir.path().join("worker-0.stderr");
        let mut link = shell("echo early >&2; read line; echo GGML_ASSERT failed >&2; kill -ABRT $$");
        link.log_to(&log);
        link.send(&Job::Corpus { text: "text".into(), special: false }).expect("it is listening");
        let died = link.recv().expect_err("it aborts");
        assert!(died.last_words == "GGML_ASSERT failed" && died.cause.is_none(), "{died}");
        assert!(died.to_string().contains("signal: 6"), "{died}");
        assert_eq!(std::fs::read_to_string(&log).expect("log"), "early\nGGML_ASSERT failed\n");
    }

    #[test]
    fn of_a_worker_killed_from_outside_the_signal_is_told_and_no_cause_that_nobody_established() {
        let _alone = WITHOUT_LOG.lock();
        let died = shell("echo loading >&2; kill -KILL $$").recv().expect_err("it is killed");
        let text = died.to_string();
        assert!(text.contains("signal: 9") && died.last_words == "loading", "{text}");
        assert!(died.cause == Some(DeathCause::Killed) && died.hint().is_none() && !text.contains("memory"), "{text}");
        remove_log(&died);
    }

    #[test]
    fn a_worker_that_assay_stops_is_said_to_have_been_stopped_by_assay() {
        let died = shell("echo hello; exec sleep 60").recv().expect_err("no event");
        assert_eq!(died.cause, Some(DeathCause::StoppedByAssay), "{died}");
        assert!(died.what.contains("hello") && died.to_string().contains("stopped by assay"), "{died}");
    }

    #[test]
    fn an_allocation_that_fails_is_told_only_where_the_last_line_says_so() {
        let _alone = WITHOUT_LOG.lock();
        for says in
            ["memory allocation of 64 bytes failed", "what():  std::bad_alloc", "ggml: failed to allocate buffer"]
        {
            let died = shell(&format!("echo '{says}' >&2; kill -ABRT $$")).recv().expect_err("it aborts");
            assert!(died.hint() == Some(Hint::LimitMemory) && died.last_words == says, "{died}");
            remove_log(&died);
        }
        let script = "echo 'failed to allocate buffer, trying a smaller one' >&2; echo 'GGML_ASSERT(n > 0) failed' >&2; kill -ABRT $$";
        let died = shell(script).recv().expect_err("it aborts");
        assert!(died.cause.is_none() && !died.to_string().contains("memory"), "{died}");
        remove_log(&died);
        let script =
            "echo 'failed to allocate buffer, trying a smaller one' >&2; echo 'loading done' >&2; kill -SEGV $$";
        let died = shell(script).recv().expect_err("it crashes");
        assert!(died.cause.is_none() && died.hint() != Some(Hint::LimitMemory), "{died}");
        remove_log(&died);
    }

    #[test]
    fn what_is_said_before_there_is_a_log_is_not_lost() {
        let dir = tempfile::tempdir().expect("temp dir");
        let log = dir.path().join("worker-0.stderr");
        let mut link = shell(
            "echo early >&2; echo '{\"event\":\"cell_failed\",\"cell\":\"c\",\"why\":\"w\",\"nonfinite\":false}'; read line",
        );
        assert!(matches!(link.recv(), Ok(Event::CellFailed { .. })));
        std::thread::sleep(std::time::Duration::from_millis(100));
        link.log_to(&log);
        assert_eq!(std::fs::read_to_string(&log).expect("log"), "early\n");
    }

    #[test]
    fn a_log_has_nothing_that_steers_the_terminal_on_which_it_is_read() {
        let dir = tempfile::tempdir().expect("temp dir");
        let log = dir.path().join("worker-0.stderr");
        let mut link = shell("printf 'a\\033[31mb\\tc\\r\\n\\033]0;title\\007' >&2; read line; exit 1");
        link.log_to(&log);
        link.send(&Job::Corpus { text: "text".into(), special: false }).expect("it is listening");
        drop(link.recv().expect_err("it ends"));
        let text = std::fs::read_to_string(&log).expect("log");
        assert_eq!(text, "a\\u{1b}[31mb\tc\\r\n\\u{1b}]0;title\\u{7}");
    }

    #[test]
    fn noise_and_torn_events_are_a_death_with_the_noise_in_it() {
        assert!(shell("echo hello").recv().expect_err("no event").what.contains("hello"));
        assert!(shell("printf '{\"event\"'").recv().expect_err("torn").what.contains("in the middle"));
        assert!(shell("exit 7").recv().expect_err("ended").to_string().contains("exit status: 7"));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let factory = ProcessWorkers { program: "/nonexistent/assay".into(), args: vec![] };
        let died = factory.start().err().expect("no such program");
        assert!(died.what.contains("/nonexistent/assay"));
    }

    #[test]
    fn the_most_telling_of_the_last_words_comes_first_and_half_a_line_is_left_out() {
        let last_words = |tail: &str| last_words(&last_lines(tail));
        assert_eq!(last_words("a\nGGML_ASSERT(x) failed\nframe 1\n"), "GGML_ASSERT(x) failed");
        assert_eq!(last_words("one\n two \n"), "two");
        assert_eq!((last_words("alone\n"), last_words("\n")), ("alone".to_string(), String::new()));
        let cut = format!("{}\nwhole", "x".repeat(LAST_WORDS_BYTES));
        assert_eq!(last_words(&cut), "whole");
    }

    #[test]
    fn what_no_log_has_is_kept_in_a_file_that_is_named() {
        let _alone = WITHOUT_LOG.lock();
        let died = shell("echo first >&2; echo GGML_ASSERT failed >&2; exit 6").recv().expect_err("ended");
        assert_eq!(died.last_words, "GGML_ASSERT failed");
        let path = died.log.expect("named");
        assert_eq!(std::fs::read_to_string(&path).expect("kept"), "first\nGGML_ASSERT failed\n");
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn last_words_are_bounded() {
        let _alone = WITHOUT_LOG.lock();
        let died = shell("head -c 100000 /dev/zero | tr '\\0' x >&2").recv().expect_err("ended");
        assert!(died.last_words.len() < LAST_WORDS_BYTES, "{} bytes", died.last_words.len());
        remove_log(&died);
    }
}
