//! The contents of a file, and writing it piece by piece, so that a model larger than memory can be made.

use crate::draw::{DrawnValues, ValueGrid};
use gguf::{FileLayout, GgmlType, GgufWriter, LayoutError, OutputError, OutputFile, TensorSpec, Value};
use numerics::{BlockCodec, CodecError};
use rayon::prelude::*;
use std::io::{BufWriter, Write};
use std::path::Path;

/// The number of values made at once. It bounds the memory and gives every core rows to work on.
const PIECE_VALUES: u64 = 1 << 22;
/// The number of values that one core quantizes at a time.
const PART_VALUES: u64 = 1 << 16;

/// Why a model cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SynthError {
    /// A tensor's extents do not fit its type.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The codec cannot store values in a type.
    #[error("tensor {tensor:?}: {source}")]
    Codec {
        /// The name of the tensor.
        tensor: String,
        /// The error of the codec.
        source: CodecError,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// A tensor to be written, and how its values are drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorRecipe {
    /// The name, type and extents of the tensor.
    pub spec: TensorSpec,
    /// The distribution of the values.
    pub values: DrawnValues,
}

/// A model file to be written. Tensors and metadata may be changed before that.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// The seed. Every value is drawn from it, the name of the tensor and the place of the value.
    pub seed: u64,
    /// The metadata, in file order.
    pub metadata: Vec<(String, Value)>,
    /// The tensors, in file order.
    pub tensors: Vec<TensorRecipe>,
}

impl Recipe {
    /// The tensor of that name. `None` when the recipe does not have it.
    pub fn tensor_mut(&mut self, name: &str) -> Option<&mut TensorRecipe> {
        self.tensors.iter_mut().find(|tensor| tensor.spec.name == name)
    }

    /// Gives each weight for which `n_factors` has a number that many factors of about `mean`, in a tensor of its own
    /// (`X.scale` beside `X.weight`), and draws the weight's values so much larger.
    pub fn add_factors(&mut self, mean: f32, n_factors: impl Fn(&str) -> Option<u64>) {
        for mut tensor in std::mem::take(&mut self.tensors) {
            let name = tensor.spec.name.clone();
            let factors = name.strip_suffix(".weight").zip(n_factors(&name));
            if let (Some(_), DrawnValues::Bell { mean: middle, std, .. }) = (factors, &mut tensor.values) {
                (*middle, *std) = (*middle / mean, *std / mean);
            }
            self.tensors.push(tensor);
            if let Some((stem, n)) = factors {
                let spec = TensorSpec { name: format!("{stem}.scale"), ty: GgmlType::F32, shape: vec![n] };
                let values = DrawnValues::Bell { mean, std: mean / 5.0, grid: ValueGrid::F32 };
                self.tensors.push(TensorRecipe { spec, values });
            }
        }
    }

    /// The size of the file, in bytes.
    ///
    /// # Errors
    /// When a tensor's extents do not fit its type.
    pub fn file_bytes(&self) -> Result<u64, SynthError> {
        Ok(self.layout()?.file_bytes())
    }

    fn layout(&self) -> Result<FileLayout, LayoutError> {
        let specs: Vec<TensorSpec> = self.tensors.iter().map(|tensor| tensor.spec.clone()).collect();
        FileLayout::new(3, self.metadata.iter().map(|(key, value)| (key.as_str(), value)), &specs)
    }

    /// Writes the file. It appears whole or not at all, and it replaces a file that is there. `progress` gets the
    /// number of values that are done.
    ///
    /// # Errors
    /// When the file cannot be written, or the codec does not have a tensor's type.
    pub fn write(&self, path: &Path, codec: &dyn BlockCodec, mut progress: impl FnMut(u64)) -> Result<(), SynthError> {
        let layout = self.layout()?;
        let mut file = OutputFile::create(path, layout.file_bytes())?;
        let failed = |error| OutputFile::failed(path, error);
        let mut writer = GgufWriter::new(BufWriter::with_capacity(1 << 20, &mut file), layout).map_err(failed)?;
        for tensor in &self.tensors {
            self.write_tensor(tensor, codec, |bytes, n| {
                writer.data(bytes).map_err(failed)?;
                progress(n);
                Ok(())
            })?;
        }
        let mut out = writer.finish().map_err(failed)?;
        out.flush().map_err(failed)?;
        drop(out);
        gguf::commit_all(vec![file], true)?;
        Ok(())
    }

    /// Writes the bytes of a tensor to `out` piece by piece, whole rows at a time.
    fn write_tensor(
        &self,
        tensor: &TensorRecipe,
        codec: &dyn BlockCodec,
        mut out: impl FnMut(&[u8], u64) -> Result<(), SynthError>,
    ) -> Result<(), SynthError> {
        let TensorSpec { name, ty, shape } = &tensor.spec;
        let n: u64 = shape.iter().product();
        let n_per_row = shape.first().copied().unwrap_or(1).max(1);
        let part = (PART_VALUES / n_per_row).max(1) * n_per_row;
        let piece = (PIECE_VALUES / part).max(1) * part;
        let mut first = 0;
        while first < n {
            let end = n.min(first + piece);
            let starts: Vec<u64> = (first..end).step_by(part as usize).collect();
            let parts: Result<Vec<Vec<u8>>, CodecError> = starts
                .into_par_iter()
                .map(|start| {
                    let mut values = vec![0.0; (end.min(start + part) - start) as usize];
                    tensor.values.fill(self.seed, name, n, start, &mut values);
                    codec.quantize(ty.name(), &values, n_per_row as usize, None)
                })
                .collect();
            let parts = parts.map_err(|source| SynthError::Codec { tensor: name.clone(), source })?;
            for bytes in parts {
                out(&bytes, 0)?;
            }
            out(&[], end - first)?;
            first = end;
        }
        Ok(())
    }
}
