//! Compares attention probabilities of a variant with the reference's, window by window. They are nodes of the graph
//! only where flash attention is off, so the reference also runs without flash attention.

use crate::edit::ActivationEdit;
use crate::job_error::JobError;
use crate::loaded::Loaded;
use crate::protocol::{AttentionSample, CellSpec, Event};
use crate::serve::{Worker, lock};
use eval::window::first_scored;
use eval::{Ask, EngineError, HeadShift, Hook, Sequence, Token};
use record::{Base, Edit};
use std::io::Write;
use std::sync::Mutex;
use words::{Hint, plural};

/// The probabilities of one layer, part by part of a window: `n_kv` and `[n_head][n_tokens][n_kv]`.
type SeenProbabilities = Mutex<Vec<(usize, Vec<f32>)>>;

impl<W: Write> Worker<'_, W> {
    pub(crate) fn attention(
        &mut self,
        loaded: &mut Loaded,
        base: &Base,
        edits: &[Edit],
        chunks: &[usize],
    ) -> Result<(), JobError> {
        if let Some(chunk) = chunks.iter().find(|&&chunk| chunk >= loaded.windows.len()) {
            return Err(JobError::impossible(format!(
                "window {chunk}: the text has {}",
                plural(loaded.windows.len(), "window")
            )));
        }
        let layers: Vec<(usize, String)> = (0..loaded.engine.info().n_layer)
            .map(|layer| (layer, format!("kq_soft_max-{layer}")))
            .filter(|(_, node)| loaded.engine.nodes().iter().any(|info| info.name == *node))
            .collect();
        if layers.is_empty() {
            return Err(JobError::input(
                format!(
                    "the graph of this architecture ({}) has no attention probabilities (kq_soft_max)",
                    loaded.engine.info().arch
                ),
                Hint::words("not every architecture has attention, and some compute it in one node"),
            ));
        }
        let variant = CellSpec { key: "variant".into(), first_layer: 0, edits: edits.to_vec() };
        self.on_base(loaded, base, std::slice::from_ref(&variant), |worker, loaded, _| {
            let depth = loaded.depth();
            chunks.iter().try_for_each(|&chunk| {
                let sample = worker.window(loaded, base, edits, &layers, chunk);
                loaded.unwind(depth)?;
                Ok(worker.say(&Event::Attention(sample?))?)
            })
        })
    }

    /// Measures one window: it keeps the reference's probabilities, then compares the variant's with them.
    fn window(
        &mut self,
        loaded: &mut Loaded,
        base: &Base,
        edits: &[Edit],
        layers: &[(usize, String)],
        chunk: usize,
    ) -> Result<AttentionSample, JobError> {
        let n_ctx = loaded.settings.n_ctx as usize;
        let reference: Vec<SeenProbabilities> = layers.iter().map(|_| SeenProbabilities::default()).collect();
        let window = loaded.windows[chunk].clone();
        run(loaded, &window, n_ctx, layers, &reference, &[])?;

        let activations = self.put_in(loaded, base, edits)?;
        let variant: Vec<SeenProbabilities> = layers.iter().map(|_| SeenProbabilities::default()).collect();
        run(loaded, &window, n_ctx, layers, &variant, &activations)?;
        let heads = layers.iter().zip(reference.iter().zip(&variant)).map(|((layer, _), (reference, variant))| {
            let n_ubatch = loaded.settings.n_ubatch as usize;
            (*layer, shifts(&lock(reference), &lock(variant), window.len(), n_ubatch))
        });
        Ok(AttentionSample { chunk, layers: heads.collect() })
    }
}

/// Runs a full pass that reads the probabilities of each layer and edits activations.
fn run(
    loaded: &mut Loaded,
    window: &[Token],
    n_ctx: usize,
    layers: &[(usize, String)],
    seen: &[SeenProbabilities],
    activations: &[ActivationEdit<'_>],
) -> Result<(), EngineError> {
    let edits: Vec<_> = activations
        .iter()
        .map(|edit| move |slot: usize, values: &mut [f32], n_per_row: usize| edit.replace(slot, values, n_per_row))
        .collect();
    let looks: Vec<_> = seen
        .iter()
        .map(|seen| {
            move |_: usize, values: &mut [f32], n_kv: usize| {
                lock(seen).push((n_kv, values.to_vec()));
                Ok(())
            }
        })
        .collect();
    // An edit at the same node acts first, so that the values which are read are those with which the model goes on.
    let edits = activations.iter().zip(&edits).map(|(edit, replace)| Hook { node: edit.node(), replace });
    let looks = layers.iter().zip(&looks).map(|((_, node), replace)| Hook { node, replace });
    let hooks: Vec<Hook<'_>> = edits.chain(looks).collect();
    let window = [Sequence { tokens: window, first_output: first_scored(n_ctx) }];
    loaded.engine.pass(&Ask { hooks: &hooks, ..Ask::of(&window) }, &|_, _| {}).map(drop)
}

/// The shifts of the heads of one layer over all parts of a window. Each part has up to `n_ubatch` of the window's
/// `n_window` queries.
fn shifts(
    reference: &[(usize, Vec<f32>)],
    variant: &[(usize, Vec<f32>)],
    n_window: usize,
    n_ubatch: usize,
) -> Vec<HeadShift> {
    let mut heads: Vec<HeadShift> = Vec::new();
    for (part, ((n_kv, reference), (_, variant))) in reference.iter().zip(variant).enumerate() {
        let n_tokens = n_window.saturating_sub(part * n_ubatch).min(n_ubatch).max(1);
        let rows = reference.chunks_exact(*n_kv).zip(variant.chunks_exact(*n_kv));
        for (row, (reference, variant)) in rows.enumerate() {
            let head = row / n_tokens;
            if heads.len() <= head {
                heads.resize(head + 1, HeadShift::default());
            }
            heads[head].add(reference, variant);
        }
    }
    heads
}
