//! The part of `assay verify` that has an engine. It runs in a process of its own, since llama.cpp writes to standard error
//! and may abort, and that ends with this one (`parent`). The process prints what it found as lines of JSON; the end of its
//! standard error is shown if it dies.

use super::mutants::{self, Mutant};
use crate::failure::{Exit, Failure};
use crate::threads;
use anyhow::anyhow;
use llama::{GgmlCodec, LlamaEngine};
use proof::{Check, OwnPipeline, Python};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use words::escape_terminal;
use worker::link::{OpenModel, SharedCodec};

/// The number of bytes of standard error that are shown when the process dies.
const LAST_WORDS_BYTES: usize = 2048;

/// A line of the process's output.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildLine {
    /// A check was made.
    Check(Check),
    /// A planted fault was tried.
    Mutant(Mutant),
    /// The task cannot be done as the user asked for it.
    Refused {
        /// The reason why the task is refused.
        why: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

/// A task for the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// To make the checks of a model.
    Model {
        /// The model file.
        path: PathBuf,
        /// The text to measure the model on; the built-in text if there is none.
        text: Option<PathBuf>,
        /// The window length in tokens.
        ctx: u32,
        /// The number of windows.
        windows: usize,
        /// The Python that is the third implementation.
        python: Option<PathBuf>,
    },
    /// To plant every fault.
    Mutate,
}

impl Task {
    /// The command line that asks for the task.
    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["verify".into(), "--child".into()];
        match self {
            Task::Mutate => arguments.push("--mutate".into()),
            Task::Model { path, text, ctx, windows, python } => {
                arguments.extend([format!("--ctx={ctx}").into(), format!("--chunks={windows}").into()]);
                for (option, value) in [("--text", text), ("--python", python)] {
                    if let Some(value) = value {
                        arguments.extend([option.into(), value.into()]);
                    }
                }
                // A name may begin with a dash.
                arguments.extend(["--".into(), path.into()]);
            }
        }
        arguments
    }
}

/// Has a task done in a process of its own. `hear` gets each line as it comes.
pub fn ask(task: &Task, hear: &mut dyn FnMut(ChildLine)) -> Result<(), Failure> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(task.arguments())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // Nothing is written there: that it is open tells the process that this one lives. `wait` would close it too early.
    let lifeline = child.stdin.take();
    let stderr = child.stderr.take();
    let listener = threads::spawn("engine-stderr", move || stderr.map_or(String::new(), last_words));
    let listener = listener.inspect_err(|_| {
        // Nobody would hear it.
        drop((child.kill(), child.wait()));
    })?;
    let mut refused = None;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            match serde_json::from_str(&line?)? {
                ChildLine::Refused { why, hint } => refused = Some((why, hint)),
                said => hear(said),
            }
        }
    }
    let status = child.wait()?;
    drop(lifeline);
    let words = listener.join().unwrap_or_default();
    match refused {
        Some((why, hint)) => Err(Failure { hint, ..Failure::from(anyhow!(why)) }),
        None if status.success() => Ok(()),
        None => {
            let hint = Some("`assay doctor` checks the engine; -v tells which check came last".into());
            let last = escape_terminal(words.trim());
            let error = anyhow!("the engine's process ended ({status}); its last words: {last}");
            Err(Failure { exit: Exit::Engine, error, hint })
        }
    }
}

/// The end of what the process says.
fn last_words(mut stderr: impl Read) -> String {
    let (mut tail, mut buffer) = (VecDeque::with_capacity(LAST_WORDS_BYTES), [0u8; 4096]);
    while let Ok(n @ 1..) = stderr.read(&mut buffer) {
        tail.extend(&buffer[..n]);
        tail.drain(..tail.len().saturating_sub(LAST_WORDS_BYTES));
    }
    String::from_utf8_lossy(tail.make_contiguous()).into_owned()
}

/// Does the task in this process and prints what it found on what standard output was when the process began. What a library
/// prints goes to standard error.
pub fn serve(task: &Task) -> Result<(), Failure> {
    let mut out = BufWriter::new(crate::worker::own_descriptor_for_events()?);
    let mut failed = None;
    let mut say = |said: &ChildLine| {
        // Whoever asked is gone when this fails: end at the next line.
        let line = serde_json::to_vec(said).map_err(anyhow::Error::new);
        let written = line.and_then(|line| {
            Ok(out.write_all(&line).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush())?)
        });
        failed = failed.take().or(written.err());
    };
    let open: OpenModel = Arc::new(|path: &Path, settings: &_, n_threads| {
        Ok(Box::new(LlamaEngine::open(path, settings, n_threads)?) as _)
    });
    let codec: SharedCodec = Arc::new(GgmlCodec);
    let result: Result<(), Failure> = match task {
        Task::Mutate => mutants::plant(open, codec, &mut |mutant| say(&ChildLine::Mutant(mutant.clone())))
            .map(|check| say(&ChildLine::Check(check))),
        Task::Model { path, text, ctx, windows, python } => {
            let text = crate::corpus::read(text.as_deref())?.text;
            let mut python = python.as_ref().and_then(|path| Python::start(path).ok());
            let pipeline = OwnPipeline::new(open, codec);
            proof::model::ModelUnderTest::open(&pipeline, path, &text, *ctx, *windows)
                .map(|subject| {
                    proof::model::checks(&subject, python.as_mut(), &mut |check| say(&ChildLine::Check(check)))
                })
                .map_err(Failure::from)
        }
    };
    if let Err(failure) = result {
        say(&ChildLine::Refused { why: failure.why(), hint: failure.hint });
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}
