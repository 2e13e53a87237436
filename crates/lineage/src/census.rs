//! The census of one tensor: its effective precision, with the evidence, in numbers and in words.

use crate::coded::Counted;
use crate::distinct::Distinct;
use crate::grid::{self, MIN_GRID_EVIDENCE_BITS, Scan};
use crate::offset::{self, Transform};
use numerics::Minifloat;
use std::borrow::Cow;
use std::fmt;
use words::{count, exact_f32, whole};

/// The precision that a tensor is stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoredPrecision {
    /// F32, with 24 significant bits.
    F32,
    /// F16, with 11 significant bits.
    F16,
    /// BF16, with 8 significant bits.
    Bf16,
    /// Any type of ggml that has blocks; its values are dequantized.
    Quantized,
}

impl StoredPrecision {
    /// The precision of a ggml type in upstream spelling, in upper or lower case; `None` for integers and F64, which
    /// have no census.
    pub fn of_ggml_type(ty: &str) -> Option<StoredPrecision> {
        match ty.to_ascii_lowercase().as_str() {
            "f32" => Some(StoredPrecision::F32),
            "f16" => Some(StoredPrecision::F16),
            "bf16" => Some(StoredPrecision::Bf16),
            "f64" | "i8" | "i16" | "i32" | "i64" => None,
            _ => Some(StoredPrecision::Quantized),
        }
    }
}

impl fmt::Display for StoredPrecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StoredPrecision::F32 => "F32",
            StoredPrecision::F16 => "F16",
            StoredPrecision::Bf16 => "BF16",
            StoredPrecision::Quantized => "quantized",
        })
    }
}

/// The coarsest precision that the values are shown to have; the stored one where nothing is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effective {
    /// F32: no coarser grid shows.
    F32,
    /// TF32: every value is a TF32 value.
    Tf32,
    /// F16: every value is an F16 value.
    F16,
    /// BF16: every value is a BF16 value.
    Bf16,
    /// The values are a converter's transform of BF16 values, such as a constant plus them.
    Transformed(Transform),
    /// The census does not look at values of quantized storage.
    NotDecided,
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effective::F32 => f.write_str("F32"),
            Effective::Tf32 => f.write_str("TF32"),
            Effective::F16 => f.write_str("F16"),
            Effective::Bf16 => f.write_str("BF16"),
            Effective::Transformed(transform) => transform.fmt(f),
            Effective::NotDecided => f.write_str("not decided"),
        }
    }
}

impl From<Minifloat> for Effective {
    fn from(grid: Minifloat) -> Self {
        match grid {
            Minifloat::Bf16 => Effective::Bf16,
            Minifloat::F16 => Effective::F16,
            Minifloat::Tf32 => Effective::Tf32,
        }
    }
}

/// What the values of one tensor say about their precision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorCensus {
    /// The precision that the tensor is stored in.
    pub stored: StoredPrecision,
    /// The number of values.
    pub n: u64,
    /// The number of NaN and infinite values; they are neither on a grid nor off one.
    pub nonfinite: u64,
    /// The number of values that are ±0; they are on every grid and evidence for none.
    pub zeros: u64,
    /// The value whose bits all values have; `None` where they differ or there are none.
    pub constant: Option<f32>,
    /// The precision that the values are shown to have.
    pub effective: Effective,
    /// The number of finite values with the effective precision. All of them where that is the stored one.
    pub on_grid: u64,
    /// The evidence for `effective`, in bits. Where it was too little to be believed, this is what there was; 0 where
    /// nothing was claimed.
    pub evidence_bits: f64,
    /// What a converter did to the values, if it shows.
    pub transform: Option<Transform>,
    /// The part of `evidence_bits` for BF16 that F16 values would not give: the bits of luck that it would take if the
    /// values had been rounded to F16 and not to BF16. It is 0 where BF16 is not claimed.
    pub bits_beyond_f16: f64,
    /// The number of finite values that the scheme `bf16` would not change.
    pub on_bf16: u64,
    /// The number of finite values that the scheme `f16` would not change.
    pub on_f16: u64,
    /// The number of finite values that the scheme `tf32` would not change.
    pub on_tf32: u64,
    /// Whether every value was looked at, so that the counts are exact; always true in this version.
    pub exact: bool,
}

/// Takes the census of one tensor from all its `values`, restored to F32 from `stored`.
pub fn census(values: &[f32], stored: StoredPrecision) -> TensorCensus {
    census_counted(Counted::Each(values), stored)
}

pub(crate) fn census_counted(values: Counted<'_>, stored: StoredPrecision) -> TensorCensus {
    let scan = values.scan();
    let finite = scan.finite();
    let mut census = TensorCensus {
        stored,
        n: scan.n,
        nonfinite: scan.nonfinite,
        zeros: scan.zeros,
        constant: values.first().filter(|_| scan.unlike_first == 0),
        effective: match stored {
            StoredPrecision::F32 => Effective::F32,
            StoredPrecision::F16 => Effective::F16,
            StoredPrecision::Bf16 => Effective::Bf16,
            StoredPrecision::Quantized => Effective::NotDecided,
        },
        on_grid: if stored == StoredPrecision::Quantized { 0 } else { finite },
        evidence_bits: 0.0,
        bits_beyond_f16: 0.0,
        transform: None,
        on_bf16: finite - scan.off_bf16,
        on_f16: finite - scan.off_f16,
        on_tf32: finite - scan.off_tf32,
        exact: true,
    };
    // Storage that cannot be finer than what it shows needs no search, and neither do zeros alone.
    if matches!(stored, StoredPrecision::F32 | StoredPrecision::F16) && scan.zeros < finite {
        census.search(values, &scan);
    }
    census
}

impl TensorCensus {
    /// Finds the description with the most evidence. BF16 comes first, since it is the simplest. Gemma's weights `1 +
    /// BF16` above 16 are all F16 values too, but F16 has less evidence than the offset.
    fn search(&mut self, values: Counted<'_>, scan: &Scan) {
        let of_all = |on: Minifloat| grid::evidence_bits(values, self.stored, on);
        let believed = |bits: f64| bits >= MIN_GRID_EVIDENCE_BITS;
        if scan.off_bf16 == 0 {
            let distinct = Distinct::of(values, Minifloat::Bf16);
            self.evidence_bits = distinct.evidence_bits(self.stored);
            // Few values of few bits, such as those of MXFP4, are BF16 values. In F16 storage, where BF16 forces three
            // bits of a value, only their coarser grid tells.
            if self.stored == StoredPrecision::F16 && !believed(self.evidence_bits) {
                let few: Vec<f32> = distinct.magnitudes().collect();
                self.evidence_bits = self.evidence_bits.max(grid::evidence_of_few_bits(&few, self.stored));
            }
            if believed(self.evidence_bits) {
                self.effective = Effective::Bf16;
                self.bits_beyond_f16 = distinct.evidence_bits(StoredPrecision::F16);
            }
            return;
        }
        // In F16 storage every value is an F16 value, and TF32 has the same number of significant bits.
        let grids: &[Minifloat] = match self.stored {
            StoredPrecision::F32 => &[Minifloat::F16, Minifloat::Tf32],
            _ => &[],
        };
        // Of F16 and TF32 the one with more evidence: F16 among its subnormals, else they tie. Descriptions compete
        // over all values; whether the winner is believed is a separate question.
        let held = grids.iter().copied().filter(|&on| scan.off(on) == 0).map(|on| (on, of_all(on)));
        let best_grid = held.reduce(|best, next| if next.1 > best.1 { next } else { best });
        match (best_grid, offset::best_fit(values, self.stored)) {
            (grid, Some(fit)) if grid.is_none_or(|(_, bits)| fit.evidence_bits > bits) => {
                self.effective = Effective::Transformed(fit.transform);
                self.transform = Some(fit.transform);
                self.on_grid = fit.hits;
                self.evidence_bits = fit.evidence_bits;
            }
            (Some((on, _)), _) => {
                self.evidence_bits = Distinct::of(values, on).evidence_bits(self.stored);
                if believed(self.evidence_bits) {
                    self.effective = on.into();
                }
            }
            (None, _) => {}
        }
    }

    /// Why the values cannot tell which float format they have; `None` if they can.
    pub fn open(&self) -> Option<Cow<'static, str>> {
        let finite = self.n - self.nonfinite;
        let is_float = self.stored != StoredPrecision::Quantized;
        let is_storage =
            self.on_grid == finite && self.transform.is_none() && self.evidence_bits < MIN_GRID_EVIDENCE_BITS;
        match () {
            () if !is_float || self.n == 0 => None,
            () if finite == 0 => Some("no value is finite".into()),
            () if self.zeros == finite => Some("every value is zero".into()),
            () if is_storage && let Some(value) = self.constant => Some(all_equal(value).into()),
            () if self.evidence_bits > 0.0 && is_storage => Some("they are too few or too alike".into()),
            () => None,
        }
    }

    /// The census in one sentence.
    pub fn note(&self) -> String {
        let finite = self.n - self.nonfinite;
        let n = count(finite);
        let stored = self.stored;
        let would_change = count(finite - self.on_bf16);
        let bf16_is = match self.on_bf16 == finite {
            true => "BF16 fake quantization is a no-op here".to_owned(),
            false => format!("BF16 fake quantization is NOT a no-op here ({would_change} of {n} values would change)"),
        };
        let sentence = match self.effective {
            _ if self.n == 0 => "no values".to_owned(),
            Effective::NotDecided => {
                "not decidable: stored in quantized blocks, whose values do not say what lies under them".to_owned()
            }
            _ if finite == 0 => format!("stored {stored}, not decidable: no value is finite"),
            _ if stored == StoredPrecision::Bf16 => format!("stored BF16, so BF16 by storage: {bf16_is}"),
            _ if self.zeros == finite => format!("stored {stored}, every value is zero: {bf16_is}"),
            Effective::Transformed(transform) => {
                format!("stored {stored}, = {transform} ({} of {n}): {bf16_is}", count(self.on_grid))
            }
            Effective::Bf16 => format!("stored {stored}, effectively BF16 (100 % of {n} values, exact): {bf16_is}"),
            Effective::F16 | Effective::Tf32 if stored == StoredPrecision::F32 => format!(
                "stored F32, effectively {0} (100 % of {n} values, exact): {0} fake quantization is a no-op here, {1}",
                self.effective,
                bf16_is.trim_end_matches(" here")
            ),
            _ if self.evidence_bits > 0.0 => self.too_little_evidence(&bf16_is),
            _ => format!("stored {stored}, no grid coarser than storage found ({n} values, exact): {bf16_is}"),
        };
        match self.nonfinite {
            0 => sentence,
            k => format!("{sentence}; {} left out", words::plural(k, "non-finite value")),
        }
    }

    fn too_little_evidence(&self, bf16_is: &str) -> String {
        let finite = self.n - self.nonfinite;
        let grid = match () {
            () if self.on_bf16 == finite => "BF16",
            () if self.on_f16 == finite => "F16",
            () => "TF32",
        };
        let why = if self.constant.is_some() { "they are one value" } else { "they are too few or too alike" };
        format!(
            "stored {}, all {} values lie on the {grid} grid, but {why} ({} bits of evidence, {} wanted): {bf16_is}",
            self.stored,
            count(finite),
            whole(self.evidence_bits),
            whole(MIN_GRID_EVIDENCE_BITS)
        )
    }
}

/// That all values are this one, in words.
pub(crate) fn all_equal(value: f32) -> String {
    format!("all values are equal ({})", exact_f32(value))
}
