//! Values that break kernels. They are the same in every run.

/// A tensor to be quantized.
#[derive(Clone, Debug)]
pub struct Input {
    /// A word for what the values are.
    pub kind: &'static str,
    /// The values, `[rows][n_per_row]`.
    pub values: Vec<f32>,
    /// The number of values in a row, which lie side by side.
    pub n_per_row: usize,
}

/// A generator of pseudo-random bits: the upper half of Knuth's 64-bit linear congruential generator.
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// A generator that starts from `seed`.
    pub fn new(seed: u64) -> Draw {
        let mut draw = Draw(seed);
        draw.bits();
        draw
    }

    /// The next 32 bits.
    pub fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    /// A number drawn uniformly from 2^24 points in [−1, 1).
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    }

    /// An F32 of any finite bit pattern.
    pub fn finite(&mut self) -> f32 {
        loop {
            let x = f32::from_bits(self.bits());
            if x.is_finite() {
                return x;
            }
        }
    }
}

/// The largest F32 below one half. Adding 0.5 to it rounds to 1.
pub const BELOW_HALF: f32 = 0.499_999_97;

/// Values that are ties at a step of 1, or just beside one. The first value makes the step 1 where `largest` is the
/// greatest level.
fn ties(largest: f32, n: usize) -> Vec<f32> {
    let pattern = [BELOW_HALF, 0.5, 1.5, 2.5, 0.500_000_06, 1.499_999_9, 3.5, 0.0];
    let mut values: Vec<f32> = (0..n)
        .map(|i| {
            let x = pattern[i % pattern.len()] + (i / pattern.len()) as f32 % (largest / 2.0).max(1.0).floor();
            (if i % 3 == 1 { -x } else { x }).clamp(-largest, largest)
        })
        .collect();
    if let Some(first) = values.first_mut() {
        *first = largest;
    }
    values
}

/// The inputs on which every format is tried: zeros of both signs, constants, one outlier, the extremes of F32,
/// subnormals, ties, blocks of unequal size, any bits, a row of one block, a row that is not a multiple of a block.
pub fn edges() -> Vec<Input> {
    let mut draw = Draw::new(1);
    let mut inputs = Vec::new();
    let mut push = |kind, n_per_row, values: Vec<f32>| inputs.push(Input { kind, values, n_per_row });
    push("zeros", 32, (0..64).map(|i| if i % 2 == 0 { 0.0 } else { -0.0 }).collect());
    push("constant", 64, vec![-0.3; 128]);
    push("one outlier", 64, (0..128).map(|i| if i == 77 { 1000.0 } else { draw.unit() * 0.01 }).collect());
    push("largest", 32, (0..64).map(|i| if i % 3 == 0 { f32::MAX } else { -f32::MAX }).collect());
    push("largest of F16", 32, (0..64).map(|i| 65_504.0 + (i as f32 - 32.0)).collect());
    push("subnormal", 48, (0..96).map(|_| f32::from_bits(draw.bits() & 0x807f_ffff)).collect());
    for largest in [1.0, 3.0, 7.0, 15.0, 127.0, 448.0, 32_767.0] {
        push("ties", 64, [ties(largest, 64), ties(largest, 64).iter().map(|x| -x).collect()].concat());
    }
    push("one block", 32, (0..32).map(|_| draw.unit()).collect());
    push("short last block", 77, (0..5 * 77).map(|_| draw.unit() * 3.0).collect());
    push("unequal blocks", 96, (0..4 * 96).map(|i| draw.unit() * 2f32.powi((i / 16) % 20 - 10)).collect());
    push("one sign", 80, (0..160).map(|_| 1.0 + draw.unit() * 0.5).collect());
    push("any bits", 33, (0..8 * 33).map(|_| draw.finite()).collect());
    inputs
}

/// Values for ggml's types, `[rows][256]`, so that every row is made of whole blocks: weights of several scales, zeros of
/// both signs in whole blocks, a constant, outliers, a greatest magnitude just below a power of two.
pub fn rows_of_256(rows: usize) -> Vec<f32> {
    let mut draw = Draw::new(9);
    (0..rows * 256)
        .map(|i| {
            let scale = 2f32.powi((i / 256 % 13) as i32 - 6);
            match i / 256 % 8 {
                0 if i % 64 < 32 => -0.0,
                0 => 0.0,
                1 => 0.25 * scale,
                2 if i % 256 == 20 => scale.next_down(),
                2 if i % 256 == 200 => 40.0 * scale,
                3 => (draw.unit() * 8.0).round() / 8.0 * scale,
                4 if i % 64 < 32 => 0.0,
                _ => draw.unit() * scale,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_finite_whole_rows_and_the_same_every_time() {
        for (a, b) in edges().iter().zip(edges()) {
            assert!(a.values.iter().all(|x| x.is_finite()), "{}", a.kind);
            assert_eq!(a.values.len() % a.n_per_row, 0, "{}", a.kind);
            assert!(a.values.iter().zip(&b.values).all(|(x, y)| x.to_bits() == y.to_bits()));
        }
        assert_eq!(BELOW_HALF, 0.5f32.next_down());
        assert_eq!(BELOW_HALF + 0.5, 1.0, "what makes it dangerous");
    }
}
