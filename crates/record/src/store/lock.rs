//! `plan.lock.json`: the plan as resolved, with the hash of everything that determines the numbers.

use super::STORE_FORMAT;
use crate::edit::Arm;
use crate::engine::{EngineInfo, EngineSettings};
use crate::format::FormatVersion;
use crate::plan::PlanStage;
use crate::run::{CorpusRecord, Question};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The identity of a run, and what the engine reported about its models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanLock {
    /// The version of the folder's layout.
    pub format: FormatVersion,
    /// The identity of the run, by which it is told from every other run.
    pub identity: RunIdentity,
    /// The number of windows of the cells on the whole target: as asked, or as many as the shortest text has.
    pub chunks: usize,
    /// What the engine reported about each model, in the order of the plan.
    pub engines: Vec<LockedEngine>,
}

/// What is known before any model is loaded. Two runs with equal identities give equal results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunIdentity {
    /// The version of assay that measures.
    pub assay_version: String,
    /// The build of the engine.
    pub engine_build: String,
    /// The question that the run answers.
    pub question: Question,
    /// The scheme of the positive control.
    pub positive: String,
    /// The arms to measure in.
    pub arms: Vec<Arm>,
    /// The number of windows that were asked for.
    pub chunks: usize,
    /// The number of windows of the cells on single layers.
    pub layer_chunks: usize,
    /// The seeds of the jitter.
    pub jitter_seeds: Vec<u64>,
    /// The stages, where they are not those of the presets; empty otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<PlanStage>,
    /// Whether other ggml types replace types whose blocks do not divide a tensor's rows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_fallback: bool,
    /// The pinned settings of the engine.
    pub settings: EngineSettings,
    /// The text to measure on.
    pub corpus: CorpusRecord,
    /// The model files in the order of the plan.
    pub models: Vec<LockedModel>,
}

/// The identity of a model file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LockedModel {
    /// The file name without its folder.
    pub name: String,
    /// The blake3 hash of the file.
    pub file_blake3: String,
    /// The size of the file in bytes.
    pub file_bytes: u64,
}

/// What the engine reported about a model and the text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LockedEngine {
    /// The engine and the model as loaded.
    pub info: EngineInfo,
    /// The number of tokens in the text.
    pub n_tokens: usize,
    /// The hash of each window that is used.
    pub chunk_blake3: Vec<String>,
}

impl RunIdentity {
    /// The id of the run, which equal runs share: `ffn-norm-bf16-1a2b3c4d`.
    pub fn id(&self) -> String {
        let json = serde_json::to_vec(self).unwrap_or_default();
        let hash = blake3::hash(&json).to_hex();
        let name: String = self
            .question
            .name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' })
            .collect();
        format!("{name}-{}", &hash[..8])
    }
}

impl PlanLock {
    /// A lock of the current format from its parts.
    pub fn new(identity: RunIdentity, chunks: usize, engines: Vec<LockedEngine>) -> Self {
        PlanLock { format: STORE_FORMAT, identity, chunks, engines }
    }

    /// The first thing in which two runs differ, in words; `None` when they are the same run. The number of threads is
    /// not compared, because results do not depend on it.
    pub fn difference(&self, other: &PlanLock) -> Option<String> {
        if let Some(difference) = self.identity.difference(&other.identity) {
            return Some(difference);
        }
        let words = |lock: &PlanLock| -> Vec<_> {
            lock.engines.iter().map(|engine| (engine.n_tokens, engine.chunk_blake3.clone())).collect()
        };
        (words(self) != words(other)).then(|| "the text gave other tokens".into())
    }
}

impl RunIdentity {
    /// The names under which the models are shown, in the order of the plan. A name is the file name. Files that share
    /// one also have the start of the hash.
    pub fn model_names(&self) -> Vec<String> {
        let names = |name: &str| self.models.iter().filter(|model| model.name == name).count();
        let shown = |model: &LockedModel| match names(&model.name) {
            1 => model.name.clone(),
            _ => format!("{} ({})", model.name, model.file_blake3.get(..8).unwrap_or(&model.file_blake3)),
        };
        self.models.iter().map(shown).collect()
    }

    /// The first thing in which two identities differ, in words; `None` when they are equal.
    pub fn difference(&self, other: &RunIdentity) -> Option<String> {
        let (a, b) = (serde_json::to_value(self).ok()?, serde_json::to_value(other).ok()?);
        first_difference("", &a, &b)
    }
}

fn first_difference(place: &str, a: &serde_json::Value, b: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            // Keys that one side leaves out are compared as well.
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            let of = |object: &serde_json::Map<String, Value>, key| object.get(key).cloned().unwrap_or(Value::Null);
            keys.into_iter().find_map(|key| {
                let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                first_difference(&place, &of(a, key), &of(b, key))
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| first_difference(&format!("{place}[{i}]"), a, b))
        }
        _ => {
            let place = if place == "question.question" { "question" } else { place };
            (a != b).then(|| format!("its {place} is {a}, now asked for is {b}"))
        }
    }
}
