//! The other table: files that are unusual, each in one way, and sound.

use super::support::*;
use gguf::GgmlType;

/// A name, and the bytes of a file that is opened.
pub fn sound() -> Vec<(String, Bytes)> {
    let none = || Bytes::header(0, 0);
    let pair = |ty: u32| Bytes::header(0, 1).key("k", ty);
    let one = |ne: &[u64], n: usize| Bytes::header(1, 0).tensor("t", ne, F32, 0).data(32, n);
    let aligned = |n: u32| {
        Bytes::header(1, 1)
            .kv_u32("general.alignment", n)
            .tensor("t", &[8], F32, 0)
            .data(n as usize, 32)
            .data(n as usize, 0)
    };
    let two = |first: u64, second: u64, n: usize| {
        Bytes::header(2, 0).tensor("a", &[8], F32, first).tensor("b", &[8], F32, second).data(32, n)
    };
    let version_2 =
        || Bytes(b"GGUF".to_vec()).u32(2).u64(1).u64(1).kv_u32("k", 1).tensor("t", &[8], F32, 0).data(32, 32);
    let mut cases: Vec<(String, Bytes)> = [
        ("nothing in it", none()),
        ("version 2", version_2()),
        ("bytes behind a header without tensors", none().raw(&[7; 100])),
        ("bytes behind the last tensor", one(&[8], 100)),
        ("no padding behind the last tensor", one(&[3], 12)),
        ("padding behind the last tensor", one(&[3], 32)),
        ("a gap between two tensors", two(0, 64, 96)),
        ("a gap before the first tensor", two(32, 64, 96)),
        ("data in another order than the infos", two(32, 0, 64)),
        ("a scalar of no dimensions", one(&[], 32)),
        ("four dimensions", one(&[2, 2, 2, 2], 64)),
        ("a tensor of no values", one(&[0], 0)),
        ("no values in a later dimension", one(&[8, 0], 0)),
        ("a tensor of no values, and nothing behind the header", Bytes::header(1, 0).tensor("t", &[0], F32, 0)),
        ("a name of 63 bytes", Bytes::header(1, 0).tensor([b'a'; 63], &[8], F32, 0).data(32, 32)),
        (
            "a name with a line break and an escape",
            Bytes::header(1, 0).tensor("a\n\u{1b}[2J", &[8], F32, 0).data(32, 32),
        ),
        ("a name that is not ASCII", Bytes::header(1, 0).tensor("Gewicht-größe", &[8], F32, 0).data(32, 32)),
        ("a key of 65535 bytes", Bytes::header(0, 1).key(vec![b'k'; 65535], U8).u8(1)),
        ("a key with a line break", Bytes::header(0, 1).key("a\nb", U8).u8(1)),
        ("two keys that differ in case", Bytes::header(0, 2).kv_u32("k", 1).kv_u32("K", 2)),
        ("a string that is not UTF-8", pair(STRING).string(b"\xff\xfe")),
        ("a string with a NUL", pair(STRING).string(b"a\0b")),
        ("an empty string", pair(STRING).string("")),
        ("an empty array", pair(ARRAY).u32(U8).u64(0)),
        ("an empty array of strings", pair(ARRAY).u32(STRING).u64(0)),
        ("an array of bools", pair(ARRAY).u32(BOOL).u64(3).raw(&[0, 1, 1])),
        ("an array of arrays", pair(ARRAY).u32(ARRAY).u64(2).u32(U8).u64(1).u8(7).u32(U8).u64(0)),
        ("a NaN", pair(F32_VALUE).raw(&f32::NAN.to_le_bytes())),
        ("true", pair(BOOL).u8(1)),
    ]
    .into_iter()
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .collect();
    let alignments = [1, 2, 4, 8, 16, 64, 4096, 1 << 20];
    cases.extend(alignments.into_iter().map(|n| (format!("alignment {n}"), aligned(n))));
    cases.extend(GgmlType::ALL.iter().map(|ty| {
        let header = Bytes::header(1, 0).tensor("t", &[ty.blck_size(), 2], ty.id(), 0);
        (format!("two rows of {ty}"), header.data(32, 2 * ty.type_size() as usize).data(32, 0))
    }));
    cases
}
