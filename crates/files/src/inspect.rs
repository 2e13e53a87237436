//! What a GGUF file contains: the container, its metadata and its tensors.

use crate::fallback::type_for_rows;
use crate::open::Model;
use crate::scorable::kind_sentence;
use gguf::{
    Array, ForeignTensor, GENERAL_FILE_TYPE, GGML_MAX_NAME, GgmlType, GgufFile, TensorInfo, Value, file_type,
    fork_type, is_file_type_of, is_removed_file_type,
};
use record::answer::{
    INSPECT_FORMAT, InspectAnswer, InspectedForeignTensor, InspectedTensor, MetadataEntry, StatedFileType, StoredType,
    float,
};
use serde::ser::{Serialize, SerializeSeq, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;

/// Everything in a file except the values of its tensors.
pub fn inspect(model: &Model) -> InspectAnswer {
    let file = &model.file;
    InspectAnswer {
        format: INSPECT_FORMAT,
        file: model.name(),
        kind: kind_sentence(file),
        file_type: stated_file_type(file),
        file_bytes: file.file_bytes(),
        version: file.version(),
        endian: file.endian().name().into(),
        alignment: file.alignment(),
        data_offset: file.data_offset(),
        shards: file.shards().len(),
        n_metadata: file.metadata().len(),
        n_tensors: file.tensors().len() + file.foreign_tensors().len(),
        n_values: n_values(file.tensors()),
        types: stored_types(file.tensors()),
        metadata: file.metadata().iter().map(|(key, value)| entry(key, value)).collect(),
        tensors: file.tensors().iter().map(tensor).collect(),
        foreign: file.foreign_tensors().iter().map(foreign).collect(),
        long_names: long_names(file).map(str::to_owned).collect(),
    }
}

/// What `general.file_type` says, compared with the tensors.
pub fn stated_file_type(file: &GgufFile) -> Option<StatedFileType> {
    let stored = file.get(GENERAL_FILE_TYPE)?;
    let Some(value) = stored.as_u64() else {
        let why = format!("it is stored as {}, and llama.cpp wants a number from 0, stored as u32", stored.type_name());
        return Some(StatedFileType { value: None, name: None, contradiction: Some(why) });
    };
    let Some(stated) = file_type(value) else {
        let why = match is_removed_file_type(value) {
            true => "llama.cpp no longer supports this number",
            false => "llama.cpp does not know this number",
        };
        return Some(StatedFileType { value: Some(value), name: None, contradiction: Some(why.into()) });
    };
    let matrices = || file.tensors().iter().filter(|t| t.shape().len() > 1 && !t.ty.is_integer());
    // llama-quantize takes another type where rows are not whole blocks of the one that gives the mixture its name.
    let bears_out =
        |t: &TensorInfo| Some(t.ty) == type_for_rows(stated.ty, t.n_per_row()) || is_file_type_of(value, t.ty);
    let types = stored_types_of(matrices());
    let most = types.iter().max_by_key(|row| row.n_values);
    let is_float = matches!(stated.ty, GgmlType::F32 | GgmlType::F16 | GgmlType::BF16);
    let contradiction = match most {
        None => None,
        _ if !matrices().any(bears_out) => Some(format!("no matrix is stored in {}", stated.ty.name())),
        Some(most) if is_float && most.ty != stated.ty.name() => {
            Some(format!("most values of matrices are stored in {}", most.ty))
        }
        Some(_) => None,
    };
    Some(StatedFileType { value: Some(value), name: Some(stated.name.into()), contradiction })
}

fn entry(key: &str, value: &Value) -> MetadataEntry {
    // Serializing a metadata value cannot fail.
    let json: Box<RawValue> = to_raw_value(&JsonValue(value)).unwrap_or_default();
    MetadataEntry { key: key.into(), ty: value.type_name(), value: json }
}

fn tensor(tensor: &TensorInfo) -> InspectedTensor {
    InspectedTensor {
        name: tensor.name.clone(),
        ty: tensor.ty.name().into(),
        ne: tensor.shape().to_vec(),
        offset: tensor.offset,
        nbytes: tensor.nbytes,
        shard: tensor.shard,
    }
}

fn foreign(tensor: &ForeignTensor) -> InspectedForeignTensor {
    InspectedForeignTensor {
        name: tensor.name.clone(),
        type_id: tensor.type_id,
        fork_type: fork_type(tensor.type_id),
        ne: tensor.shape.clone(),
        offset: tensor.offset,
        shard: tensor.shard,
    }
}

/// The names of tensors that are too long for ggml.
pub fn long_names(file: &GgufFile) -> impl Iterator<Item = &str> {
    let known = file.tensors().iter().map(|tensor| tensor.name.as_str());
    let foreign = file.foreign_tensors().iter().map(|tensor| tensor.name.as_str());
    known.chain(foreign).filter(|name| name.len() as u64 >= GGML_MAX_NAME)
}

/// The number of values of these tensors. A sparse file can claim more than a u64 can count, and the sum then stops at
/// the largest u64.
pub fn n_values<'a>(tensors: impl IntoIterator<Item = &'a TensorInfo>) -> u64 {
    tensors.into_iter().fold(0, |sum, t| sum.saturating_add(t.n_elements()))
}

/// The types in use, with the one that takes most bytes first.
pub fn stored_types(tensors: &[TensorInfo]) -> Vec<StoredType> {
    stored_types_of(tensors.iter())
}

fn stored_types_of<'a>(tensors: impl Iterator<Item = &'a TensorInfo>) -> Vec<StoredType> {
    let mut by_type: BTreeMap<GgmlType, Vec<&TensorInfo>> = BTreeMap::new();
    for t in tensors {
        by_type.entry(t.ty).or_default().push(t);
    }
    let mut rows: Vec<StoredType> = by_type
        .into_iter()
        .map(|(ty, of_type)| StoredType {
            ty: ty.name().into(),
            n_tensors: of_type.len(),
            n_values: n_values(of_type.iter().copied()),
            nbytes: of_type.iter().map(|t| t.nbytes).sum(),
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.nbytes));
    rows
}

/// A metadata value as strict JSON. Non-finite floats become strings. Bytes that are not UTF-8 become U+FFFD.
struct JsonValue<'a>(&'a Value);

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
            Value::F64(v) => float::serialize(v, s),
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

/// Writes a float in its own width, so that 0.1 is written as 0.1 and not as the nearest double. Non-finite floats
/// become `"NaN"`, `"Infinity"` or `"-Infinity"`.
fn finite_f32<S: Serializer>(v: f32, s: S) -> Result<S::Ok, S::Error> {
    match float::non_finite(v.into()) {
        None => s.serialize_f32(v),
        Some(word) => s.serialize_str(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pinned_source::{pinned_function, pinned_source};

    /// The word after `mark` in a line.
    fn word_after<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
        line.split_once(mark)?.1.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()
    }

    #[test]
    fn file_types_have_the_names_numbers_and_types_of_the_pinned_llama_cpp() {
        let header = pinned_source("include/llama.h");
        let start = header.find("enum llama_ftype {").expect("the file types");
        let lines: Vec<&str> = header[start..].lines().skip(1).take_while(|line| !line.contains("};")).collect();
        let source = pinned_function("src/llama-quant.cpp", "ggml_type llama_ftype_get_default_type(");
        let (mut types, mut waiting) = (BTreeMap::new(), Vec::new());
        for line in source.lines() {
            waiting.extend(word_after(line, "case LLAMA_FTYPE_"));
            if let Some(ty) = word_after(line, "return GGML_TYPE_") {
                types.extend(waiting.drain(..).map(|name| (name, ty)));
            }
        }
        let (mut known, mut n_removed) = (0, 0);
        for line in lines {
            let (Some(name), Some((_, number))) = (word_after(line, "LLAMA_FTYPE_"), line.split_once("= ")) else {
                continue;
            };
            let number: u64 = number.split(',').next().and_then(|n| n.trim().parse().ok()).expect("a number");
            if line.trim().starts_with("//") {
                assert!(is_removed_file_type(number) && file_type(number).is_none(), "{line}");
                n_removed += 1;
            } else if name != "GUESSED" {
                let ours = file_type(number).unwrap_or_else(|| panic!("not in our table: {line}"));
                let bare = name.trim_start_matches("MOSTLY_").trim_start_matches("ALL_");
                assert_eq!(ours.name, bare);
                // llama-quantize does not make NVFP4.
                let theirs = types.get(name).copied().or_else(|| (name == "MOSTLY_NVFP4").then_some("NVFP4"));
                assert_eq!(Some(format!("{:?}", ours.ty)).as_deref(), theirs, "{name}");
                known += 1;
            }
        }
        assert_eq!((0..1024).filter(|&number| file_type(number).is_some()).count(), known);
        assert_eq!((0..1024).filter(|&number| is_removed_file_type(number)).count(), n_removed);
        assert!(known > 30 && n_removed > 3, "{known} {n_removed}");
    }

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
