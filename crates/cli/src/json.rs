//! Values from files as strict JSON: no NaN, numbers in the width they have in the file.

use gguf::{Array, Value};
use serde::ser::{Serialize, SerializeSeq, Serializer};

/// A metadata value. Non-finite floats are strings; bytes that are not UTF-8 become U+FFFD.
pub struct JsonValue<'a>(pub &'a Value);

impl Serialize for JsonValue<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::U8(v) => v.serialize(s),
            Value::I8(v) => v.serialize(s),
            Value::U16(v) => v.serialize(s),
            Value::I16(v) => v.serialize(s),
            Value::U32(v) => v.serialize(s),
            Value::I32(v) => v.serialize(s),
            Value::F32(v) => finite_f32(*v, s),
            Value::F64(v) => finite_f64(v, s),
            Value::Bool(v) => v.serialize(s),
            Value::U64(v) => v.serialize(s),
            Value::I64(v) => v.serialize(s),
            Value::String(v) => s.serialize_str(&String::from_utf8_lossy(v)),
            Value::Array(v) => JsonArray(v).serialize(s),
        }
    }
}

struct JsonArray<'a>(&'a Array);

impl Serialize for JsonArray<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut seq = s.serialize_seq(Some(self.0.len()))?;
        match self.0 {
            Array::String(strings) => {
                for string in strings.iter() {
                    seq.serialize_element(&String::from_utf8_lossy(string))?;
                }
            }
            Array::Array(arrays) => {
                for array in arrays {
                    seq.serialize_element(&JsonArray(array))?;
                }
            }
            numbers => {
                for i in 0..numbers.len() {
                    if let Some(number) = numbers.get(i) {
                        seq.serialize_element(&JsonValue(&number))?;
                    }
                }
            }
        }
        seq.end()
    }
}

/// A float, or `"NaN"`, `"Infinity"`, `"-Infinity"`. For `serialize_with`.
pub fn finite_f64<S: Serializer>(v: &f64, s: S) -> Result<S::Ok, S::Error> {
    if v.is_finite() { s.serialize_f64(*v) } else { s.serialize_str(non_finite(*v)) }
}

/// In its own width, so that 0.1 is written as such and not as its neighbour among the doubles.
fn finite_f32<S: Serializer>(v: f32, s: S) -> Result<S::Ok, S::Error> {
    if v.is_finite() { s.serialize_f32(v) } else { s.serialize_str(non_finite(v.into())) }
}

fn non_finite(v: f64) -> &'static str {
    match v {
        v if v.is_nan() => "NaN",
        v if v > 0.0 => "Infinity",
        _ => "-Infinity",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: Value) -> String {
        serde_json::to_string(&JsonValue(&value)).expect("values always serialize")
    }

    #[test]
    fn non_finite_floats_are_strings() {
        assert_eq!(json(Value::F32(f32::NAN)), "\"NaN\"");
        assert_eq!(json(Value::F64(f64::INFINITY)), "\"Infinity\"");
        assert_eq!(json(Value::Array(Array::F32(vec![1.0, f32::NEG_INFINITY]))), "[1.0,\"-Infinity\"]");
    }

    #[test]
    fn a_float_is_written_in_its_own_width() {
        assert_eq!(json(Value::F32(0.1)), "0.1");
        assert_eq!(json(Value::U64(u64::MAX)), "18446744073709551615");
    }

    #[test]
    fn bytes_that_are_not_text_still_make_json() {
        assert_eq!(json(Value::String(b"a\xff\x1b".to_vec())), "\"a\u{fffd}\\u001b\"");
        assert_eq!(json(Value::Array(Array::Array(vec![Array::Bool(vec![true])]))), "[[true]]");
    }
}
