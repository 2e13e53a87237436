//! Big-endian files are read for looking at, and refused everywhere else.

mod support;

use gguf::{Array, Endian, GgmlType, GgufFile, GgufProblem, Value};
use support::*;

/// Bytes of a big-endian file: the magic and strings as ever, numbers the other way round.
struct Big(Vec<u8>);

impl Big {
    fn header(version: u32, n_tensors: u64, n_kv: u64) -> Self {
        Big(b"GGUF".to_vec()).u32(version).u64(n_tensors).u64(n_kv)
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u32(self, v: u32) -> Self {
        self.raw(&v.to_be_bytes())
    }

    fn u64(self, v: u64) -> Self {
        self.raw(&v.to_be_bytes())
    }

    fn string(self, s: &str) -> Self {
        self.u64(s.len() as u64).raw(s.as_bytes())
    }

    fn tensor(self, name: &str, ne: &[u64], ty: GgmlType, offset: u64) -> Self {
        let dims = ne.iter().fold(self.string(name).u32(ne.len() as u32), |b, &extent| b.u64(extent));
        dims.u32(ty.id()).u64(offset)
    }

    fn padded(mut self) -> Self {
        self.0.resize(self.0.len().next_multiple_of(32), 0);
        self
    }
}

fn sound(version: u32) -> Vec<u8> {
    let header = Big::header(version, 3, 3).string("name").u32(STRING).string("big");
    let header = header.string("list").u32(ARRAY).u32(U32).u64(2).u32(1).u32(0x0102_0304);
    let header = header.string("f").u32(F32_VALUE).raw(&1.5f32.to_be_bytes());
    let infos = header.tensor("w", &[2], GgmlType::F32, 0).tensor("q", &[32], GgmlType::Q4_0, 32).tensor(
        "iq",
        &[256],
        GgmlType::IQ2_XXS,
        64,
    );
    let data = infos.padded().raw(&1.0f32.to_be_bytes()).raw(&(-2.0f32).to_be_bytes()).padded();
    // 0x3c00 is 1 in F16.
    data.raw(&[0x3c, 0x00]).raw(&[7; 16]).padded().raw(&[1; 66]).0
}

#[test]
fn numbers_lists_and_tensors_come_out_as_from_a_little_endian_file() {
    for version in [2, 3] {
        let (_folder, path) = file(&sound(version));
        let model = GgufFile::open_either_endian(&path).expect("a sound file");
        assert_eq!((model.endian(), model.version()), (Endian::Big, version));
        assert_eq!(model.get("name").and_then(Value::as_str), Some("big"));
        assert_eq!(model.get("list"), Some(&Value::Array(Array::U32(vec![1, 0x0102_0304]))));
        assert_eq!(model.get("f"), Some(&Value::F32(1.5)));
        let read = |name: &str| model.read_tensor(model.tensor(name).expect("there"));
        assert_eq!(read("w").expect("floats"), [1.0f32, -2.0].map(f32::to_le_bytes).concat());
        assert_eq!(read("q").expect("blocks"), [&[0x00, 0x3c][..], &[7; 16]].concat());
    }
}

#[test]
fn a_type_whose_byte_order_is_laid_down_nowhere_is_refused_by_name() {
    let (_folder, path) = file(&sound(3));
    let model = GgufFile::open_either_endian(&path).expect("a sound file");
    let error = model.read_tensor(&model.tensors()[2]).expect_err("no order");
    assert!(matches!(error.problem, GgufProblem::ByteOrder { ty: "iq2_xxs", .. }), "{error}");
    // Part of a number cannot be turned round.
    assert!(model.read_at(&model.tensors()[0], 2, &mut [0; 2]).is_err());
}

#[test]
fn who_asks_for_little_endian_gets_nothing_else_and_a_little_endian_file_opens_either_way() {
    let (_folder, path) = file(&sound(3));
    assert!(matches!(GgufFile::open(&path).expect_err("big").problem, GgufProblem::BigEndian { version: 3 }));
    let (_folder, path) = file(&Bytes::header(0, 1).kv_u32("k", 7).0);
    let model = GgufFile::open_either_endian(&path).expect("a sound file");
    assert_eq!((model.endian(), model.get("k")), (Endian::Little, Some(&Value::U32(7))));
}

#[test]
fn a_damaged_big_endian_file_is_refused_and_never_panics() {
    let whole = sound(3);
    let (_folder, path) = file(&whole);
    for n in 0..whole.len() {
        std::fs::write(&path, &whole[..n]).expect("a temporary file");
        GgufFile::open_either_endian(&path).expect_err("a cut file is refused");
    }
    for i in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[i] ^= 0xff;
        std::fs::write(&path, &damaged).expect("a temporary file");
        if let Ok(model) = GgufFile::open_either_endian(&path) {
            model.tensors().iter().for_each(|tensor| drop(model.read_tensor(tensor)));
        }
    }
}
