//! Which experts the routers of a mixture of experts choose, in reference and variant.
//!
//! A router scores all experts of its layer for a token, and the layer uses the few with the highest scores. A pair of
//! a token and a layer *flips* when the set of chosen experts in the variant is not the set in the reference. The order
//! of the chosen experts has no part in it: the layer adds up their outputs, each with the weight that its own score
//! gives.
//!
//! # Source
//! `llm_graph_context::build_moe_ffn` in llama.cpp's `src/llama-graph.cpp`: the graph node `ffn_moe_topk-N` has the
//! numbers of the experts that layer N uses, `[n_expert_used, n_tokens]`.

use crate::engine::RoutedLayer;
use record::metric::{EXPERTS_CHANGED, ROUTING_FLIPS};
use record::{Column, Columns};
use serde::{Deserialize, Serialize};

/// What a variant does to the choices of one router: counts over tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterShift {
    /// The number of the layer, counted from 0.
    pub layer: usize,
    /// The number of experts that the router chooses for a token.
    pub n_used: usize,
    /// The number of tokens in the counts.
    pub n: u64,
    /// The number of tokens for which reference and variant choose other sets of experts.
    pub flips: u64,
    /// The number of experts that the reference chooses and the variant does not, over all tokens.
    pub changed: u64,
}

impl RouterShift {
    /// Adds the counts of the same router on another window.
    pub fn join(&mut self, other: &RouterShift) {
        self.n += other.n;
        self.flips += other.flips;
        self.changed += other.changed;
    }
}

/// The routing of a variant compared with the reference's, on one window.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowRouting {
    /// The columns of [`record::metric::ROUTING_COLUMNS`], one value for each scored token: means over the layers that
    /// have a router.
    pub columns: Columns,
    /// The counts of each router, by ascending layer.
    pub layers: Vec<RouterShift>,
}

/// The error for choices of a variant that cannot be compared with the reference's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pass does not say which experts the router of layer {layer} chose for each scored token")]
pub struct RoutingError {
    /// The number of the layer, counted from 0.
    pub layer: usize,
}

/// Compares the choices of a variant with the reference's at the first `n_scored` positions that have logits. Layers
/// before `first_computed` were skipped in the variant's pass, because nothing in them differs from the reference, so
/// their choices are the reference's. Without routers there is nothing to compare.
///
/// # Errors
/// When the variant has no choice for a token of a computed layer that has a router.
pub fn compare(
    reference: &[RoutedLayer],
    variant: &[RoutedLayer],
    n_scored: usize,
    first_computed: usize,
) -> Result<Option<WindowRouting>, RoutingError> {
    if reference.is_empty() || n_scored == 0 {
        return Ok(None);
    }
    let (mut flips, mut changed) = (vec![0.0; n_scored], vec![0.0; n_scored]);
    let mut layers = Vec::with_capacity(reference.len());
    for of_reference in reference {
        let RoutedLayer { layer, n_used, .. } = *of_reference;
        let of_variant = match layer < first_computed {
            true => Some(of_reference),
            false => variant.iter().find(|routed| routed.layer == layer && routed.n_used == n_used),
        };
        let of_variant = of_variant.ok_or(RoutingError { layer })?;
        let mut shift = RouterShift { layer, n_used, ..RouterShift::default() };
        for position in 0..n_scored {
            let row = position * n_used..(position + 1) * n_used;
            let before = of_reference.experts.get(row.clone()).ok_or(RoutingError { layer })?;
            let after = of_variant.experts.get(row).ok_or(RoutingError { layer })?;
            let lost = before.iter().filter(|expert| !after.contains(expert)).count();
            shift.n += 1;
            shift.flips += u64::from(lost > 0);
            shift.changed += lost as u64;
            flips[position] += f64::from(u8::from(lost > 0));
            changed[position] += lost as f64 / n_used.max(1) as f64;
        }
        layers.push(shift);
    }
    let n_layer = layers.len() as f64;
    let mut columns = Columns::default();
    for (id, mut sums) in [(ROUTING_FLIPS, flips), (EXPERTS_CHANGED, changed)] {
        sums.iter_mut().for_each(|sum| *sum /= n_layer);
        columns.set(id, Column::F64(sums));
    }
    Ok(Some(WindowRouting { columns, layers }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routed(layer: usize, n_used: usize, experts: &[i32]) -> RoutedLayer {
        RoutedLayer { layer, n_used, experts: experts.to_vec() }
    }

    #[test]
    fn a_set_flips_when_an_expert_is_another_one_and_not_when_their_order_is() {
        let reference = [routed(1, 2, &[0, 1, 2, 3, 0, 3]), routed(3, 2, &[0, 1, 0, 1, 0, 1])];
        let variant = [routed(1, 2, &[1, 0, 2, 0, 1, 2]), routed(3, 2, &[0, 1, 1, 0, 1, 2])];
        let found = compare(&reference, &variant, 3, 0).expect("comparable").expect("routers");
        assert_eq!(found.columns.numbers(ROUTING_FLIPS), [0.0, 0.5, 1.0]);
        assert_eq!(found.columns.numbers(EXPERTS_CHANGED), [0.0, 0.25, 0.75]);
        let shift = |layer, flips, changed| RouterShift { layer, n_used: 2, n: 3, flips, changed };
        assert_eq!(found.layers, [shift(1, 2, 3), shift(3, 1, 1)]);
        // Only scored tokens count: the last row has logits, but no token to predict.
        let first = compare(&reference, &variant, 1, 0).expect("comparable").expect("routers");
        assert!(first.layers.iter().all(|layer| (layer.n, layer.flips) == (1, 0)));
        let mut sum = found.layers[0];
        sum.join(&first.layers[0]);
        assert_eq!(sum, RouterShift { n: 4, ..found.layers[0] });
    }

    #[test]
    fn skipped_layers_choose_as_the_reference_does_and_a_computed_one_must_be_there() {
        let reference = [routed(0, 1, &[4]), routed(1, 1, &[4])];
        let variant = [routed(1, 1, &[5])];
        let found = compare(&reference, &variant, 1, 1).expect("comparable").expect("routers");
        assert_eq!(found.columns.numbers(ROUTING_FLIPS), [0.5]);
        assert_eq!(compare(&reference, &variant, 1, 0), Err(RoutingError { layer: 0 }));
        assert_eq!(compare(&reference, &[routed(1, 1, &[])], 1, 1), Err(RoutingError { layer: 1 }));
        assert_eq!(compare(&reference, &[routed(1, 2, &[4, 5])], 1, 1), Err(RoutingError { layer: 1 }));
    }

    #[test]
    fn without_routers_there_is_nothing_to_compare() {
        assert_eq!(compare(&[], &[], 3, 0), Ok(None));
    }
}
