//! Norms of another precision than the rest of their file.
//!
//! Activation-aware scaling (AWQ) divides a norm by one factor for each channel and multiplies the columns of the
//! matrices behind it. The new norms are computed in F16 and stored so, and everything else stays as it was:
//!
//! ```text
//! before    norms BF16           biases BF16    last norm BF16
//! after     norms F16, off BF16  biases BF16    last norm BF16
//! ```
//!
//! What shows is that the norms and the other tensors do not have one source precision. Why they do not is not in the
//! values.

use crate::census::{Effective, StoredPrecision, TensorCensus};
use crate::grid::MIN_GRID_EVIDENCE_BITS;

/// Norms that need F16 in a file whose other floats are BF16.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormRescaling {
    /// The number of norms that lie on F16 and mostly off BF16.
    pub norms: u64,
    /// The number of finite values of these norms.
    pub values: u64,
    /// The number of these values that are not BF16 values.
    pub off_bf16: u64,
    /// The number of other float tensors that can tell, norms among them, all of which are BF16.
    pub others: u64,
    /// The evidence against one source precision: the bits of luck that it would take for all values of the others to
    /// be BF16 values if they, like the norms, had been rounded to F16 alone. A source in BF16 cannot give such norms.
    pub evidence_bits: f64,
}

/// The fewest norms that make a pattern.
const MIN_NORMS: u64 = 2;
/// The least share of a norm's values that must be off BF16. Of F16 values without structure, 7 in 8 are.
const MIN_SHARE_OFF: f64 = 0.5;

/// Looks for norms that need F16 where all other floats are BF16. `norms` and `others` are the tensors of one file; those
/// that cannot tell their precision, such as quantized ones, count for nothing. Any other precision in the file, such as
/// F32 or a converter's constant, has another explanation and ends the search.
pub fn rescaled_norms(norms: &[TensorCensus], others: &[TensorCensus]) -> Option<NormRescaling> {
    let mut found = NormRescaling { norms: 0, values: 0, off_bf16: 0, others: 0, evidence_bits: 0.0 };
    let all = norms.iter().map(|norm| (norm, true)).chain(others.iter().map(|other| (other, false)));
    for (tensor, is_norm) in all.filter(|(tensor, _)| can_tell(tensor)) {
        let finite = tensor.n - tensor.nonfinite;
        let off_bf16 = finite - tensor.on_bf16;
        match tensor.effective {
            Effective::Bf16 => {
                found.others += 1;
                found.evidence_bits += tensor.bits_beyond_f16;
            }
            Effective::F16 if is_norm && off_bf16 as f64 >= MIN_SHARE_OFF * finite as f64 => {
                found.norms += 1;
                found.values += finite;
                found.off_bf16 += off_bf16;
            }
            _ => return None,
        }
    }
    (found.norms >= MIN_NORMS && found.evidence_bits >= MIN_GRID_EVIDENCE_BITS).then_some(found)
}

/// Whether storage leaves room for the precision to show.
fn can_tell(tensor: &TensorCensus) -> bool {
    matches!(tensor.stored, StoredPrecision::F32 | StoredPrecision::F16) && tensor.n > 0 && tensor.open().is_none()
}
