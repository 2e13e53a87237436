//! `plan.lock.json`: the plan as resolved, with the hash of everything that determines the numbers.

use super::STORE_FORMAT;
use crate::edit::Arm;
use crate::engine::{EngineInfo, EngineSettings};
use crate::format::Format;
use crate::plan::PlanStage;
use crate::run::{CorpusRecord, Question};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A run's identity, and what the engine said about its models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanLock {
    /// Layout of the folder.
    pub format: Format,
    /// What makes this run this run and no other.
    pub identity: RunIdentity,
    /// Windows of the whole-target cells: as asked, or as many as the shortest text has.
    pub chunks: usize,
    /// Per model, in the plan's order.
    pub engines: Vec<LockedEngine>,
}

/// Known before any model is loaded; two runs with equal identities give equal results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunIdentity {
    /// Version of assay.
    pub assay_version: String,
    /// Engine build.
    pub engine_build: String,
    /// The question.
    pub question: Question,
    /// The positive control's scheme.
    pub positive: String,
    /// Kernels.
    pub arms: Vec<Arm>,
    /// Windows asked for.
    pub chunks: usize,
    /// Windows of the layer cells.
    pub layer_chunks: usize,
    /// Seeds of the jitter.
    pub jitter_seeds: Vec<u64>,
    /// The stages, where they are not those of the presets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<PlanStage>,
    /// Whether other ggml types stand in for types whose blocks do not divide a tensor's rows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_fallback: bool,
    /// Pinned settings.
    pub settings: EngineSettings,
    /// The text.
    pub corpus: CorpusRecord,
    /// Model files.
    pub models: Vec<LockedModel>,
}

/// A model file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LockedModel {
    /// File name without folder.
    pub name: String,
    /// blake3 of the file.
    pub file_blake3: String,
    /// Size.
    pub file_bytes: u64,
}

/// What the engine said about a model and the text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LockedEngine {
    /// Engine and model as loaded.
    pub info: EngineInfo,
    /// Tokens of the text.
    pub n_tokens: usize,
    /// Hash of each window used.
    pub chunk_blake3: Vec<String>,
}

impl RunIdentity {
    /// A name for the run that equal runs share: `ffn-norm-bf16-1a2b3c4d`.
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
    /// Puts the parts together.
    pub fn new(identity: RunIdentity, chunks: usize, engines: Vec<LockedEngine>) -> Self {
        PlanLock { format: STORE_FORMAT, identity, chunks, engines }
    }

    /// The first thing in which two runs differ, in words; `None` when they are the same run.
    /// The number of threads is not compared: results do not depend on it.
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
    /// What the models are called wherever they are shown, in the plan's order: the file name, and for files that share
    /// one with another the start of the hash as well.
    pub fn model_names(&self) -> Vec<String> {
        let names = |name: &str| self.models.iter().filter(|model| model.name == name).count();
        let shown = |model: &LockedModel| match names(&model.name) {
            1 => model.name.clone(),
            _ => format!("{} ({})", model.name, model.file_blake3.get(..8).unwrap_or(&model.file_blake3)),
        };
        self.models.iter().map(shown).collect()
    }

    /// The first thing in which two identities differ, in words.
    pub fn difference(&self, other: &RunIdentity) -> Option<String> {
        let (a, b) = (serde_json::to_value(self).ok()?, serde_json::to_value(other).ok()?);
        first_difference("", &a, &b)
    }
}

fn first_difference(place: &str, a: &serde_json::Value, b: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            // What is left out on one side stands on the other.
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
        _ => (a != b).then(|| format!("its {place} is {a}, now asked for is {b}")),
    }
}
