//! One edit: what it puts in the place of a weight or does to the values of a node, and what that changed.

use crate::loaded::{Loaded, ValuesError, use_of};
use eval::{EngineError, WeightInfo};
use files::CompanionError;
use half::f16;
use numerics::{BlockCodec, CodecError, FakeQuantError, Format, Scheme, TensorContext, difference, is_other_value};
use record::{Arm, Base, Carrier, Edit, EditPlace, NodeEvidence, TensorEvidence, WeightUse};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why an edit cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EditError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    FakeQuant(#[from] FakeQuantError),
    #[error(transparent)]
    Companion(#[from] CompanionError),
    #[error("{0}")]
    Scheme(String),
}

impl From<ValuesError> for EditError {
    fn from(error: ValuesError) -> Self {
        match error {
            ValuesError::Engine(error) => EditError::Engine(error),
            ValuesError::Codec(error) => EditError::Codec(error),
            ValuesError::Companion(error) => EditError::Companion(error),
        }
    }
}

/// An edit of a weight, ready to be swapped in.
#[derive(Clone)]
pub(crate) struct PreparedEdit {
    pub(crate) tensor: String,
    pub(crate) place: EditPlace,
    pub(crate) ty: String,
    pub(crate) bytes: Arc<Vec<u8>>,
    /// Whether the bytes are the products of the weight and its factors, if it has any. The factors are then ones as long
    /// as the edit is in place.
    pub(crate) folded: bool,
}

/// The number of graph nodes that read a weight in this use.
pub(crate) fn consumers(info: &WeightInfo, place: EditPlace) -> usize {
    match use_of(place) {
        None => info.consumers,
        Some(WeightUse::Lookup) => info.lookups,
        Some(WeightUse::Head) => info.consumers - info.lookups,
    }
}

/// Computes what an edit puts in place and what that changes against the reference. Gives `None` if no node of the graph
/// uses the weight so.
fn prepare(
    loaded: &Loaded,
    base: &Base,
    edit: &Edit,
    codec: &dyn BlockCodec,
) -> Result<Option<(PreparedEdit, TensorEvidence)>, EditError> {
    let name = &edit.tensor;
    let Some(info) = loaded.engine.weights().iter().find(|w| w.name == *name) else { return Ok(None) };
    let n_per_row = info.ne[0] as usize;
    let consumers = consumers(info, edit.place);
    if consumers == 0 {
        return Ok(None);
    }
    let stored = loaded.stored.get(name).ok_or_else(|| EngineError::NoSuchWeight(name.clone()))?;
    let scheme: Scheme = edit.scheme.parse().map_err(|error| EditError::Scheme(format!("{error}")))?;
    let scheme = loaded.files.known(&scheme);

    let (type_base, reference) = loaded.values_of(name, edit.place, codec)?;
    // The values are edited where they will be swapped in, because the F32 copy of a token embedding is too large to
    // store twice.
    let mut asked_bytes = vec![0u8; reference.len() * size_of::<f32>()];
    let asked: &mut [f32] = bytemuck::try_cast_slice_mut(&mut asked_bytes)
        .map_err(|error| EditError::Scheme(format!("{name}: {error}")))?;
    asked.copy_from_slice(&reference);
    scheme.fake_quantize(asked, &TensorContext { name, n_per_row }, codec)?;
    let scheme_did = difference(&reference, asked);

    // Blocks that the scheme does not change are copied, because quantizing them again might give other blocks.
    let n_signs = scheme_did.zero_sign + scheme_did.minus_zero;
    let untouched = scheme_did.changed == 0 && (n_signs == 0 || !record::stores_floats(stored));
    // The values that the carrier stores, where they differ from what the scheme gave.
    let mut rounded: Option<Vec<f32>> = None;
    let (ty, kept_bytes, folded) = match edit.carrier {
        Carrier::F32 => ("f32".into(), None, true),
        Carrier::Keep if untouched => (type_base.clone(), Some(loaded.read(name, edit.place)?.1), false),
        Carrier::Keep => {
            // The carrier stores values beside the factors of the weight, as the file does.
            let factors = loaded.factors_of(name, edit.place);
            let mut held = asked.to_vec();
            if let Some(factors) = factors {
                factors.divide(0, &mut held);
            }
            let blocks = codec.quantize(stored, &held, n_per_row, None)?;
            codec.dequantize(stored, &blocks, &mut held)?;
            if let Some(factors) = factors {
                factors.multiply(0, &mut held);
            }
            let kept = match base.arm {
                Arm::Native => (stored.clone(), Some(blocks), false),
                // The values that the carrier stores, read by the kernels of the exact arm.
                Arm::Exact => ("f32".into(), Some(bytemuck::cast_slice(&held).to_vec()), true),
            };
            rounded = Some(held);
            kept
        }
    };
    let held: &[f32] = rounded.as_deref().unwrap_or(asked);
    let carrier_rounded = asked.iter().zip(held).filter(|(a, b)| is_other_value(**a, **b)).count() as u64;
    let overall = difference(&reference, held);
    let changed_bytes = reference
        .iter()
        .zip(held)
        .map(|(a, b)| a.to_le_bytes().iter().zip(b.to_le_bytes()).filter(|(x, y)| **x != *y).count() as u64)
        .sum();
    let evidence = TensorEvidence {
        tensor: name.clone(),
        type_base,
        type_variant: ty.clone(),
        n: reference.len() as u64,
        changed: scheme_did.changed,
        zero_sign: scheme_did.zero_sign,
        minus_zero: scheme_did.minus_zero,
        carrier_rounded,
        rel_rmse: if overall.rel_rmse.is_finite() { overall.rel_rmse } else { f64::MAX },
        rounding_rel_rmse: None,
        changed_bytes,
        read_back: false,
        consumers,
    };
    let bytes = Arc::new(kept_bytes.unwrap_or(asked_bytes));
    Ok(Some((PreparedEdit { tensor: name.clone(), place: edit.place, ty, bytes, folded }, evidence)))
}

/// Edits of weights that stay in memory between rounds and jobs. When several cells quantize a weight in the same
/// scheme, it is computed once. This happens when one layer is measured alone, then all layers.
#[derive(Default)]
pub(crate) struct KeptEdits {
    /// The reference on which they were computed.
    base: Option<Base>,
    bytes: u64,
    max_bytes: u64,
    by_edit: HashMap<Edit, (PreparedEdit, TensorEvidence)>,
}

impl KeptEdits {
    /// Keeps up to `max_bytes` of edits on this reference from now on. Edits on another reference are dropped.
    pub(crate) fn begin(&mut self, base: &Base, max_bytes: u64) {
        if self.base.as_ref() != Some(base) || self.bytes > max_bytes {
            *self = KeptEdits { base: Some(base.clone()), ..KeptEdits::default() };
        }
        self.max_bytes = max_bytes;
    }

    /// What an edit puts in place, from memory or computed now; `None` if the graph does not use the weight.
    pub(crate) fn get(
        &mut self,
        loaded: &Loaded,
        base: &Base,
        edit: &Edit,
        codec: &dyn BlockCodec,
    ) -> Result<Option<(PreparedEdit, TensorEvidence)>, EditError> {
        if let Some(kept) = self.by_edit.get(edit) {
            return Ok(Some(kept.clone()));
        }
        let Some(prepared) = prepare(loaded, base, edit, codec)? else { return Ok(None) };
        let bytes = prepared.0.bytes.len() as u64;
        if self.bytes + bytes <= self.max_bytes {
            self.bytes += bytes;
            self.by_edit.insert(edit.clone(), prepared.clone());
        }
        Ok(Some(prepared))
    }
}

/// An edit of a node's values, which acts in every pass of its cell.
pub(crate) struct ActivationEdit<'a> {
    node: &'a str,
    scheme: Scheme,
    codec: &'a dyn BlockCodec,
    /// The type of the KV cache, for values that go there, because the cache rounds them again.
    cache_type: Option<String>,
    /// What the edit did, by the place of the window in its round. `None` when that is not asked for.
    did: Mutex<Option<BTreeMap<usize, NodeEvidence>>>,
}

impl<'a> ActivationEdit<'a> {
    pub(crate) fn new(edit: &'a Edit, loaded: &Loaded, codec: &'a dyn BlockCodec) -> Result<Self, EditError> {
        let scheme = edit.scheme.parse().map_err(|error| EditError::Scheme(format!("{error}")))?;
        let scheme = loaded.files.known(&scheme);
        let cache_type = match edit.tensor.as_str() {
            key if key.starts_with("cache_k_l") => Some(loaded.settings.type_k.clone()),
            value if value.starts_with("cache_v_l") => Some(loaded.settings.type_v.clone()),
            _ => None,
        };
        Ok(ActivationEdit { node: &edit.tensor, scheme, codec, cache_type, did: Mutex::new(None) })
    }

    /// Starts to record what happens to each window.
    pub(crate) fn observe(&self) {
        *self.did() = Some(BTreeMap::new());
    }

    fn did(&self) -> MutexGuard<'_, Option<BTreeMap<usize, NodeEvidence>>> {
        self.did.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of the node whose values the edit changes.
    pub(crate) fn node(&self) -> &'a str {
        self.node
    }

    /// Fake-quantizes the values of one part of the window in a place of the round.
    pub(crate) fn replace(&self, slot: usize, values: &mut [f32], n_per_row: usize) -> Result<(), String> {
        self.edit(slot, values, n_per_row).map_err(|error| error.to_string())
    }

    fn edit(&self, slot: usize, values: &mut [f32], n_per_row: usize) -> Result<(), EditError> {
        let is_observed = self.did().is_some();
        let stored = |values: &[f32]| -> Result<Option<Vec<f32>>, CodecError> {
            self.cache_type.as_deref().map(|ty| rounded_by(ty, values, n_per_row, self.codec)).transpose()
        };
        // What the reference's attention reads, where the values enter the cache.
        let before = if is_observed || self.moves_by_an_ulp_of_f16() { stored(values)? } else { None };
        let computed = if is_observed { values.to_vec() } else { Vec::new() };
        let context = TensorContext { name: self.node, n_per_row };
        match &before {
            Some(stored) if self.moves_by_an_ulp_of_f16() => {
                values.copy_from_slice(stored);
                self.scheme.fake_quantize(values, &context, self.codec)?;
                values.iter_mut().zip(stored).for_each(|(moved, from)| *moved = next_f16(*from, *moved));
            }
            _ => self.scheme.fake_quantize(values, &context, self.codec)?,
        }
        if !is_observed {
            return Ok(());
        }
        let found = match (before, stored(values)?) {
            (Some(before), Some(after)) => {
                // The cache rounds what the scheme leaves alone for the reference too.
                let asked =
                    values.iter().zip(&computed).zip(&after).filter(|((asked, was), _)| is_other_value(**asked, **was));
                let rounded: Vec<(f32, f32)> = asked.map(|((asked, _), after)| (*asked, *after)).collect();
                let by_cache = rounded.iter().map(|(asked, after)| (f64::from(*asked) - f64::from(*after)).powi(2));
                NodeEvidence {
                    carrier_rounded: rounded.iter().filter(|(asked, after)| is_other_value(*asked, *after)).count()
                        as u64,
                    squared_rounding: Some(by_cache.sum()),
                    ..evidence(&before, &after)
                }
            }
            _ => evidence(&computed, values),
        };
        if let Some(did) = self.did().as_mut() {
            did.entry(slot).or_default().add(&found);
        }
        Ok(())
    }

    /// Whether the edit is the jitter of values that an F16 cache stores. There, one ulp of F32 is mostly rounded away, and one
    /// of F16 is the least that can change.
    fn moves_by_an_ulp_of_f16(&self) -> bool {
        matches!(self.scheme.format(), Format::Jitter { .. }) && self.cache_type.as_deref() == Some("f16")
    }

    /// What the edit did to the window in a place of the round. To be called after the pass has ended.
    pub(crate) fn evidence(&self, slot: usize) -> NodeEvidence {
        let did = self.did().as_ref().and_then(|did| did.get(&slot).cloned()).unwrap_or_default();
        NodeEvidence { node: self.node.to_owned(), ..did }
    }
}

/// What changed between two states of a node's values.
fn evidence(before: &[f32], after: &[f32]) -> NodeEvidence {
    let did = difference(before, after);
    let mut found = NodeEvidence {
        n: before.len() as u64,
        changed: did.changed,
        zero_sign: did.zero_sign,
        minus_zero: did.minus_zero,
        ..NodeEvidence::default()
    };
    for (a, b) in before.iter().zip(after) {
        let bytes = a.to_le_bytes().iter().zip(b.to_le_bytes()).filter(|(x, y)| **x != *y).count();
        found.changed_bytes += bytes as u64;
        found.squared_reference += f64::from(*a).powi(2);
    }
    NodeEvidence { squared_error: squared_difference(before, after), ..found }
}

fn squared_difference(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + (f64::from(*b) - f64::from(*a)).powi(2))
}

/// The F16 value next to one, on the side to which `moved` lies. Zeros stay, and the largest finite value moves down, as under
/// jitter of F32.
fn next_f16(from: f32, moved: f32) -> f32 {
    let at = f16::from_f32(from);
    let step = |up: bool| f16::from_bits(if up { at.to_bits() + 1 } else { at.to_bits() - 1 });
    match moved.abs() > from.abs() {
        _ if moved == from || !from.is_finite() => from,
        true if step(true).is_finite() => step(true).to_f32(),
        _ => step(false).to_f32(),
    }
}

/// The values that a type gives back.
fn rounded_by(ty: &str, values: &[f32], n_per_row: usize, codec: &dyn BlockCodec) -> Result<Vec<f32>, CodecError> {
    let blocks = codec.quantize(ty, values, n_per_row, None)?;
    let mut held = vec![0.0; values.len()];
    codec.dequantize(ty, &blocks, &mut held)?;
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_neighbour_of_an_f16_value_is_on_the_side_that_jitter_chose() {
        let ulp = f16::from_bits(f16::ONE.to_bits() + 1).to_f32();
        assert_eq!((next_f16(1.0, 1.0f32.next_up()), next_f16(-1.0, (-1.0f32).next_down())), (ulp, -ulp));
        assert_eq!(next_f16(1.0, 1.0f32.next_down()), f16::from_bits(f16::ONE.to_bits() - 1).to_f32());
        let largest = f16::MAX.to_f32();
        assert_eq!(next_f16(largest, largest.next_up()), f16::from_bits(f16::MAX.to_bits() - 1).to_f32());
        assert_eq!((next_f16(0.0, 0.0), next_f16(f32::INFINITY, f32::INFINITY)), (0.0, f32::INFINITY));
    }
}
