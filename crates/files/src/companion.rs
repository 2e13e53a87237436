//! The factors of a weight that the file keeps in a tensor of its own, and the effective values of such a weight.
//!
//! ```text
//! effective[i] = F32(stored[i] × factor[i / values_each])
//! ```
//!
//! One factor is for the whole tensor, or for the matrix of one expert ([`select::companion`] says which tensors have
//! one). The product is rounded once, to F32. Decision 0039 says why.

use crate::pieces::ValuesError;
use gguf::{GgmlType, GgufFile, TensorInfo};
pub use select::companion::companion_of;
use select::companion::{has_factor_per_expert, weight_of};
use words::{Advice, Hint, escape_terminal, plural};

/// Why a tensor beside a weight cannot be its factors.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CompanionError {
    /// The number of factors is not that of the weight's matrices.
    #[error(
        "tensor \"{companion}\": found {}, wanted {}, {} of \"{weight}\"",
        plural(.found, "factor"), .wanted, if *.wanted == 1 { "one for the whole" } else { "one for each expert" }
    )]
    Count {
        /// The name of the companion, escaped for a terminal.
        companion: String,
        /// The name of the weight, escaped for a terminal.
        weight: String,
        /// The number of factors in the file.
        found: u64,
        /// The number of factors that the weight needs.
        wanted: u64,
    },
    /// The factors are not stored in F32.
    #[error("tensor \"{companion}\": found factors in {found}, wanted f32")]
    Type {
        /// The name of the companion, escaped for a terminal.
        companion: String,
        /// The ggml type in the file.
        found: String,
    },
    /// A factor is not a finite number above zero.
    #[error("tensor \"{companion}\": factor {index} is {value}, wanted a finite number above 0")]
    Value {
        /// The name of the companion, escaped for a terminal.
        companion: String,
        /// The index of the factor.
        index: usize,
        /// The value that the file has for it.
        value: f32,
    },
}

impl Advice for CompanionError {
    fn hint(&self) -> Option<Hint> {
        Some(Hint::words("the file is damaged or was converted wrongly: convert the model again"))
    }
}

/// The number of factors of a weight with these extents: one, or one for each expert.
fn wanted(weight: &str, ne: &[u64]) -> u64 {
    if has_factor_per_expert(weight) { ne.get(2).copied().unwrap_or(1) } else { 1 }
}

/// The factors of one weight: one for all of its values, or one for each expert.
#[derive(Clone, Debug, PartialEq)]
pub struct Factors {
    /// The number of values that share a factor, in file order.
    values_each: u64,
    factors: Vec<f32>,
}

impl Factors {
    /// The factors of a weight with these extents, checked.
    ///
    /// # Errors
    /// When they are not F32, not as many as the weight has matrices, or not finite numbers above zero.
    pub fn new(weight: &str, ne: &[u64], ty: &str, bytes: &[u8]) -> Result<Factors, CompanionError> {
        let companion = || escape_terminal(companion_of(weight).unwrap_or_default());
        if !ty.eq_ignore_ascii_case(GgmlType::F32.name()) {
            return Err(CompanionError::Type { companion: companion(), found: ty.into() });
        }
        let n_values: u64 = ne.iter().product();
        let wanted = wanted(weight, ne);
        let factors: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let found = factors.len() as u64;
        if found != wanted || wanted == 0 {
            let weight = escape_terminal(weight);
            return Err(CompanionError::Count { companion: companion(), weight, found, wanted });
        }
        match factors.iter().position(|factor| !(factor.is_finite() && *factor > 0.0)) {
            Some(index) => Err(CompanionError::Value { companion: companion(), index, value: factors[index] }),
            None => Ok(Factors { values_each: n_values / wanted, factors }),
        }
    }

    /// The factors that a file has for a tensor. `None` where it has none.
    ///
    /// # Errors
    /// When the file cannot be read, or its tensor of that name cannot be the factors.
    pub fn of(file: &GgufFile, weight: &TensorInfo) -> Result<Option<Factors>, ValuesError> {
        let companion = companion_of(&weight.name).and_then(|name| file.tensor(&name));
        let Some(companion) = companion else { return Ok(None) };
        // The count is checked before the read, because a hostile file can have any.
        let n = companion.n_elements();
        let wanted = wanted(&weight.name, weight.shape());
        if n != wanted {
            let (companion, weight) = (escape_terminal(&companion.name), escape_terminal(&weight.name));
            return Err(CompanionError::Count { companion, weight, found: n, wanted }.into());
        }
        let bytes = file.read_tensor(companion)?;
        Ok(Some(Factors::new(&weight.name, weight.shape(), companion.ty.name(), &bytes)?))
    }

    /// Turns stored values, of which the first is value `start` of the tensor, into effective ones.
    pub fn multiply(&self, start: u64, values: &mut [f32]) {
        self.each(start, values, |values, factor| values.iter_mut().for_each(|value| *value *= factor));
    }

    /// Turns effective values, of which the first is value `start` of the tensor, into those to be stored beside the
    /// factors.
    pub fn divide(&self, start: u64, values: &mut [f32]) {
        self.each(start, values, |values, factor| values.iter_mut().for_each(|value| *value /= factor));
    }

    fn each(&self, start: u64, values: &mut [f32], change: impl Fn(&mut [f32], f32)) {
        let (mut place, mut left) = (start, values);
        while !left.is_empty() {
            let (index, inside) = (place / self.values_each.max(1), place % self.values_each.max(1));
            let n = (self.values_each.max(1) - inside).min(left.len() as u64);
            let (same, rest) = left.split_at_mut(n as usize);
            if let Some(&factor) = self.factors.get(index as usize) {
                change(same, factor);
            }
            (place, left) = (place + n, rest);
        }
    }

    /// The factors in words: `× 0.000166`, or `× 0.0001 … 0.0003` for experts.
    pub fn words(&self) -> String {
        let (least, most) = self.factors.iter().fold((f32::INFINITY, 0.0f32), |(a, b), x| (a.min(*x), b.max(*x)));
        let shown = |factor: f32| words::number(f64::from(factor), 4);
        if least == most { format!("× {}", shown(least)) } else { format!("× {} … {}", shown(least), shown(most)) }
    }

    /// The bytes of a companion of as many factors that changes nothing: ones in F32.
    pub fn ones(&self) -> Vec<u8> {
        self.factors.iter().flat_map(|_| 1.0f32.to_le_bytes()).collect()
    }
}

/// Whether a tensor of the file is the factors of one of its weights.
pub(crate) fn is_companion(file: &GgufFile, tensor: &TensorInfo) -> bool {
    weight_of(&tensor.name).is_some_and(|weight| file.tensor(&weight).is_some())
}

/// The reason why the file's factors for a weight are refused, which leaves the weight without values. `None` if they are
/// accepted or there are none.
///
/// # Errors
/// When the file cannot be read.
pub fn wrong_factors(file: &GgufFile, weight: &TensorInfo) -> Result<Option<CompanionError>, ValuesError> {
    match Factors::of(file, weight) {
        Ok(_) => Ok(None),
        Err(ValuesError::Companion(wrong)) => Ok(Some(wrong)),
        Err(other) => Err(other),
    }
}

/// Checks the factors of every weight of a file.
///
/// # Errors
/// The error of the first tensor that cannot be the factors of its weight.
pub fn check(file: &GgufFile) -> Result<(), ValuesError> {
    file.tensors().iter().try_for_each(|weight| Factors::of(file, weight).map(|_| ()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(factors: &[f32]) -> Vec<u8> {
        factors.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    #[test]
    fn a_piece_that_crosses_experts_gets_the_factor_of_each() {
        let factors = Factors::new("blk.0.ffn_up_exps.weight", &[2, 2, 3], "f32", &bytes(&[1.0, 2.0, 4.0]));
        let factors = factors.expect("three experts");
        let mut values = [1.0; 8];
        factors.multiply(2, &mut values);
        assert_eq!(values, [1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 4.0, 4.0]);
        factors.divide(2, &mut values);
        assert_eq!(values, [1.0; 8]);
        assert_eq!((factors.words().as_str(), factors.ones()), ("× 1.000 … 4.000", bytes(&[1.0; 3])));
    }

    #[test]
    fn factors_that_no_weight_can_have_are_refused_by_name() {
        let said = |weight: &str, ty: &str, factors: &[f32]| {
            Factors::new(weight, &[2, 2, 3], ty, &bytes(factors)).expect_err("refused").to_string()
        };
        let (one, experts) = ("blk.0.attn_q.weight", "blk.0.ffn_up_exps.weight");
        assert_eq!(
            said(one, "f32", &[1.0, 2.0]),
            "tensor \"blk.0.attn_q.scale\": found 2 factors, wanted 1, one for the whole of \"blk.0.attn_q.weight\""
        );
        assert_eq!(
            said(experts, "f32", &[1.0]),
            "tensor \"blk.0.ffn_up_exps.scale\": found 1 factor, wanted 3, one for each expert of \"blk.0.ffn_up_exps.weight\""
        );
        assert_eq!(said(one, "f16", &[1.0]), "tensor \"blk.0.attn_q.scale\": found factors in f16, wanted f32");
        for (value, shown) in [(0.0, "0"), (-1.5, "-1.5"), (f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
            let wanted = format!("tensor \"blk.0.attn_q.scale\": factor 0 is {shown}, wanted a finite number above 0");
            assert_eq!(said(one, "f32", &[value]), wanted);
        }
    }
}
