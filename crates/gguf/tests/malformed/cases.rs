//! The table of files that are wrong in one way each, with the error that each must produce.

use super::support::*;
use gguf::{GgmlType, ValueType, limits};

/// A malformed file and the error that it must produce.
pub struct Case {
    /// What is wrong with the file; unique in the table.
    pub name: String,
    pub bytes: Vec<u8>,
    /// The variant of `GgufProblem`, as the start of its `Debug` text.
    pub problem: &'static str,
    /// The texts that the error must contain: the field, the place, what was found and what was wanted.
    pub says: Vec<String>,
}

fn case(name: impl Into<String>, bytes: Bytes, problem: &'static str, says: &[&str]) -> Case {
    let says = says.iter().map(|words| words.to_string()).collect();
    Case { name: name.into(), bytes: bytes.0, problem, says }
}

fn header_cases() -> Vec<Case> {
    let raw = |bytes: &[u8]| Bytes(bytes.to_vec());
    let magic = || raw(b"GGUF");
    vec![
        case("no bytes", raw(b""), "Empty", &["is empty", "hint: "]),
        case("two bytes of the magic", raw(b"GG"), "Truncated", &["magic at byte 0 wants 4 bytes, found 2"]),
        case("text", raw(b"hello, world"), "NotGguf", &["\"hello, w\"", "wanted \"GGUF\""]),
        case("one wrong byte", raw(b"X"), "NotGguf", &["\"X\""]),
        case("escape sequences", raw(b"\x1b]0;owned\x07"), "NotGguf", &["\\u{1b}]0;owne"]),
        case("zip", raw(b"PK\x03\x04rest of the archive"), "NotGguf", &["PyTorch"]),
        case("gzip", raw(b"\x1f\x8b\x08\x00rest of it all"), "NotGguf", &["gzip"]),
        case("Git LFS pointer", raw(b"version https://git-lfs.github.com/spec/v1\n"), "NotGguf", &["git lfs pull"]),
        case("web page", raw(b"<!DOCTYPE html><html>"), "NotGguf", &["web page"]),
        case("JSON", raw(b"{\"error\":\"Not found\"}"), "NotGguf", &["JSON"]),
        case("safetensors", raw(&[0x40, 1, 0, 0, 0, 0, 0, 0, b'{', b'"']), "NotGguf", &["safetensors"]),
        case("GGML from before GGUF", raw(b"tjgg\x03\x00\x00\x00"), "NotGguf", &["before GGUF"]),
        case("magic alone", magic(), "Truncated", &["version at byte 4 wants 4 bytes, found 0"]),
        case("half a version", magic().raw(&[3, 0]), "Truncated", &["version at byte 4", "found 2"]),
        case("version 0", magic().u32(0).u64(0).u64(0), "Version", &["found 0", "wanted 2 or 3"]),
        case("version 1", magic().u32(1).u64(0).u64(0), "Version", &["found 1", "hint: convert"]),
        case("version 4", magic().u32(4).u64(0).u64(0), "Version", &["found 4", "hint: "]),
        case("big-endian", magic().raw(&[0, 0, 0, 3]).u64(0).u64(0), "BigEndian", &["version at byte 4", "found 3"]),
        case("no counts", magic().u32(3), "Truncated", &["number of tensors at byte 8 wants 8 bytes, found 0"]),
        case("no metadata count", magic().u32(3).u64(0), "Truncated", &["number of metadata pairs at byte 16"]),
        case(
            "too many tensors",
            Bytes::header(1, 0),
            "Count",
            &["number of tensors at byte 8", "found 1", "at most 0"],
        ),
        case("2^64 - 1 tensors", Bytes::header(u64::MAX, 0), "Count", &["found 18,446,744,073,709,551,615"]),
        case("2^63 pairs", Bytes::header(0, 1 << 63), "Count", &["number of metadata pairs at byte 16"]),
    ]
}

fn metadata_cases() -> Vec<Case> {
    let one = || Bytes::header(0, 1);
    let pad = |b: Bytes| b.raw(&[0; 64]);
    let nested = |depth: u32| (1..depth).fold(one().key("k", ARRAY), |b, _| b.u32(ARRAY).u64(1)).u32(U8).u64(0);
    vec![
        case("empty key", pad(one().key("", U8)), "EmptyName", &["key of metadata pair 0 at byte 32"]),
        case(
            "key beyond the file",
            pad(one().u64(1000)),
            "Truncated",
            &["key of metadata pair 0", "wants 1,000 bytes"],
        ),
        case(
            "key too long",
            pad(one().u64(65536)),
            "StringLength",
            &["found a length of 65,536", "at most 65,535", "specification"],
        ),
        case("key of 2^64 - 1 bytes", pad(one().u64(u64::MAX)), "StringLength", &["18,446,744,073,709,551,615"]),
        case("key not UTF-8", pad(one().key(b"ab\xff", U8)), "NameNotUtf8", &["at byte 34", "ab\\xff", "wanted UTF-8"]),
        case("NUL in key", pad(one().key(b"a\0b", U8)), "NameWithNul", &["at byte 33", "a\\u{0}b"]),
        case(
            "key twice",
            Bytes::header(0, 2).kv_u32("k", 1).kv_u32("k", 2),
            "DuplicateKey",
            &["pair 1", "\"k\" again"],
        ),
        case(
            "bidi control in a key said twice",
            Bytes::header(0, 2).kv_u32("a\u{202e}b", 1).kv_u32("a\u{202e}b", 2),
            "DuplicateKey",
            &["a\\u{202e}b"],
        ),
        case(
            "value type 13",
            pad(one().key("k", 13)),
            "ValueType",
            &["\"k\" at byte 33", "found value type 13", "0 to 12"],
        ),
        case("value type 2^32 - 1", pad(one().key("k", u32::MAX)), "ValueType", &["4294967295"]),
        case(
            "value cut off",
            one().key("k", U64).u32(7),
            "Truncated",
            &["value of metadata \"k\" at byte 37", "found 4"],
        ),
        case(
            "type cut off",
            one().string("key").raw(&[4, 0, 0]),
            "Truncated",
            &["type of metadata \"key\"", "found 3"],
        ),
        case("bool 2", one().key("k", BOOL).u8(2), "Bool", &["\"k\" at byte 37", "found 2", "0 or 1"]),
        case(
            "bool 255 in an array",
            one().key("k", ARRAY).u32(BOOL).u64(3).raw(&[1, 0, 255]),
            "Bool",
            &["byte 51", "255"],
        ),
        case(
            "string beyond the file",
            one().key("k", STRING).u64(10).raw(b"abc"),
            "Truncated",
            &["wants 10 bytes, found 3"],
        ),
        case(
            "string above the cap",
            one().key("k", STRING).u64((1 << 30) + 1),
            "StringLength",
            &["at most 1,073,741,824 (GGUF_MAX_STRING_LENGTH)"],
        ),
        case(
            "array of type 13",
            pad(one().key("k", ARRAY).u32(13)),
            "ValueType",
            &["\"k\" at byte 37", "found value type 13"],
        ),
        case(
            "array length cut off",
            one().key("k", ARRAY).u32(U8).u32(1),
            "Truncated",
            &["value of metadata \"k\" at byte 41"],
        ),
        case(
            "array beyond the file",
            one().key("k", ARRAY).u32(U32).u64(3).u64(0),
            "Truncated",
            &["wants 12 bytes, found 8"],
        ),
        case(
            "array above the cap",
            pad(one().key("k", ARRAY).u32(U8).u64((1 << 30) + 1)),
            "ArrayLength",
            &["1,073,741,825", "(GGUF_MAX_ARRAY_ELEMENTS)"],
        ),
        case("array of 2^64 - 1", pad(one().key("k", ARRAY).u32(U64).u64(u64::MAX)), "ArrayLength", &["byte 41"]),
        case(
            "array of strings beyond the file",
            one().key("k", ARRAY).u32(STRING).u64(3).string("a").string("b"),
            "Truncated",
            &["wants 24 bytes, found 18"],
        ),
        case(
            "string in an array beyond the file",
            one().key("k", ARRAY).u32(STRING).u64(2).string("a").u64(100).raw(&[0; 9]),
            "Truncated",
            &["value of metadata \"k\"", "wants 100 bytes, found 9"],
        ),
        case(
            "string in an array above the cap",
            one().key("k", ARRAY).u32(STRING).u64(1).u64(1 << 40),
            "StringLength",
            &["1,099,511,627,776"],
        ),
        case("arrays nested too deep", nested(limits::MAX_ARRAY_DEPTH + 1), "ArrayDepth", &["9 levels", "at most 8"]),
        case(
            "second pair missing",
            Bytes::header(0, 2).kv_u32("k", 1).u64(9).raw(b"key"),
            "Truncated",
            &["key of metadata pair 1", "wants 9 bytes, found 3"],
        ),
        case(
            "alignment 0",
            one().kv_u32("general.alignment", 0),
            "Alignment",
            &["at byte 24: found 0", "power of two"],
        ),
        case("alignment 48", one().kv_u32("general.alignment", 48), "Alignment", &["found 48"]),
        case(
            "alignment as u64",
            one().key("general.alignment", U64).u64(32),
            "Alignment",
            &["at byte 24: found", "type u64", "wanted u32"],
        ),
    ]
}

fn tensor_cases() -> Vec<Case> {
    let one = || Bytes::header(1, 0);
    let two = || Bytes::header(2, 0);
    let pad = |b: Bytes| b.raw(&[0; 64]);
    vec![
        case("empty name", pad(one().string("")), "EmptyName", &["name of tensor 0 at byte 32"]),
        case(
            "name of 64 bytes",
            pad(one().string([b'a'; 64])),
            "StringLength",
            &["found a length of 64", "at most 63 (GGML_MAX_NAME"],
        ),
        case("name not UTF-8", pad(one().string(b"\xc3(")), "NameNotUtf8", &["name of tensor 0", "\\xc3("]),
        case("NUL in name", pad(one().string(b"a\0")), "NameWithNul", &["name of tensor 0 at byte 33"]),
        case(
            "name twice",
            two().tensor("t", &[8], F32, 0).tensor("t", &[8], F32, 32).data(32, 64),
            "DuplicateTensor",
            &["tensor 1 at byte", "\"t\" again"],
        ),
        case(
            "five dimensions",
            pad(one().string("t").u32(5)),
            "Dimensions",
            &["tensor \"t\"", "found 5", "at most 4 (GGML_MAX_DIMS)"],
        ),
        case(
            "2^32 - 1 dimensions",
            pad(one().string("t").u32(u32::MAX)),
            "Dimensions",
            &["4294967295 dimensions at byte 33"],
        ),
        case(
            "shape cut off",
            one().string("tensor").u32(2).u64(32).u32(0),
            "Truncated",
            &["shape of tensor \"tensor\""],
        ),
        case(
            "negative extent",
            one().tensor("t", &[1 << 63], F32, 0).data(32, 32),
            "Shape",
            &["9223372036854775808] at byte 37", "2^63 - 1"],
        ),
        case(
            "product overflows",
            one().tensor("t", &[1 << 40, 1 << 40], F32, 0).data(32, 32),
            "Shape",
            &["1099511627776"],
        ),
        case(
            "overflow behind a zero",
            one().tensor("t", &[0, 1 << 40, 1 << 40], F32, 0).data(32, 0),
            "Shape",
            &["[0, 10995"],
        ),
        case("bytes overflow", one().tensor("t", &[1 << 62], F32, 0).data(32, 32), "Shape", &["4611686018427387904"]),
        case("type 43", one().tensor("t", &[32], 43, 0).data(32, 128), "TensorType", &["found type 43 at byte 45"]),
        case("type -1", one().tensor("t", &[32], u32::MAX, 0).data(32, 128), "TensorType", &["4294967295", "hint: "]),
        case("removed type", one().tensor("t", &[32], 4, 0).data(32, 128), "TensorType", &["4 (q4_2)", "has removed"]),
        case("repacked type", one().tensor("t", &[32], 31, 0).data(32, 128), "TensorType", &["q4_0_4_4", "load time"]),
        case(
            "part of a block",
            one().tensor("t", &[33], Q4_0, 0).data(32, 64),
            "Row",
            &["found 33 values in a row of q4_0 at byte 37", "of 32"],
        ),
        case(
            "row of 128 in q4_K",
            one().tensor("t", &[128, 2], Q4_K, 0).data(32, 144),
            "Row",
            &["q4_K", "multiple of 256"],
        ),
        case(
            "offset not aligned",
            one().tensor("t", &[8], F32, 16).data(32, 64),
            "Misaligned",
            &["offset 16 at byte 49", "of 32"],
        ),
        case(
            "offset not aligned to the file's own alignment",
            Bytes::header(1, 1).kv_u32("general.alignment", 64).tensor("t", &[8], F32, 32).data(64, 96),
            "Misaligned",
            &["multiple of 64"],
        ),
        case(
            "data missing",
            one().tensor("t", &[8], F32, 0),
            "OutOfFile",
            &["32 bytes of data at offset 0", "has 0 bytes"],
        ),
        case("data cut off", one().tensor("t", &[8], F32, 0).data(32, 31), "OutOfFile", &["which has 31 bytes"]),
        case(
            "offset beyond the file",
            one().tensor("t", &[8], F32, 1 << 40).data(32, 32),
            "OutOfFile",
            &["1,099,511,627,776"],
        ),
        case(
            "offset + size overflows",
            one().tensor("t", &[8], F32, u64::MAX - 31).data(32, 32),
            "OutOfFile",
            &["\"t\""],
        ),
        case(
            "offset of nothing beyond the file",
            one().tensor("t", &[0], F32, 64).data(32, 32),
            "OutOfFile",
            &["0 bytes"],
        ),
        case(
            "two tensors in one place",
            two().tensor("a", &[8], F32, 0).tensor("b", &[8], F32, 0).data(32, 64),
            "Overlap",
            &["\"a\" and \"b\"", "offset 0"],
        ),
        case(
            "the later one reaches into the earlier",
            two().tensor("a", &[8], F32, 32).tensor("b", &[16], F32, 0).data(32, 64),
            "Overlap",
            &["\"b\" and \"a\"", "offset 32"],
        ),
        case(
            "offset cut off",
            one().string("tensor").u32(1).u64(8).u32(F32).u32(0),
            "Truncated",
            &["offset of tensor \"tensor\""],
        ),
        case(
            "second tensor missing",
            pad(two().tensor("a", &[8], F32, 0)).raw(&[]),
            "EmptyName",
            &["name of tensor 1"],
        ),
    ]
}

/// Each value type cut off within its value, and each block type with a row that is not a whole number of blocks.
fn cases_by_type() -> Vec<Case> {
    let cut = ValueType::ALL.into_iter().map(|ty| {
        let bytes = Bytes::header(0, 1).key("key", ty as u32).raw(&[0; 16][..ty.least_bytes() as usize - 1]);
        case(format!("value of type {ty} cut off"), bytes, "Truncated", &["\"key\"", "wants"])
    });
    let blocks = GgmlType::ALL.iter().filter(|ty| ty.is_quantized()).flat_map(|ty| {
        let (id, blck_size) = (ty.id(), ty.blck_size());
        let says = [format!("row of {ty}"), format!("multiple of {blck_size}")];
        [blck_size - 1, blck_size + 1].map(|n| {
            let bytes = Bytes::header(1, 0).tensor("t", &[n], id, 0).data(32, 1024);
            case(format!("row of {n} in {ty}"), bytes, "Row", &[&says[0], &says[1]])
        })
    });
    cut.chain(blocks).collect()
}

/// Files that wrongly claim to be one of several.
fn split_cases() -> Vec<Case> {
    let count = |n_kv, value: u16| Bytes::header(0, n_kv).key("split.count", 2).raw(&value.to_le_bytes());
    let whole = |no: u16| count(3, 3).key("split.no", 2).raw(&no.to_le_bytes()).kv_u32("split.tensors.count", 0);
    vec![
        case("split count of text", Bytes::header(0, 1).key("split.count", STRING).string("3"), "SplitKey", &["str"]),
        case("2^31 shards", Bytes::header(0, 1).kv_u32("split.count", 1 << 31), "SplitKey", &["0 to 65535"]),
        case("no shard number", count(1, 3), "SplitKey", &["\"split.no\": found nothing", "of the 3"]),
        case("shard number beyond", count(2, 3).kv_u32("split.no", 3), "SplitKey", &["found 3"]),
        case(
            "no number of tensors",
            count(2, 3).kv_u32("split.no", 0),
            "SplitKey",
            &["\"split.tensors.count\": found nothing"],
        ),
        case("shard that is named otherwise", whole(1), "SplitName", &["NAME-00002-of-00003.gguf", "hint: "]),
        case(
            "control characters in a split key",
            count(2, 3).key("split.no", STRING).string("\x1b[2J"),
            "SplitKey",
            &["\\u{1b}[2J"],
        ),
    ]
}

/// All malformed files of the table.
pub fn malformed() -> Vec<Case> {
    [header_cases(), metadata_cases(), tensor_cases(), cases_by_type(), split_cases()].into_iter().flatten().collect()
}
