//! The weights that origins are made from: seeded synthetic ones, and tensors of real models.

use gguf::GgufFile;
use llama::GgmlCodec;
use numerics::BlockCodec;
use stats::rng::SplitMix64;
use std::path::{Path, PathBuf};

/// Seeds and tensors for development and for the figures. The latter must not have been looked at: whoever looks
/// at a cell of theirs moves on to others.
const DEVELOPMENT_SEED: u64 = 1;
const HELD_OUT_SEED: u64 = 130_000;
/// Seeds of each shape for each origin.
const SEEDS: u64 = 3;
/// Of the quantized models' tensors every so manyeth, from different ones on, is enough for a cell.
const STRIDE: usize = 40;
const DEVELOPMENT_TENSOR: usize = 20;
const HELD_OUT_TENSOR: usize = 11;
/// Likewise of the pieces of the F32 model's matrices.
const NATIVE_STRIDE: usize = 7;
const NATIVE_PIECE: usize = 2;
/// Its matrices whose pieces stood in cells while the detectors were worked on; the figures are of the others.
/// Of its vectors every other one is for development.
const DEVELOPMENT_MATRICES: [&str; 15] = [
    "embeddings.word_embeddings.weight",
    "encoder.layer.0.attention.self.query.weight",
    "encoder.layer.0.attention.self.value.weight",
    "encoder.layer.0.output.dense.weight",
    "encoder.layer.1.attention.self.key.weight",
    "encoder.layer.1.intermediate.dense.weight",
    "encoder.layer.2.attention.output.dense.weight",
    "encoder.layer.2.intermediate.dense.weight",
    "encoder.layer.2.output.dense.weight",
    "encoder.layer.3.intermediate.dense.weight",
    "encoder.layer.3.output.dense.weight",
    "encoder.layer.4.intermediate.dense.weight",
    "encoder.layer.4.output.dense.weight",
    "encoder.layer.5.attention.self.value.weight",
    "encoder.layer.5.output.dense.weight",
];

const ROWS: usize = 128;
const N_PER_ROW: usize = 512;

/// How many of the natives have one frequent value or crowd around two centres.
const N_CROWDED: usize = 200;

/// Puts weights of 0.02 among F16's subnormals, 8 bits or fewer each.
const SMALL: f32 = 1.0 / 4096.0;

/// One tensor, `[n_rows][n_per_row]`.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) values: Vec<f32>,
    pub(crate) n_per_row: usize,
}

pub(crate) struct Sources {
    pub(crate) for_cells: Vec<Source>,
    pub(crate) words: String,
    pub(crate) natives_words: String,
    /// Native already: pieces of the F32 model's matrices, and its vectors.
    native: Vec<Source>,
    seed: u64,
}

/// Draws of a source.
pub(crate) struct Rng(SplitMix64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(SplitMix64::new(seed.wrapping_mul(0xd134_2543_de82_ef95)))
    }

    fn uniform(&mut self) -> f64 {
        self.0.next_unit()
    }

    pub(crate) fn gaussian(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

const SHAPES: [&str; 4] = ["Gaussian", "Student's t (4)", "outlier channels", "Student's t (4) with outlier channels"];

fn synthetic(shape: usize, seed: u64) -> Source {
    let mut rng = Rng::new(seed * SHAPES.len() as u64 + shape as u64 + 1);
    let mut draw = |i: usize| {
        let x = 0.02 * rng.gaussian();
        let x = match shape {
            1 | 3 => x / ((0..4).map(|_| rng.gaussian().powi(2)).sum::<f64>() / 4.0).sqrt(),
            _ => x,
        };
        if shape >= 2 && i % N_PER_ROW % 97 == 5 { 20.0 * x } else { x }
    };
    let values = (0..ROWS * N_PER_ROW).map(|i| draw(i) as f32).collect();
    Source { name: format!("{} {seed}", SHAPES[shape]), values, n_per_row: N_PER_ROW }
}

/// What natives with one frequent value, or with values around two centres, are: weights that were clipped, masked, filled or
/// padded, and weights that crowd around ±1 or around one centre for each column.
const CROWDED: [&str; 10] = [
    "clipped at 0.67 σ",
    "clipped at 0.5 σ",
    "clipped at 0.33 σ",
    "clipped from one side",
    "half filled with a constant",
    "masked with −10,000",
    "rows padded with ones",
    "around ±1, spread 0.002",
    "around ±1, spread 0.01",
    "columns around 0.25 and 4",
];

fn crowded(kind: usize, seed: u64) -> Source {
    let mut rng = Rng::new(seed * CROWDED.len() as u64 + kind as u64 + 1);
    let mut draw = |i: usize| {
        let (x, coin) = (rng.gaussian(), rng.uniform());
        let sign = if coin < 0.4 { -1.0 } else { 1.0 };
        match kind {
            0 => 0.02 * x.clamp(-0.67, 0.67),
            1 => 0.02 * x.clamp(-0.5, 0.5),
            2 => 0.02 * x.clamp(-0.33, 0.33),
            3 => x.clamp(0.0, 1.0),
            4 if coin < 0.5 => 0.0137,
            5 if coin < 0.45 => -1e4,
            6 if i % N_PER_ROW >= 320 => 1.0,
            7 => sign * (1.0 + 0.002 * x),
            8 => sign * (1.0 + 0.01 * x),
            9 => (1.0 + 0.02 * x) * if i.is_multiple_of(2) { 0.25 } else { 4.0 },
            _ => 0.02 * x,
        }
    };
    let values = (0..ROWS * N_PER_ROW).map(|i| draw(i) as f32).collect();
    Source { name: format!("{} {seed}", CROWDED[kind]), values, n_per_row: N_PER_ROW }
}

impl Sources {
    /// `models` are GGUF files, and F32 models as safetensors.
    pub(crate) fn of(models: &[PathBuf], development: bool) -> Result<Sources, String> {
        let (seed, first) = match development {
            true => (DEVELOPMENT_SEED, DEVELOPMENT_TENSOR),
            false => (HELD_OUT_SEED, HELD_OUT_TENSOR),
        };
        let (f32_models, quantized): (Vec<&PathBuf>, Vec<&PathBuf>) =
            models.iter().partition(|path| path.extension().is_some_and(|e| e == "safetensors"));
        let mut restored = Vec::new();
        for path in quantized {
            restored.extend(of_gguf(path, seed)?);
        }
        let mut native = Vec::new();
        for path in f32_models {
            native.extend(of_safetensors(path, development)?);
        }
        let made = (0..SHAPES.len()).flat_map(|shape| (0..SEEDS).map(move |i| synthetic(shape, seed + i)));
        let mut for_cells: Vec<Source> = made.collect();
        let n_synthetic = for_cells.len();
        for_cells.extend(restored.into_iter().skip(first).step_by(STRIDE));
        let n_restored = for_cells.len() - n_synthetic;
        let matrices = native.iter().filter(|source| source.values.len() == ROWS * N_PER_ROW);
        for_cells.extend(matrices.skip(NATIVE_PIECE).step_by(NATIVE_STRIDE).cloned());
        let n_native = for_cells.len() - n_synthetic - n_restored;
        let words = format!(
            "{n_synthetic} synthetic ({} shapes of {SEEDS} seeds: {}), {n_restored} tensors of the demo models \
             (dequantized, with noise of 1/64 of their largest value so that they are weights again) and \
             {n_native} pieces of the matrices of an F32 model, {ROWS} × {N_PER_ROW} values each",
            SHAPES.len(),
            SHAPES.join(", ")
        );
        let natives_words = format!(
            "{} pieces and vectors of the F32 model, most of which were among the natives of development runs as well; \
             {N_CROWDED} with one frequent value or around two centres ({}); the rest synthetic, every fourth of these so \
             small that F16 has only a few bits for it",
            native.len(),
            CROWDED.join(", ")
        );
        Ok(Sources { for_cells, words, natives_words, native, seed })
    }

    /// So many tensors that no grid was ever imposed on; none of the synthetic ones stands in a cell.
    pub(crate) fn natives(&self, n: usize) -> Vec<Source> {
        let more = (0..).map(|i| {
            let mut made = synthetic(i % SHAPES.len(), self.seed + 1000 + i as u64);
            if i % 4 == 3 {
                made.name += ", small";
                made.values.iter_mut().for_each(|x| *x *= SMALL);
            }
            made
        });
        let crowded = (0..N_CROWDED).map(|i| crowded(i % CROWDED.len(), self.seed + 5000 + i as u64));
        self.native.iter().cloned().chain(crowded).chain(more).take(n).collect()
    }
}

/// Matrices of a quantized model, cut to the shape of the synthetic ones. They have a grid of their own, so half a
/// step of noise makes them weights again, with the spread of real ones.
fn of_gguf(path: &Path, seed: u64) -> Result<Vec<Source>, String> {
    let file = GgufFile::open(path).map_err(|error| error.to_string())?;
    let mut rng = Rng::new(seed + 7);
    let wanted = file.tensors().iter().filter(|t| t.n_elements() as usize >= ROWS * N_PER_ROW && t.n_per_row() > 1);
    let of_tensor = |t: &gguf::TensorInfo| {
        let bytes = file.read_tensor(t).map_err(|error| error.to_string())?;
        let mut values = vec![0.0; t.n_elements() as usize];
        GgmlCodec.dequantize(t.ty.name(), &bytes, &mut values).map_err(|error| error.to_string())?;
        values.truncate(ROWS * N_PER_ROW);
        let step = f64::from(values.iter().map(|x| x.abs()).fold(0.0, f32::max)) / 64.0;
        values.iter_mut().for_each(|x| *x += (step * rng.gaussian()) as f32);
        Ok(Source { name: t.name.clone(), values, n_per_row: N_PER_ROW })
    };
    wanted.map(of_tensor).collect()
}

/// Tensors of an F32 model of the safetensors format: eight bytes of length, a JSON header of that length, and the
/// data. Matrices in pieces of the shape of the synthetic ones; vectors whole.
fn of_safetensors(path: &Path, development: bool) -> Result<Vec<Source>, String> {
    let malformed = || format!("{}: not a safetensors file", path.display());
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(malformed)?;
    let (header, data) = rest.split_at_checked(u64::from_le_bytes(*length) as usize).ok_or_else(malformed)?;
    let header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(header).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut sources = Vec::new();
    for (index, (name, tensor)) in header.iter().filter(|(_, t)| t["dtype"] == "F32").enumerate() {
        let is_matrix = tensor["shape"].as_array().is_some_and(|shape| shape.len() > 1);
        let for_development =
            if is_matrix { DEVELOPMENT_MATRICES.contains(&name.as_str()) } else { index.is_multiple_of(2) };
        if for_development != development {
            continue;
        }
        let offset = |i: usize| tensor["data_offsets"][i].as_u64().map(|offset| offset as usize);
        let range = offset(0).zip(offset(1)).ok_or_else(malformed)?;
        let data = data.get(range.0..range.1).ok_or_else(malformed)?;
        let values: Vec<f32> = data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let (size, n_per_row) = if is_matrix { (ROWS * N_PER_ROW, N_PER_ROW) } else { (values.len(), values.len()) };
        // Some of the model's rows were never trained after it was held in F16; these pieces are F16 and not native.
        let is_f16 =
            |values: &[f32]| values.iter().all(|x| numerics::Minifloat::F16.cast(numerics::Rounding::Rne, *x) == *x);
        for (piece, values) in values.chunks_exact(size.max(1)).enumerate().filter(|(_, values)| !is_f16(values)) {
            sources.push(Source { name: format!("{name} {piece}"), values: values.to_vec(), n_per_row });
        }
    }
    Ok(sources)
}
