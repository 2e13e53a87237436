//! The distinct magnitudes of values that lie on a float grid of at most 19 bits, as one bit for each code.
//!
//! ```text
//! magnitude in F32   eeeeeeee mmmmmmm 0000000000000000   BF16: 2^15 codes, 4 KiB
//!                    eeeeeeee mmmmmmmmmm 0000000000000   F16 and TF32: 2^18 codes, 32 KiB
//! ```
//!
//! A value that occurs a thousand times is one coincidence, not a thousand.

use crate::census::StoredPrecision;
use crate::coded::Counted;
use crate::grid::{CHUNK, INFINITY, evidence_at, exponent};
use numerics::Minifloat;
use rayon::prelude::*;

/// The magnitudes that occur.
pub(crate) struct Distinct {
    grid: Minifloat,
    codes: Codes,
}

/// One bit for each magnitude of a grid.
struct Codes {
    /// The number of bits of F32 that are zero in every value of the grid. F16's subnormals have no more bits than its
    /// other values.
    shift: u32,
    met: Vec<u64>,
}

impl Codes {
    fn new(grid: Minifloat) -> Codes {
        let shift = 23 - grid.mantissa_bits();
        Codes { shift, met: vec![0; (1 << (31 - shift)) / 64] }
    }

    #[inline(always)]
    fn add(&mut self, x: f32) {
        let code = ((x.to_bits() & 0x7fff_ffff) >> self.shift) as usize;
        self.met[code / 64] |= 1 << (code % 64);
    }

    fn with(mut self, values: &[f32]) -> Codes {
        values.iter().for_each(|&x| self.add(x));
        self
    }

    fn or(mut self, other: Codes) -> Codes {
        self.met.iter_mut().zip(other.met).for_each(|(met, also)| *met |= also);
        self
    }
}

impl Distinct {
    /// The magnitudes among values whose finite ones all lie on `grid`.
    pub(crate) fn of(values: Counted<'_>, grid: Minifloat) -> Distinct {
        let mut codes = Codes::new(grid);
        match values {
            Counted::Each(_) | Counted::Pieces(_) => values.each_piece(CHUNK, |values| {
                let parts = values.par_chunks(CHUNK).fold(|| Codes::new(grid), Codes::with);
                let of_piece = parts.reduce(|| Codes::new(grid), Codes::or);
                codes = std::mem::replace(&mut codes, Codes::new(grid)).or(of_piece);
                true
            }),
            Counted::Codes(counted) => counted.iter().for_each(|(x, _)| codes.add(*x)),
        }
        Distinct { grid, codes }
    }

    /// The finite magnitudes without zero, ascending.
    pub(crate) fn magnitudes(&self) -> impl Iterator<Item = f32> {
        let met = |code: &u32| self.codes.met[*code as usize / 64] >> (code % 64) & 1 == 1;
        (1..INFINITY >> self.codes.shift).filter(met).map(|code| f32::from_bits(code << self.codes.shift))
    }

    /// The evidence Σ max(0, available − allowed), in bits, that these magnitudes are for their grid in such a storage.
    pub(crate) fn evidence_bits(&self, stored: StoredPrecision) -> f64 {
        self.magnitudes().map(|x| evidence_at(stored, self.grid, exponent(x))).sum::<u64>() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_a_grid_is_one_magnitude_however_often_and_with_which_sign_it_occurs() {
        for (grid, restore) in [
            (Minifloat::Bf16, crate::values::bf16_to_f32 as fn(u16) -> f32),
            (Minifloat::F16, crate::values::f16_to_f32),
        ] {
            let all: Vec<f32> = (0..=u16::MAX).map(restore).collect();
            let twice = [all.clone(), all.clone()].concat();
            let finite: Vec<f32> = (1..0x8000).map(restore).filter(|x| x.is_finite()).collect();
            assert_eq!(Distinct::of(Counted::Each(&twice), grid).magnitudes().collect::<Vec<_>>(), finite, "{grid:?}");
            let codes: Vec<(f32, u64)> = all.iter().map(|&x| (x, 3)).collect();
            assert_eq!(Distinct::of(Counted::Codes(&codes), grid).magnitudes().collect::<Vec<_>>(), finite, "{grid:?}");
        }
    }
}
