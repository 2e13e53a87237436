//! What the header says about a tensor.

use crate::ggml_type::GgmlType;
use crate::limits::GGML_MAX_DIMS;

/// One tensor of the file. It has been checked: its bytes lie in the file and its sizes cannot overflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name, which is UTF-8 without NUL and unique in the file.
    pub name: String,
    /// The type of the stored values.
    pub ty: GgmlType,
    /// The extents: `ne[0]` is contiguous, and those beyond `n_dims` are 1.
    pub ne: [u64; GGML_MAX_DIMS as usize],
    /// The number of dimensions that the file states.
    pub n_dims: u32,
    /// The offset of the first byte of data, counted from the start of the data section.
    pub offset: u64,
    /// The number of bytes of data.
    pub nbytes: u64,
    /// The index of the file that has the data, counted from 0. It is always 0 when the model is one file.
    pub shard: usize,
}

impl TensorInfo {
    /// The number of values, which is the product of `ne`.
    pub fn n_elements(&self) -> u64 {
        self.ne.iter().product()
    }

    /// The number of values in a row, which is `ne[0]`, the contiguous extent.
    pub fn n_per_row(&self) -> u64 {
        self.ne[0]
    }

    /// The number of rows, which is the product of the other extents.
    pub fn n_rows(&self) -> u64 {
        self.ne[1..].iter().product()
    }

    /// The extents that the file states, without the ones that fill up to four.
    pub fn shape(&self) -> &[u64] {
        &self.ne[..self.n_dims as usize]
    }
}
