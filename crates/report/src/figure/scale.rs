//! A logarithmic axis in whole decades.

use words::decade;

/// A map from positive values to pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogScale {
    /// The exponent of the lower end.
    low: i32,
    /// The exponent of the upper end.
    high: i32,
    /// The pixel of the lower end.
    from: f64,
    /// The pixel of the upper end.
    to: f64,
}

/// The exponents that are shown when there is no positive value to span.
const EMPTY: (i32, i32) = (-6, -3);

impl LogScale {
    /// The whole decades that contain every positive finite value.
    pub(super) fn spanning(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let mut ends: Option<(f64, f64)> = None;
        for v in values.filter(|v| v.is_finite() && *v > 0.0) {
            ends = Some(ends.map_or((v, v), |(lo, hi)| (v.min(lo), v.max(hi))));
        }
        let (low, high) = match ends {
            None => EMPTY,
            Some((lo, hi)) => {
                let low = lo.log10().floor() as i32;
                (low, (hi.log10().ceil() as i32).max(low + 1))
            }
        };
        LogScale { low, high, from, to }
    }

    /// The pixel of a value; values beyond the ends stick to them.
    pub(super) fn at(&self, v: f64) -> f64 {
        let exponent = v.log10().clamp(f64::from(self.low), f64::from(self.high));
        let share = (exponent - f64::from(self.low)) / f64::from(self.high - self.low);
        self.from + share * (self.to - self.from)
    }

    /// The decades to label, about ten at most, with their pixels.
    pub(super) fn ticks(&self) -> Vec<(String, f64)> {
        let step = (self.high - self.low) / 10 + 1;
        (self.low..=self.high)
            .step_by(step as usize)
            .map(|e| {
                let share = f64::from(e - self.low) / f64::from(self.high - self.low);
                (decade(e), self.from + share * (self.to - self.from))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_spans_whole_decades_and_keeps_order() {
        let scale = LogScale::spanning([2.3e-5, 6.4e-3, 0.0, f64::NAN].into_iter(), 0.0, 300.0);
        let labels: Vec<String> = scale.ticks().into_iter().map(|(label, _)| label).collect();
        assert_eq!(labels, ["1e-5", "1e-4", "1e-3", "1e-2"]);
        assert_eq!(scale.at(1e-5), 0.0);
        assert!((scale.at(1e-4) - 100.0).abs() < 1e-9);
        assert!(scale.at(2.3e-5) < scale.at(6.4e-3));
    }

    #[test]
    fn a_hundred_decades_still_get_few_labels() {
        let scale = LogScale::spanning([1e-300, 1e3].into_iter(), 0.0, 300.0);
        assert!(scale.ticks().len() <= 11);
    }

    #[test]
    fn nothing_positive_still_has_an_axis() {
        assert_eq!(LogScale::spanning([0.0].into_iter(), 0.0, 1.0).ticks().len(), 4);
    }
}
