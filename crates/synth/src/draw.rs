//! The values of a tensor. Each follows from seed, name and place alone, so any piece can be made at any time and in
//! any order.

use stats::rng::{fnv1a, mix64, nth};

/// The float grid on which values lie, whatever type stores them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ValueGrid {
    /// The grid of all 24 bits of a float.
    #[default]
    F32,
    /// The grid of the upper 16 bits of a float, with the rest zero, as a BF16 checkpoint leaves it.
    Bf16,
}

/// How a tensor's values are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DrawnValues {
    /// Values from a bell-shaped distribution. None is more than 3.47 standard deviations from the mean.
    Bell {
        /// The mean of the distribution.
        mean: f32,
        /// The standard deviation of the distribution.
        std: f32,
        /// The grid to which the values are cut.
        grid: ValueGrid,
    },
    /// The frequency factors that Llama 3 models have in `rope_freqs.weight`, for a head of twice as many values.
    ///
    /// # Source
    /// `LlamaModel.generate_extra_tensors` in llama.cpp's `conversion` (`rope_type` llama3): factor 32, low 1, high 4, 8192
    /// positions, base 500000, as in Llama-3.2-1B's `config.json`.
    Llama3RopeFactors,
}

impl DrawnValues {
    /// A bell-shaped distribution around 0.
    pub fn spread(std: f32) -> Self {
        DrawnValues::Bell { mean: 0.0, std, grid: ValueGrid::F32 }
    }

    /// A bell-shaped distribution around 1, as for the weights of a norm.
    pub fn around_one(std: f32) -> Self {
        DrawnValues::Bell { mean: 1.0, std, grid: ValueGrid::F32 }
    }

    /// Fills `out` with the values from place `first` on of the tensor `name`, which has `n` values.
    pub(crate) fn fill(self, seed: u64, name: &str, n: u64, first: u64, out: &mut [f32]) {
        match self {
            DrawnValues::Bell { mean, std, grid } => {
                let start = start(seed, name);
                let mask = match grid {
                    ValueGrid::F32 => u32::MAX,
                    ValueGrid::Bf16 => 0xffff_0000,
                };
                for (place, value) in (first..).zip(out) {
                    let drawn = mean + std * bell(nth(start, place));
                    *value = f32::from_bits(drawn.to_bits() & mask);
                }
            }
            DrawnValues::Llama3RopeFactors => {
                for (place, value) in (first..).zip(out) {
                    *value = llama3_rope_factor(place, n);
                }
            }
        }
    }
}

/// The seed of a tensor's draws: a hash of the model's seed and the tensor's name.
fn start(seed: u64, name: &str) -> u64 {
    mix64(fnv1a(seed.to_le_bytes().into_iter().chain(name.bytes())))
}

/// The sum of four 16-bit uniform numbers, centred and scaled to variance 1 (Irwin and Hall). It is exact in the 24
/// bits of F32, so it is the same on every machine. It is close enough to a normal distribution for weights that nobody
/// trained.
fn bell(bits: u64) -> f32 {
    // The numbers are 4 · 65535 / 2 and √((65536² − 1) / 12 · 4).
    const CENTRE: i32 = 131_070;
    const STD: f32 = 37_837.227;
    let sum: i32 = (0..4).map(|i| ((bits >> (16 * i)) & 0xffff) as i32).sum();
    (sum - CENTRE) as f32 / STD
}

fn llama3_rope_factor(i: u64, n: u64) -> f32 {
    const BASE: f64 = 500_000.0;
    const FACTOR: f64 = 32.0;
    const ORIGINAL_N_CTX: f64 = 8192.0;
    let (low_freq, high_freq) = (1.0, 4.0);
    // Between platforms, ln and exp differ in the last bit. Rounding to F32 hides the difference, except for a tie in
    // 2^29.
    let wavelength = 2.0 * std::f64::consts::PI * (BASE.ln() * i as f64 / n as f64).exp();
    let factor = if wavelength < ORIGINAL_N_CTX / high_freq {
        1.0
    } else if wavelength > ORIGINAL_N_CTX / low_freq {
        FACTOR
    } else {
        let smooth = (ORIGINAL_N_CTX / wavelength - low_freq) / (high_freq - low_freq);
        1.0 / ((1.0 - smooth) / FACTOR + smooth)
    };
    factor as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(values: DrawnValues, seed: u64, name: &str, n: u64) -> Vec<f32> {
        let mut out = vec![0.0; n as usize];
        values.fill(seed, name, n, 0, &mut out);
        out
    }

    #[test]
    fn a_piece_is_the_piece_of_the_whole() {
        let whole = drawn(DrawnValues::spread(0.1), 7, "t", 1000);
        let mut piece = vec![0.0; 300];
        DrawnValues::spread(0.1).fill(7, "t", 1000, 450, &mut piece);
        assert_eq!(piece, whole[450..750]);
    }

    #[test]
    fn drawn_values_are_pinned_so_that_a_model_of_a_seed_stays_the_same_file() {
        // These values come from a second implementation, in Python integers.
        let mut far = [0.0];
        DrawnValues::spread(0.1).fill(7, "blk.0.ffn_up.weight", 1 << 20, 1_000_000, &mut far);
        let near = drawn(DrawnValues::spread(0.1), 7, "blk.0.ffn_up.weight", 3);
        let bits = [near[0], near[1], near[2], far[0]].map(f32::to_bits);
        assert_eq!(bits, [0x3e61_bf9b, 0x3d54_4b9a, 0xbddc_fcf0, 0x3db5_467e]);
    }

    #[test]
    fn seed_and_name_decide_and_mean_and_deviation_are_as_asked() {
        let values = drawn(DrawnValues::Bell { mean: 2.0, std: 0.5, grid: ValueGrid::F32 }, 1, "a", 100_000);
        assert_ne!(values[..8], drawn(DrawnValues::Bell { mean: 2.0, std: 0.5, grid: ValueGrid::F32 }, 2, "a", 8)[..]);
        assert_ne!(values[..8], drawn(DrawnValues::Bell { mean: 2.0, std: 0.5, grid: ValueGrid::F32 }, 1, "b", 8)[..]);
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / 1e5;
        let variance = values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / 1e5;
        // The standard errors are 0.5 / √1e5 = 0.0016 and 0.5 / √2e5 = 0.0011. The bounds are five of each.
        assert!((mean - 2.0).abs() < 0.008, "{mean}");
        assert!((variance.sqrt() - 0.5).abs() < 0.006, "{variance}");
        assert!(values.iter().all(|x| (x - 2.0).abs() <= 0.5 * 3.47));
    }

    #[test]
    fn values_on_the_bf16_grid_have_no_low_bits() {
        let values = drawn(DrawnValues::Bell { mean: 1.0, std: 0.3, grid: ValueGrid::Bf16 }, 1, "n", 1000);
        assert!(values.iter().all(|x| x.to_bits() & 0xffff == 0));
    }

    #[test]
    fn rope_factors_go_from_1_to_32_as_in_llama_3() {
        let factors = drawn(DrawnValues::Llama3RopeFactors, 1, "rope_freqs.weight", 32);
        assert_eq!((factors[0], factors[31]), (1.0, 32.0));
        assert!(factors.is_sorted());
        // Wavelength of place 17: 2π · 500000^(17/32) = 6703; smooth = (8192/6703 − 1)/3 = 0.0741;
        // 1 / (0.9259/32 + 0.0741) = 9.7.
        assert!((factors[17] - 9.7).abs() < 0.1, "{}", factors[17]);
    }
}
