//! `assay run PRESET MODEL…`: a question, asked of some models with all its controls.

use crate::advice;
use crate::corpus;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;
use crate::progress::Progress;
use crate::settings::SettingsArgs;
use crate::worker;
use files::SchemeFiles;
use lab::{Plan, RunError};
use llama::GgmlCodec;
use record::answer::{Effects, RunAnswer, VariantVerdict};
use record::{Arm, ControlRecord, Extent, RunEvent, RunRecord, store};
use select::Apply;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use words::{Lines, divergence, escape_terminal, nats, perplexity, plural, share, times};

/// Arguments of `assay run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The question: ffn-norm-bf16, attention-int8, embedding-4bit, or one of your own such as 'ffn_down=q4_0'
    #[arg(value_name = "PRESET|SEL=SCHEME")]
    question: String,
    /// GGUF files
    #[arg(value_name = "MODEL", required = true)]
    models: Vec<PathBuf>,
    /// Run folder; runs/ID in this folder if left out. A finished run is re-used, an unfinished one goes on
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingsArgs,
    /// Windows of the single-layer cells
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = lab::plan::DEFAULT_LAYER_CHUNKS as u32, value_parser = clap::value_parser!(u32).range(1..))]
    layer_chunks: u32,
}

/// Runs `assay run`.
pub fn run(args: &RunArgs, output: &Output) -> Outcome {
    let plan = plan(args)?;
    let prepared = lab::prepare(plan, &llama::build()).map_err(failure)?;
    let dir = args.out.clone().unwrap_or_else(|| Path::new("runs").join(prepared.id()));
    if dir.exists() && !dir.is_dir() {
        let why = format!("{}: is a file, wanted a folder for the run", shown(&dir));
        return Err(Failure::input(why, "choose another --out"));
    }

    let mut display = Display {
        plan: prepared.plan(),
        dir: &dir,
        progress: Progress::new("starting", output.quiet()),
        memory: BTreeMap::new(),
        advised: BTreeSet::new(),
    };
    let record = lab::run(&prepared, &dir, &worker::workers()?, &GgmlCodec, &mut |event| display.show(event))
        .map_err(failure)?;
    drop(display);
    let answer = lab::ask::run_answer(&record, &dir, &report(&record, &dir)?);
    output.answer(&answer, || text(&answer))?;
    Ok(exit_of(&record))
}

/// Writes the reports and gives the path of the first. In a folder that can only be read, those that are there count.
fn report(record: &RunRecord, dir: &Path) -> Result<PathBuf, Failure> {
    let folder = dir.join("report");
    let there = folder.join("report.md");
    match report::write(record, &folder) {
        Ok(files) => Ok(files.into_iter().next().unwrap_or(there)),
        Err(_) if there.is_file() && store::check_writable(dir).is_err() => Ok(there),
        Err(error) => Err(error.into()),
    }
}

/// A control that was measured and failed is told from one that could not be measured.
fn exit_of(record: &RunRecord) -> Exit {
    let models = &record.models;
    let failed_cell = models.iter().flat_map(|model| &model.cells).any(|judged| judged.cell.failure.is_some());
    if models.iter().flat_map(|model| &model.controls).any(ControlRecord::has_failed) {
        Exit::ControlFailed
    } else if failed_cell || !record.controls_ok {
        Exit::Engine
    } else {
        Exit::Done
    }
}

/// From what was typed to a plan that can be run.
fn plan(args: &RunArgs) -> Result<Plan, Failure> {
    let corpus = corpus::read(args.settings.text.as_deref())?;
    let mut plan = match args.question.contains('=') {
        true => {
            let apply: Apply = args.question.parse()?;
            Plan::asked(&SchemeFiles::default().resolve(&apply)?, args.models.clone(), corpus)
        }
        false => Plan::preset(&args.question, args.models.clone(), corpus)?,
    };
    plan.chunks = args.settings.chunks as usize;
    plan.layer_chunks = args.layer_chunks as usize;
    plan.settings = args.settings.engine();
    plan.n_threads = args.settings.machine.threads as usize;
    plan.max_memory_bytes = args.settings.max_memory_bytes();
    Ok(plan)
}

fn failure(error: RunError) -> Failure {
    let exit = if error.exit_code() == 2 { Exit::BadInput } else { Exit::Engine };
    Failure { exit, hint: advice::of(&error), error: error.into() }
}

/// The method's settings, defaults included, once nothing can refuse the run any more and before anything is measured.
fn announcement(plan: &Plan, chunks: usize, dir: &Path) -> [String; 4] {
    let seeds: Vec<String> = plan.jitter_seeds.iter().map(u64::to_string).collect();
    let arms: Vec<&str> = plan.arms.iter().map(|arm| arm.name()).collect();
    let method = format!(
        "method: {} = {} on {} of {} tokens ({} per single layer), text {}, {} arm, jitter seeds {}",
        plan.target,
        plan.scheme,
        plural(chunks, "window"),
        plan.settings.n_ctx,
        plan.layer_chunks.min(chunks),
        escape_terminal(&plan.corpus.name),
        arms.join(" and "),
        seeds.join(", "),
    );
    [
        format!("{}: {}", plan.name, plan.question),
        format!("hypothesis: {}", plan.hypothesis),
        method,
        format!("run folder: {}", shown(dir)),
    ]
}

fn shown(path: &Path) -> String {
    escape_terminal(path.as_os_str().as_encoded_bytes())
}

/// Shows a run's events as they come.
struct Display<'a> {
    plan: &'a Plan,
    dir: &'a Path,
    progress: Progress,
    /// The most that was said to be needed, by model and arm.
    memory: BTreeMap<(String, Arm), u64>,
    /// The advice that was given already.
    advised: BTreeSet<String>,
}

impl Display<'_> {
    fn show(&mut self, event: &RunEvent) {
        let model = |name: &str| escape_terminal(name);
        match event {
            RunEvent::Begun { resumed, cells, finished, chunks, .. } => {
                for line in announcement(self.plan, *chunks, self.dir) {
                    self.progress.say(&line);
                }
                let all = plural(*cells, "cell");
                self.progress.say(&match resumed {
                    true => format!("resuming: {finished} of {all} there already"),
                    false => format!("{all} to measure"),
                });
            }
            RunEvent::FewerChunks { wanted, used } => {
                let there = plural(*used, "window");
                self.progress.say(&format!("the text has {there}, {wanted} were asked for; all of it is used"));
            }
            RunEvent::Census { model: name, summary } => self.progress.say(&format!("{}: {summary}", model(name))),
            // All of the stage's cells are there already.
            RunEvent::StageStarted { cells: 0, .. } => {}
            RunEvent::StageStarted { model: name, stage, cells } => {
                let label = format!("{}: {}", model(name), stage.words());
                self.progress.say(&format!("{label}, {}", plural(*cells, "cell")));
                self.progress.label(&label);
            }
            RunEvent::Memory { model: name, arm, plan } => {
                // The stages of an arm take much the same; the most is what has to fit.
                let most = self.memory.entry((name.clone(), *arm)).or_default();
                if plan.total_bytes > *most {
                    *most = plan.total_bytes;
                    self.progress.say(&format!("{}: {} arm, memory {}", model(name), arm.name(), plan.words()));
                }
            }
            RunEvent::Note { model: name, text } => {
                self.progress.say(&format!("{}: {}", model(name), escape_terminal(text)));
            }
            RunEvent::Progress { done, total, .. } => self.progress.at(*done, *total),
            RunEvent::CellFailed { model: name, target, why, hint, .. } => {
                let why = why.lines().next().unwrap_or_default();
                self.progress.say(&format!("{}: {target} failed: {}", model(name), escape_terminal(why)));
                // Cells that fail together have the same advice.
                if let Some(hint) = hint.as_ref().map(advice::words)
                    && self.advised.insert(hint.clone())
                {
                    self.progress.say(&format!("hint: {}", escape_terminal(hint)));
                }
            }
            RunEvent::WorkerDied { model: name, during, last_words, again } => {
                let next = if *again { "trying once more" } else { "giving it up" };
                let words = escape_terminal(last_words);
                self.progress.say(&format!("{}: the worker died during {during}; {next}. {words}", model(name)));
            }
            RunEvent::Fault { model: name, control, found } => {
                self.progress.say(&format!("{}: control {control} failed: {found}", model(name)));
            }
            RunEvent::Gate { model: name, after, go_on: false, why } => {
                self.progress.say(&format!("{}: stopped after {}: {why}", model(name), after.words()));
            }
            RunEvent::Gate { .. }
            | RunEvent::Measuring { .. }
            | RunEvent::CellDone { .. }
            | RunEvent::Verdict { .. }
            | RunEvent::Finished { .. } => {}
        }
    }
}

fn text(run: &RunAnswer) -> String {
    let mut out = Lines::new();
    for answer in &run.answers {
        out.line(format_args!("{}: {}", escape_terminal(&answer.model), answer.sentence));
        let of_target = |row: &&VariantVerdict| row.model == answer.model && row.extent != Extent::Layer;
        for row in run.verdicts.iter().filter(of_target) {
            let (arm, verdict) = (row.arm.name(), row.verdict.name());
            let part = if row.extent == Extent::Part { format!(", {} alone", row.target) } else { String::new() };
            let effects = row.effects.as_ref().map_or(String::new(), |effects| format!(": {}", words(effects)));
            let windows = plural(row.chunks, "window");
            out.line(format_args!("  {verdict:<12} {arm} arm, {windows}{part}{effects}"));
        }
    }
    let held = run.controls.iter().filter(|control| control.ok).count();
    out.line(format_args!("controls: {held} of {} held", run.controls.len()));
    for control in run.controls.iter().filter(|control| !control.ok) {
        let model = escape_terminal(&control.model);
        let arm = control.arm.map_or(String::new(), |arm| format!(", {} arm", arm.name()));
        out.line(format_args!(
            "  {} {} on {model}{arm}: wanted {}, found {}",
            if control.has_failed() { "FAILED" } else { "NOT MEASURED" },
            control.name,
            control.expected,
            control.found
        ));
    }
    out.line(format_args!("report: {}", escape_terminal(&run.report)));
    out.into_string()
}

fn words(effects: &Effects) -> String {
    let mut words = format!(
        "KLD {}, PPL {} against {}, same top {}",
        nats(effects.kld_mean),
        perplexity(effects.ppl),
        perplexity(effects.ppl_ref),
        share(effects.same_top)
    );
    if let Some(floor) = effects.floor_kld_mean_max {
        words += &format!(", floor {}", divergence(floor));
    }
    if let Some(ratio) = effects.floor_ratio {
        words += &format!(" ({})", times(ratio));
    }
    words
}
