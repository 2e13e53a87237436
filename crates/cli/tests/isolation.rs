//! Workers that die for real in the middle of a run: one cell fails with a reason, everything else is as in a calm run.

#![cfg(target_os = "linux")]

mod support;

use lab::{Corpus, Plan};
use llama::GgmlCodec;
use record::RunEvent;
use record::{Role, RunRecord};
use select::Apply;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use synth::{Architecture, SmallModel, Vocabulary};
use worker::protocol::{Event, Job};
use worker::{LinkFactory, ProcessWorkers, WorkerDied, WorkerLink};

/// A table of 32 MiB in F32: the C library gives allocations of this size back at once, so a worker's peak says what it held.
const N_VOCAB: usize = 1 << 17;
/// Holds a reference to every value while it works: far more than any control of the run.
const HUNGRY: &str = "shuffle@tensor";
const MIB: u64 = 1024;

/// How the worker of the hungry cell ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    None,
    /// The worker runs out of memory; the number limits its address space, in KiB.
    OutOfMemory(u64),
    Signal(rustix::process::Signal),
}

/// What is seen of the workers of a run.
#[derive(Default)]
struct Witnessed {
    started: Cell<usize>,
    /// KiB of address space at most, before a worker was given the hungry cell and when it ended.
    peak_before: Cell<u64>,
    peak_after: Cell<u64>,
    /// Key of the first arm's hungry cell.
    hungry: RefCell<Option<String>>,
}

/// Workers of the program itself, each in a shell that names its process and limits it.
struct Workers<'a> {
    folder: &'a Path,
    death: Death,
    seen: Rc<Witnessed>,
}

impl LinkFactory for Workers<'_> {
    fn start(&self) -> Result<Box<dyn WorkerLink>, WorkerDied> {
        let at = self.seen.started.get();
        self.seen.started.set(at + 1);
        let pid_file = self.folder.join(format!("pid-{at}"));
        let limit = match self.death {
            Death::OutOfMemory(limit) => limit.to_string(),
            _ => "unlimited".into(),
        };
        // One heap for all threads: address space that others would only reserve does not count as memory.
        let script = r#"echo $$ > "$0"; ulimit -v "$1"; MALLOC_ARENA_MAX=1 exec "$2" worker"#;
        let args = vec![
            "-c".into(),
            script.into(),
            pid_file.clone().into_os_string(),
            limit.into(),
            env!("CARGO_BIN_EXE_assay").into(),
        ];
        let link = ProcessWorkers { program: "/bin/sh".into(), args }.start()?;
        let (death, seen) = (self.death, Rc::clone(&self.seen));
        Ok(Box::new(Link { link, pid_file, death, seen }))
    }
}

struct Link {
    link: Box<dyn WorkerLink>,
    pid_file: PathBuf,
    death: Death,
    seen: Rc<Witnessed>,
}

impl Link {
    fn pid(&self) -> String {
        std::fs::read_to_string(&self.pid_file).expect("the shell named it").trim().to_owned()
    }

    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap_or("0");
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
    }
}

impl WorkerLink for Link {
    fn send(&mut self, job: &Job) -> Result<(), WorkerDied> {
        if let Job::Measure { cells, .. } = job {
            let hungry = cells.iter().find(|cell| cell.edits.iter().any(|edit| edit.scheme.starts_with("shuffle")));
            if let Some(hungry) = hungry
                && self.seen.hungry.borrow().is_none()
            {
                self.seen.hungry.replace(Some(hungry.key.clone()));
                self.seen.peak_before.set(self.peak());
            }
        }
        self.link.send(job)
    }

    fn recv(&mut self) -> Result<Event, WorkerDied> {
        let event = self.link.recv();
        if let (Ok(Event::Started { cell: Some(key), .. }), Death::Signal(signal)) = (&event, self.death)
            && Some(key) == self.seen.hungry.borrow().as_ref()
        {
            support::send(signal, self.pid().parse().expect("the id of a process"));
        }
        event
    }

    fn log_to(&mut self, path: &Path) {
        self.link.log_to(path);
    }

    fn end(&mut self) {
        self.link.end();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.seen.peak_after.set(self.seen.peak_after.get().max(self.peak()));
    }
}

/// A run into `folder/name`, and what was said of memory and of the hungry cell.
fn run(plan: &Plan, folder: &Path, name: &str, death: Death) -> (RunRecord, Vec<RunEvent>, Rc<Witnessed>) {
    let seen = Rc::new(Witnessed::default());
    let workers = Workers { folder, death, seen: Rc::clone(&seen) };
    let prepared = lab::prepare(plan.clone(), &llama::build()).expect("a sound plan");
    let mut events = Vec::new();
    let record =
        lab::run(&prepared, &folder.join(name), &workers, &GgmlCodec, &|plan, _, _| plan.name.clone(), &mut |event| {
            events.push(event.clone());
        });
    (record.expect("the run ends"), events, seen)
}

/// Finished cells and samples by name.
fn results(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = |folder: &str| {
        let of =
            |name: &String| (format!("{folder}/{name}"), std::fs::read(run.join(folder).join(name)).expect("a file"));
        support::names_in(&run.join(folder)).iter().map(of).collect::<Vec<_>>()
    };
    ["cells", "samples"].into_iter().flat_map(files).collect()
}

#[test]
fn a_worker_that_runs_out_of_memory_is_killed_or_aborts_costs_its_cell_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("m.gguf");
    let vocabulary = Vocabulary::bytes(true).padded_to(N_VOCAB).expect("there are fewer tokens");
    let mut recipe = SmallModel::new(Architecture::Llama).recipe(&vocabulary);
    recipe.tensors.retain(|tensor| tensor.spec.name != "output.weight");
    recipe.write(&model, &GgmlCodec, |_| {}).expect("written");
    let apply: Apply = format!("token_embd={HUNGRY}").parse().expect("a question");
    let mut plan = Plan::asked(&apply, vec![model], Corpus::new("text", support::text(100)));
    plan.settings = eval::EngineSettings::pinned(32);
    (plan.chunks, plan.layer_chunks, plan.n_threads) = (2, 1, 1);

    let (_, events, _) = run(&plan, folder.path(), "calm", Death::None);
    let calm = results(&folder.path().join("calm"));
    // No edit is kept from cell to cell, so that a fresh worker needs for the hungry cell what the first one does.
    let budget = events.iter().find_map(|event| match event {
        RunEvent::Memory { plan, .. } => Some(plan.total_bytes - plan.kept_edits_bytes),
        _ => None,
    });
    plan.max_memory_bytes = budget;
    let (_, _, seen) = run(&plan, folder.path(), "within", Death::None);
    assert!(results(&folder.path().join("within")) == calm, "a budget changes no bit");
    let (before, after) = (seen.peak_before.get(), seen.peak_after.get());
    assert!(after > before + 32 * MIB, "the hungry cell took the worker from {before} KiB to {after} KiB only");

    // Memory is short in both arms; signals come in the first one only, and the second is measured after them.
    for (name, death, reason, n_failed) in [
        (
            "memory",
            Death::OutOfMemory(before + (after - before) / 4),
            ["signal: 6", "memory could not be allocated"],
            2,
        ),
        ("killed", Death::Signal(rustix::process::Signal::KILL), ["signal: 9", "the worker is gone"], 1),
        ("aborts", Death::Signal(rustix::process::Signal::ABORT), ["signal: 6", "the worker is gone"], 1),
    ] {
        let (record, events, seen) = run(&plan, folder.path(), name, death);
        let deaths = events.iter().filter(|event| matches!(event, RunEvent::WorkerDied { .. })).count();
        let cells = &record.models[0].cells;
        let failed: Vec<_> = cells.iter().filter(|judged| judged.cell.failure.is_some()).collect();
        assert_eq!((failed.len(), deaths), (n_failed, 2 * n_failed), "{name}: {failed:#?}");
        for judged in &failed {
            let why = judged.cell.failure.as_deref().unwrap_or_default();
            assert!(reason.iter().all(|part| why.contains(part)), "{name}: {why}");
            // Nobody established that a kill from outside had to do with memory.
            assert!(name == "memory" || !(why.contains("allocated") || why.contains("out-of-memory")), "{name}: {why}");
            assert_eq!(judged.cell.role, Role::Variant, "{name}");
        }
        // Nothing else is missing, and nothing of it differs.
        let there = results(&folder.path().join(name));
        let is_failed = |file: &str| failed.iter().any(|judged| file.contains(judged.cell.key.as_str()));
        for (file, bytes) in calm.iter().filter(|(file, _)| !is_failed(file)) {
            assert!(there.get(file) == Some(bytes), "{name}: {file}");
        }
        let log = std::fs::read_to_string(folder.path().join(name).join("worker-0.stderr")).expect("a log");
        let loaded = log.matches("llama_model_loader: loaded meta data").count();
        assert_eq!(loaded, seen.started.get(), "{name}: every worker's words are kept");
        // With room and peace the same folder comes to the end of a calm run.
        run(&plan, folder.path(), name, Death::None);
        assert!(results(&folder.path().join(name)) == calm, "{name}");
    }
}

/// A library that goes on printing to the standard output of a worker or of the process of `assay verify`, as soon as that is standard error, or after a second.
const NOISE: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
static void *noise(void *unused) {
    struct stat out, err;
    for (int waited = 0; waited < 1000; waited++) {
        if (!fstat(1, &out) && !fstat(2, &err) && out.st_ino == err.st_ino) break;
        usleep(1000);
    }
    for (int said = 0;; said++) {
        printf("noise of a library\n");
        fflush(stdout);
        if (said == 0) fclose(fopen(getenv("ASSAY_TEST_MARKER"), "w"));
        usleep(500);
    }
    return unused;
}
__attribute__((constructor)) static void begin(void) {
    char line[4096] = {0};
    FILE *file = fopen("/proc/self/cmdline", "r");
    size_t n = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    for (size_t at = 0; at < n; at += strlen(line + at) + 1)
        if (strcmp(line + at, "worker") == 0 || strcmp(line + at, "--child") == 0) {
            pthread_t thread;
            pthread_create(&thread, NULL, noise, NULL);
            pthread_detach(thread);
        }
}
"#;

/// A folder with the library, compiled, and a small model.
fn noisy_room() -> tempfile::TempDir {
    let room = tempfile::tempdir().expect("a folder");
    let at = |name: &str| room.path().join(name);
    std::fs::write(at("noise.c"), NOISE).expect("written");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-pthread", "-o"]).args([at("noise.so"), at("noise.c")]);
    assert!(compiler.status().expect("a C compiler, as the build needs one").success());
    let recipe = SmallModel::new(Architecture::Llama).recipe(&Vocabulary::bytes(true));
    recipe.write(&at("m.gguf"), &GgmlCodec, |_| {}).expect("written");
    room
}

/// What a command prints, with or without the library.
fn printed(room: &Path, arguments: &[&str], noisy: bool) -> String {
    let mut assay = Command::new(env!("CARGO_BIN_EXE_assay"));
    assay.args(arguments).current_dir(room).env("ASSAY_TEST_MARKER", room.join("marker"));
    if noisy {
        assay.env("LD_PRELOAD", room.join("noise.so"));
    }
    let done = assay.output().expect("runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("UTF-8")
}

#[test]
fn what_a_library_prints_in_a_worker_never_reaches_the_protocol() {
    let room = noisy_room();
    let eval = ["eval", "m.gguf", "--ctx", "64", "--chunks", "4", "--apply", "ffn_down=int4@row", "--json"];
    assert_eq!(printed(room.path(), &eval, true), printed(room.path(), &eval, false));
    assert!(room.path().join("marker").exists(), "the library never printed");
}

#[test]
fn what_a_library_prints_while_a_model_is_verified_ends_nothing() {
    let room = noisy_room();
    let report = printed(room.path(), &["verify", "m.gguf", "--ctx", "64", "--json"], true);
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["failed"], 0, "{report}");
    assert!(room.path().join("marker").exists(), "the library never printed");
}
