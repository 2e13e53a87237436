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

use proof::check::Tally;
use proof::inputs::Draw;
use proof::model::{self, ModelUnderTest};
use proof::{Area, Check, Report, formats, ggml_types, run, worked};
use serde::{Deserialize, Serialize};
use std::path::Path;
use synth::{Architecture, SmallModel, SynthError, Vocabulary};
use words::{Advice, Hint};
use worker::link::{OpenModel, SharedCodec};

/// A fault that can be planted.
#[derive(Clone, Copy)]
pub struct Fault {
    /// The fault's name, which says what is wrong.
    pub name: &'static str,
    /// The place of the fault.
    pub place: FaultPlace,
    /// Puts the fault into the parts.
    pub plant: fn(&mut Parts),
}

/// A place between two rooms at which a fault can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultPlace {
    /// The schemes, between `numerics` and whoever quantizes values.
    Quantizer,
    /// The conversions of ggml, between `llama` and `numerics`.
    Codec,
    /// The engine, between the worker and llama.cpp.
    Engine,
    /// The jobs on their way to a worker.
    Jobs,
    /// The events on their way back from a worker.
    Events,
    /// The way from logits to scores to a record.
    Scorer,
    /// The container, between `gguf` and everybody else.
    Weights,
    /// A file that `assay quantize` has written.
    WrittenFile,
    /// The run folder, between two runs.
    Store,
    /// The names of cells.
    Keys,
}

impl FaultPlace {
    /// The name of the place as it is printed.
    pub fn name(self) -> &'static str {
        match self {
            FaultPlace::Quantizer => "quantizer",
            FaultPlace::Codec => "codec",
            FaultPlace::Engine => "engine",
            FaultPlace::Jobs => "jobs",
            FaultPlace::Events => "events",
            FaultPlace::Scorer => "scorer",
            FaultPlace::Weights => "weights",
            FaultPlace::WrittenFile => "written file",
            FaultPlace::Store => "store",
            FaultPlace::Keys => "keys",
        }
    }

    /// The checks that use this part. The others give what they gave without a fault.
    fn areas(self) -> &'static [Area] {
        match self {
            FaultPlace::Quantizer => &[Area::Formats, Area::Model],
            FaultPlace::Codec => &[Area::Ggml, Area::Model, Area::Run],
            FaultPlace::Engine | FaultPlace::Jobs | FaultPlace::Events => &[Area::Model, Area::Run],
            FaultPlace::Scorer => &[Area::Metrics],
            FaultPlace::Weights | FaultPlace::WrittenFile => &[Area::Model],
            FaultPlace::Store | FaultPlace::Keys => &[Area::Run],
        }
    }
}

/// Every fault, grouped by place.
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
    /// The fault's name.
    pub name: String,
    /// The place of the fault.
    pub place: FaultPlace,
    /// The names of the checks that failed, in their order; if there are none, the fault went uncaught.
    pub caught_by: Vec<String>,
    /// The first disagreement that the first of them found.
    pub evidence: String,
}

/// The reason why no fault could be planted.
#[derive(Debug, thiserror::Error)]
pub enum MutateError {
    /// The seeded model cannot be made.
    #[error("the model for planted faults: {0}")]
    Model(#[from] SynthError),
    /// There is no folder for the seeded model.
    #[error("a folder for planted faults: {0}")]
    Folder(#[from] std::io::Error),
    /// The file of the seeded model is not one that an engine can score.
    #[error(transparent)]
    Open(#[from] files::OpenError),
}

impl Advice for MutateError {
    fn hint(&self) -> Option<Hint> {
        match self {
            MutateError::Model(_) => Some(Hint::words("set TMPDIR to a folder with room for it")),
            MutateError::Folder(_) => Some(Hint::words("set TMPDIR to a folder that can be written to")),
            MutateError::Open(error) => error.hint(),
        }
    }
}

/// The number of tokens of a window.
const N_CTX: u32 = 64;
const CHUNKS: usize = 2;
const SEED: u64 = 1;

/// The number of steps of [`mutate`]: one without a fault, and one for each fault.
pub fn n_steps() -> usize {
    1 + faults().count()
}

/// Makes all checks without a fault, then those of every fault by itself. `said` is told each mutant as it is done. The
/// check that comes back says whether every fault was caught and no check was raised without one.
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

/// Makes the checks of some areas.
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
            Area::Model => model::checks(&ModelUnderTest::open(parts, model, text, N_CTX, CHUNKS)?, None, put),
            Area::Run => run::checks(parts, model, text, N_CTX, put),
            Area::Machine => {}
        }
    }
    Ok(())
}

/// A text of `n` bytes or a word more, made from the seed.
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

/// Checks that every fault was caught and that no check was raised without one.
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

/// The catch table as docs/verify.md has it.
pub fn page(mutants: &[Mutant]) -> String {
    let mut out = String::from("| fault | place | caught by |\n|---|---|---|\n");
    for mutant in mutants {
        let first = mutant.caught_by.first().map_or("nothing", String::as_str);
        out.push_str(&format!("| {} | {} | {first} |\n", mutant.name, mutant.place.name()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_name_of_its_own_and_the_faults_of_a_place_stand_together() {
        let mut places: Vec<FaultPlace> = Vec::new();
        for (i, fault) in faults().enumerate() {
            assert_eq!(faults().position(|other| other.name == fault.name), Some(i), "{}", fault.name);
            if places.last() != Some(&fault.place) {
                assert!(!places.contains(&fault.place), "{} stands apart", fault.name);
                places.push(fault.place);
            }
        }
        assert_eq!(places.len(), 10, "{places:?}");
    }

    #[test]
    fn an_uncaught_fault_and_a_check_raised_without_one_fail_the_verdict() {
        let mutant = |caught_by: &[&str]| Mutant {
            name: "write skipped".into(),
            place: FaultPlace::Engine,
            caught_by: caught_by.iter().map(|name| (*name).to_owned()).collect(),
            evidence: String::new(),
        };
        let mut clean = Report::default();
        let caught = [mutant(&["a check"])];
        assert!(verdict(&clean, &caught).detail.is_empty());
        assert_eq!(
            verdict(&clean, &[mutant(&[])]).detail,
            "1 of 1 disagree; \"write skipped\" at the engine went uncaught"
        );
        let mut tally = Tally::default();
        tally.hold(false, || "raised".into());
        clean.add(tally.check(Area::Run, "a check", &[]));
        assert!(verdict(&clean, &caught).detail.contains("\"a check\" is raised without a fault"));
        assert!(page(&caught).ends_with("| write skipped | engine | a check |\n"));
        assert!(page(&[mutant(&[])]).ends_with("| nothing |\n"));
    }
}
