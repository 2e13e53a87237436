//! The perplexity of a model, and how far a variant is from it.

use super::error::{AskError, NeedsVariant};
use super::residual;
use super::variant::{Conditions, Variant, VariantRequest};
use super::{AskEvent, Hear};
use crate::judge::evidence::{EvidenceError, References, of_reference};
use crate::plan::Corpus;
use crate::plan::cells::spec;
use eval::{HeadShift, routing};
use numerics::BlockCodec;
use record::answer::{ChangedTarget, EVAL_FORMAT, EvalAnswer, EvalSettings, HeadAttention, LayerResidual};
use record::store::CellSamples;
use record::{AllMetricValues, CellRecord, EngineSettings, LayerError, Note, ReferenceSample};
use std::collections::BTreeMap;
use worker::protocol::AttentionSample;
use worker::{ChunkWork, Event, Job, LinkFactory, Session};

/// A question about perplexity.
#[derive(Clone, Debug)]
pub struct EvalRequest {
    /// The model and its variant.
    pub variant: VariantRequest,
    /// The conditions of the measurement.
    pub conditions: Conditions,
    /// The text to measure on.
    pub corpus: Corpus,
    /// The largest number of windows to measure.
    pub windows: usize,
    /// Whether the residual stream is compared after each layer, which disables prefix reuse.
    pub trace: bool,
    /// Whether the attention of each head is compared, which disables flash attention for reference and variant.
    pub attention: bool,
}

/// Measures perplexity and, if there is a variant, its distance from the reference.
///
/// # Errors
/// When the request cannot be measured, a control fails, or the engine does.
pub fn eval(
    request: &EvalRequest,
    workers: &dyn LinkFactory,
    codec: &dyn BlockCodec,
    hear: &mut Hear<'_>,
) -> Result<EvalAnswer, AskError> {
    let wants = [(request.trace, NeedsVariant::Trace), (request.attention, NeedsVariant::Attention)];
    if let Some((_, what)) = wants.iter().find(|(wanted, _)| *wanted && request.variant.applies.is_empty()) {
        return Err(AskError::NothingApplied(*what));
    }
    let variant = Variant::find(&request.variant, codec)?;
    let settings = EngineSettings { flash_attn: !request.attention, ..request.conditions.settings() };
    variant.begin(request.windows, hear);
    let mut session = Session::open(workers, &variant.session(&request.conditions, &settings))?;
    let in_text = session.cut(&request.corpus.name, &request.corpus.text, request.corpus.special)?.window_blake3.len();
    let windows = in_text.min(request.windows);
    if windows < request.windows {
        hear(AskEvent::FewerWindows { wanted: request.windows, used: windows });
    }
    let note_values = variant.notes(&request.corpus, settings.n_ctx, session.info.n_ctx_train, hear);
    // Not every graph has attention probabilities. Whether this one does shows here, before the scores take their time.
    let attention = match request.attention {
        true => Some(attention(&mut session, &variant, windows, hear)?),
        false => None,
    };
    let scores = scores(&mut session, &variant, windows, request.trace, hear)?;
    let record = match variant.edits.is_empty() {
        true => None,
        false => Some(
            variant
                .record((0..windows).collect(), &scores.samples, &scores.reference)
                .map_err(|error| variant.scores(error))?,
        ),
    };
    let residual = match request.trace {
        true => Some(traced(&variant, &session.info.arch, &scores.samples)?),
        false => None,
    };
    let routing = routing::by_layer(scores.samples.by_chunk.values().map(|sample| sample.routers.as_slice()));
    let routing = (!routing.is_empty()).then_some(routing);
    let settings = EvalSettings {
        model: variant.name.clone(),
        arch: session.info.arch.clone(),
        arm: variant.base.arm,
        apply: variant.applied(),
        fallbacks: variant.fallbacks.clone(),
        text: request.corpus.name.clone(),
        text_bytes: request.corpus.text.len(),
        special: request.corpus.special,
        engine: settings,
        n_threads: session.info.n_threads,
        build: session.info.build.clone(),
        assay_version: env!("CARGO_PKG_VERSION").into(),
    };
    let answer = answer(&variant, &scores, windows, record.as_ref(), settings);
    let answer = answer.map_err(|error| variant.scores(error))?;
    let notes = note_values.iter().map(Note::to_string).collect();
    Ok(EvalAnswer { residual, attention, routing, notes, note_values, ..answer })
}

/// The raw scores of the windows.
#[derive(Default)]
struct Scores {
    reference: References,
    samples: CellSamples,
}

fn scores(
    session: &mut Session,
    variant: &Variant,
    windows: usize,
    trace: bool,
    hear: &mut Hear<'_>,
) -> Result<Scores, AskError> {
    let cells: Vec<_> = match variant.edits.is_empty() {
        true => Vec::new(),
        false => vec![spec(&variant.cell((0..windows).collect()))],
    };
    let work = (0..windows).map(|chunk| ChunkWork { chunk, cells: (0..cells.len()).collect() }).collect();
    let total = windows * (1 + cells.len());
    let job = Job::Measure { base: variant.base.clone(), cells, chunks: work, trace };
    let mut scores = Scores::default();
    session.hear(&job, &mut |event| {
        match event {
            Event::Memory(plan) => hear(AskEvent::Memory(&plan)),
            Event::Note { note } => hear(AskEvent::Note(&note)),
            Event::Reference(sample) => {
                scores.reference.insert(sample.chunk, sample);
            }
            Event::Applied { tensors, .. } => scores.samples.applied = Some(tensors),
            Event::Sample(sample) => {
                scores.samples.by_chunk.insert(sample.chunk, sample);
            }
            Event::CellFailed { why, hint, .. } => {
                return Err(AskError::Variant { model: variant.name.clone(), why, hint });
            }
            _ => {}
        }
        hear(AskEvent::Progress { done: scores.reference.len() + scores.samples.by_chunk.len(), total });
        Ok(())
    })?;
    Ok(scores)
}

/// The means over query positions, with windows in order.
fn attention(
    session: &mut Session,
    variant: &Variant,
    windows: usize,
    hear: &mut Hear<'_>,
) -> Result<Vec<HeadAttention>, AskError> {
    hear(AskEvent::ComparingAttention);
    let (base, edits) = (variant.base.clone(), variant.edits.clone());
    let job = Job::Attention { base, edits, chunks: (0..windows).collect() };
    let mut samples: Vec<AttentionSample> = Vec::new();
    session.hear::<AskError>(&job, &mut |event| {
        if let Event::Attention(sample) = event {
            samples.push(sample);
            hear(AskEvent::Progress { done: samples.len(), total: windows });
        }
        Ok(())
    })?;
    let mut sums: BTreeMap<(usize, usize), HeadShift> = BTreeMap::new();
    for (layer, heads) in samples.iter().flat_map(|sample| &sample.layers) {
        for (head, shift) in heads.iter().enumerate() {
            sums.entry((*layer, head)).or_default().join(shift);
        }
    }
    let mean = |((layer, head), sum): ((usize, usize), HeadShift)| {
        let n = sum.n as f64;
        HeadAttention {
            layer,
            head,
            n: sum.n,
            jsd_nats: sum.jsd / n,
            entropy_ref_nats: sum.entropy_ref / n,
            entropy_var_nats: sum.entropy_var / n,
            sink_ref: sum.sink_ref / n,
            sink_var: sum.sink_var / n,
        }
    };
    Ok(sums.into_iter().map(mean).collect())
}

/// The residual stream after each layer.
///
/// # Errors
/// When the graph names no layers, or the stream differs before the first layer that was touched.
fn traced(variant: &Variant, arch: &str, samples: &CellSamples) -> Result<Vec<LayerResidual>, AskError> {
    let windows: Vec<&[LayerError]> = samples.by_chunk.values().map(|sample| sample.residual.as_slice()).collect();
    let layers = residual::by_layer(&windows);
    if layers.is_empty() {
        return Err(AskError::NothingToTrace { model: variant.name.clone(), arch: arch.into() });
    }
    match residual::touched_early(&layers, select::first_layer(&variant.edits)) {
        None => Ok(layers),
        Some(early) => {
            Err(AskError::TouchedEarly { model: variant.name.clone(), layer: early.layer, rel_rmse: early.rel_rmse })
        }
    }
}

/// The answer without notes, the residual stream, attention and routing.
fn answer(
    variant: &Variant,
    scores: &Scores,
    windows: usize,
    record: Option<&CellRecord>,
    settings: EvalSettings,
) -> Result<EvalAnswer, EvidenceError> {
    let references = (0..windows)
        .map(|window| scores.reference.get(&window).ok_or(EvidenceError::NoReference(window)))
        .collect::<Result<Vec<&ReferenceSample>, _>>()?;
    let n_tokens = references.iter().map(|window| window.nll().len()).sum();
    let metrics = match record.and_then(|record| record.measured.as_ref()) {
        Some(measured) => measured.values().clone(),
        None => of_reference(&references)?,
    };
    let changed = record.map(|record| changed(variant, record)).unwrap_or_default();
    Ok(EvalAnswer {
        format: EVAL_FORMAT,
        n_tokens,
        n_chunks: windows,
        metrics: AllMetricValues(metrics),
        notes: Vec::new(),
        note_values: Vec::new(),
        dead: !changed.is_empty() && changed.iter().all(|target| target.unused),
        changed,
        residual: None,
        attention: None,
        routing: None,
        settings,
    })
}

/// What each edit did. The evidence comes in the order of the edits.
fn changed(variant: &Variant, record: &CellRecord) -> Vec<ChangedTarget> {
    let edits = variant.edits.iter().zip(&record.evidence.tensors);
    edits
        .map(|(edit, found)| ChangedTarget {
            name: found.tensor.clone(),
            place: edit.place,
            scheme: edit.scheme.clone(),
            n: found.n,
            unused: found.is_unused(),
            changed: found.changed,
            zero_sign: found.zero_sign,
            minus_zero: found.minus_zero,
            carrier_rounded: found.carrier_rounded,
            rel_rmse: found.rel_rmse,
        })
        .collect()
}
