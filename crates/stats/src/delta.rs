//! A function of a mean with its uncertainty.

use crate::mean::Mean;

/// A function of a mean with the standard errors that follow from the mean's, in the unit of the function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FunctionOfMean {
    /// The value of the function at the mean.
    pub value: f64,
    /// The standard error clustered by window; `None` where the mean has none.
    pub se: Option<f64>,
    /// The standard error as if all values were independent.
    pub se_iid: f64,
}

impl Mean {
    /// The exponential of the mean: perplexity, where the values are negative log-likelihoods in nats.
    ///
    /// By the delta method se(f(m)) = |f′(m)| · se(m), and the exponential is its own derivative.
    ///
    /// # Source
    /// Oehlert 1992, "A note on the delta method", The American Statistician 46; llama-perplexity prints the same for
    /// independent tokens.
    pub fn exp(&self) -> FunctionOfMean {
        let value = libm::exp(self.mean);
        FunctionOfMean { value, se: self.se.map(|se| value * se), se_iid: value * self.se_iid }
    }
}

#[cfg(test)]
mod tests {
    use crate::mean;
    use crate::rng::SplitMix64;

    #[test]
    fn the_exponential_of_a_mean_by_hand() {
        // The mean is ln 2 and Σ (x − mean)² = 2 ln² 2, so se_iid = √(2 ln² 2 / 1 / 2) = ln 2.
        let ln_2 = std::f64::consts::LN_2;
        let found = mean(&[[0.0, 2.0 * ln_2]]).expect("finite values").exp();
        assert!((found.value - 2.0).abs() < 1e-15 && (found.se_iid - 2.0 * ln_2).abs() < 1e-15, "{found:?}");
        assert_eq!(found.se, None, "one window has no clustered error");
        let windows: Vec<[f64; 1]> = (0..8).map(|c| [f64::from(c % 2)]).collect();
        let of_mean = mean(&windows).expect("finite values");
        assert_eq!(of_mean.exp().se, of_mean.se.map(|se| 0.5f64.exp() * se));
    }

    #[test]
    fn the_error_is_how_far_exponentials_of_means_scatter() {
        // Each mean is over 400 uniform numbers from 0 to 1, whose variance is 1/12.
        let mut rng = SplitMix64::new(1);
        const RUNS: usize = 2_000;
        let found: Vec<_> = (0..RUNS)
            .map(|_| mean(&[(0..400).map(|_| rng.next_unit()).collect::<Vec<f64>>()]).expect("finite values").exp())
            .collect();
        let centre = found.iter().map(|f| f.value).sum::<f64>() / RUNS as f64;
        let scatter = (found.iter().map(|f| (f.value - centre).powi(2)).sum::<f64>() / (RUNS - 1) as f64).sqrt();
        let claimed = found.iter().map(|f| f.se_iid).sum::<f64>() / RUNS as f64;
        // The relative error of a standard deviation from 2,000 runs is 1/√4000 = 1.6 %. The bound is four of these.
        assert!((scatter / claimed - 1.0).abs() < 0.064, "scatter {scatter}, claimed {claimed}");
    }
}
