//! The metadata of two files, key by key: numbers by their bits, arrays by their length and first difference, texts by
//! their hash and first difference.

use super::keys::facts;
use gguf::split::is_split_key;
use gguf::{Array, GgufFile, Value, limits};
use record::answer::{MetadataDifference, MetadataSide};
use sha2::{Digest, Sha256};

/// The length of the longest text that is shown whole, in bytes. Of a longer text the answer has the hash, and a piece
/// from the first difference on.
const SHOWN_BYTES: usize = 80;

/// The number of characters before the first difference that a piece of a long text starts with.
const SHOWN_BEFORE: usize = 20;

/// The keys whose values differ, in the order of the first file; keys that only the second file has come last. Keys of
/// the container are left out: they say how the file is laid out.
pub fn compare(a: &GgufFile, b: &GgufFile) -> Vec<MetadataDifference> {
    let is_of_container = |key: &str| is_split_key(key) || key == limits::GENERAL_ALIGNMENT;
    let of_model = |entry: &&(String, Value)| !is_of_container(&entry.0);
    let of_a = a.metadata().iter().filter(of_model).map(|(key, value)| (key, Some(value), b.get(key)));
    let only_b = b.metadata().iter().filter(of_model).filter(|(key, _)| a.get(key).is_none());
    let all = of_a.chain(only_b.map(|(key, value)| (key, None, Some(value))));
    all.filter_map(|(key, a, b)| difference(key, a, b)).collect()
}

/// How the values of one key differ. `None` when they are the same, bit for bit.
fn difference(key: &str, a: Option<&Value>, b: Option<&Value>) -> Option<MetadataDifference> {
    let first_difference = match (a, b) {
        (Some(a), Some(b)) if same(a, b) => return None,
        (Some(Value::Array(a)), Some(Value::Array(b))) => first_entry(a, b),
        (Some(Value::String(a)), Some(Value::String(b))) => Some(first_byte(a, b)),
        _ => None,
    };
    let facts = facts(key);
    Some(MetadataDifference {
        key: key.into(),
        effect: facts.effect,
        meaning: facts.meaning.map(Into::into),
        first_difference: first_difference.map(|index| index as u64),
        a: a.map(|value| side(value, first_difference)),
        b: b.map(|value| side(value, first_difference)),
    })
}

/// Whether two values are of one type and have the same bits. NaN equals itself here, and the two zeros differ.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::F32(a), Value::F32(b)) => a.to_bits() == b.to_bits(),
        (Value::F64(a), Value::F64(b)) => a.to_bits() == b.to_bits(),
        (Value::Array(a), Value::Array(b)) => same_arrays(a, b),
        (a, b) => a == b,
    }
}

fn same_arrays(a: &Array, b: &Array) -> bool {
    a.element_type() == b.element_type() && a.len() == b.len() && first_entry(a, b).is_none()
}

/// The index of the first entry that differs, or at which the shorter array has ended. `None` when no entry differs.
fn first_entry(a: &Array, b: &Array) -> Option<usize> {
    let shorter = a.len().min(b.len());
    let entry = match (a, b) {
        // Vocabularies are large, so their strings are compared where they lie.
        (Array::String(a), Array::String(b)) => (0..shorter).find(|&i| a.get(i) != b.get(i)),
        (a, b) => (0..shorter).find(|&i| match (a.get(i), b.get(i)) {
            (Some(a), Some(b)) => !same(&a, &b),
            _ => true,
        }),
    };
    entry.or((a.len() != b.len()).then_some(shorter))
}

fn first_byte(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()))
}

/// One of the two values, so far as it explains the difference.
fn side(value: &Value, first_difference: Option<usize>) -> MetadataSide {
    let mut side = MetadataSide { ty: value.type_name(), n: None, value: None, sha256: None };
    match value {
        Value::Array(array) => {
            side.n = Some(array.len() as u64);
            side.value = match first_difference {
                Some(index) => array.get(index).map(|entry| piece(&entry, None)),
                None => None,
            };
        }
        Value::String(bytes) => {
            side.n = Some(bytes.len() as u64);
            side.value = Some(piece(value, first_difference));
            side.sha256 = (bytes.len() > SHOWN_BYTES).then(|| words::hex(&Sha256::digest(bytes)));
        }
        number => side.value = Some(number.to_string()),
    }
    side
}

/// A value as text: a long text from a few characters before its first difference on. The text is not escaped.
fn piece(value: &Value, first_difference: Option<usize>) -> String {
    let Value::String(bytes) = value else { return value.to_string() };
    if bytes.len() <= SHOWN_BYTES {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let start = first_difference.unwrap_or(0).saturating_sub(SHOWN_BEFORE).min(bytes.len());
    let end = (start + SHOWN_BYTES).min(bytes.len());
    // A character that is cut in two becomes U+FFFD at the edge; the rest is as it is in the file.
    let text = String::from_utf8_lossy(&bytes[start..end]);
    let text = text.trim_matches('\u{fffd}');
    let (before, after) = (if start > 0 { "…" } else { "" }, if end < bytes.len() { "…" } else { "" });
    format!("{before}{text}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::answer::MetadataEffect;

    fn strings(items: &[&str]) -> Value {
        Value::Array(Array::String(gguf::StringArray::of(items).expect("short")))
    }

    #[test]
    fn a_number_is_compared_by_its_bits_and_shown_by_its_value() {
        assert_eq!(difference("llama.rope.freq_base", Some(&Value::F32(1e4)), Some(&Value::F32(1e4))), None);
        let nan = Value::F32(f32::NAN);
        assert_eq!(difference("llama.rope.freq_base", Some(&nan), Some(&nan)), None);
        let found =
            difference("llama.rope.freq_base", Some(&Value::F32(1e4)), Some(&Value::F32(1e6))).expect("differs");
        assert_eq!((found.effect, found.first_difference), (MetadataEffect::Numbers, None));
        let shown = |side: Option<MetadataSide>| side.and_then(|side| side.value).expect("a value");
        assert_eq!((shown(found.a), shown(found.b)), ("10000.0".to_owned(), "1000000.0".to_owned()));
    }

    #[test]
    fn an_array_is_compared_by_length_and_first_difference() {
        let (a, b) = (strings(&["<s>", "a", "b"]), strings(&["<s>", "a", "c", "d"]));
        let found = difference("tokenizer.ggml.tokens", Some(&a), Some(&b)).expect("differs");
        assert_eq!((found.effect, found.first_difference), (MetadataEffect::Text, Some(2)));
        let (a, b) = (found.a.expect("a"), found.b.expect("b"));
        assert_eq!((a.n, a.value.as_deref(), b.n, b.value.as_deref()), (Some(3), Some("b"), Some(4), Some("c")));
        // One is the beginning of the other.
        let found = difference("k", Some(&strings(&["x"])), Some(&strings(&["x", "y"]))).expect("differs");
        assert_eq!(found.first_difference, Some(1));
        assert_eq!((found.a.expect("a").value, found.b.expect("b").value), (None, Some("y".into())));
        // The same numbers in another type are another array.
        let (narrow, wide) = (Value::Array(Array::I32(vec![1])), Value::Array(Array::U32(vec![1])));
        let found = difference("k", Some(&narrow), Some(&wide)).expect("differs");
        assert_eq!((found.effect, found.a.expect("a").ty.as_str()), (MetadataEffect::Unknown, "arr[i32]"));
    }

    #[test]
    fn a_long_text_is_compared_by_hash_and_shown_from_its_first_difference() {
        let (a, b) = (format!("{}end", "é".repeat(200)), format!("{}other", "é".repeat(200)));
        let (a, b) = (Value::String(a.into_bytes()), Value::String(b.into_bytes()));
        let found = difference("tokenizer.chat_template", Some(&a), Some(&b)).expect("differs");
        assert_eq!(found.first_difference, Some(400));
        let (a, b) = (found.a.expect("a"), found.b.expect("b"));
        assert_eq!(a.value.as_deref(), Some("…ééééééééééend"));
        assert_eq!(b.value.as_deref(), Some("…ééééééééééother"));
        assert!(a.sha256.as_ref().is_some_and(|hash| hash.len() == 64) && a.sha256 != b.sha256);
    }
}
