//! Compares the residual stream of a variant with the reference's, layer by layer, and makes the control for it.

use record::LayerError;
use record::answer::LayerResidual;

/// The relative error after each layer, over all windows.
pub(super) fn by_layer(windows: &[&[LayerError]]) -> Vec<LayerResidual> {
    let n_layer = windows.iter().map(|layers| layers.len()).max().unwrap_or(0);
    let of_layer = |layer: usize| {
        let mut sum = LayerError::default();
        for error in windows.iter().filter_map(|layers| layers.get(layer)) {
            sum.squared_error += error.squared_error;
            sum.squared_reference += error.squared_reference;
        }
        LayerResidual { layer, rel_rmse: sum.relative().min(f64::MAX) }
    };
    (0..n_layer).map(of_layer).collect()
}

/// The control of a trace: before the first layer that a variant touches, the stream equals the reference's bit for
/// bit. Returns the first layer after which it does not.
pub(super) fn touched_early(layers: &[LayerResidual], first_touched: usize) -> Option<&LayerResidual> {
    layers.iter().find(|layer| layer.layer < first_touched && layer.rel_rmse != 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(squared_error: f64) -> LayerError {
        LayerError { squared_error, squared_reference: 4.0 }
    }

    #[test]
    fn errors_are_summed_over_windows_before_the_root_is_taken() {
        let windows = [&[error(0.0), error(1.0)][..], &[error(0.0), error(7.0)]];
        let layers = by_layer(&windows);
        assert_eq!(layers.iter().map(|layer| layer.rel_rmse).collect::<Vec<_>>(), [0.0, 1.0]);
        assert!(by_layer(&[]).is_empty());
        let against_zeros = [LayerError { squared_error: 1.0, squared_reference: 0.0 }];
        assert_eq!(by_layer(&[&against_zeros])[0].rel_rmse, f64::MAX);
    }

    #[test]
    fn a_stream_that_differs_before_the_first_touched_layer_fails_the_control() {
        let layers = by_layer(&[&[error(0.0), error(1.0), error(1.0)]]);
        assert_eq!(touched_early(&layers, 1), None);
        assert_eq!(touched_early(&layers, 2).map(|layer| layer.layer), Some(1));
        // The head comes after every layer.
        assert_eq!(touched_early(&layers, usize::MAX).map(|layer| layer.layer), Some(1));
    }
}
