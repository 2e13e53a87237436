//! The validation pass: it takes the bytes of a header and returns checked metadata and tensor infos.
//!
//! ```text
//! "GGUF"  version u32  n_tensors u64  n_kv u64
//! n_kv ×      key: len u64, bytes   type u32   value
//!             value: number | bool u8 | string: len u64, bytes | array: type u32, n u64, n × value
//! n_tensors × name: len u64, bytes   n_dims u32   n_dims × ne u64   type u32   offset u64
//! padding to the alignment, then the data that the offsets count from
//! ```
//!
//! # Source
//! The GGUF specification (`docs/gguf.md` of ggml) and `gguf_init_from_reader` in `ggml/src/gguf.cpp`.

use crate::endian::Endian;
use crate::foreign::ForeignTensor;
use crate::ggml_type::GgmlType;
use crate::limits::*;
use crate::problem::{GgufProblem, WrongAlignment};
use crate::source::{Cursor, Field, Source};
use crate::tensor::TensorInfo;
use crate::value::{Array, StringArray, Value, ValueType};
use std::collections::{HashMap, HashSet};
use words::{escape_short, escape_terminal};

/// Everything that a header says.
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) endian: Endian,
    pub(crate) alignment: u32,
    pub(crate) metadata: Vec<(String, Value)>,
    pub(crate) key_index: HashMap<String, usize>,
    pub(crate) tensors: Vec<TensorInfo>,
    /// The tensors of types that ggml does not know.
    pub(crate) foreign: Vec<ForeignTensor>,
    pub(crate) data_offset: u64,
}

/// What a reader insists on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strictness {
    /// The file must be little-endian.
    little_endian: bool,
    /// Names of tensors must be short enough for ggml.
    names: bool,
    /// Types of tensors must be known.
    types: bool,
}

impl Strictness {
    /// All that an engine needs.
    pub(crate) const ENGINE: Strictness = Strictness { little_endian: true, names: true, types: true };
    /// Values must be readable.
    pub(crate) const VALUES: Strictness = Strictness { little_endian: false, names: false, types: true };
    /// Only the header must be readable.
    pub(crate) const HEADER: Strictness = Strictness { little_endian: false, names: false, types: false };
}

impl Header {
    /// The number of tensors, of known types or not.
    pub(crate) fn n_tensors(&self) -> u64 {
        (self.tensors.len() + self.foreign.len()) as u64
    }

    /// The value of a key. `None` when the header does not have the key.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.key_index.get(key).map(|&i| &self.metadata[i].1)
    }
}

/// The fewest bytes of a metadata pair: a key of one byte, a type and a value of one byte.
const LEAST_KV_BYTES: u64 = 8 + 1 + 4 + 1;
/// The fewest bytes of a tensor info: a name of one byte and no dimensions.
const LEAST_TENSOR_BYTES: u64 = 8 + 1 + 4 + 4 + 8;

/// Reads and checks the whole header.
pub(crate) fn header(source: &Source, strictness: Strictness) -> Result<Header, GgufProblem> {
    let mut cursor = Cursor::new(source);
    magic(&mut cursor)?;
    let (version, endian) = version(&mut cursor, !strictness.little_endian)?;
    cursor.set_endian(endian);
    let n_tensors = count(&mut cursor, "number of tensors", LEAST_TENSOR_BYTES)?;
    let n_kv = count(&mut cursor, "number of metadata pairs", LEAST_KV_BYTES)?;

    let mut metadata = Vec::new();
    let mut key_index = HashMap::new();
    let mut alignment_offset = 0;
    for index in 0..n_kv {
        let offset = cursor.position();
        let key = name(&mut cursor, Field::Key(index), OF_KEY)?;
        if key_index.insert(key.clone(), metadata.len()).is_some() {
            return Err(GgufProblem::DuplicateKey { index, offset, key: escape_short(key) });
        }
        if key == GENERAL_ALIGNMENT {
            alignment_offset = offset;
        }
        let ty = value_type(&mut cursor, Field::TypeOf(&key))?;
        let value = value(&mut cursor, ty, Field::Value(&key))?;
        metadata.push((key, value));
    }
    let alignment = alignment(key_index.get(GENERAL_ALIGNMENT).map(|&i| &metadata[i].1))
        .map_err(|wrong| GgufProblem::Alignment { offset: alignment_offset, wrong })?;

    let (mut tensors, mut foreign) = (Vec::new(), Vec::new());
    let mut names = HashSet::new();
    for index in 0..n_tensors {
        let offset = cursor.position();
        let tensor = tensor(&mut cursor, index, alignment, strictness)?;
        let name = match &tensor {
            AnyTensor::Known(tensor) => &tensor.name,
            AnyTensor::Foreign(tensor) => &tensor.name,
        };
        if !names.insert(name.clone()) {
            return Err(GgufProblem::DuplicateTensor { index, offset, name: escape_terminal(name) });
        }
        match tensor {
            AnyTensor::Known(tensor) => tensors.push(tensor),
            AnyTensor::Foreign(tensor) => foreign.push(tensor),
        }
    }

    // A file without tensors has no data section, so no padding is needed.
    let data_offset = match names.len() {
        0 => cursor.position(),
        _ => cursor.position().next_multiple_of(alignment.into()),
    };
    data_fits(&tensors, data_offset, source.bytes())?;
    Ok(Header { version, endian, alignment, metadata, key_index, tensors, foreign, data_offset })
}

fn magic(cursor: &mut Cursor<'_>) -> Result<(), GgufProblem> {
    const MAGIC: &[u8] = b"GGUF";
    let mut first = Vec::new();
    cursor.append(cursor.left().min(16), &mut first, Field::Header("first bytes"))?;
    if first.starts_with(MAGIC) {
        // The version follows at once; take it from the buffer again.
        cursor.rewind_to(MAGIC.len() as u64);
        return Ok(());
    }
    if first.is_empty() {
        return Err(GgufProblem::Empty);
    }
    if MAGIC.starts_with(&first) {
        let left = first.len() as u64;
        return Err(GgufProblem::Truncated { field: "magic".into(), offset: 0, wanted: 4, left });
    }
    let found = format!("\"{}\"", escape_terminal(&first[..first.len().min(8)]));
    Err(GgufProblem::NotGguf { found, looks_like: looks_like(&first) })
}

/// The kind of file that starts with these bytes. `None` when the kind is not known.
fn looks_like(first: &[u8]) -> Option<&'static str> {
    let safetensors_header = first.len() > 8 && first[6..8] == [0, 0] && first[8] == b'{';
    Some(match first {
        [b'F', b'U', b'G', b'G', ..] => "a GGUF file whose bytes are swapped in fours",
        [b'l', b'm', b'g', b'g', ..] | [b'f', b'm', b'g', b'g', ..] | [b't', b'j', b'g', b'g', ..] => {
            "a GGML file from before GGUF; convert the original model again"
        }
        [b'P', b'K', 3, 4, ..] => "a zip archive or PyTorch checkpoint; convert it with convert_hf_to_gguf.py",
        [0x1f, 0x8b, ..] => "a gzip file; unpack it first",
        [b'v', b'e', b'r', b's', b'i', b'o', b'n', b' ', b'h', b't', b't', b'p', ..] => {
            "a Git LFS pointer; run git lfs pull"
        }
        [b'<', b'!' | b'h' | b'H' | b'?', ..] => "a web page; the download may have met an error or a log-in page",
        [b'{', ..] => "a JSON file; the download may have met an error message",
        _ if safetensors_header => "a safetensors file; convert it with convert_hf_to_gguf.py",
        _ => return None,
    })
}

/// The version. It also tells the byte order, because it is a small number in only one of the two.
fn version(cursor: &mut Cursor<'_>, big_endian_too: bool) -> Result<(u32, Endian), GgufProblem> {
    let found = cursor.u32(Field::Header("version"))?;
    match (found, found.swap_bytes()) {
        (2..=GGUF_VERSION, _) => Ok((found, Endian::Little)),
        (_, swapped @ 2..=GGUF_VERSION) if big_endian_too => Ok((swapped, Endian::Big)),
        (_, swapped @ 1..=0xffff) if found & 0xffff == 0 => Err(GgufProblem::BigEndian { version: swapped }),
        _ => Err(GgufProblem::Version { found }),
    }
}

fn count(cursor: &mut Cursor<'_>, field: &'static str, least_bytes: u64) -> Result<u64, GgufProblem> {
    let offset = cursor.position();
    let found = cursor.u64(Field::Header(field))?;
    let left = cursor.left();
    let max = left / least_bytes;
    if found > max {
        return Err(GgufProblem::Count { field, offset, found, max, left });
    }
    Ok(found)
}

/// The largest number of bytes that a string may have.
#[derive(Clone, Copy)]
struct Limit {
    max: u64,
    name: &'static str,
}

const OF_KEY: Limit = Limit { max: MAX_KEY_LENGTH, name: "the GGUF specification's limit of a key" };
const OF_VALUE: Limit = Limit { max: GGUF_MAX_STRING_LENGTH, name: "GGUF_MAX_STRING_LENGTH" };
/// With its closing NUL, a tensor name takes at most [`GGML_MAX_NAME`] bytes.
const OF_TENSOR_NAME: Limit = Limit { max: GGML_MAX_NAME - 1, name: "GGML_MAX_NAME less its NUL" };

/// The length before a string, checked against the limit and the bytes that are left.
fn string_length(cursor: &mut Cursor<'_>, field: Field<'_>, limit: Limit) -> Result<u64, GgufProblem> {
    let Limit { max, name } = limit;
    let offset = cursor.position();
    let found = cursor.u64(field)?;
    if found > max {
        return Err(GgufProblem::StringLength { field: field.to_string(), offset, found, max, limit: name });
    }
    cursor.require(found, field)?;
    Ok(found)
}

/// Reads a metadata key or a tensor name.
fn name(cursor: &mut Cursor<'_>, field: Field<'_>, limit: Limit) -> Result<String, GgufProblem> {
    let n = string_length(cursor, field, limit)?;
    let offset = cursor.position();
    if n == 0 {
        return Err(GgufProblem::EmptyName { field: field.to_string(), offset });
    }
    let mut bytes = Vec::new();
    cursor.append(n, &mut bytes, field)?;
    if let Some(nul) = bytes.iter().position(|&byte| byte == 0) {
        let (offset, found) = (offset + nul as u64, escape_short(&bytes));
        return Err(GgufProblem::NameWithNul { field: field.to_string(), offset, found });
    }
    String::from_utf8(bytes).map_err(|e| GgufProblem::NameNotUtf8 {
        field: field.to_string(),
        offset: offset + e.utf8_error().valid_up_to() as u64,
        found: escape_short(e.as_bytes()),
    })
}

fn value_type(cursor: &mut Cursor<'_>, field: Field<'_>) -> Result<ValueType, GgufProblem> {
    let offset = cursor.position();
    let found = cursor.u32(field)?;
    ValueType::from_id(found).ok_or_else(|| GgufProblem::ValueType { field: field.to_string(), offset, found })
}

fn value(cursor: &mut Cursor<'_>, ty: ValueType, field: Field<'_>) -> Result<Value, GgufProblem> {
    Ok(match ty {
        ValueType::U8 => Value::U8(u8::from_le_bytes(cursor.array(field)?)),
        ValueType::I8 => Value::I8(i8::from_le_bytes(cursor.array(field)?)),
        ValueType::U16 => Value::U16(u16::from_le_bytes(cursor.array(field)?)),
        ValueType::I16 => Value::I16(i16::from_le_bytes(cursor.array(field)?)),
        ValueType::U32 => Value::U32(cursor.u32(field)?),
        ValueType::I32 => Value::I32(i32::from_le_bytes(cursor.array(field)?)),
        ValueType::F32 => Value::F32(f32::from_le_bytes(cursor.array(field)?)),
        ValueType::U64 => Value::U64(cursor.u64(field)?),
        ValueType::I64 => Value::I64(i64::from_le_bytes(cursor.array(field)?)),
        ValueType::F64 => Value::F64(f64::from_le_bytes(cursor.array(field)?)),
        ValueType::Bool => Value::Bool(bools(cursor, 1, field)?[0]),
        ValueType::String => {
            let n = string_length(cursor, field, OF_VALUE)?;
            let mut bytes = Vec::new();
            cursor.append(n, &mut bytes, field)?;
            Value::String(bytes)
        }
        ValueType::Array => Value::Array(array(cursor, 1, field)?),
    })
}

fn bools(cursor: &mut Cursor<'_>, n: u64, field: Field<'_>) -> Result<Vec<bool>, GgufProblem> {
    let start = cursor.position();
    let bytes = cursor.numbers(n, u8::from_le_bytes, field)?;
    if let Some(i) = bytes.iter().position(|&byte| byte > 1) {
        return Err(GgufProblem::Bool { field: field.to_string(), offset: start + i as u64, found: bytes[i] });
    }
    Ok(bytes.into_iter().map(|byte| byte == 1).collect())
}

fn array(cursor: &mut Cursor<'_>, depth: u32, field: Field<'_>) -> Result<Array, GgufProblem> {
    let start = cursor.position();
    if depth > MAX_ARRAY_DEPTH {
        return Err(GgufProblem::ArrayDepth { field: field.to_string(), offset: start, found: depth });
    }
    let ty = value_type(cursor, field)?;
    let offset = cursor.position();
    let n = cursor.u64(field)?;
    if n > GGUF_MAX_ARRAY_ELEMENTS {
        return Err(GgufProblem::ArrayLength { field: field.to_string(), offset, found: n });
    }
    if ty == ValueType::Array {
        let found = cursor.count_nested(n);
        if found > MAX_NESTED_ARRAYS {
            return Err(GgufProblem::NestedArrays { field: field.to_string(), offset, found });
        }
    }
    // There are at most as many elements as bytes left, so capacity for `n` can be reserved.
    cursor.require(n.saturating_mul(ty.least_bytes()), field)?;
    Ok(match ty {
        ValueType::U8 => Array::U8(cursor.numbers(n, u8::from_le_bytes, field)?),
        ValueType::I8 => Array::I8(cursor.numbers(n, i8::from_le_bytes, field)?),
        ValueType::U16 => Array::U16(cursor.numbers(n, u16::from_le_bytes, field)?),
        ValueType::I16 => Array::I16(cursor.numbers(n, i16::from_le_bytes, field)?),
        ValueType::U32 => Array::U32(cursor.numbers(n, u32::from_le_bytes, field)?),
        ValueType::I32 => Array::I32(cursor.numbers(n, i32::from_le_bytes, field)?),
        ValueType::F32 => Array::F32(cursor.numbers(n, f32::from_le_bytes, field)?),
        ValueType::U64 => Array::U64(cursor.numbers(n, u64::from_le_bytes, field)?),
        ValueType::I64 => Array::I64(cursor.numbers(n, i64::from_le_bytes, field)?),
        ValueType::F64 => Array::F64(cursor.numbers(n, f64::from_le_bytes, field)?),
        ValueType::Bool => Array::Bool(bools(cursor, n, field)?),
        ValueType::String => Array::String(strings(cursor, n, field)?),
        ValueType::Array => {
            let mut arrays = Vec::with_capacity(n as usize);
            for _ in 0..n {
                arrays.push(array(cursor, depth + 1, field)?);
            }
            Array::Array(arrays)
        }
    })
}

fn strings(cursor: &mut Cursor<'_>, n: u64, field: Field<'_>) -> Result<StringArray, GgufProblem> {
    let mut strings = StringArray::with_capacity(n as usize);
    for _ in 0..n {
        let offset = cursor.position();
        let length = string_length(cursor, field, OF_VALUE)?;
        strings
            .push_with(|bytes| cursor.append(length, bytes, field))?
            .ok_or_else(|| GgufProblem::HeaderTooLarge { field: field.to_string(), offset })?;
    }
    Ok(strings)
}

/// The alignment that follows from a value of `general.alignment`, or from its absence.
pub(crate) fn alignment(value: Option<&Value>) -> Result<u32, WrongAlignment> {
    match value {
        None => Ok(GGUF_DEFAULT_ALIGNMENT),
        Some(&Value::U32(found)) if found.is_power_of_two() => Ok(found),
        Some(&Value::U32(found)) => Err(WrongAlignment::Value(found)),
        Some(other) => Err(WrongAlignment::Type(other.value_type())),
    }
}

/// A tensor of a type that ggml knows or does not know.
enum AnyTensor {
    Known(TensorInfo),
    Foreign(ForeignTensor),
}

/// Reads the description of a tensor.
fn tensor(
    cursor: &mut Cursor<'_>,
    index: u64,
    alignment: u32,
    strictness: Strictness,
) -> Result<AnyTensor, GgufProblem> {
    let limit = if strictness.names { OF_TENSOR_NAME } else { OF_KEY };
    let name = name(cursor, Field::TensorName(index), limit)?;
    let safe_name = || escape_terminal(&name);

    let offset = cursor.position();
    let n_dims = cursor.u32(Field::TensorShape(&name))?;
    if n_dims > GGML_MAX_DIMS {
        return Err(GgufProblem::Dimensions { name: safe_name(), offset, found: n_dims });
    }
    let mut ne = [1; GGML_MAX_DIMS as usize];
    let shape_offset = cursor.position();
    for extent in &mut ne[..n_dims as usize] {
        *extent = cursor.u64(Field::TensorShape(&name))?;
    }
    let shape_problem =
        || GgufProblem::Shape { name: safe_name(), offset: shape_offset, ne: ne[..n_dims as usize].to_vec() };
    // An extent of 0 must not hide an overflow of the others, because any of their products is computed later.
    let product = ne.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent.max(1)));
    if product.is_none_or(|product| product > i64::MAX as u64) {
        return Err(shape_problem());
    }
    let n_elements: u64 = ne.iter().product();

    let offset = cursor.position();
    let type_id = cursor.u32(Field::TensorType(&name))?;
    let ty = match GgmlType::from_id(type_id) {
        Ok(ty) => ty,
        Err(_) if !strictness.types => {
            let offset = cursor.u64(Field::TensorOffset(&name))?;
            let shape = ne[..n_dims as usize].to_vec();
            return Ok(AnyTensor::Foreign(ForeignTensor { name, type_id, shape, offset, shard: 0 }));
        }
        Err(found) => return Err(GgufProblem::TensorType { name: safe_name(), offset, found }),
    };
    if !ne[0].is_multiple_of(ty.blck_size()) {
        let (found, blck_size) = (ne[0], ty.blck_size());
        return Err(GgufProblem::Row { name: safe_name(), offset: shape_offset, ty: ty.name(), found, blck_size });
    }
    let nbytes = ty.bytes_of(n_elements).ok_or_else(shape_problem)?;

    let place = cursor.position();
    let offset = cursor.u64(Field::TensorOffset(&name))?;
    if !offset.is_multiple_of(alignment.into()) {
        return Err(GgufProblem::Misaligned { name: safe_name(), offset: place, found: offset, alignment });
    }
    Ok(AnyTensor::Known(TensorInfo { name, ty, ne, n_dims, offset, nbytes, shard: 0 }))
}

/// Checks that every tensor lies in the file and that no two share a byte.
fn data_fits(tensors: &[TensorInfo], data_offset: u64, file_bytes: u64) -> Result<(), GgufProblem> {
    let data_bytes = file_bytes.saturating_sub(data_offset);
    for t in tensors {
        let fits = t.offset.checked_add(t.nbytes).is_some_and(|end| end <= data_bytes);
        if !fits {
            let (name, offset, nbytes) = (escape_terminal(&t.name), t.offset, t.nbytes);
            return Err(GgufProblem::OutOfFile { name, offset, nbytes, data_offset, data_bytes });
        }
    }
    let mut by_offset: Vec<&TensorInfo> = tensors.iter().filter(|t| t.nbytes > 0).collect();
    by_offset.sort_by_key(|t| t.offset);
    for pair in by_offset.windows(2) {
        let (first, second) = (pair[0], pair[1]);
        if first.offset + first.nbytes > second.offset {
            return Err(GgufProblem::Overlap {
                first: escape_terminal(&first.name),
                second: escape_terminal(&second.name),
                offset: second.offset,
            });
        }
    }
    Ok(())
}
