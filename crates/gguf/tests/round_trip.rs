//! What a writer puts in comes out, whatever it is.

mod support;

use gguf::{Array, GgmlType, GgufFile, Value};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use support::*;

/// A metadata value as a test makes it. Arrays of strings are plain here, so that the compact ones are checked.
#[derive(Clone, Debug)]
enum Made {
    U8(u8),
    I16(i16),
    U32(u32),
    F32(f32),
    Bool(bool),
    String(Vec<u8>),
    I64(i64),
    F64(f64),
    Numbers(Vec<i32>),
    Floats(Vec<f64>),
    Bools(Vec<bool>),
    Strings(Vec<Vec<u8>>),
    Nested(Vec<Vec<u16>>),
}

fn made() -> impl Strategy<Value = Made> {
    prop_oneof![
        any::<u8>().prop_map(Made::U8),
        any::<i16>().prop_map(Made::I16),
        any::<u32>().prop_map(Made::U32),
        any::<f32>().prop_map(Made::F32),
        any::<bool>().prop_map(Made::Bool),
        vec(any::<u8>(), 0..50).prop_map(Made::String),
        any::<i64>().prop_map(Made::I64),
        any::<f64>().prop_map(Made::F64),
        vec(any::<i32>(), 0..50).prop_map(Made::Numbers),
        vec(any::<f64>(), 0..50).prop_map(Made::Floats),
        vec(any::<bool>(), 0..50).prop_map(Made::Bools),
        vec(vec(any::<u8>(), 0..20), 0..20).prop_map(Made::Strings),
        vec(vec(any::<u16>(), 0..5), 0..5).prop_map(Made::Nested),
    ]
}

fn write(b: Bytes, key: &str, value: &Made) -> Bytes {
    let list = |b: Bytes, ty: u32, n: usize| b.key(key, ARRAY).u32(ty).u64(n as u64);
    match value {
        Made::U8(v) => b.key(key, 0).u8(*v),
        Made::I16(v) => b.key(key, 3).raw(&v.to_le_bytes()),
        Made::U32(v) => b.key(key, 4).u32(*v),
        Made::F32(v) => b.key(key, 6).raw(&v.to_le_bytes()),
        Made::Bool(v) => b.key(key, 7).u8((*v).into()),
        Made::String(v) => b.key(key, 8).string(v),
        Made::I64(v) => b.key(key, 11).raw(&v.to_le_bytes()),
        Made::F64(v) => b.key(key, 12).raw(&v.to_le_bytes()),
        Made::Numbers(v) => v.iter().fold(list(b, 5, v.len()), |b, x| b.raw(&x.to_le_bytes())),
        Made::Floats(v) => v.iter().fold(list(b, 12, v.len()), |b, x| b.raw(&x.to_le_bytes())),
        Made::Bools(v) => v.iter().fold(list(b, 7, v.len()), |b, x| b.u8((*x).into())),
        Made::Strings(v) => v.iter().fold(list(b, 8, v.len()), |b, x| b.string(x)),
        Made::Nested(v) => v.iter().fold(list(b, 9, v.len()), |b, inner| {
            inner.iter().fold(b.u32(2).u64(inner.len() as u64), |b, x| b.raw(&x.to_le_bytes()))
        }),
    }
}

fn same(value: &Value, made: &Made) -> bool {
    match (value, made) {
        (Value::U8(a), Made::U8(b)) => a == b,
        (Value::I16(a), Made::I16(b)) => a == b,
        (Value::U32(a), Made::U32(b)) => a == b,
        (Value::F32(a), Made::F32(b)) => a.to_bits() == b.to_bits(),
        (Value::Bool(a), Made::Bool(b)) => a == b,
        (Value::String(a), Made::String(b)) => a == b,
        (Value::I64(a), Made::I64(b)) => a == b,
        (Value::F64(a), Made::F64(b)) => a.to_bits() == b.to_bits(),
        (Value::Array(Array::I32(a)), Made::Numbers(b)) => a == b,
        (Value::Array(Array::F64(a)), Made::Floats(b)) => {
            a.iter().map(|x| x.to_bits()).eq(b.iter().map(|x| x.to_bits()))
        }
        (Value::Array(Array::Bool(a)), Made::Bools(b)) => a == b,
        (Value::Array(Array::String(a)), Made::Strings(b)) => a.iter().eq(b.iter().map(Vec::as_slice)),
        (Value::Array(Array::Array(a)), Made::Nested(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| matches!(a, Array::U16(a) if a == b))
        }
        _ => false,
    }
}

#[derive(Clone, Debug)]
struct MadeTensor {
    ty: GgmlType,
    ne: Vec<u64>,
}

fn tensor() -> impl Strategy<Value = MadeTensor> {
    (0..GgmlType::ALL.len(), 0u64..3, vec(0u64..4, 0..4)).prop_map(|(ty, blocks, mut others)| {
        let ty = GgmlType::ALL[ty];
        let mut ne = vec![blocks * ty.blck_size()];
        ne.append(&mut others);
        MadeTensor { ty, ne }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn metadata_and_tensors_come_back_in_order_and_to_the_bit(
        version in 2u32..=3,
        metadata in btree_map("[a-z.]{1,20}|[α-ω▁]{1,9}", made(), 0..8),
        tensors in btree_map("blk\\.[0-9]{1,3}\\.[a-z_]{1,20}", tensor(), 0..8),
        log2_alignment in 3u32..8,
    ) {
        let alignment = 1usize << log2_alignment;
        let mut bytes = Bytes(b"GGUF".to_vec()).u32(version).u64(tensors.len() as u64).u64(metadata.len() as u64 + 1);
        for (key, value) in &metadata {
            bytes = write(bytes, key, value);
        }
        bytes = bytes.kv_u32("general.alignment", alignment as u32);
        let mut data = Vec::new();
        let mut places = Vec::new();
        for (i, (name, t)) in tensors.iter().enumerate() {
            data.resize(data.len().next_multiple_of(alignment), 0);
            bytes = bytes.tensor(name, &t.ne, t.ty.id(), data.len() as u64);
            let n = t.ty.bytes_of(t.ne.iter().product()).expect("whole blocks") as usize;
            places.push(data.len()..data.len() + n);
            data.resize(data.len() + n, i as u8 + 1);
        }
        let bytes = bytes.data(alignment, 0).raw(&data).0;

        let (_folder, path) = file(&bytes);
        let model = GgufFile::open(&path).expect("a sound file");
        prop_assert_eq!(model.version(), version);
        prop_assert_eq!(model.alignment() as usize, alignment);
        prop_assert_eq!(model.metadata().len(), metadata.len() + 1);
        for ((key, value), (made_key, made)) in model.metadata().iter().zip(&metadata) {
            prop_assert_eq!(key, made_key);
            prop_assert!(same(value, made), "{} is {:?}, not {:?}", key, value, made);
            prop_assert!(same(model.get(key).expect("by key"), made));
        }
        prop_assert_eq!(model.tensors().len(), tensors.len());
        for ((info, (name, made)), place) in model.tensors().iter().zip(&tensors).zip(&places) {
            prop_assert_eq!(&info.name, name);
            prop_assert_eq!(info.ty, made.ty);
            prop_assert_eq!(info.shape(), made.ne.as_slice());
            prop_assert_eq!(info.n_elements(), made.ne.iter().product::<u64>());
            prop_assert_eq!(model.read_tensor(info).expect("its bytes"), &data[place.clone()]);
            prop_assert_eq!(model.tensor(name), Some(info));
        }
    }
}

#[test]
fn strings_and_numbers_longer_than_the_read_buffer_come_back_whole() {
    let numbers: Vec<f32> = (0..300_000).map(|i| i as f32).collect();
    let long = vec![b'x'; 1_000_000];
    let mut bytes =
        Bytes::header(0, 3).key("odd", STRING).string("abc").key("numbers", ARRAY).u32(F32_VALUE).u64(300_000);
    for x in &numbers {
        bytes = bytes.raw(&x.to_le_bytes());
    }
    let (_folder, path) = file(&bytes.key("long", STRING).string(&long).0);
    let model = GgufFile::open(&path).expect("a sound file");
    assert_eq!(model.get("numbers"), Some(&Value::Array(Array::F32(numbers))));
    assert_eq!(model.get("long").and_then(Value::as_bytes), Some(long.as_slice()));
}

#[test]
fn a_scalar_a_nothing_and_a_gap_between_tensors_are_allowed() {
    let bytes = Bytes::header(3, 0).tensor("scalar", &[], F32, 0).tensor("nothing", &[0, 5], F32, 32).tensor(
        "after a gap",
        &[2],
        F32,
        96,
    );
    let (_folder, path) = file(&bytes.data(32, 104).0);
    let model = GgufFile::open(&path).expect("a sound file");
    let sizes: Vec<(u64, u64)> = model.tensors().iter().map(|t| (t.n_elements(), t.nbytes)).collect();
    assert_eq!(sizes, [(1, 4), (0, 0), (2, 8)]);
}
