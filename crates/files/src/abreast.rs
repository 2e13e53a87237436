//! Whole tensors of a file, looked at one beside the other: the small ones are many and a thread takes each of them,
//! the large ones are few and all threads work on each.

use crate::pieces::{ValuesError, resize, shown};
use gguf::{GgufFile, TensorInfo};
use numerics::BlockCodec;
use rayon::prelude::*;

/// Tensors are looked at together up to so many values: 64 MiB in F32.
const VALUES_ABREAST: u64 = 1 << 24;

/// What one thread reads of a large tensor at once, bytes, or a little less: whole blocks.
const READ_AT_ONCE: u64 = 4 << 20;

/// One tensor in memory. Those that come later lie in the same place, so that the system need not clear new pages.
#[derive(Debug, Default)]
pub struct Held {
    bytes: Vec<u8>,
    values: Vec<f32>,
}

impl Held {
    /// Reads all of a tensor.
    ///
    /// # Errors
    /// When the file cannot be read, or memory does not suffice.
    fn read(&mut self, file: &GgufFile, tensor: &TensorInfo) -> Result<(), ValuesError> {
        let memory = |_| ValuesError::Memory { tensor: shown(tensor), n: tensor.n_elements() };
        resize(&mut self.bytes, tensor.nbytes).map_err(memory)?;
        let whole_blocks = (READ_AT_ONCE / tensor.ty.type_size()).max(1) * tensor.ty.type_size();
        let parts = self.bytes.par_chunks_mut(whole_blocks as usize).enumerate();
        parts.try_for_each(|(i, part)| file.read_at(tensor, i as u64 * whole_blocks, part))?;
        Ok(())
    }

    /// As stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// In F32, `[n_rows][n_per_row]`.
    ///
    /// # Errors
    /// When the type cannot be restored, or memory does not suffice.
    pub fn values(&mut self, tensor: &TensorInfo, codec: &dyn BlockCodec) -> Result<&[f32], ValuesError> {
        // What is F32 already is read where it lies, if it lies as this machine wants it.
        if tensor.ty.name() == "f32"
            && cfg!(target_endian = "little")
            && bytemuck::try_cast_slice::<u8, f32>(&self.bytes).is_ok()
        {
            return Ok(bytemuck::cast_slice(&self.bytes));
        }
        let memory = |_| ValuesError::Memory { tensor: shown(tensor), n: tensor.n_elements() };
        resize(&mut self.values, tensor.n_elements()).map_err(memory)?;
        codec
            .dequantize(tensor.ty.name(), &self.bytes, &mut self.values)
            .map_err(|source| ValuesError::Codec { tensor: shown(tensor), source })?;
        Ok(&self.values)
    }
}

/// Reads the tensors of these indices whole and gives each to `look`; the answers are in the order of the indices.
/// `done` hears from time to time how many there are.
///
/// # Errors
/// The first in that order that cannot be read, or that `look` gives up on.
pub fn side_by_side<T: Send, E: Send + From<ValuesError>>(
    file: &GgufFile,
    indices: &[usize],
    look: impl Fn(usize, &mut Held) -> Result<T, E> + Sync,
    mut done: impl FnMut(usize),
) -> Result<Vec<T>, E> {
    let tensor = |index: usize| &file.tensors()[index];
    let one = |index: usize, held: &mut Held| {
        held.read(file, tensor(index))?;
        look(index, held)
    };
    let mut answers = Vec::with_capacity(indices.len());
    let mut held = Held::default();
    let mut rest = indices;
    while let Some((&first, _)) = rest.split_first() {
        done(answers.len());
        let abreast = fit_abreast(rest.iter().map(|&index| tensor(index).n_elements()));
        let (now, later) = rest.split_at(abreast);
        match now {
            [_] => answers.push(one(first, &mut held)?),
            _ => {
                let found: Vec<Result<T, E>> =
                    now.par_iter().map_init(Held::default, |held, &index| one(index, held)).collect();
                answers.extend(found.into_iter().collect::<Result<Vec<T>, E>>()?);
            }
        }
        rest = later;
    }
    Ok(answers)
}

/// How many of the tensors with so many values are looked at together; at least one.
fn fit_abreast(n_values: impl Iterator<Item = u64>) -> usize {
    let sums = n_values.scan(0u64, |sum, n| {
        *sum = sum.saturating_add(n);
        Some(*sum)
    });
    sums.take_while(|sum| *sum <= VALUES_ABREAST).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_tensors_go_together_and_a_large_one_goes_alone() {
        let of = |n: &[u64]| fit_abreast(n.iter().copied());
        assert_eq!(of(&[1, 2, 3]), 3);
        assert_eq!(of(&[VALUES_ABREAST - 1, 1, 1]), 2);
        assert_eq!(of(&[VALUES_ABREAST + 1, 1]), 1);
        assert_eq!(of(&[1, u64::MAX]), 1);
        assert_eq!(of(&[]), 1);
    }
}
