//! The plan: the question and how it is answered, complete before anything runs.
//!
//! ```text
//! plan file, preset ── file ──▶ PlanFile (as typed) ── resolve ──▶ Plan (checked) ── cells ──▶ cells of one model
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | [`file`](mod@file) | reads and prints plan files, and reports everything that is wrong with one |
//! | [`resolve`] | checks selectors, schemes, numbers and stages, and fills in what a file leaves out |
//! | [`preset`] | the plan files that come with assay |
//! | [`stage`] | the stages of a plan, and which of them are measured together |
//! | [`gate`] | the gates, which decide after a stage whether to go on |
//! | [`cells`] | the cells of a plan on one model |

use eval::EngineSettings;
use files::{TextFileError, fallback, read_text};
use numerics::Scheme;
use record::{Arm, Question};
use resolve::Numbers;
use select::{Apply, ApplyError, LayerSet, Selector};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use words::{Advice, Hint};

pub mod cells;
pub mod file;
pub mod gate;
pub mod preset;
pub mod reference;
pub mod resolve;
pub mod stage;

pub use file::PlanFileError;
pub use preset::{PRESETS, Preset};
pub use resolve::OutOfRange;
pub use stage::Stage;

/// The built-in text. It was written for this project, so it can be shipped and no model has been trained on it.
const BUILT_IN: &str = include_str!("../../assets/demo.txt");

/// The number of windows of the cells on the whole target, unless a plan states another.
pub const DEFAULT_CHUNKS: usize = 16;
/// The number of windows of the cells on single layers, unless a plan states another. It is enough to rank layers, but
/// too few for an interval.
pub const DEFAULT_LAYER_CHUNKS: usize = 2;
/// The length of a window in tokens, unless a plan states another.
pub const DEFAULT_N_CTX: u32 = 512;
/// The lengths that a window can have, in tokens.
pub const N_CTX: RangeInclusive<u32> = 8..=1 << 20;
/// The seeds of the jitter, unless a plan states others.
pub const DEFAULT_JITTER_SEEDS: [u64; 3] = [1, 2, 3];
/// The least number of seeds for a floor.
pub const MIN_JITTER_SEEDS: usize = 3;

/// Why a plan cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No preset has that name.
    #[error("no preset is called {name:?}")]
    UnknownPreset {
        /// The name that was given.
        name: String,
        /// The name of the nearest preset, or of all presets.
        hint: String,
    },
    /// A plan file cannot be used.
    #[error(transparent)]
    File(#[from] Box<PlanFileError>),
    /// The target or the scheme cannot be used.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A fallback is allowed, and the scheme is one that never needs one.
    #[error("a fallback stands in for ggml's types only, and {scheme} is not one of them")]
    NoFallback {
        /// The scheme of the plan.
        scheme: String,
    },
    /// A number, a list or a stage is out of range.
    #[error("plan: {} is {}, wanted {}", .0.what, .0.found, .0.wanted)]
    OutOfRange(OutOfRange),
}

impl Advice for PlanError {
    fn hint(&self) -> Option<Hint> {
        match self {
            PlanError::UnknownPreset { hint, .. } => Some(Hint::words(hint.clone())),
            PlanError::File(error) => error.hint(),
            PlanError::Apply(error) => error.hint(),
            PlanError::NoFallback { .. } => Some(Hint::words("ask without a fallback")),
            PlanError::OutOfRange(problem) => Some(Hint::words(problem.hint.clone())),
        }
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The text to measure on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corpus {
    /// The file name without its folder, or `built-in`.
    pub name: String,
    /// The text itself, without the byte order mark that a file may begin with.
    pub text: String,
    /// Whether special tokens that are spelled in the text are read as those tokens. Otherwise they are text like any
    /// other, as llama-perplexity reads them.
    pub special: bool,
    /// Whether a byte order mark was dropped from the head of the text.
    pub had_bom: bool,
}

impl Corpus {
    /// A text of that name. A byte order mark at its head says how a file is encoded and is not text, so it is dropped. So are
    /// more of them, which joined files leave there.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Corpus {
        let text: String = text.into();
        let had_bom = text.starts_with('\u{feff}');
        let text = if had_bom { text.trim_start_matches('\u{feff}').to_owned() } else { text };
        Corpus { name: name.into(), text, special: false, had_bom }
    }

    /// The text that comes with assay.
    pub fn built_in() -> Corpus {
        Corpus::new("built-in", BUILT_IN)
    }

    /// The text of a file.
    ///
    /// # Errors
    /// When the file cannot be read, is not UTF-8, or has no text.
    pub fn read(path: &Path) -> Result<Corpus, TextFileError> {
        let text = read_text(path)?;
        Ok(Corpus::new(path.file_name().unwrap_or(path.as_os_str()).to_string_lossy(), text))
    }
}

/// A complete question about some models. Only the data decide what is still open.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The name of the preset or of the plan.
    pub name: String,
    /// The question in plain words.
    pub question: String,
    /// The hypothesis, written before the data.
    pub hypothesis: String,
    /// The tensors that the question is about.
    pub target: Selector,
    /// The parts of the target that are also measured one at a time.
    pub parts: Vec<Selector>,
    /// The scheme that quantizes the target.
    pub scheme: Scheme,
    /// The destructive scheme of the positive control.
    pub positive: Scheme,
    /// The paths of the GGUF files.
    pub models: Vec<PathBuf>,
    /// The text to measure on.
    pub corpus: Corpus,
    /// The number of windows of the cells on the whole target. A shorter text has fewer.
    pub chunks: usize,
    /// The number of windows of the cells on single layers, and of the controls that must be bit-equal.
    pub layer_chunks: usize,
    /// The seeds of the jitter.
    pub jitter_seeds: Vec<u64>,
    /// The pinned engine settings.
    pub settings: EngineSettings,
    /// The arms to measure in, in the order of the method.
    pub arms: Vec<Arm>,
    /// The stages in their order.
    pub stages: Vec<Stage>,
    /// The layers to which [`Plan::narrow`] narrowed the question; `None` if it did not. Target and parts are already
    /// narrowed.
    pub layers: Option<LayerSet>,
    /// Whether a tensor whose rows are not whole blocks of a ggml type is quantized in the type that llama-quantize falls
    /// back to. Otherwise such a plan is refused.
    pub allow_fallback: bool,
    /// The number of worker threads; 0 means one per core. Results do not depend on it.
    pub n_threads: usize,
    /// The main memory that a worker may use, in bytes; `None` sets no limit. Results do not depend on it.
    pub max_memory_bytes: Option<u64>,
}

impl Plan {
    /// The preset's plan for these models and this text.
    ///
    /// # Errors
    /// When no preset has that name.
    pub fn preset(name: &str, models: Vec<PathBuf>, corpus: Corpus) -> Result<Plan, PlanError> {
        let Some(preset) = PRESETS.iter().find(|preset| preset.name == name) else {
            let near = words::nearest(name, PRESETS.iter().map(|preset| preset.name), 4);
            let hint = match near.first() {
                Some(near) if name.len() <= 64 => format!("did you mean {near}?"),
                _ => format!("there are {}", PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ")),
            };
            return Err(PlanError::UnknownPreset { name: name.into(), hint });
        };
        Plan::read(preset.text, preset.name, models, corpus)
    }

    /// The plan that a plan file states, for these models and this text. Errors call the file `name`.
    ///
    /// # Errors
    /// When something is wrong with the file; the error has each problem with its line.
    pub fn read(text: &str, name: &str, models: Vec<PathBuf>, corpus: Corpus) -> Result<Plan, PlanError> {
        Ok(resolve::resolve(text, name, models, corpus)?)
    }

    /// The plan of a user's own question: what happens to these models if a scheme quantizes these tensors?
    pub fn asked(apply: &Apply, models: Vec<PathBuf>, corpus: Corpus) -> Plan {
        let Apply { selector: target, scheme } = apply.clone();
        let shown = scheme.with_file_shown(|name| file_name(name).to_owned());
        Plan {
            name: apply.to_string(),
            question: format!("Does it matter if one quantizes {target} to {shown}?"),
            hypothesis: "None was stated.".into(),
            target,
            parts: Vec::new(),
            positive: Scheme::zero().with_nonfinite(scheme.nonfinite()),
            scheme,
            models,
            corpus,
            chunks: DEFAULT_CHUNKS,
            layer_chunks: DEFAULT_LAYER_CHUNKS,
            jitter_seeds: DEFAULT_JITTER_SEEDS.to_vec(),
            settings: EngineSettings::pinned(DEFAULT_N_CTX),
            arms: vec![Arm::Exact, Arm::Native],
            stages: resolve::method(),
            layers: None,
            allow_fallback: false,
            n_threads: 0,
            max_memory_bytes: None,
        }
    }

    /// Narrows the question to these layers.
    pub fn narrow(&mut self, layers: LayerSet) {
        self.target = self.target.narrowed(&layers);
        for part in &mut self.parts {
            *part = part.narrowed(&layers);
        }
        self.question = format!("{} (layers {layers} only)", self.question);
        self.layers = Some(layers);
    }

    /// Replaces the seeds of the jitter by as many that begin with this one.
    pub fn seed(&mut self, first: u64) {
        for (seed, n) in self.jitter_seeds.iter_mut().zip(0..) {
            *seed = first.wrapping_add(n);
        }
    }

    /// The scheme as it quantizes rows of that many values: the one that stands in for it, if the plan allows one.
    pub(crate) fn realised(&self, scheme: &Scheme, n_per_row: u64) -> Scheme {
        if self.allow_fallback { fallback::scheme_for_rows(scheme, n_per_row) } else { scheme.clone() }
    }

    /// The jitter of that seed for this target. It leaves unchanged the values that the question leaves unchanged.
    pub(crate) fn jitter(&self, seed: u64) -> Scheme {
        Scheme::jitter(seed).with_nonfinite(self.scheme.nonfinite())
    }

    /// Checks the numbers, lists and stages.
    ///
    /// # Errors
    /// The first value that is out of range.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.models.is_empty() {
            return Err(PlanError::OutOfRange(OutOfRange {
                key: "models".into(),
                what: "the number of models".into(),
                found: "0".into(),
                wanted: "at least 1".into(),
                hint: "name one or more GGUF files".into(),
            }));
        }
        let numbers = Numbers {
            chunks: self.chunks,
            layer_chunks: self.layer_chunks,
            arms: &self.arms,
            jitter_seeds: &self.jitter_seeds,
            stages: &self.stages,
        };
        numbers.problems().into_iter().next().map_or(Ok(()), |problem| Err(PlanError::OutOfRange(problem)))
    }

    /// The question in the form of the record.
    pub fn question(&self) -> Question {
        Question {
            name: self.name.clone(),
            question: self.question.clone(),
            hypothesis: self.hypothesis.clone(),
            target: self.target.to_string(),
            scheme: self.scheme.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus() -> Corpus {
        Corpus::new("built-in", "text")
    }

    #[test]
    fn the_built_in_text_is_long_enough_for_the_default_windows() {
        // A token of English text has about four bytes.
        let bytes = Corpus::built_in().text.len();
        assert!(bytes > DEFAULT_CHUNKS * DEFAULT_N_CTX as usize * 4, "{bytes} bytes");
    }

    #[test]
    fn an_unknown_preset_names_the_nearest_or_all_of_them() {
        let error = |name: &str| match Plan::preset(name, vec![], corpus()).expect_err(name).hint() {
            Some(Hint::Words(words)) => words,
            hint => panic!("{hint:?}"),
        };
        assert!(error("ffn-norm-bf61").contains("did you mean ffn-norm-bf16"));
        assert!(error("x").contains("there are ffn-norm-bf16, attention-int8, embedding-4bit"));
        assert!(error("embedding-4bti").contains("did you mean embedding-4bit"));
    }

    #[test]
    fn a_question_of_ones_own_keeps_in_its_controls_what_it_keeps_itself() {
        let apply: Apply = "ffn_norm=bf16:nonfinite=keep".parse().expect("an application");
        let plan = Plan::asked(&apply, vec!["m.gguf".into()], corpus());
        plan.check().expect("a plan");
        assert_eq!(plan.positive.to_string(), "zero:nonfinite=keep");
        assert_eq!(plan.jitter(2).to_string(), "jitter:seed=2:nonfinite=keep");
        assert!(plan.question.contains("one quantizes ffn_norm to bf16:nonfinite=keep"));
        let preset = Plan::preset("ffn-norm-bf16", vec![], corpus()).expect("preset");
        assert_eq!(preset.positive.to_string(), "zero");
    }

    #[test]
    fn what_narrows_a_preset_is_part_of_the_question() {
        let mut plan = Plan::preset("attention-int8", vec!["m.gguf".into()], corpus()).expect("preset");
        plan.narrow(LayerSet::parse("0,3-5").expect("layers"));
        plan.seed(7);
        plan.arms = vec![Arm::Native];
        plan.allow_fallback = true;
        plan.check().expect("a plan");
        assert_eq!(plan.target.to_string(), "attn_q[layers=0,3-5],attn_k[layers=0,3-5],attn_v[layers=0,3-5]");
        assert!(plan.question.ends_with("? (layers 0,3-5 only)"), "{}", plan.question);
        assert_eq!(plan.jitter_seeds, [7, 8, 9]);
        plan.seed(u64::MAX);
        plan.check().expect("seeds that differ");
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let good = Plan::preset("ffn-norm-bf16", vec!["m.gguf".into()], corpus()).expect("preset");
        let edits: [fn(&mut Plan); 8] = [
            |plan| plan.models.clear(),
            |plan| plan.chunks = 0,
            |plan| plan.layer_chunks = 0,
            |plan| plan.arms = vec![Arm::Exact, Arm::Exact],
            |plan| plan.jitter_seeds = vec![1, 1, 2],
            |plan| plan.jitter_seeds = vec![1, 2],
            |plan| plan.stages.clear(),
            |plan| plan.stages.swap(0, 1),
        ];
        for (i, edit) in edits.iter().enumerate() {
            let mut plan = good.clone();
            edit(&mut plan);
            assert!(plan.check().is_err(), "edit {i} was accepted");
        }
    }
}
