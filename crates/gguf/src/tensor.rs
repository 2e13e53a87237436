//! What the header says about a tensor.

use crate::ggml_type::GgmlType;
use crate::limits::GGML_MAX_DIMS;

/// One tensor of the file, checked: its bytes lie in the file and its sizes cannot overflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name, UTF-8 without NUL, unique in the file.
    pub name: String,
    /// Type of the stored values.
    pub ty: GgmlType,
    /// Extents, `ne[0]` contiguous; 1 beyond `n_dims`.
    pub ne: [u64; GGML_MAX_DIMS as usize],
    /// Dimensions the file states.
    pub n_dims: u32,
    /// First byte, from the start of the data section.
    pub offset: u64,
    /// Bytes.
    pub nbytes: u64,
    /// The file that holds its data, from 0; always 0 where the model is one file.
    pub shard: usize,
}

impl TensorInfo {
    /// Values: the product of `ne`.
    pub fn n_elements(&self) -> u64 {
        self.ne.iter().product()
    }

    /// Values per row: `ne[0]`, the contiguous extent.
    pub fn n_per_row(&self) -> u64 {
        self.ne[0]
    }

    /// Rows: the product of the other extents.
    pub fn n_rows(&self) -> u64 {
        self.ne[1..].iter().product()
    }

    /// The extents that the file states, without the ones that fill up to four.
    pub fn shape(&self) -> &[u64] {
        &self.ne[..self.n_dims as usize]
    }
}
