//! How large the tensors of a file are, before and after.

use super::Rewrite;
use gguf::{GgmlType, TensorInfo};
use std::collections::BTreeMap;

/// The tensors of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeCount {
    /// The ggml type that these tensors share.
    pub ty: GgmlType,
    /// The number of tensors.
    pub tensors: usize,
    /// The number of values of those tensors.
    pub n: u64,
    /// The number of bytes that they take.
    pub bytes: u64,
}

/// The size of all tensors of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// The number of values.
    pub n: u64,
    /// The number of bytes that they take, without the header and padding.
    pub bytes: u64,
    /// The same by type, the type with most bytes first.
    pub types: Vec<TypeCount>,
}

impl Sizes {
    fn of(tensors: impl Iterator<Item = (GgmlType, u64)>) -> Sizes {
        let mut types: BTreeMap<GgmlType, TypeCount> = BTreeMap::new();
        for (ty, n) in tensors {
            let count = types.entry(ty).or_insert(TypeCount { ty, tensors: 0, n: 0, bytes: 0 });
            count.tensors += 1;
            count.n = count.n.saturating_add(n);
            count.bytes = count.bytes.saturating_add(ty.bytes_of(n).unwrap_or(0));
        }
        let mut types: Vec<TypeCount> = types.into_values().collect();
        types.sort_by_key(|count| std::cmp::Reverse(count.bytes));
        let sum = |of: fn(&TypeCount) -> u64| types.iter().map(of).fold(0, u64::saturating_add);
        Sizes { n: sum(|count| count.n), bytes: sum(|count| count.bytes), types }
    }

    /// The number of bits that a value takes on average. NaN for a file without values.
    pub fn bits_per_weight(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.n as f64
    }
}

impl Rewrite<'_> {
    /// The size of the tensors of the source.
    pub fn size_before(&self) -> Sizes {
        Sizes::of(self.source.tensors().iter().map(|tensor| (tensor.ty, tensor.n_elements())))
    }

    /// The size of the tensors of the output, which does not have factors that are multiplied into their weights.
    pub fn size_after(&self) -> Sizes {
        let ty = |index: usize, tensor: &TensorInfo| self.edits.get(&index).map_or(tensor.ty, |edit| edit.ty);
        let of = |(index, tensor): (usize, &TensorInfo)| (ty(index, tensor), tensor.n_elements());
        let tensors = self.source.tensors().iter().enumerate();
        Sizes::of(tensors.filter(|(index, _)| !self.is_folded(*index)).map(of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_counted_by_type() {
        let sizes = Sizes::of([(GgmlType::F32, 64), (GgmlType::Q4_0, 640), (GgmlType::Q4_0, 64)].into_iter());
        assert_eq!((sizes.n, sizes.bytes), (768, 64 * 4 + 22 * 18));
        let types: Vec<(GgmlType, usize)> = sizes.types.iter().map(|count| (count.ty, count.tensors)).collect();
        assert_eq!(types, [(GgmlType::Q4_0, 2), (GgmlType::F32, 1)]);
        assert_eq!(sizes.bits_per_weight(), (64.0 * 4.0 + 22.0 * 18.0) * 8.0 / 768.0);
        assert!(Sizes::default().bits_per_weight().is_nan());
    }
}
