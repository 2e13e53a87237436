//! The variant that a question is about, found in its model's file, and the conditions of the measurement.

use super::error::{AskError, NeedsVariant};
use super::{AskEvent, Hear};
use crate::judge::evidence::{EvidenceError, References, derive};
use crate::plan::Corpus;
use crate::plan::reference::reference;
use crate::text_notes;
use files::fallback;
use files::scheme_files::{self, SchemeFilePath, SchemeFiles};
use files::{Model, SpecialTokens};
use numerics::{BlockCodec, TensorShape};
use record::answer::SchemeFallback;
use record::store::CellSamples;
use record::{Arm, Base, Cell, CellExtent, CellRecord, Edit, EditPlace, EngineSettings, Note, Role, StageName};
use select::{Apply, LayerSet, TensorId};
use std::path::PathBuf;
use worker::SessionRequest;

/// The model, and how to change it.
#[derive(Clone, Debug)]
pub struct VariantRequest {
    /// The model file.
    pub model: PathBuf,
    /// The schemes and the tensors that each quantizes; empty asks about the untouched model alone.
    pub applies: Vec<Apply>,
    /// The layers to which every application is narrowed; `None` applies to all.
    pub layers: Option<LayerSet>,
    /// Whether a tensor whose rows are not whole blocks of a ggml type is quantized in the type that llama-quantize falls
    /// back to. Otherwise the question is refused.
    pub allow_fallback: bool,
    /// The kernels that the model runs through.
    pub arm: Arm,
}

/// The conditions under which any question is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// The length of a window, a task or a conversation, in tokens.
    pub n_ctx: u32,
    /// The number of layers that a GPU back end computes.
    pub n_gpu_layers: u32,
    /// The number of threads; 0 means one per core.
    pub n_threads: usize,
    /// The main memory that may be used, in bytes; `None` sets no limit.
    pub max_memory_bytes: Option<u64>,
}

impl Conditions {
    /// The settings that the engine is pinned to.
    pub fn settings(&self) -> EngineSettings {
        EngineSettings { n_gpu_layers: self.n_gpu_layers, ..EngineSettings::pinned(self.n_ctx) }
    }
}

/// A variant in its model, and the reference that it is compared with.
#[derive(Debug)]
pub(super) struct Variant {
    /// The model file. For a split model it is the first shard, because the engine does not open any other.
    pub(super) path: PathBuf,
    /// The file name of the model.
    pub(super) name: String,
    /// The path of the model as it may be shown.
    pub(super) shown: String,
    /// The tensors of the model in file order.
    pub(super) tensors: Vec<TensorId>,
    /// The special tokens of the model's vocabulary.
    pub(super) special_tokens: SpecialTokens,
    /// The applications, narrowed to the layers.
    pub(super) applies: Vec<Apply>,
    /// The edits that the applications make in this model; empty for the untouched model.
    pub(super) edits: Vec<Edit>,
    /// What the user should know about the applications.
    pub(super) notes: Vec<Note>,
    /// The edits whose scheme replaces the requested one.
    pub(super) fallbacks: Vec<SchemeFallback>,
    /// The files that schemes name, for the worker to read.
    pub(super) files: Vec<SchemeFilePath>,
    /// The reference that the variant is compared with.
    pub(super) base: Base,
}

impl Variant {
    /// Opens the model, finds the tensors, and checks that each scheme fits its tensors.
    ///
    /// # Errors
    /// When one of these steps fails, a file of a scheme cannot be read, or layers or fallbacks are asked for but nothing is
    /// applied.
    pub(super) fn find(request: &VariantRequest, codec: &dyn BlockCodec) -> Result<Variant, AskError> {
        if request.layers.is_some() && request.applies.is_empty() {
            return Err(AskError::NothingApplied(NeedsVariant::Layers));
        }
        if request.allow_fallback && request.applies.is_empty() {
            return Err(AskError::NothingApplied(NeedsVariant::Fallback));
        }
        let mut files = SchemeFiles::default();
        let mut applies =
            request.applies.iter().map(|apply| files.resolve(apply)).collect::<Result<Vec<Apply>, _>>()?;
        if let Some(layers) = &request.layers {
            applies = applies.iter().map(|apply| apply.narrowed(layers)).collect();
        }
        let model = Model::open_to_score(&request.model)?;
        let mut found = select::edits_by_apply(&applies, &model.ids)
            .map_err(|source| AskError::Selection { model: model.shown(), source: Box::new(source) })?;
        let mut notes: Vec<Note> = select::without_effect(&applies, &found)
            .into_iter()
            .map(|apply| Note::RuleWithoutEffect { rule: apply.to_string() })
            .collect();
        let mut fallbacks = Vec::new();
        for (edit, apply) in found.iter_mut().filter(|(edit, _)| edit.place != EditPlace::Activation) {
            let Some(id) = model.ids.iter().find(|id| id.name == edit.tensor) else { continue };
            let shape = TensorShape::of(&id.ne);
            let realised = fallback::scheme_for_rows(&apply.scheme, shape.n_per_row as u64);
            let is_fallback = realised != apply.scheme;
            if is_fallback && request.allow_fallback {
                edit.scheme = realised.to_string();
                fallbacks.push(SchemeFallback {
                    name: edit.tensor.clone(),
                    place: edit.place,
                    scheme_requested: apply.scheme.to_string(),
                    scheme_realised: edit.scheme.clone(),
                });
            }
            let scheme = if request.allow_fallback { &realised } else { &apply.scheme };
            scheme.fits(&id.name, shape, codec).map_err(|source| AskError::Unfit {
                model: model.shown(),
                source: Box::new(source),
                fallback: is_fallback.then(|| realised.to_string()),
            })?;
        }
        for (edit, apply) in found.iter().filter(|(edit, apply)| apply.scheme.no_importance(&edit.tensor).is_some()) {
            notes.push(Note::NoImportances { tensor: edit.tensor.clone(), scheme: apply.scheme.to_string() });
        }
        let edits: Vec<Edit> = found.into_iter().map(|(edit, _)| edit).collect();
        let base = reference(request.arm, &model.ids, edits.iter().map(|edit| (edit.tensor.as_str(), edit.place)));
        Ok(Variant {
            path: model.path().to_owned(),
            name: model.name(),
            shown: model.shown(),
            files: scheme_files::paths(applies.iter().map(|apply| &apply.scheme)),
            special_tokens: SpecialTokens::of(&model.file),
            tensors: model.ids,
            applies,
            edits,
            notes,
            fallbacks,
            base,
        })
    }

    /// Announces that measuring begins, and what the user should know about the variant.
    pub(super) fn begin(&self, parts: usize, hear: &mut Hear<'_>) {
        hear(AskEvent::Begun { model: &self.name, parts });
        self.notes.iter().for_each(|note| hear(AskEvent::Note(note)));
        let is_shared = |edit: &Edit| edit.place == EditPlace::Weight && edit.tensor == "token_embd.weight";
        if select::is_tied(&self.tensors) && self.edits.iter().any(is_shared) {
            hear(AskEvent::BothUses);
        }
    }

    /// Says what the user should know of the text, and returns all notes: those of the rules, which were said before, of the
    /// text, and of the windows, which the worker says itself.
    pub(super) fn notes(&self, corpus: &Corpus, n_ctx: u32, n_ctx_train: u32, hear: &mut Hear<'_>) -> Vec<Note> {
        let of_text = text_notes::of_text(corpus, &self.special_tokens);
        of_text.iter().for_each(|note| hear(AskEvent::Note(note)));
        let of_windows = worker::beyond_training(n_ctx, n_ctx_train);
        self.notes.iter().cloned().chain(of_text).chain(of_windows).collect()
    }

    /// The request that opens a session.
    pub(super) fn session(&self, conditions: &Conditions, settings: &EngineSettings) -> SessionRequest {
        SessionRequest {
            model: self.path.clone(),
            name: self.name.clone(),
            settings: settings.clone(),
            n_threads: conditions.n_threads,
            max_memory_bytes: conditions.max_memory_bytes,
            files: self.files.clone(),
        }
    }

    /// The schemes that were applied, each as `SELECTOR=SCHEME`.
    pub(super) fn applied(&self) -> Vec<String> {
        self.applies.iter().map(Apply::to_string).collect()
    }

    /// The variant as one cell over these windows.
    pub(super) fn cell(&self, windows: Vec<usize>) -> Cell {
        Cell {
            key: "variant".into(),
            stage: StageName::of("all_layers"),
            extent: CellExtent::Whole,
            role: Role::Variant,
            target: joined(self.applies.iter().map(|apply| apply.selector.to_string())),
            scheme: joined(self.applies.iter().map(|apply| apply.scheme.to_string())),
            layers: Vec::new(),
            base: self.base.clone(),
            edits: self.edits.clone(),
            chunks: windows,
        }
    }

    /// The record of that cell. It lists the requests one by one: with several applications, the target and the scheme
    /// of the cell would not tell which belong together.
    pub(super) fn record(
        &self,
        windows: Vec<usize>,
        samples: &CellSamples,
        references: &References,
    ) -> Result<CellRecord, EvidenceError> {
        let mut record = derive(&self.cell(windows), samples, references, None)?;
        record.evidence.requested = joined(self.applied());
        Ok(record)
    }

    /// The error of scores from which no numbers can be computed.
    pub(super) fn scores(&self, source: EvidenceError) -> AskError {
        AskError::Scores { model: self.name.clone(), source }
    }
}

fn joined(words: impl IntoIterator<Item = String>) -> String {
    words.into_iter().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Bits, Carrier, Column, Columns, ReferenceSample, Sample};

    fn columns(of: &[(&str, f64)]) -> Columns {
        let numbers = of.iter().map(|(id, value)| ((*id).to_owned(), Column::F64(vec![*value])));
        let bits = ["logits_changed", "same_top"].map(|id| (id.to_owned(), Column::Bits(Bits(vec![true]))));
        Columns(numbers.chain(bits).collect())
    }

    fn sample() -> Sample {
        Sample {
            cell: "variant".into(),
            chunk: 0,
            reference_blake3: "reference".into(),
            columns: columns(&[("kld", 0.0), ("nll", 1.0)]),
            activations: None,
            nodes: Vec::new(),
            residual: Vec::new(),
            routers: Vec::new(),
        }
    }

    #[test]
    fn what_was_requested_is_said_application_by_application() {
        let variant = Variant {
            path: "m.gguf".into(),
            name: "m.gguf".into(),
            shown: "m.gguf".into(),
            tensors: Vec::new(),
            special_tokens: SpecialTokens::default(),
            applies: ["ffn_norm=bf16", "attn_q=int8@row"].map(|text| text.parse().expect(text)).to_vec(),
            edits: vec![Edit::of_weight("blk.0.ffn_norm.weight", "bf16", Carrier::F32)],
            notes: Vec::new(),
            fallbacks: Vec::new(),
            files: Vec::new(),
            base: Base { arm: Arm::Exact, carried: Vec::new() },
        };
        let samples = CellSamples { applied: Some(Vec::new()), by_chunk: [(0, sample())].into() };
        let reference = ReferenceSample {
            chunk: 0,
            tokens: vec![1, 2],
            logits_blake3: "reference".into(),
            columns: Columns([("nll".to_owned(), Column::F64(vec![1.0]))].into()),
        };
        let record = variant.record(vec![0], &samples, &[(0, reference)].into()).expect("scores");
        assert_eq!(record.evidence.requested, "ffn_norm=bf16 attn_q=int8@row");
    }
}
