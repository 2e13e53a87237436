//! Faults planted in the parts of the pipeline, each to be caught by a check that knows nothing of it.
//!
//! ```text
//! fault ──plant──▶ Parts: a faulty engine, codec, quantizer, scorer, message, file, folder or key
//!                    │ Pipeline
//!                    ▼
//!                  the checks of `proof` ─▶ who caught what ─▶ Mutant
//! ```
//!
//! | module | contents |
//! |---|---|
//! | `parts` | the parts as values, as a [`Pipeline`](proof::Pipeline) |
//! | `quantizers`, `codecs`, `scorers` | schemes, ggml's conversions, and scores gone wrong |
//! | `engines`, `passes` | an engine gone wrong: writes and windows; what happens inside a pass |
//! | `messages` | jobs and events gone wrong between a run and its worker |
//! | `places` | files, folders and keys gone wrong |
//!
//! A fault is a row of [`faults`]: a name, a place, and what replaces the part there. The checks are those that a user runs
//! on a model of their own ([`proof::model`], [`proof::formats`], [`proof::ggml_types`], [`proof::worked`]) and a run's
//! controls ([`proof::run`]), here on a model made from a seed. Without a fault none of them may be raised.

mod codecs;
mod engines;
mod messages;
mod parts;
mod passes;
mod places;
mod quantizers;
mod scorers;

pub use parts::{EventFilter, Parts};

use lab::thread_link::{OpenModel, SharedCodec};
use proof::check::Tally;
use proof::inputs::Draw;
use proof::model::{self, Subject};
use proof::{Area, Check, Report, formats, ggml_types, run, worked};
use serde::{Deserialize, Serialize};
use std::path::Path;
use synth::{Architecture, SmallModel, SynthError, Vocabulary};

/// A fault.
#[derive(Clone, Copy)]
pub struct Fault {
    /// What is wrong.
    pub name: &'static str,
    /// Where.
    pub place: Place,
    /// Puts it into the parts.
    pub plant: fn(&mut Parts),
}

/// A boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Schemes, between `numerics` and whoever holds values.
    Quantizer,
    /// ggml's conversions, between `llama` and `numerics`.
    Codec,
    /// `eval::Engine`, between worker and llama.cpp.
    Engine,
    /// Between runner and worker, on the way there.
    Jobs,
    /// Between runner and worker, on the way back.
    Events,
    /// Logits to scores to a record.
    Scorer,
    /// The container, between `gguf` and the rest.
    Weights,
    /// A file that `assay quantize` has written.
    WrittenFile,
    /// The run folder, between two runs.
    Store,
    /// Names of cells.
    Keys,
}

impl Place {
    /// As printed.
    pub fn name(self) -> &'static str {
        match self {
            Place::Quantizer => "quantizer",
            Place::Codec => "codec",
            Place::Engine => "engine",
            Place::Jobs => "jobs",
            Place::Events => "events",
            Place::Scorer => "scorer",
            Place::Weights => "weights",
            Place::WrittenFile => "written file",
            Place::Store => "store",
            Place::Keys => "keys",
        }
    }

    /// Which checks can see this part; the others use none of it and give what they gave without a fault.
    fn areas(self) -> &'static [Area] {
        match self {
            Place::Quantizer => &[Area::Formats, Area::Model],
            Place::Codec => &[Area::Ggml, Area::Model, Area::Run],
            Place::Engine | Place::Jobs | Place::Events => &[Area::Model, Area::Run],
            Place::Scorer => &[Area::Metrics],
            Place::Weights | Place::WrittenFile => &[Area::Model],
            Place::Store | Place::Keys => &[Area::Run],
        }
    }
}

/// Every fault, place by place.
pub fn faults() -> impl Iterator<Item = &'static Fault> {
    [
        quantizers::FAULTS,
        codecs::FAULTS,
        engines::FAULTS,
        passes::FAULTS,
        messages::FAULTS,
        scorers::FAULTS,
        places::FAULTS,
    ]
    .into_iter()
    .flatten()
}

/// A planted fault and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mutant {
    /// What is wrong.
    pub name: String,
    /// Where.
    pub place: Place,
    /// Names of the checks that were raised, in their order; none means that the fault went uncaught.
    pub caught_by: Vec<String>,
    /// What the first of them found.
    pub evidence: String,
}

/// Why nothing could be planted.
#[derive(Debug, thiserror::Error)]
pub enum MutateError {
    /// The seeded model cannot be made.
    #[error("the model for planted faults: {0}\nhint: TMPDIR names a folder with room for it")]
    Model(#[from] SynthError),
    /// No place for it.
    #[error("a folder for planted faults: {0}\nhint: TMPDIR names a folder that can be written to")]
    Folder(#[from] std::io::Error),
    /// The seeded model's own file cannot be read.
    #[error(transparent)]
    Gguf(#[from] gguf::GgufError),
}

/// Tokens of a window.
const N_CTX: u32 = 64;
const CHUNKS: usize = 2;
const SEED: u64 = 1;

/// How many steps [`mutate`] takes: one without a fault, one for each fault.
pub fn n_steps() -> usize {
    1 + faults().count()
}

/// All checks without a fault, then every fault by itself. `said` hears of each mutant as it is done.
///
/// # Errors
/// When the seeded model cannot be made.
pub fn mutate(open: OpenModel, codec: SharedCodec, said: &mut dyn FnMut(&Mutant)) -> Result<Check, MutateError> {
    let folder = tempfile::tempdir()?;
    let model = folder.path().join("seeded.gguf");
    let mut small = SmallModel::new(Architecture::Llama);
    (small.matrices, small.seed) = (gguf::GgmlType::Q8_0, SEED);
    let mut recipe = small.recipe(&Vocabulary::bytes(true));
    // One matrix in two uses: what is done to one must not reach the other.
    recipe.tensors.retain(|tensor| tensor.spec.name != "output.weight");
    recipe.write(&model, &*codec, |_| {})?;
    let text = text((CHUNKS + 1) * N_CTX as usize);

    let whole = Parts::new(open, codec);
    let mut clean = Report::default();
    let areas = [Area::Formats, Area::Ggml, Area::Metrics, Area::Model, Area::Run];
    battery(&whole, &areas, &model, &text, &mut |check| clean.add(check))?;

    let mut mutants = Vec::new();
    for fault in faults() {
        let mut parts = whole.clone();
        (fault.plant)(&mut parts);
        let mut raised = Report::default();
        battery(&parts, fault.place.areas(), &model, &text, &mut |check| raised.add(check))?;
        let caught_by: Vec<String> = raised.failures().map(|check| check.name.clone()).collect();
        let evidence = raised.failures().next().map_or(String::new(), |check| check.detail.clone());
        let mutant = Mutant { name: fault.name.into(), place: fault.place, caught_by, evidence };
        said(&mutant);
        mutants.push(mutant);
    }
    Ok(verdict(&clean, &mutants))
}

fn battery(
    parts: &Parts,
    areas: &[Area],
    model: &Path,
    text: &str,
    put: &mut dyn FnMut(Check),
) -> Result<(), MutateError> {
    for area in areas {
        match area {
            Area::Formats => formats::by_row(&*parts.quantizer, None, put),
            Area::Ggml => ggml_types::checks(&*parts.codec, None, put),
            Area::Metrics => worked::checks(&*parts.scorer, put),
            Area::Model => model::checks(&Subject::open(parts, model, text, N_CTX, CHUNKS)?, None, put),
            Area::Run => run::checks(parts, model, text, N_CTX, put),
            Area::Machine => {}
        }
    }
    Ok(())
}

/// A text of about `n` bytes.
fn text(n: usize) -> String {
    const WORDS: [&str; 12] = ["assay", "weighs", "a", "metal", "to", "find", "out", "what", "it", "is", "made", "of;"];
    let mut draw = Draw::new(SEED);
    let mut out = String::new();
    while out.len() < n {
        out.push_str(WORDS[draw.bits() as usize % WORDS.len()]);
        out.push(' ');
    }
    out
}

/// A fault that goes uncaught, or a check that is raised without one, as a check of its own.
fn verdict(clean: &Report, mutants: &[Mutant]) -> Check {
    let mut tally = Tally::default();
    for check in clean.failures() {
        tally.hold(false, || format!("{:?} is raised without a fault: {}", check.name, check.detail));
    }
    for mutant in mutants {
        tally.hold(!mutant.caught_by.is_empty(), || {
            format!("{:?} at the {} went uncaught", mutant.name, mutant.place.name())
        });
    }
    tally.check(
        Area::Machine,
        "every planted fault is caught, and no check is raised without one",
        &["faults", "checks"],
    )
}

/// The catch table, as docs/verify.md has it.
pub fn page(mutants: &[Mutant]) -> String {
    let mut out = String::from("| fault | place | caught by |\n|---|---|---|\n");
    for mutant in mutants {
        let first = mutant.caught_by.first().map_or("nothing", String::as_str);
        out.push_str(&format!("| {} | {} | {first} |\n", mutant.name, mutant.place.name()));
    }
    out
}
