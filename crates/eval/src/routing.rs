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
use record::answer::LayerRouting;
use record::metric::{EXPERTS_CHANGED, ROUTING_FLIPS};
use record::{Column, Columns, RouterSample};
use std::collections::BTreeMap;

/// The error for choices of a variant that cannot be compared with the reference's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pass does not say which experts the router of layer {layer} chose for each scored token")]
pub struct RoutingError {
    /// The number of the layer, counted from 0.
    pub layer: usize,
}

/// Compares the choices of a variant with the reference's at the first `n_scored` positions that have logits. Layers
/// before `first_computed` were skipped in the variant's pass, because nothing in them differs from the reference, so
/// their choices are the reference's. The counts have the order of the reference's layers; without routers there are
/// none.
///
/// # Errors
/// When the variant has no choice for a token of a computed layer that has a router.
pub fn compare(
    reference: &[RoutedLayer],
    variant: &[RoutedLayer],
    n_scored: usize,
    first_computed: usize,
) -> Result<Vec<RouterSample>, RoutingError> {
    let compare = |of_reference: &RoutedLayer| {
        let RoutedLayer { layer, n_used, .. } = *of_reference;
        let of_variant = match layer < first_computed {
            true => Some(of_reference),
            false => variant.iter().find(|routed| routed.layer == layer && routed.n_used == n_used),
        };
        let of_variant = of_variant.ok_or(RoutingError { layer })?;
        let lost = |position: usize| {
            let row = position * n_used..(position + 1) * n_used;
            let before = of_reference.experts.get(row.clone()).ok_or(RoutingError { layer })?;
            let after = of_variant.experts.get(row).ok_or(RoutingError { layer })?;
            Ok(before.iter().filter(|expert| !after.contains(expert)).count() as u32)
        };
        Ok(RouterSample { layer, n_used, changed: (0..n_scored).map(lost).collect::<Result<_, _>>()? })
    };
    reference.iter().map(compare).collect()
}

/// The columns of [`record::metric::ROUTING_COLUMNS`] of one window, one value for each scored token: means over the
/// layers that have a router. Without routers there are none.
pub fn columns(routers: &[RouterSample]) -> Columns {
    let mut columns = Columns::default();
    let Some(first) = routers.first() else { return columns };
    let mean = |share: &dyn Fn(u32, usize) -> f64| {
        let of_token = |token| routers.iter().map(|router| share(router.changed[token], router.n_used)).sum::<f64>();
        Column::F64((0..first.changed.len()).map(|token| of_token(token) / routers.len() as f64).collect())
    };
    columns.set(ROUTING_FLIPS, mean(&|changed, _| f64::from(u8::from(changed > 0))));
    columns.set(EXPERTS_CHANGED, mean(&|changed, n_used| f64::from(changed) / n_used.max(1) as f64));
    columns
}

/// The shares of each router over all tokens of the windows, by ascending layer.
pub fn by_layer<'a>(windows: impl IntoIterator<Item = &'a [RouterSample]>) -> Vec<LayerRouting> {
    let mut sums: BTreeMap<usize, (usize, u64, u64, u64)> = BTreeMap::new();
    for router in windows.into_iter().flatten() {
        let (n_used, n, flips, lost) = sums.entry(router.layer).or_default();
        *n_used = router.n_used;
        *n += router.changed.len() as u64;
        *flips += router.changed.iter().filter(|&&changed| changed > 0).count() as u64;
        *lost += router.changed.iter().map(|&changed| u64::from(changed)).sum::<u64>();
    }
    let share = |(layer, (n_used, n, flips, lost)): (usize, (usize, u64, u64, u64))| LayerRouting {
        layer,
        n,
        n_used,
        routing_flips: flips as f64 / n as f64,
        experts_changed: lost as f64 / (n * n_used as u64) as f64,
    };
    sums.into_iter().map(share).collect()
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
        let found = compare(&reference, &variant, 3, 0).expect("comparable");
        let router = |layer, changed: &[u32]| RouterSample { layer, n_used: 2, changed: changed.to_vec() };
        assert_eq!(found, [router(1, &[0, 1, 2]), router(3, &[0, 0, 1])]);
        assert_eq!(columns(&found).numbers(ROUTING_FLIPS), [0.0, 0.5, 1.0]);
        assert_eq!(columns(&found).numbers(EXPERTS_CHANGED), [0.0, 0.25, 0.75]);
        // Only scored tokens count: the last row has logits, but no token to predict.
        let first = compare(&reference, &variant, 1, 0).expect("comparable");
        assert_eq!(first, [router(1, &[0]), router(3, &[0])]);
        let share = |of: &LayerRouting| (of.layer, of.n, of.n_used, of.routing_flips, of.experts_changed);
        let layers: Vec<_> = by_layer([&*found, &*first]).iter().map(share).collect();
        assert_eq!(layers, [(1, 4, 2, 0.5, 0.375), (3, 4, 2, 0.25, 0.125)]);
    }

    #[test]
    fn skipped_layers_choose_as_the_reference_does_and_a_computed_one_must_be_there() {
        let reference = [routed(0, 1, &[4]), routed(1, 1, &[4])];
        let variant = [routed(1, 1, &[5])];
        let found = compare(&reference, &variant, 1, 1).expect("comparable");
        assert_eq!(columns(&found).numbers(ROUTING_FLIPS), [0.5]);
        assert_eq!(compare(&reference, &variant, 1, 0), Err(RoutingError { layer: 0 }));
        assert_eq!(compare(&reference, &[routed(1, 1, &[])], 1, 1), Err(RoutingError { layer: 1 }));
        assert_eq!(compare(&reference, &[routed(1, 2, &[4, 5])], 1, 1), Err(RoutingError { layer: 1 }));
    }

    #[test]
    fn without_routers_there_is_nothing_to_compare() {
        assert_eq!(compare(&[], &[], 3, 0), Ok(Vec::new()));
        assert_eq!((columns(&[]), by_layer([])), (Columns::default(), Vec::new()));
    }
}
