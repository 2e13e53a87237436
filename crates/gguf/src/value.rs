//! Metadata values. An array is stored by the type of its elements. The strings of an array are stored as one run of
//! bytes, so that a vocabulary of 262,144 tokens takes three allocations, not 262,144.

use std::fmt;
use words::escape_terminal;

/// The type of a metadata value, numbered and named as upstream does.
///
/// # Source
/// `enum gguf_type` in `ggml/include/gguf.h`, `GGUF_TYPE_NAME` in `ggml/src/gguf.cpp`.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    /// Every type, in the order of the ids.
    pub const ALL: [ValueType; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// The type with this id. `None` when no type has it.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// The upstream name, such as `u32`, `str` or `arr`.
    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::String => "str",
            Self::Array => "arr",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }

    /// The fewest bytes that one value of the type takes in a file. A string has at least its length, an array its type
    /// and its length.
    pub fn least_bytes(self) -> u64 {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 | Self::String => 8,
            Self::Array => 12,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The strings of an array, stored in one run of bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StringArray {
    bytes: Vec<u8>,
    /// The place in `bytes` at which each string ends.
    ends: Vec<u32>,
}

impl StringArray {
    /// The number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no strings.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// String `i`, as the bytes in the file, which need not be UTF-8. `None` when there is no string `i`.
    pub fn get(&self, i: usize) -> Option<&[u8]> {
        let end = *self.ends.get(i)? as usize;
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        Some(&self.bytes[start..end])
    }

    /// All strings, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|i| self.get(i))
    }

    /// Stores these strings. `None` when they have more than 2^32 − 1 bytes together.
    pub fn of<S: AsRef<[u8]>>(strings: impl IntoIterator<Item = S>) -> Option<Self> {
        let mut array = Self::default();
        for string in strings {
            let append = |bytes: &mut Vec<u8>| -> Result<(), std::convert::Infallible> {
                bytes.extend_from_slice(string.as_ref());
                Ok(())
            };
            let Ok(pushed) = array.push_with(append);
            pushed?;
        }
        Some(array)
    }

    pub(crate) fn with_capacity(n: usize) -> Self {
        StringArray { bytes: Vec::new(), ends: Vec::with_capacity(n) }
    }

    /// Appends the bytes that `write` adds as one string. `None` when the array becomes larger than its offsets can
    /// express.
    pub(crate) fn push_with<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<Option<()>, E> {
        write(&mut self.bytes)?;
        let Ok(end) = u32::try_from(self.bytes.len()) else { return Ok(None) };
        self.ends.push(end);
        Ok(Some(()))
    }
}

/// An array whose elements have one type.
#[allow(missing_docs)]
#[derive(Clone, Debug, PartialEq)]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(StringArray),
    Array(Vec<Array>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl Array {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::I8(v) => v.len(),
            Self::U16(v) => v.len(),
            Self::I16(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::Bool(v) => v.len(),
            Self::String(v) => v.len(),
            Self::Array(v) => v.len(),
            Self::U64(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::F64(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of the elements.
    pub fn element_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// Element `i` as a value of its own. `None` when there is no element `i`.
    pub fn get(&self, i: usize) -> Option<Value> {
        Some(match self {
            Self::U8(v) => Value::U8(*v.get(i)?),
            Self::I8(v) => Value::I8(*v.get(i)?),
            Self::U16(v) => Value::U16(*v.get(i)?),
            Self::I16(v) => Value::I16(*v.get(i)?),
            Self::U32(v) => Value::U32(*v.get(i)?),
            Self::I32(v) => Value::I32(*v.get(i)?),
            Self::F32(v) => Value::F32(*v.get(i)?),
            Self::Bool(v) => Value::Bool(*v.get(i)?),
            Self::String(v) => Value::String(v.get(i)?.to_vec()),
            Self::Array(v) => Value::Array(v.get(i)?.clone()),
            Self::U64(v) => Value::U64(*v.get(i)?),
            Self::I64(v) => Value::I64(*v.get(i)?),
            Self::F64(v) => Value::F64(*v.get(i)?),
        })
    }

    /// The strings. `None` when the elements are not strings.
    pub fn as_strings(&self) -> Option<&StringArray> {
        match self {
            Self::String(v) => Some(v),
            _ => None,
        }
    }
}

/// One metadata value. A string is stored as bytes, because the format asks for UTF-8 but files do not always comply.
#[allow(missing_docs)]
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(Vec<u8>),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl Value {
    /// The type of the value.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// The type of the value in words, such as `u32`, or `arr[str]` for an array.
    pub fn type_name(&self) -> String {
        match self {
            Self::Array(array) => format!("arr[{}]", array.element_type()),
            other => other.value_type().name().to_owned(),
        }
    }

    /// The value as a non-negative integer, from any width. `None` when it is not one.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::U32(v) => Some(v.into()),
            Self::U64(v) => Some(v),
            Self::I8(v) => v.try_into().ok(),
            Self::I16(v) => v.try_into().ok(),
            Self::I32(v) => v.try_into().ok(),
            Self::I64(v) => v.try_into().ok(),
            _ => None,
        }
    }

    /// The value as a float, from either width. `None` when it is not a float.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(v) => Some(v.into()),
            Self::F64(v) => Some(v),
            _ => None,
        }
    }

    /// The value as a bool. `None` when it is not a bool.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(v) => Some(v),
            _ => None,
        }
    }

    /// The value as text. `None` when it is not a string or not UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        self.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// The value as the bytes of a string. `None` when it is not a string.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::String(v) => Some(v),
            _ => None,
        }
    }

    /// The value as an array. `None` when it is not an array.
    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Self::Array(v) => Some(v),
            _ => None,
        }
    }
}

/// Displays the value on one line, escaped for a terminal. An array shows its first elements and its length.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 6;
        match self {
            Self::U8(v) => write!(f, "{v}"),
            Self::I8(v) => write!(f, "{v}"),
            Self::U16(v) => write!(f, "{v}"),
            Self::I16(v) => write!(f, "{v}"),
            Self::U32(v) => write!(f, "{v}"),
            Self::I32(v) => write!(f, "{v}"),
            // `Debug` keeps a float short and recognisable as a float: 1e-5, not 0.00001.
            Self::F32(v) => write!(f, "{v:?}"),
            Self::F64(v) => write!(f, "{v:?}"),
            Self::Bool(v) => write!(f, "{v}"),
            Self::U64(v) => write!(f, "{v}"),
            Self::I64(v) => write!(f, "{v}"),
            Self::String(v) => f.write_str(&escape_terminal(v)),
            Self::Array(array) => {
                f.write_str("[")?;
                for i in 0..array.len().min(SHOWN) {
                    let separator = if i == 0 { "" } else { ", " };
                    match array.get(i) {
                        Some(Value::String(s)) => write!(f, "{separator}\"{}\"", escape_terminal(s))?,
                        Some(element) => write!(f, "{separator}{element}")?,
                        None => {}
                    }
                }
                if array.len() > SHOWN {
                    write!(f, ", … {} in all", array.len())?;
                }
                f.write_str("]")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(items: &[&[u8]]) -> StringArray {
        let mut array = StringArray::with_capacity(items.len());
        for item in items {
            let pushed = array.push_with(|bytes| {
                bytes.extend_from_slice(item);
                Ok::<(), ()>(())
            });
            assert_eq!(pushed, Ok(Some(())));
        }
        array
    }

    #[test]
    fn value_type_ids_and_positions_agree() {
        for (id, ty) in (0..).zip(ValueType::ALL) {
            assert_eq!(ty as u32, id);
            assert_eq!(ValueType::from_id(id), Some(ty));
        }
        assert_eq!(ValueType::from_id(13), None);
    }

    #[test]
    fn strings_of_an_array_come_back_as_they_went_in_even_when_empty() {
        let array = strings(&[b"", b"a\xff", b"", b"bc"]);
        assert_eq!(array.iter().collect::<Vec<_>>(), [&b""[..], b"a\xff", b"", b"bc"]);
        assert_eq!(array.get(4), None);
    }

    #[test]
    fn a_value_is_shown_on_one_escaped_line_and_a_long_array_is_abbreviated() {
        assert_eq!(Value::String(b"a\n\x1b[0m".to_vec()).to_string(), "a\\n\\u{1b}[0m");
        assert_eq!(Value::F32(1e-5).to_string(), "1e-5");
        assert_eq!(Value::F32(1.0).to_string(), "1.0");
        assert_eq!(Value::Array(Array::U8(vec![1, 2])).to_string(), "[1, 2]");
        assert_eq!(Value::Array(Array::I32((0..100).collect())).to_string(), "[0, 1, 2, 3, 4, 5, … 100 in all]");
        assert_eq!(Value::Array(Array::String(strings(&[b"x\"", b"\x07"]))).to_string(), "[\"x\"\", \"\\u{7}\"]");
        assert_eq!(Value::Array(Array::Array(vec![Array::U8(vec![7])])).to_string(), "[[7]]");
    }

    #[test]
    fn numbers_convert_only_when_nothing_is_lost() {
        assert_eq!(Value::I64(-1).as_u64(), None);
        assert_eq!(Value::I8(7).as_u64(), Some(7));
        assert_eq!(Value::F32(1.0).as_u64(), None);
        assert_eq!(Value::String(b"\xff".to_vec()).as_str(), None);
    }
}
