//! `assay run PRESET MODEL…` and `assay run --apply SEL=SCHEME MODEL…`: a question, asked of some models with all its
//! controls.

use crate::advice;
use crate::failed::failed_cells;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;
use crate::progress::Progress;
use crate::question::QuestionArgs;
use crate::repeat;
use crate::settings::{MachineArgs, SeedArgs, SpecialArgs, TextArgs};
use crate::worker;
use clap::builder::Resettable;
use lab::Plan;
use lab::ask::{RunHeard, RunOutcome, RunQuestion, RunRequest};
use llama::GgmlCodec;
use record::answer::{Effects, RunAnswer, VariantVerdict};
use record::{Arm, CellExtent, RunEvent, RunRecord, store};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use words::{Lines, count, escape_terminal, nats, of, perplexity, plural, share, times};

/// Arguments of `assay run`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "assay run [OPTIONS] <PRESET> <MODEL>...\n       assay run [OPTIONS] --apply <SEL=SCHEME> <MODEL>..."
)]
#[command(mut_arg("apply", |apply| apply.help("Instead of a preset: quantize these tensors to this scheme, such as ffn_down=q4_0")))]
#[command(mut_arg("arm", |arm| arm.default_value(Resettable::Reset).help("Measure with these kernels only: exact computes with every weight in F32, native computes as the file is shipped [default: both]")))]
pub struct RunArgs {
    /// Experiment to run: ffn-norm-bf16, attention-int8 or embedding-4bit; left out with --apply
    #[arg(value_name = "PRESET")]
    first: Option<OsString>,
    /// The GGUF files to measure
    #[arg(value_name = "MODEL")]
    others: Vec<PathBuf>,
    /// Folder of the run; an unfinished run there is resumed, a finished one is reported again [default: runs/ID]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    question: QuestionArgs,
    #[command(flatten)]
    seed: SeedArgs,
    #[command(flatten)]
    text: TextArgs,
    #[command(flatten)]
    special: SpecialArgs,
    #[command(flatten)]
    machine: MachineArgs,
    /// Number of windows to measure where a single layer is quantized
    #[arg(long, value_name = "N", default_value_t = lab::plan::DEFAULT_LAYER_CHUNKS as u32, value_parser = clap::value_parser!(u32).range(1..))]
    layer_chunks: u32,
}

/// Runs `assay run`.
pub fn run(args: &RunArgs, output: &Output) -> Outcome {
    let request = request(args)?;
    let mut display = Display {
        progress: Progress::new("starting", output.quiet()),
        memory: BTreeMap::new(),
        advised: BTreeSet::new(),
    };
    let mut hear = |heard: RunHeard<'_>| display.show(heard);
    let ran = lab::ask::run(&request, &llama::build(), &worker::workers()?, &GgmlCodec, &repeat::command, &mut hear)?;
    drop(display);
    let answer = ran.answer(&report(&ran.record, &ran.dir)?);
    output.answer(&answer, || text(&answer))?;
    Ok(match ran.outcome {
        RunOutcome::Answered => Exit::Done,
        RunOutcome::ControlFailed => Exit::ControlFailed,
        RunOutcome::NotMeasured => Exit::Engine,
    })
}

/// Writes the reports and returns the path of the first. In a read-only folder it returns that of an existing report.
fn report(record: &RunRecord, dir: &Path) -> Result<PathBuf, Failure> {
    let folder = dir.join("report");
    let there = folder.join("report.md");
    match report::write(record, &folder) {
        Ok(files) => Ok(files.into_iter().next().unwrap_or(there)),
        Err(_) if there.is_file() && store::check_writable(dir).is_err() => Ok(there),
        Err(error) => Err(error.into()),
    }
}

/// Turns the arguments into a question.
fn request(args: &RunArgs) -> Result<RunRequest, Failure> {
    let mut models = args.others.clone();
    let question = match args.question.what.applies()?.as_slice() {
        [] => RunQuestion::Preset(preset(args)?),
        [apply] => {
            // Without a preset, the first word is also a model.
            models.splice(0..0, args.first.iter().map(PathBuf::from));
            require_no_preset(&models)?;
            RunQuestion::Apply(apply.clone())
        }
        several => {
            let hint = "join selectors that take one scheme with a comma, such as ffn_up,ffn_down=q4_0; `assay eval` takes several schemes";
            let n = several.len();
            return Err(Failure::input(format!("--apply is given {n} times, and a run asks one question"), hint));
        }
    };
    Ok(RunRequest {
        question,
        models,
        corpus: args.special.corpus(&args.text)?,
        layers: args.question.what.layers()?,
        allow_fallback: args.question.what.allow_fallback,
        arm: args.question.arm(),
        conditions: args.machine.conditions(),
        windows: args.text.windows(),
        layer_windows: args.layer_chunks as usize,
        seed: args.seed.seed,
        dir: args.out.clone(),
    })
}

/// The preset that was named, for a command line without `--apply`.
fn preset(args: &RunArgs) -> Result<String, Failure> {
    let usage = "for example assay run ffn-norm-bf16 MODEL, or assay run --apply ffn_down=q4_0 MODEL";
    let Some(first) = &args.first else {
        return Err(Failure::input("no question is asked, wanted a preset or --apply", usage));
    };
    let word = escape_terminal(first.as_encoded_bytes());
    if word.contains('=') {
        let hint = format!("assay run --apply {} MODEL", words::quoted(&first.to_string_lossy()));
        return Err(Failure::input(format!("{word}: is not a preset, and a scheme is applied with --apply"), hint));
    }
    let is_preset = lab::plan::PRESETS.iter().any(|preset| first == preset.name);
    if !is_preset && (args.others.is_empty() || Path::new(first).exists()) {
        return Err(Failure::input(format!("{word}: is not a preset, and --apply is missing"), usage));
    }
    if args.others.is_empty() {
        return Err(Failure::input(format!("{word} needs a model"), format!("assay run {word} MODEL")));
    }
    Ok(first.to_string_lossy().into_owned())
}

/// With `--apply` every word is a model. A preset would be a second question, so it is refused.
fn require_no_preset(models: &[PathBuf]) -> Result<(), Failure> {
    let Some(first) = models.first() else {
        return Err(Failure::input("--apply needs a model", "assay run --apply SEL=SCHEME MODEL"));
    };
    match lab::plan::PRESETS.iter().find(|preset| first.as_os_str() == preset.name) {
        None => Ok(()),
        Some(preset) => {
            let name = preset.name;
            let hint = format!("leave one of the two out; a model of that name is ./{name}");
            Err(Failure::input(format!("{name} and --apply are two questions, and a run asks one"), hint))
        }
    }
}

/// The settings of the method, defaults included. They are shown when nothing can refuse the run any more and before
/// anything is measured.
fn announcement(plan: &Plan, chunks: usize, dir: &Path) -> [String; 4] {
    let seeds: Vec<String> = plan.jitter_seeds.iter().map(u64::to_string).collect();
    let arms: Vec<&str> = plan.arms.iter().map(|arm| arm.name()).collect();
    let method = format!(
        "method: {} = {} on {} of {} tokens ({} per single layer), text {}, {} arm, jitter seeds {}",
        plan.target,
        plan.scheme,
        plural(chunks, "window"),
        count(plan.settings.n_ctx.into()),
        count(plan.layer_chunks.min(chunks) as u64),
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
struct Display {
    progress: Progress,
    /// The largest memory need that was announced, in bytes, by model and arm.
    memory: BTreeMap<(String, Arm), u64>,
    /// The advice that was already printed.
    advised: BTreeSet<String>,
}

impl Display {
    fn show(&mut self, RunHeard { plan, dir, event }: RunHeard<'_>) {
        let model = |name: &str| escape_terminal(name);
        match event {
            RunEvent::Begun { resumed, cells, finished, chunks, .. } => {
                for line in announcement(plan, *chunks, dir) {
                    self.progress.say(&line);
                }
                let all = plural(*cells, "cell");
                self.progress.say(&match resumed {
                    true => format!("resuming: {} of {all} there already", count(*finished as u64)),
                    false => format!("{all} to measure"),
                });
            }
            RunEvent::FewerChunks { wanted, used } => {
                let there = plural(*used, "window");
                self.progress
                    .say(&format!("the text has {there}, {} were asked for; all of it is used", count(*wanted as u64)));
            }
            RunEvent::Census { model: name, summary } => self.progress.say(&format!("{}: {summary}", model(name))),
            // All cells of the stage are in the store already.
            RunEvent::StageStarted { cells: 0, .. } => {}
            RunEvent::StageStarted { model: name, stage, cells } => {
                let label = format!("{}: {}", model(name), stage.words());
                self.progress.say(&format!("{label}, {}", plural(*cells, "cell")));
                self.progress.label(&label);
            }
            RunEvent::Memory { model: name, arm, plan: memory } => {
                // The stages of an arm need much the same memory. The largest need must fit.
                let most = self.memory.entry((name.clone(), *arm)).or_default();
                if memory.total_bytes > *most {
                    *most = memory.total_bytes;
                    self.progress.say(&format!("{}: {} arm, memory {}", model(name), arm.name(), memory.words()));
                }
            }
            RunEvent::Note { model: name, note } => self.progress.say(&format!("{}: {note}", model(name))),
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
    // For a single model this is how its own answer begins.
    if run.answers.len() > 1 {
        out.line(escape_terminal(&run.answer));
    }
    for answer in &run.answers {
        out.line(format_args!("{}: {}", escape_terminal(&answer.model), answer.sentence));
        let of_target = |row: &&VariantVerdict| row.model == answer.model && row.extent != CellExtent::Layer;
        for row in run.verdicts.iter().filter(of_target) {
            let (arm, verdict) = (row.arm.name(), row.verdict.name());
            let part = if row.extent == CellExtent::Part { format!(", {} alone", row.target) } else { String::new() };
            let effects = row.effects.as_ref().map_or(String::new(), |effects| format!(": {}", words(effects)));
            let windows = plural(row.chunks, "window");
            out.line(format_args!("  {verdict:<12} {arm} arm, {windows}{part}{effects}"));
        }
    }
    let held = run.controls.iter().filter(|control| control.ok).count();
    out.line(format_args!("controls: {} checks held", of(held as u64, run.controls.len() as u64)));
    for control in run.controls.iter().filter(|control| !control.ok) {
        let model = escape_terminal(&control.model);
        let arm = control.arm.map_or(String::new(), |arm| format!(", {} arm", arm.name()));
        out.line(format_args!(
            "  {} {} on {model}{arm}: wanted {}, found {}",
            if control.measured { "FAILED" } else { "NOT MEASURED" },
            control.name,
            control.expected,
            control.found
        ));
    }
    out.text(&failed_cells(&run.failed));
    out.line(format_args!("report: {}", escape_terminal(&run.report)));
    out.into_string()
}

fn words(effects: &Effects) -> String {
    let number = |key| effects.metrics.get(key).unwrap_or(f64::NAN);
    let mut words = format!(
        "KLD {}, PPL {} against {}, same top {}",
        nats(number("kld_mean")),
        perplexity(number("ppl")),
        perplexity(number("ppl_ref")),
        share(number("same_top"))
    );
    match (effects.floor_kld_mean_max, effects.floor_ratio) {
        (Some(floor), Some(ratio)) => words += &format!(", {} the floor of {}", times(ratio), nats(floor)),
        (Some(floor), None) => words += &format!(", floor {}", nats(floor)),
        (None, _) => {}
    }
    words
}
