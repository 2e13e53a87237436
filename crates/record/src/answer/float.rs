//! A float in an answer that may be infinite or NaN. JSON cannot express these, so they are the strings `"NaN"`,
//! `"Infinity"` and `"-Infinity"`.
//!
//! A field of this kind has `#[serde(with = "float")] #[schemars(with = "float::Float")]`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serializer, de::Error};
use std::borrow::Cow;

/// Writes a float as a number or as one of the three strings.
///
/// # Errors
/// When the serializer fails.
pub fn serialize<S: Serializer>(v: &f64, s: S) -> Result<S::Ok, S::Error> {
    match non_finite(*v) {
        None => s.serialize_f64(*v),
        Some(word) => s.serialize_str(word),
    }
}

/// Reads a float from a number or from one of the three strings.
///
/// # Errors
/// When it is neither a number nor one of the three strings.
pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Number(f64),
        Word(String),
    }
    match Form::deserialize(d)? {
        Form::Number(v) => Ok(v),
        Form::Word(word) => match word.as_str() {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            other => Err(D::Error::custom(format!("found {other:?}, wanted a number, NaN, Infinity or -Infinity"))),
        },
    }
}

/// The string that stands for an infinite or NaN float; `None` for a finite one.
pub fn non_finite(v: f64) -> Option<&'static str> {
    match v {
        v if v.is_finite() => None,
        v if v.is_nan() => Some("NaN"),
        v if v > 0.0 => Some("Infinity"),
        _ => Some("-Infinity"),
    }
}

/// The JSON Schema of a float that may be infinite or NaN.
pub struct Float;

impl JsonSchema for Float {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Float".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "number" }, { "enum": ["NaN", "Infinity", "-Infinity"] }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Serialize;

    #[derive(Serialize, Deserialize)]
    struct One(#[serde(with = "super")] f64);

    #[test]
    fn a_float_that_is_not_finite_is_a_string_and_comes_back() {
        for (v, json) in [
            (0.1, "0.1"),
            (-2.0, "-2.0"),
            (f64::NAN, "\"NaN\""),
            (f64::INFINITY, "\"Infinity\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            assert_eq!(serde_json::to_string(&One(v)).expect("prints"), json);
            let One(back) = serde_json::from_str(json).expect("reads");
            assert!(back == v || (back.is_nan() && v.is_nan()), "{json}");
        }
        assert!(serde_json::from_str::<One>("\"nan\"").is_err());
    }
}
