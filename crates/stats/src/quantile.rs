//! Quantiles of a sample.

use crate::StatsError;

/// A sorted copy of the values.
///
/// # Errors
/// When there are no values, or one is not finite.
pub fn sort_finite(values: impl IntoIterator<Item = f64>) -> Result<Vec<f64>, StatsError> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    if sorted.is_empty() {
        return Err(StatsError::Empty);
    }
    if let Some(index) = sorted.iter().position(|value| !value.is_finite()) {
        return Err(StatsError::NonFinite { chunk: 0, index });
    }
    sorted.sort_by(f64::total_cmp);
    Ok(sorted)
}

/// The quantile `q` of ascending values, by linear interpolation at position `q · (n − 1)`: 0 is the least value, 1 the
/// greatest and 0.5 the usual median. `q` outside 0…1 is clamped. `None` when there are no values.
///
/// # Source
/// Definition 7 of Hyndman & Fan (1996), numpy's default and the one llama-perplexity prints.
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = q.clamp(0.0, 1.0) * last as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    let share = position - below as f64;
    Some(sorted[below] + share * (sorted[above] - sorted[below]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate_between_neighbours() {
        let sorted = sort_finite([4.0, 1.0, 3.0, 2.0]).expect("finite");
        assert_eq!(quantile(&sorted, 0.0), Some(1.0));
        assert_eq!(quantile(&sorted, 0.5), Some(2.5));
        // The position is 0.9 · 3 = 2.7, so the value is 3 + 0.7 · 1 up to the rounding of 0.7.
        assert!((quantile(&sorted, 0.9).expect("values") - 3.7).abs() < 1e-14);
        assert_eq!(quantile(&sorted, 1.0), Some(4.0));
    }

    #[test]
    fn one_value_is_every_quantile_and_none_is_none() {
        assert_eq!(quantile(&[7.0], 0.99), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn values_that_cannot_be_ordered_are_refused() {
        assert_eq!(sort_finite([1.0, f64::NAN]), Err(StatsError::NonFinite { chunk: 0, index: 1 }));
        assert_eq!(sort_finite([]), Err(StatsError::Empty));
    }
}
