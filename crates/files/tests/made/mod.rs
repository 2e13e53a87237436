//! Model files made in code, value by value.

// Each test binary uses a part of this module.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use files::Model;
use gguf::{Array, FileLayout, GgmlType, GgufWriter, StringArray, TensorSpec, Value};
use half::f16;
use numerics::{BlockCodec, BlockLayout, CodecError, PlainCodec};
use record::answer::DiffAnswer;
use std::path::Path;

/// One tensor: name, type, extents and values.
pub type Made = (String, GgmlType, Vec<u64>, Vec<f32>);

/// The metadata of a small model.
pub fn metadata() -> Vec<(String, Value)> {
    let text = |text: &str| Value::String(text.as_bytes().to_vec());
    let tokens = StringArray::of(["<unk>", "<s>", "</s>", "a"]).expect("short");
    let pairs = [
        ("general.architecture", text("llama")),
        ("general.name", text("tiny")),
        ("llama.block_count", Value::U32(2)),
        ("llama.attention.head_count", Value::U32(4)),
        ("llama.rope.freq_base", Value::F32(10_000.0)),
        ("tokenizer.ggml.model", text("llama")),
        ("tokenizer.ggml.tokens", Value::Array(Array::String(tokens))),
        ("tokenizer.ggml.add_bos_token", Value::Bool(true)),
    ];
    pairs.map(|(key, value)| (key.to_owned(), value)).into()
}

/// These metadata with another value for one key.
pub fn with(mut metadata: Vec<(String, Value)>, key: &str, value: Value) -> Vec<(String, Value)> {
    match metadata.iter_mut().find(|(name, _)| name == key) {
        Some(entry) => entry.1 = value,
        None => metadata.push((key.to_owned(), value)),
    }
    metadata
}

/// A tensor of F32 whose values are drawn from its name.
pub fn drawn(name: &str, shape: &[u64]) -> Made {
    let n = shape.iter().product::<u64>();
    let seed = name.bytes().fold(1u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let value = |i: u64| {
        let bits = seed.wrapping_add(i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((bits ^ bits >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (name.to_owned(), GgmlType::F32, shape.to_vec(), (0..n).map(value).collect())
}

/// The plain types and Q8_0: blocks of an F16 scale and 32 codes.
pub struct MadeCodec;

const Q8_0: BlockLayout = BlockLayout { blck_size: 32, type_size: 34, requires_imatrix: false };

impl BlockCodec for MadeCodec {
    fn layout(&self, ty: &str) -> Option<BlockLayout> {
        if ty == "q8_0" { Some(Q8_0) } else { PlainCodec.layout(ty) }
    }

    fn dequantize(&self, ty: &str, bytes: &[u8], out: &mut [f32]) -> Result<(), CodecError> {
        if ty != "q8_0" {
            return PlainCodec.dequantize(ty, bytes, out);
        }
        for (block, out) in bytes.chunks_exact(Q8_0.type_size).zip(out.chunks_exact_mut(Q8_0.blck_size)) {
            let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
            out.iter_mut().zip(&block[2..]).for_each(|(out, code)| *out = scale * f32::from(*code as i8));
        }
        Ok(())
    }

    fn quantize(
        &self,
        ty: &str,
        values: &[f32],
        n_per_row: usize,
        imatrix: Option<&[f32]>,
    ) -> Result<Vec<u8>, CodecError> {
        if ty != "q8_0" {
            return PlainCodec.quantize(ty, values, n_per_row, imatrix);
        }
        let of_block = |block: &[f32]| {
            let scale = f16::from_f32(block.iter().fold(0.0f32, |most, x| most.max(x.abs())) / 127.0);
            let code = |x: &f32| (x / scale.to_f32()).round() as i8 as u8;
            scale.to_le_bytes().into_iter().chain(block.iter().map(code)).collect::<Vec<u8>>()
        };
        Ok(values.chunks_exact(Q8_0.blck_size).flat_map(of_block).collect())
    }
}

/// Writes a file and opens it.
pub fn model(folder: &Path, name: &str, metadata: &[(String, Value)], tensors: &[Made]) -> Model {
    let specs: Vec<TensorSpec> = tensors
        .iter()
        .map(|(name, ty, shape, _)| TensorSpec { name: name.clone(), ty: *ty, shape: shape.clone() })
        .collect();
    let layout = FileLayout::new(3, metadata.iter().map(|(key, value)| (key.as_str(), value)), &specs).expect("fits");
    let mut writer = GgufWriter::new(Vec::new(), layout).expect("a header");
    for (_, ty, shape, values) in tensors {
        let n_per_row = shape.first().map_or(1, |&n| n as usize);
        writer
            .data(&MadeCodec.quantize(ty.name(), values, n_per_row, None).expect("a type of the codec"))
            .expect("data");
    }
    let path = folder.join(name);
    std::fs::write(&path, writer.finish().expect("whole")).expect("a file");
    Model::open_to_look(&path).expect("a sound file")
}

/// Compares two files.
pub fn diff(a: &Model, b: &Model) -> DiffAnswer {
    files::diff::diff(a, b, &MadeCodec, &mut |_, _| {}).expect("readable")
}
