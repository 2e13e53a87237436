//! Reads the whole tensors of a file on all cores. Small tensors are many, so each thread takes one of them. Large
//! tensors are few, so all threads work on each.

use crate::companion::{CompanionError, Factors, wrong_factors};
use crate::pieces::{ValuesError, resize, shown};
use gguf::{GgufFile, TensorInfo};
use numerics::BlockCodec;
use rayon::prelude::*;

/// The number of values that are in memory together, when several tensors are read at once: 64 MiB in F32.
const VALUES_ABREAST: u64 = 1 << 24;

/// The number of bytes of a large tensor that one thread reads at once. It reads whole blocks, so it may read a little
/// less.
const READ_AT_ONCE: u64 = 4 << 20;

/// One tensor in memory. The next tensor is read into the same memory, so that the system need not clear new pages.
#[derive(Debug, Default)]
pub struct TensorInMemory {
    bytes: Vec<u8>,
    values: Vec<f32>,
    factors: Option<Factors>,
    wrong_factors: Option<CompanionError>,
}

impl TensorInMemory {
    /// Reads the whole of a tensor.
    ///
    /// # Errors
    /// When the file cannot be read, or memory is short.
    fn read(&mut self, file: &GgufFile, tensor: &TensorInfo) -> Result<(), ValuesError> {
        self.wrong_factors = wrong_factors(file, tensor)?;
        self.factors = if self.wrong_factors.is_some() { None } else { Factors::of(file, tensor)? };
        let memory = |_| ValuesError::Memory { tensor: shown(tensor), n: tensor.n_elements() };
        resize(&mut self.bytes, tensor.nbytes).map_err(memory)?;
        let whole_blocks = (READ_AT_ONCE / tensor.ty.type_size()).max(1) * tensor.ty.type_size();
        let parts = self.bytes.par_chunks_mut(whole_blocks as usize).enumerate();
        parts.try_for_each(|(i, part)| file.read_at(tensor, i as u64 * whole_blocks, part))?;
        Ok(())
    }

    /// The bytes as they are stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The factors that the file keeps for the tensor in a tensor of its own. `None` where it has none.
    pub fn factors(&self) -> Option<&Factors> {
        self.factors.as_ref()
    }

    /// The reason why the file's factors for this tensor are refused. `None` if they are accepted or there are none.
    pub fn wrong_factors(&self) -> Option<&CompanionError> {
        self.wrong_factors.as_ref()
    }

    /// The values in F32, `[n_rows][n_per_row]`, each multiplied by its factor where the file has one.
    ///
    /// # Errors
    /// When the type cannot be restored, memory is short, or the tensor has a companion that cannot be its factors.
    pub fn effective_values(&mut self, tensor: &TensorInfo, codec: &dyn BlockCodec) -> Result<&[f32], ValuesError> {
        if let Some(wrong) = &self.wrong_factors {
            return Err(wrong.clone().into());
        }
        let Some(factors) = self.factors.take() else { return self.values(tensor, codec) };
        self.restore(tensor, codec)?;
        factors.multiply(0, &mut self.values);
        self.factors = Some(factors);
        Ok(&self.values)
    }

    /// The stored values in F32, `[n_rows][n_per_row]`.
    ///
    /// # Errors
    /// When the type cannot be restored, or memory is short.
    pub fn values(&mut self, tensor: &TensorInfo, codec: &dyn BlockCodec) -> Result<&[f32], ValuesError> {
        // Values that are F32 already are used where they lie, if their alignment and byte order are those of this
        // machine.
        if tensor.ty.name() == "f32"
            && cfg!(target_endian = "little")
            && bytemuck::try_cast_slice::<u8, f32>(&self.bytes).is_ok()
        {
            return Ok(bytemuck::cast_slice(&self.bytes));
        }
        self.restore(tensor, codec)?;
        Ok(&self.values)
    }

    fn restore(&mut self, tensor: &TensorInfo, codec: &dyn BlockCodec) -> Result<(), ValuesError> {
        let memory = |_| ValuesError::Memory { tensor: shown(tensor), n: tensor.n_elements() };
        resize(&mut self.values, tensor.n_elements()).map_err(memory)?;
        codec
            .dequantize(tensor.ty.name(), &self.bytes, &mut self.values)
            .map_err(|source| ValuesError::Codec { tensor: shown(tensor), source })
    }
}

/// Reads the tensors of these indices whole and passes each to `look`. The answers are in the order of the indices.
/// From time to time `done` is called with the number of tensors that are done.
///
/// # Errors
/// The error of the first tensor, in that order, that cannot be read or for which `look` fails.
pub fn side_by_side<T: Send, E: Send + From<ValuesError>>(
    file: &GgufFile,
    indices: &[usize],
    look: impl Fn(usize, &mut TensorInMemory) -> Result<T, E> + Sync,
    mut done: impl FnMut(usize),
) -> Result<Vec<T>, E> {
    let tensor = |index: usize| &file.tensors()[index];
    let one = |index: usize, held: &mut TensorInMemory| {
        held.read(file, tensor(index))?;
        look(index, held)
    };
    let mut answers = Vec::with_capacity(indices.len());
    let mut held = TensorInMemory::default();
    let mut rest = indices;
    while let Some((&first, _)) = rest.split_first() {
        done(answers.len());
        let abreast = fit_abreast(rest.iter().map(|&index| tensor(index).n_elements()));
        let (now, later) = rest.split_at(abreast);
        match now {
            [_] => answers.push(one(first, &mut held)?),
            _ => {
                let found: Vec<Result<T, E>> =
                    now.par_iter().map_init(TensorInMemory::default, |held, &index| one(index, held)).collect();
                answers.extend(found.into_iter().collect::<Result<Vec<T>, E>>()?);
            }
        }
        rest = later;
    }
    Ok(answers)
}

/// The number of tensors that may be in memory together, given their numbers of values; at least one.
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
