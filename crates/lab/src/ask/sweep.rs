//! Quantizes each layer alone and ranks layers by KL divergence.

use super::error::{AskError, NeedsVariant};
use super::variant::{Conditions, Variant, VariantRequest};
use super::{AskEvent, Hear};
use crate::plan::Corpus;
use crate::plan::reference::reference;
use crate::sweep::{Sweep, SweepEvent, SweptCell, sweep as sweep_cells};
use numerics::BlockCodec;
use record::answer::{LayerStanding, RaceTerms, SWEEP_FORMAT, SweepAnswer, SweepSettings, SweptLayer};
use record::{AllMetricValues, Base, Cell, CellExtent, Edit, Note, StageName};
use stats::{RaceRule, Standing};
use std::collections::BTreeMap;
use worker::{LinkFactory, Session};

/// A question about layers.
#[derive(Clone, Debug)]
pub struct SweepRequest {
    /// The model, and the schemes that quantize each of its layers.
    pub variant: VariantRequest,
    /// The conditions of the measurement.
    pub conditions: Conditions,
    /// The text to measure on.
    pub corpus: Corpus,
    /// The largest number of windows to measure.
    pub windows: usize,
    /// The seed that shuffles the order of windows. Without a race, results do not depend on it.
    pub seed: u64,
    /// The terms of a race; `None` measures every layer on every window.
    pub race: Option<RaceRequest>,
}

/// What a race looks for, and how sure it must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RaceRequest {
    /// The number of worst layers to find.
    pub top: usize,
    /// A layer is good enough when its KL divergence is at least 1 − ε of the last of the worst.
    pub epsilon: f64,
    /// The largest probability of one or more wrong decisions in the whole race, where windows are alike.
    pub alpha: f64,
    /// The mean KL divergence in nats below which a layer has no effect worth ranking; `None` ranks all layers.
    pub null_nats: Option<f64>,
}

/// Quantizes one layer at a time and ranks the layers.
///
/// # Errors
/// When nothing is applied, no tensor is in a layer, a control fails, or the engine does. A layer that cannot be measured
/// is part of the answer.
pub fn sweep(
    request: &SweepRequest,
    workers: &dyn LinkFactory,
    codec: &dyn BlockCodec,
    hear: &mut Hear<'_>,
) -> Result<SweepAnswer, AskError> {
    if request.variant.applies.is_empty() {
        return Err(AskError::NothingApplied(NeedsVariant::Sweep));
    }
    let variant = Variant::find(&request.variant, codec)?;
    let (base, cells) = layers(&variant)?;
    hear(AskEvent::Begun { model: &variant.name, parts: cells.len() });
    let settings = request.conditions.settings();
    let wanted = variant.session(&request.conditions, &settings);
    let mut session = Session::open(workers, &wanted)?;
    let in_text = session.cut(&request.corpus.name, &request.corpus.text, request.corpus.special)?.window_blake3.len();
    let windows = in_text.min(request.windows);
    if windows < request.windows {
        hear(AskEvent::FewerWindows { wanted: request.windows, used: windows });
    }
    let note_values = variant.notes(&request.corpus, settings.n_ctx, session.info.n_ctx_train, hear);
    let order = stats::rng::permutation(windows, request.seed);
    let rule = request.race.map(|race| RaceRule {
        epsilon: race.epsilon,
        alpha: race.alpha,
        null_below: race.null_nats,
        ..RaceRule::new(race.top, windows)
    });
    let mut again = || {
        let mut session = Session::open(workers, &wanted)?;
        session.cut(&request.corpus.name, &request.corpus.text, request.corpus.special)?;
        Ok(session)
    };
    let mut memory_told = false;
    let mut tell = |event: SweepEvent<'_>| match event {
        SweepEvent::Progress { done, at_most } => hear(AskEvent::Progress { done, total: at_most }),
        SweepEvent::Memory(_) if memory_told => {}
        SweepEvent::Memory(plan) => {
            memory_told = true;
            hear(AskEvent::Memory(plan));
        }
        SweepEvent::Died(died) => hear(AskEvent::WorkerDied(died)),
        SweepEvent::Note(note) => hear(AskEvent::Note(note)),
    };
    let swept = sweep_cells(&mut session, &mut again, &base, &cells, &order, rule.as_ref(), &mut tell)
        .map_err(|error| AskError::of_sweep(&variant.name, error))?;
    let settings = SweepSettings {
        model: variant.name.clone(),
        arch: session.info.arch.clone(),
        arm: base.arm,
        apply: variant.applied(),
        fallbacks: variant.fallbacks.clone(),
        text: request.corpus.name.clone(),
        text_bytes: request.corpus.text.len(),
        special: request.corpus.special,
        engine: settings,
        n_chunks: windows,
        n_threads: session.info.n_threads,
        build: session.info.build.clone(),
        assay_version: env!("CARGO_PKG_VERSION").into(),
    };
    let race = request.race.map(|race| RaceTerms {
        top: race.top,
        epsilon: race.epsilon,
        alpha: race.alpha,
        null_nats: race.null_nats,
        seed: request.seed,
    });
    let notes = note_values.iter().map(Note::to_string).collect();
    Ok(SweepAnswer { notes, note_values, ..answer(&cells, &swept, race, settings) })
}

/// One cell for each layer, ascending, and their common reference. Tensors outside the layers stay as they are.
fn layers(variant: &Variant) -> Result<(Base, Vec<Cell>), AskError> {
    let mut by_layer: BTreeMap<u32, Vec<Edit>> = BTreeMap::new();
    for edit in &variant.edits {
        if let Some(layer) = select::layer_of(edit) {
            by_layer.entry(layer).or_default().push(edit.clone());
        }
    }
    if by_layer.is_empty() {
        return Err(AskError::NoLayer { model: variant.shown.clone() });
    }
    let edited = by_layer.values().flatten().map(|edit| (edit.tensor.as_str(), edit.place));
    let base = reference(variant.base.arm, &variant.tensors, edited);
    let of_layer = |(layer, edits)| Cell {
        key: format!("layer {layer}"),
        stage: StageName::of("each_layer"),
        extent: CellExtent::Layer,
        layers: vec![layer],
        base: base.clone(),
        edits,
        ..variant.cell(Vec::new())
    };
    let cells = by_layer.into_iter().map(of_layer).collect();
    Ok((base, cells))
}

fn answer(cells: &[Cell], swept: &Sweep, race: Option<RaceTerms>, settings: SweepSettings) -> SweepAnswer {
    let layer = |index: usize| cells[index].layers.first().copied().unwrap_or_default();
    let layers: Vec<SweptLayer> =
        swept.cells.iter().enumerate().map(|(index, cell)| of_cell(layer(index), cell)).collect();
    SweepAnswer {
        format: SWEEP_FORMAT,
        notes: Vec::new(),
        note_values: Vec::new(),
        measured_chunks: layers.iter().map(|layer| layer.n_chunks).sum(),
        all_chunks: layers.len() * settings.n_chunks,
        layers,
        ranking: swept.ranking.iter().map(|&index| layer(index)).collect(),
        ties: swept.ties.iter().map(|&(i, j)| [layer(i), layer(j)]).collect(),
        race,
        settings,
    }
}

fn of_cell(layer: u32, cell: &SweptCell) -> SweptLayer {
    let tensors = cell.samples.applied.iter().flatten();
    let n_unused = tensors.clone().filter(|tensor| tensor.is_unused()).count();
    let (changed, n) = tensors.fold((0, 0), |(changed, n), tensor| (changed + tensor.changed, n + tensor.n));
    SweptLayer {
        layer,
        metrics: AllMetricValues(cell.measured.as_ref().map(|measured| measured.values().clone()).unwrap_or_default()),
        n_chunks: cell.samples.by_chunk.len(),
        standing: cell.standing.map(|standing| match standing {
            Standing::Racing => LayerStanding::Racing,
            Standing::Inside => LayerStanding::Inside,
            Standing::Outside => LayerStanding::Outside,
            Standing::Null => LayerStanding::Null,
        }),
        changed,
        n,
        n_unused,
        dead: n_unused > 0 && n == 0,
        failure: cell.failure.clone(),
        advice: cell.advice.clone(),
    }
}
