//! What is asked, before anything runs: question, hypothesis, target, scheme, controls, extent.

use eval::EngineSettings;
use numerics::Scheme;
use record::Arm;
use record::CorpusRecord;
use record::Question;
use record::store::lock::{LockedModel, RunIdentity};
use select::Selector;
use select::{Apply, ApplyError};
use std::path::PathBuf;

pub mod cells;
pub mod reference;

/// Windows of the whole-target cells unless stated otherwise.
pub const DEFAULT_CHUNKS: usize = 16;
/// Windows of the single-layer cells unless stated otherwise: enough to rank, too few for an interval.
pub const DEFAULT_LAYER_CHUNKS: usize = 2;
/// Window length unless stated otherwise, tokens.
pub const DEFAULT_N_CTX: u32 = 512;
/// A floor needs at least this many seeds (DESIGN §6).
pub const MIN_JITTER_SEEDS: usize = 3;

/// A question with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// As typed.
    pub name: &'static str,
    /// In plain words.
    pub question: &'static str,
    /// Written before the data.
    pub hypothesis: &'static str,
    /// Selector.
    pub target: &'static str,
    /// Scheme.
    pub scheme: &'static str,
    /// Parts of the target that are measured singly too; none where layers are.
    pub parts: &'static [&'static str],
}

/// All presets.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "ffn-norm-bf16",
        question: "Does it matter if the FFN norm weights are held in BF16?",
        hypothesis: "No: norm weights are few, close to BF16 already, and rounding them costs less than the noise of the \
                     kernels.",
        target: "ffn_norm",
        scheme: "bf16",
        parts: &[],
    },
    Preset {
        name: "attention-int8",
        question: "Does it matter if the query, key and value projections are held in INT8 with one scale per row?",
        hypothesis: "Little: eight bits per weight with a scale per output channel cost far less than 0.01 nats of KLD.",
        target: "attn_q,attn_k,attn_v",
        scheme: "int8@row",
        parts: &[],
    },
    Preset {
        name: "embedding-4bit",
        question: "Does it matter if the token embedding is held in INT4, as lookup, as head and as both?",
        hypothesis: "As lookup little, as head more: the head's errors reach every logit directly.",
        target: "token_embd[use=lookup],output[use=head]",
        scheme: "int4@block32",
        parts: &["token_embd[use=lookup]", "output[use=head]"],
    },
];

/// Why a plan cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No preset of that name.
    #[error("no preset is called {name:?}\nhint: {hint}")]
    UnknownPreset {
        /// As given.
        name: String,
        /// The nearest that is built, or all of those.
        hint: String,
    },
    /// Target or scheme.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A number out of range.
    #[error("plan: {what} is {found}, wanted {wanted}\nhint: {hint}")]
    OutOfRange {
        /// Which.
        what: &'static str,
        /// As given.
        found: String,
        /// What can be.
        wanted: String,
        /// Advice.
        hint: String,
    },
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The text to measure on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corpus {
    /// File name without folder, or `built-in`.
    pub name: String,
    /// The text.
    pub text: String,
}

/// A question about some models, complete: nothing is left to be decided but what the data say.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Preset or plan name.
    pub name: String,
    /// In plain words.
    pub question: String,
    /// Written before the data.
    pub hypothesis: String,
    /// Which tensors.
    pub target: Selector,
    /// Parts of it that are measured singly too.
    pub parts: Vec<Selector>,
    /// What they become.
    pub scheme: Scheme,
    /// A destructive scheme for the same target: `zero`. No other is so for norms and matrices alike: a two-bit norm
    /// still scales, a zero one silences its block.
    pub positive: Scheme,
    /// GGUF files.
    pub models: Vec<PathBuf>,
    /// The text.
    pub corpus: Corpus,
    /// Windows of the whole-target cells; fewer are used when the text has fewer.
    pub chunks: usize,
    /// Windows of the single-layer cells and of the controls that must be bit-equal.
    pub layer_chunks: usize,
    /// Seeds of the jitter.
    pub jitter_seeds: Vec<u64>,
    /// Pinned engine settings.
    pub settings: EngineSettings,
    /// Kernels to measure with, in the order of the method.
    pub arms: Vec<Arm>,
    /// Worker threads, 0 for one per core. Results do not depend on it.
    pub n_threads: usize,
    /// Main memory that a worker may use, bytes; without it there is no limit. Results do not depend on it.
    pub max_memory_bytes: Option<u64>,
}

impl Plan {
    /// The preset's plan with the defaults, for these models and this text.
    ///
    /// # Errors
    /// When there is no such preset.
    pub fn preset(name: &str, models: Vec<PathBuf>, corpus: Corpus) -> Result<Plan, PlanError> {
        let Some(preset) = PRESETS.iter().find(|preset| preset.name == name) else {
            let near = words::nearest(name, PRESETS.iter().map(|preset| preset.name), 4);
            let hint = match near.first() {
                Some(near) if name.len() <= 64 => format!("did you mean {near}?"),
                _ => format!("there are {}", PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ")),
            };
            return Err(PlanError::UnknownPreset { name: name.into(), hint });
        };
        let apply = |scheme: &str| scheme.parse::<Scheme>().map_err(ApplyError::Scheme);
        Ok(Plan {
            name: preset.name.into(),
            question: preset.question.into(),
            hypothesis: preset.hypothesis.into(),
            target: preset.target.parse().map_err(ApplyError::Selector)?,
            parts: preset
                .parts
                .iter()
                .map(|part| part.parse().map_err(ApplyError::Selector))
                .collect::<Result<_, _>>()?,
            scheme: apply(preset.scheme)?,
            positive: Scheme::zero(),
            models,
            corpus,
            chunks: DEFAULT_CHUNKS,
            layer_chunks: DEFAULT_LAYER_CHUNKS,
            jitter_seeds: vec![1, 2, 3],
            settings: EngineSettings::pinned(DEFAULT_N_CTX),
            arms: vec![Arm::Exact, Arm::Native],
            n_threads: 0,
            max_memory_bytes: None,
        })
    }

    /// A question of one's own: what happens to these models if these tensors are held in this scheme?
    pub fn asked(apply: &Apply, models: Vec<PathBuf>, corpus: Corpus) -> Plan {
        let Apply { selector: target, scheme } = apply.clone();
        let shown = scheme.with_file_shown(|name| file_name(name).to_owned());
        Plan {
            name: apply.to_string(),
            question: format!("Does it matter if {target} is held in {shown}?"),
            hypothesis: "None was stated.".into(),
            target,
            parts: Vec::new(),
            positive: Scheme::zero().with_nonfinite(scheme.nonfinite()),
            scheme,
            models,
            corpus,
            chunks: DEFAULT_CHUNKS,
            layer_chunks: DEFAULT_LAYER_CHUNKS,
            jitter_seeds: vec![1, 2, 3],
            settings: EngineSettings::pinned(DEFAULT_N_CTX),
            arms: vec![Arm::Exact, Arm::Native],
            n_threads: 0,
            max_memory_bytes: None,
        }
    }

    /// What is typed after `assay run` to ask this again; files without their folders.
    pub fn as_typed(&self) -> String {
        match PRESETS.iter().any(|preset| preset.name == self.name) {
            true => self.name.clone(),
            false => format!("{}={}", self.target, self.scheme.with_file_shown(|name| file_name(name).to_owned())),
        }
    }

    /// The jitter of that seed for this target; what the question keeps, it keeps.
    pub(crate) fn jitter(&self, seed: u64) -> Scheme {
        Scheme::jitter(seed).with_nonfinite(self.scheme.nonfinite())
    }

    /// Looks at the numbers.
    ///
    /// # Errors
    /// The first that is out of range.
    pub fn check(&self) -> Result<(), PlanError> {
        let wrong = |what, found: String, wanted: &str, hint: &str| {
            Err(PlanError::OutOfRange { what, found, wanted: wanted.into(), hint: hint.into() })
        };
        if self.models.is_empty() {
            return wrong("the number of models", "0".into(), "at least 1", "name one or more GGUF files");
        }
        if self.chunks == 0 || self.layer_chunks == 0 {
            return wrong("the number of chunks", "0".into(), "at least 1", "leave --chunks out for the default of 16");
        }
        if self.arms.is_empty() || (self.arms.len() > 1 && self.arms[0] == self.arms[1]) || self.arms.len() > 2 {
            return wrong(
                "the list of arms",
                format!("{:?}", self.arms),
                "exact, native, or both",
                "leave it out for both",
            );
        }
        let mut seeds = self.jitter_seeds.clone();
        seeds.sort_unstable();
        seeds.dedup();
        if seeds.len() < MIN_JITTER_SEEDS || seeds.len() != self.jitter_seeds.len() {
            let found = format!("{:?}", self.jitter_seeds);
            return wrong(
                "the list of jitter seeds",
                found,
                "at least 3, all different",
                "one seed is no floor: use 1,2,3",
            );
        }
        Ok(())
    }

    /// The identity of this plan on these files with this engine.
    pub fn identity(&self, models: Vec<LockedModel>, engine_build: &str) -> RunIdentity {
        RunIdentity {
            assay_version: env!("CARGO_PKG_VERSION").into(),
            engine_build: engine_build.into(),
            question: self.question(),
            positive: self.positive.to_string(),
            arms: self.arms.clone(),
            chunks: self.chunks,
            layer_chunks: self.layer_chunks,
            jitter_seeds: self.jitter_seeds.clone(),
            settings: self.settings.clone(),
            corpus: CorpusRecord {
                name: self.corpus.name.clone(),
                blake3: blake3::hash(self.corpus.text.as_bytes()).to_hex().to_string(),
                bytes: self.corpus.text.len() as u64,
            },
            models,
        }
    }

    /// The question as it goes into the record.
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
        Corpus { name: "built-in".into(), text: "text".into() }
    }

    #[test]
    fn every_preset_has_a_target_and_a_scheme_that_parse() {
        for preset in PRESETS {
            preset.target.parse::<Selector>().expect(preset.target);
            preset.scheme.parse::<Scheme>().expect(preset.scheme);
            let plan = Plan::preset(preset.name, vec!["m.gguf".into()], corpus()).expect(preset.name);
            plan.check().expect(preset.name);
        }
    }

    #[test]
    fn an_unknown_preset_names_the_nearest_or_all_of_them() {
        let error = |name: &str| Plan::preset(name, vec![], corpus()).expect_err(name).to_string();
        assert!(error("ffn-norm-bf61").contains("did you mean ffn-norm-bf16"));
        assert!(error("x").contains("hint: there are ffn-norm-bf16, attention-int8, embedding-4bit"));
        assert!(error("embedding-4bti").contains("did you mean embedding-4bit"));
    }

    #[test]
    fn a_question_of_ones_own_keeps_in_its_controls_what_it_keeps_itself() {
        let apply: Apply = "ffn_norm=bf16:nonfinite=keep".parse().expect("an application");
        let plan = Plan::asked(&apply, vec!["m.gguf".into()], corpus());
        plan.check().expect("a plan");
        assert_eq!(plan.as_typed(), "ffn_norm=bf16:nonfinite=keep");
        assert_eq!(plan.positive.to_string(), "zero:nonfinite=keep");
        assert_eq!(plan.jitter(2).to_string(), "jitter:seed=2:nonfinite=keep");
        assert!(plan.question.contains("ffn_norm is held in bf16:nonfinite=keep"));
        let apply: Apply = "attn_q=iq2_xs:imatrix=some/where/im.gguf".parse().expect("an application");
        let plan = Plan::asked(&apply, vec!["m.gguf".into()], corpus());
        assert_eq!(plan.as_typed(), "attn_q=iq2_xs:imatrix=im.gguf");
        let preset = Plan::preset("ffn-norm-bf16", vec![], corpus()).expect("preset");
        assert_eq!((preset.as_typed().as_str(), preset.positive.to_string().as_str()), ("ffn-norm-bf16", "zero"));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let good = Plan::preset("ffn-norm-bf16", vec!["m.gguf".into()], corpus()).expect("preset");
        let edits: [fn(&mut Plan); 6] = [
            |plan| plan.models.clear(),
            |plan| plan.chunks = 0,
            |plan| plan.layer_chunks = 0,
            |plan| plan.arms = vec![Arm::Exact, Arm::Exact],
            |plan| plan.jitter_seeds = vec![1, 1, 2],
            |plan| plan.jitter_seeds = vec![1, 2],
        ];
        for (i, edit) in edits.iter().enumerate() {
            let mut plan = good.clone();
            edit(&mut plan);
            assert!(plan.check().is_err(), "edit {i} was accepted");
        }
    }
}
