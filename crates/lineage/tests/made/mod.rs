//! Weights of known shapes, and grids that tests put them on.

mod stored;

use rand_pcg::Pcg64;
pub(crate) use stored::{gaussian, half, store};

pub(crate) const ROWS: usize = 128;
pub(crate) const N_PER_ROW: usize = 512;

/// How weights are distributed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    Gaussian,
    /// A Gaussian over the root of a mean of four squares: Student's t with four degrees of freedom.
    StudentT,
    /// Some columns are twenty times as large.
    OutlierChannels,
}

pub(crate) const SHAPES: [Shape; 3] = [Shape::Gaussian, Shape::StudentT, Shape::OutlierChannels];

/// Weights of about 0.02, `[ROWS][N_PER_ROW]`.
pub(crate) fn weights(shape: Shape, seed: u64) -> Vec<f32> {
    let mut rng = Pcg64::new(seed.into(), 1);
    (0..ROWS * N_PER_ROW)
        .map(|i| {
            let x = 0.02 * gaussian(&mut rng);
            let x = match shape {
                Shape::Gaussian => x,
                Shape::StudentT => x / ((0..4).map(|_| gaussian(&mut rng).powi(2)).sum::<f64>() / 4.0).sqrt(),
                Shape::OutlierChannels => x * outlier_channel(i),
            };
            x as f32
        })
        .collect()
}

/// The factor of the column of value `i`: 20 in one column of 97, and else 1.
pub(crate) fn outlier_channel(i: usize) -> f64 {
    if i % N_PER_ROW % 97 == 5 { 20.0 } else { 1.0 }
}
