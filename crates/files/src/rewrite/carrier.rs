//! The type in which a file stores quantized values.

use gguf::GgmlType;
use numerics::{Format, Scheme};
use std::fmt;
use std::str::FromStr;
use words::{Advice, Hint};

/// The type in which a file stores the quantized values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileCarrier {
    /// One type for all tensors. F32 is exact for every scheme; a quantized type really stores the blocks.
    In(GgmlType),
    /// The type that each tensor has in the source.
    #[default]
    Keep,
    /// The ggml type that each scheme itself describes.
    Own,
}

impl FileCarrier {
    /// The carrier that stores every tensor in F32.
    pub const F32: FileCarrier = FileCarrier::In(GgmlType::F32);

    /// The type in which this carrier stores a tensor of type `source` that is quantized in a scheme. `None` when the
    /// scheme has no type of its own and the carrier needs one.
    pub(crate) fn for_scheme(self, scheme: &Scheme, source: GgmlType) -> Option<GgmlType> {
        match self {
            FileCarrier::In(ty) => Some(ty),
            FileCarrier::Keep => Some(source),
            FileCarrier::Own => match scheme.format() {
                // Nothing changes, so nothing needs another type.
                Format::Identity => Some(source),
                _ => own_type(scheme),
            },
        }
    }
}

/// The ggml type that stores the values of a scheme as the scheme itself describes them: the type that it names, or BF16
/// and F16 for plain casts to them. `None` when ggml has no such type.
pub fn own_type(scheme: &Scheme) -> Option<GgmlType> {
    match scheme.format() {
        Format::Ggml(format) => GgmlType::from_name(format.name),
        Format::Minifloat { exmy, .. } if scheme.granularity().is_none() => exmy.name().and_then(GgmlType::from_name),
        _ => None,
    }
}

/// No carrier has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("carrier: found {found:?}, wanted f32, keep, own or another ggml type")]
pub struct CarrierError {
    found: String,
}

impl Advice for CarrierError {
    fn hint(&self) -> Option<Hint> {
        Some(Hint::words("for example q8_0, q4_K, bf16"))
    }
}

impl FromStr for FileCarrier {
    type Err = CarrierError;

    fn from_str(text: &str) -> Result<Self, CarrierError> {
        match text {
            "keep" => Ok(FileCarrier::Keep),
            "own" => Ok(FileCarrier::Own),
            name => GgmlType::from_name(name)
                .filter(|ty| !ty.is_integer() && *ty != GgmlType::F64)
                .map(FileCarrier::In)
                .ok_or_else(|| CarrierError { found: name.into() }),
        }
    }
}

impl fmt::Display for FileCarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileCarrier::In(ty) => f.write_str(ty.name()),
            FileCarrier::Keep => f.write_str("keep"),
            FileCarrier::Own => f.write_str("own"),
        }
    }
}

/// Parses the name of a type that stores weights.
///
/// # Errors
/// When ggml has no such type, or the type stores integers or f64.
pub fn weight_type(name: &str) -> Result<GgmlType, CarrierError> {
    match FileCarrier::from_str(name)? {
        FileCarrier::In(ty) => Ok(ty),
        FileCarrier::Keep | FileCarrier::Own => Err(CarrierError { found: name.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_has_a_type_of_its_own_where_ggml_has_the_same_format() {
        for (scheme, own) in [
            ("q4_0", Some("q4_0")),
            ("q4_k", Some("q4_K")),
            ("ggml:mxfp4", Some("mxfp4")),
            ("bf16", Some("bf16")),
            ("bf16:trunc", Some("bf16")),
            ("f16", Some("f16")),
            ("ggml:f16", Some("f16")),
            ("int8@row", None),
            ("mxfp4", None),
            ("bf16@row", None),
            ("tf32", None),
            ("fp8_e4m3", None),
            ("jitter", None),
        ] {
            let scheme: Scheme = scheme.parse().expect(scheme);
            assert_eq!(own_type(&scheme).map(GgmlType::name), own, "{scheme}");
        }
        let kept = FileCarrier::Own.for_scheme(&Scheme::identity(), GgmlType::Q6_K);
        assert_eq!(kept, Some(GgmlType::Q6_K));
    }

    #[test]
    fn carriers_are_printed_as_they_are_typed() {
        for name in ["keep", "own", "f32", "q4_K"] {
            assert_eq!(name.parse::<FileCarrier>().map(|carrier| carrier.to_string()), Ok(name.into()));
        }
        for name in ["", "i8", "f64", "Own", "q9"] {
            assert!(name.parse::<FileCarrier>().is_err(), "{name}");
        }
        assert!(weight_type("keep").is_err() && weight_type("Q4_0") == Ok(GgmlType::Q4_0));
    }
}
