//! A worker in a thread of this process. It uses the same lines of JSON as a worker in a process of its own.
//!
//! It is meant for tests, and for checks that must reach the engine behind the worker. It does not protect the caller:
//! an engine that aborts ends this process too.

use super::{LinkFactory, WorkerDied, WorkerLink};
use crate::protocol::{Event, Job};
use crate::serve;
use eval::{Engine, EngineError};
use numerics::BlockCodec;
use record::EngineSettings;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{IntoIter, Receiver, Sender, channel};
use std::thread::JoinHandle;

/// A function that opens a model, given its path, the settings and the number of threads.
pub type OpenModel = Arc<dyn Fn(&Path, &EngineSettings, usize) -> Result<Box<dyn Engine>, EngineError> + Send + Sync>;

/// The conversions of ggml's types, shared by several threads.
pub type SharedCodec = Arc<dyn BlockCodec + Send + Sync>;

/// The work of a worker: it reads jobs and writes events. It returns when the jobs end or nobody reads the events any
/// more.
type Serve = dyn Fn(JobLines, EventLines) -> io::Result<()> + Send + Sync;

/// Starts workers, each in a thread of this process.
#[derive(Clone)]
pub struct ThreadWorkers {
    serve: Arc<Serve>,
}

impl ThreadWorkers {
    /// Workers that open models with `open` and convert ggml's types with `codec`: [`serve`](fn@serve) in a thread.
    pub fn new(open: OpenModel, codec: SharedCodec) -> Self {
        Self::serving(move |jobs, events| serve(&|path, settings, n| open(path, settings, n), &*codec, jobs, events))
    }

    /// Workers that run `serve` instead, such as [`serve`](fn@serve) with its lines changed on the way.
    pub fn serving(serve: impl Fn(JobLines, EventLines) -> io::Result<()> + Send + Sync + 'static) -> Self {
        ThreadWorkers { serve: Arc::new(serve) }
    }
}

impl LinkFactory for ThreadWorkers {
    fn start(&self) -> Result<Box<dyn WorkerLink>, WorkerDied> {
        let (to_worker, jobs) = channel();
        let (to_caller, events) = channel();
        let serve = self.serve.clone();
        let thread = std::thread::Builder::new()
            .name("worker".into())
            .spawn(move || serve(JobLines(jobs.into_iter()), EventLines { line: Vec::new(), to_caller }))
            .map_err(|error| died(format!("its thread cannot be started: {error}")))?;
        Ok(Box::new(ThreadWorker { to_worker: Some(to_worker), events: Some(events), thread: Some(thread) }))
    }
}

/// The lines of jobs that reach a worker, until the caller ends it.
pub struct JobLines(IntoIter<String>);

impl Iterator for JobLines {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(Ok)
    }
}

/// The output of a worker. Each line is parsed as an event and passed to the caller.
pub struct EventLines {
    line: Vec<u8>,
    to_caller: Sender<Event>,
}

impl Write for EventLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.ends_with(b"\n") {
                let event = serde_json::from_slice(&self.line).map_err(io::Error::other)?;
                self.line.clear();
                self.to_caller.send(event).map_err(|_| io::ErrorKind::BrokenPipe)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A running worker, which ends when this is dropped.
struct ThreadWorker {
    /// The sender of jobs. When it is dropped, the worker ends after its current job.
    to_worker: Option<Sender<String>>,
    /// The receiver of events. When it is dropped, the worker ends at its next event.
    events: Option<Receiver<Event>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

fn died(what: String) -> WorkerDied {
    WorkerDied::misunderstood(&what)
}

impl ThreadWorker {
    /// Waits until the thread ends and says how it ended.
    fn ended(&mut self) -> WorkerDied {
        (self.to_worker, self.events) = (None, None);
        let why = match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => "it ended".into(),
            Some(Ok(Err(error))) => format!("it ended: {error}"),
            Some(Err(panic)) => {
                let text = panic.downcast_ref::<&str>().copied();
                let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
                format!("its thread panicked: {}", text.unwrap_or("it gave no reason"))
            }
        };
        died(why)
    }
}

impl WorkerLink for ThreadWorker {
    fn send(&mut self, job: &Job) -> Result<(), WorkerDied> {
        let line = serde_json::to_string(job).map_err(|error| died(format!("the job cannot be written: {error}")))?;
        let sent = self.to_worker.as_ref().is_some_and(|to_worker| to_worker.send(line).is_ok());
        if sent { Ok(()) } else { Err(self.ended()) }
    }

    fn recv(&mut self) -> Result<Event, WorkerDied> {
        let event = self.events.as_ref().and_then(|events| events.recv().ok());
        event.ok_or_else(|| self.ended())
    }

    fn end(&mut self) {
        self.ended();
    }
}

impl Drop for ThreadWorker {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use numerics::PlainCodec;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn corpus(text: &str) -> Job {
        Job::Corpus { text: text.into(), special: false }
    }

    /// A worker that answers each job with an event that quotes the job. It writes the event in two parts.
    fn echo() -> ThreadWorkers {
        ThreadWorkers::serving(|jobs, mut events| {
            for job in jobs {
                let event = Event::Failed { why: job?, hint: None, input: true };
                let line = serde_json::to_vec(&event).map_err(io::Error::other)?;
                let (one, two) = line.split_at(line.len() / 2);
                events.write_all(one)?;
                events.write_all(&[two, &b"\n"[..]].concat())?;
            }
            Ok(())
        })
    }

    fn why(event: Event) -> String {
        let Event::Failed { why, .. } = event else { panic!("another event: {event:?}") };
        why
    }

    #[test]
    fn jobs_go_in_and_events_come_out_in_their_order() {
        let mut link = echo().start().expect("a thread");
        link.send(&corpus("one\n\"line\"")).expect("it listens");
        link.send(&corpus("two")).expect("it listens");
        for text in ["one\n\"line\"", "two"] {
            let job: Job = serde_json::from_str(&why(link.recv().expect("an answer"))).expect("the job");
            assert!(matches!(job, Job::Corpus { text: ref found, .. } if found == text), "{job:?}");
        }
    }

    #[test]
    fn the_workers_loop_is_served_and_its_engine_opened() {
        let open: OpenModel = Arc::new(|path, _, n| Err(EngineError::Failed(format!("{} for {n}", path.display()))));
        let mut link = ThreadWorkers::new(open, Arc::new(PlainCodec)).start().expect("a thread");
        let settings = EngineSettings::pinned(64);
        link.send(&Job::Open {
            build: crate::protocol::BUILD.into(),
            model: "a.gguf".into(),
            settings,
            n_threads: 3,
            max_memory_bytes: None,
        })
        .expect("it listens");
        assert!(why(link.recv().expect("an answer")).ends_with("a.gguf for 3"));
        link.send(&corpus("text")).expect("it still listens");
        assert!(why(link.recv().expect("an answer")).contains("no model"));
    }

    #[test]
    fn a_worker_that_is_ended_has_let_go_of_what_it_held() {
        struct Held(Arc<AtomicBool>);
        impl Drop for Held {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let is_free = Arc::new(AtomicBool::new(false));
        let seen = is_free.clone();
        let workers = ThreadWorkers::serving(move |jobs, _| {
            let _held = Held(seen.clone());
            jobs.for_each(drop);
            Ok(())
        });
        let mut link = workers.start().expect("a thread");
        link.send(&corpus("text")).expect("it listens");
        link.end();
        assert!(is_free.load(Ordering::SeqCst));
        assert_eq!(link.send(&corpus("text")).expect_err("it has ended").what, "it ended");
        assert_eq!(link.recv().expect_err("it has ended").what, "it ended");
        link.end();
    }

    #[test]
    fn a_worker_in_the_middle_of_a_job_ends_at_its_next_event() {
        let workers = ThreadWorkers::serving(|_, mut events| {
            let event = Event::Failed { why: "still at it".into(), hint: None, input: false };
            let line = [serde_json::to_vec(&event).map_err(io::Error::other)?, b"\n".to_vec()].concat();
            loop {
                events.write_all(&line)?;
            }
        });
        let mut link = workers.start().expect("a thread");
        link.recv().expect("the first of many");
        drop(link);
    }

    #[test]
    fn the_last_words_of_a_worker_say_how_it_ended() {
        let last_words = |workers: ThreadWorkers| {
            let mut link = workers.start().expect("a thread");
            // The worker may have gone before the job comes. In that case the error says the same.
            link.send(&corpus("text")).and_then(|()| link.recv().map(drop)).expect_err("it ends").what
        };
        assert_eq!(last_words(ThreadWorkers::serving(|_, _| Ok(()))), "it ended");
        let fails = ThreadWorkers::serving(|mut jobs, _| {
            jobs.next();
            Err(io::Error::other("out of luck"))
        });
        assert_eq!(last_words(fails), "it ended: out of luck");
        let panics = ThreadWorkers::serving(|mut jobs, _| {
            jobs.next();
            panic!("no {}", "engine")
        });
        assert_eq!(last_words(panics), "its thread panicked: no engine");
        let babbles = ThreadWorkers::serving(|mut jobs, mut events| {
            jobs.next();
            events.write_all(b"hello\n")
        });
        assert!(last_words(babbles).starts_with("it ended: expected value"));
    }
}
