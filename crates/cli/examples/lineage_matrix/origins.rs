//! The origins: how each is made, and what the census ought to say of it. Written down before the first run on the
//! sources that figures are made of.

use crate::sources::{Rng, Source};
use lineage::CODEBOOKS;
use llama::GgmlCodec;
use numerics::{BlockCodec, Scheme, TensorContext};

/// How an origin is made.
pub(crate) enum Made {
    Native,
    /// Fake quantization of our own.
    Scheme(&'static str),
    /// There and back through ggml types, one after another.
    Ggml(&'static [&'static str]),
    /// A table with the absmax of a block as scale.
    Table(&'static str, usize),
    /// The columns in another order, fake quantization, and in the old order again, as act-order GPTQ leaves them.
    Reordered(&'static str),
    /// Integers of this many bits in blocks of this size (0 for rows), with a whole zero point: (q − z) · d.
    ZeroPoint(i32, usize),
    /// The same, then each column times a factor of its own, as activation-aware scaling that is taken back leaves it.
    ColumnScaledZeroPoint(i32, usize),
    /// BF16 times a factor of its own for each value, then F16, as activation-aware scaling leaves norms.
    Rescaled,
    /// Every other row through a ggml type.
    HalfTheRows(&'static str),
    /// Fake quantization down the columns.
    Transposed(&'static str),
    /// A table down the columns.
    TransposedTable(&'static str, usize),
    /// Through a ggml type, then one value in each block of 32 as it was before, and larger.
    Outliers(&'static str),
    /// Through a ggml type, then noise of a twentieth of the weights' RMS added, as a LoRA merge does.
    Merged(&'static str),
    /// Through a ggml type, then each column times a factor of its own, as when a norm is folded in.
    ColumnScaled(&'static str),
    /// The mean of two tensors through a ggml type, the other one with noise of a fifth of the RMS.
    Averaged(&'static str),
    /// A constant plus BF16.
    Plus(f32),
    /// −exp of BF16, as converters write `ssm_a`.
    NegExp,
}

pub(crate) struct Origin {
    pub(crate) name: &'static str,
    pub(crate) made: Made,
    /// Stored as F32, F16 and BF16; see `Answer::is`.
    pub(crate) expected: [&'static str; 3],
}

const fn origin(name: &'static str, made: Made, expected: [&'static str; 3]) -> Origin {
    Origin { name, made, expected }
}

const fn all(answer: &'static str) -> [&'static str; 3] {
    [answer, answer, answer]
}

use Made::{Averaged, ColumnScaled, Ggml, HalfTheRows, Merged, Native, NegExp, Outliers, Plus};
use Made::{ColumnScaledZeroPoint, Reordered, Rescaled, Table, Transposed, TransposedTable, ZeroPoint};

/// No trace left by a merge and its like.
const DESTROYED: [&str; 3] = all("? destroyed lattice");

pub(crate) const ORIGINS: [Origin; 70] = [
    // Native weights stored in two bytes have been rounded, so what came before is not decidable.
    origin("native", Native, ["none", "? finer than F16", "? finer than BF16"]),
    origin("F16", Made::Scheme("f16"), ["float F16", "? finer than F16", "? finer than BF16"]),
    origin("BF16", Made::Scheme("bf16"), ["float BF16", "float BF16", "? finer than BF16"]),
    origin("TF32", Made::Scheme("tf32"), ["float TF32|float F16", "? finer than F16", "? finer than BF16"]),
    origin("1 + BF16", Plus(1.0), ["float 1 + BF16", "? finer than F16|float 1 + BF16", "? finer than BF16"]),
    origin(
        "0.625 + BF16",
        Plus(0.625),
        ["float 0.625 + BF16", "? finer than F16|float 0.625 + BF16", "? finer than BF16"],
    ),
    origin("−exp(BF16)", NegExp, ["float -exp(BF16)", "? finer than F16", "? finer than BF16"]),
    origin("Q4_0", Ggml(&["q4_0"]), all("Q4_0-like")),
    origin("Q4_1", Ggml(&["q4_1"]), all("Q4_1-like")),
    origin("Q5_0", Ggml(&["q5_0"]), all("Q5_0-like")),
    origin("Q5_1", Ggml(&["q5_1"]), all("Q5_1-like")),
    origin("Q8_0", Ggml(&["q8_0"]), all("Q8_0-like")),
    // BF16 does not resolve the steps of Q2_K, whose minima are large against them.
    origin("Q2_K", Ggml(&["q2_K"]), ["Q2_K-like|INT2-like", "Q2_K-like|INT2-like", "Q2_K-like|INT2-like|few"]),
    origin("Q3_K", Ggml(&["q3_K"]), all("Q3_K-like|INT3-like")),
    // In two bytes the second storey of a k-quant need not show.
    origin("Q4_K", Ggml(&["q4_K"]), ["Q4_K-like", "Q4_K-like|Q4_1-like", "Q4_K-like|Q4_1-like"]),
    origin("Q5_K", Ggml(&["q5_K"]), ["Q5_K-like", "Q5_K-like|Q5_1-like", "Q5_K-like|Q5_1-like"]),
    origin("Q6_K", Ggml(&["q6_K"]), ["Q6_K-like", "Q6_K-like|INT6-like", "Q6_K-like|INT6-like"]),
    origin("IQ4_NL", Ggml(&["iq4_nl"]), all("IQ4_NL codebook")),
    origin("IQ4_XS", Ggml(&["iq4_xs"]), all("IQ4_NL codebook")),
    origin("IQ3_S", Ggml(&["iq3_s"]), all("IQ3_S codebook")),
    origin("IQ3_XXS", Ggml(&["iq3_xxs"]), all("IQ3_XXS codebook")),
    origin("IQ2_S", Ggml(&["iq2_s"]), all("IQ2 codebook")),
    origin("IQ2_XS", Ggml(&["iq2_xs"]), all("IQ2 codebook")),
    origin("IQ2_XXS", Ggml(&["iq2_xxs"]), all("IQ2 codebook")),
    // Three values to a block leave too little for a table in two bytes.
    origin("IQ1_S", Ggml(&["iq1_s"]), ["IQ1 codebook|few", "IQ1 codebook|few", "IQ1 codebook|few"]),
    origin("IQ1_M", Ggml(&["iq1_m"]), ["IQ1 codebook|few", "IQ1 codebook|few", "IQ1 codebook|few"]),
    origin("TQ1_0", Ggml(&["tq1_0"]), all("few")),
    origin("TQ2_0", Ggml(&["tq2_0"]), all("few")),
    origin("MXFP4", Ggml(&["mxfp4"]), all("E2M1-like")),
    origin("NVFP4", Ggml(&["nvfp4"]), all("E2M1 codebook")),
    origin("MXFP6 E2M3", Made::Scheme("mxfp6_e2m3"), all("E2M3 or E4M3-like & ? exponent range")),
    origin("MXFP6 E3M2", Made::Scheme("mxfp6_e3m2"), all("E3M2 or E5M2-like & ? exponent range")),
    origin("MXFP8 E4M3", Made::Scheme("mxfp8_e4m3"), all("E4M3-like|E2M3 or E4M3-like")),
    origin("MXFP8 E5M2", Made::Scheme("mxfp8_e5m2"), all("E5M2-like|E3M2 or E5M2-like")),
    origin("MXINT8", Made::Scheme("mxint8"), all("Q8_0-like|INT8-like|INT7-like")),
    origin("E4M3, scale per row", Made::Scheme("fp8_e4m3@row"), all("scaled E4M3-like")),
    origin("E4M3, scale per 128×128", Made::Scheme("fp8_e4m3@128x128"), all("scaled E4M3-like")),
    origin("E5M2, scale per row", Made::Scheme("fp8_e5m2@row"), all("scaled E5M2-like")),
    origin("NF4, 64-blocks", Table("NF4", 64), all("NF4 codebook")),
    origin("NF4, 128-blocks", Table("NF4", 128), all("NF4 codebook")),
    origin("NF4, 64-blocks, transposed", TransposedTable("NF4", 64), all("NF4 codebook")),
    origin("FP4, 64-blocks", Table("FP4", 64), all("FP4 codebook")),
    origin("INT8 per row", Made::Scheme("int8@row"), all("INT8-like")),
    origin("INT8 per tensor", Made::Scheme("int8@tensor"), all("INT8-like")),
    // LINEAGE: marginal in BF16, where what shows may be that rows have 256 values.
    origin(
        "INT8 per row, asymmetric",
        Made::Scheme("int8@row:asym"),
        ["INT8-like", "INT8-like", "INT8-like|low-cardinality rows|? finer than BF16"],
    ),
    // With a zero point the grid runs through zero, so that BF16 resolves its steps.
    origin("INT8 per row, zero point", ZeroPoint(8, 0), all("INT8-like")),
    origin("INT6 per row", Made::Scheme("int6@row"), all("INT6-like")),
    origin("INT4 per row", Made::Scheme("int4@row"), all("INT4-like")),
    origin("INT4, 32-blocks", Made::Scheme("int4@block32"), all("INT4-like")),
    origin("INT4, 64-blocks", Made::Scheme("int4@block64"), all("INT4-like")),
    origin("INT4, 128-blocks", Made::Scheme("int4@block128"), all("INT4-like")),
    origin("INT3, 64-blocks", Made::Scheme("int3@block64"), all("INT3-like")),
    origin("INT4, 32-blocks, asymmetric", Made::Scheme("int4@block32:asym"), all("Q4_1-like")),
    // A step of an outlier's block is too small against its minimum for BF16.
    origin(
        "INT4, 128-blocks, asymmetric",
        Made::Scheme("int4@block128:asym"),
        ["INT4-like", "INT4-like", "INT4-like|few"],
    ),
    origin("INT3, 64-blocks, zero point", ZeroPoint(3, 64), all("INT3-like")),
    origin("INT3, 128-blocks, zero point", ZeroPoint(3, 128), all("INT3-like")),
    origin("INT4, 128-blocks, zero point", ZeroPoint(4, 128), all("INT4-like")),
    origin("INT4, 32-blocks, transposed", Transposed("int4@block32"), all("INT4-like")),
    // The groups are strewn over the row: no block is on a grid, but a row has few values; beside outliers, so has a block.
    origin("INT4, 128-groups in act-order", Reordered("int4@block128:asym"), all("low-cardinality rows|few")),
    origin("Q4_0 in every other row", HalfTheRows("q4_0"), all("Q4_0-like in part")),
    origin("Q4_0, one outlier in each block", Outliers("q4_0"), all("Q4_0-like")),
    origin("Q4_0 → Q8_0", Ggml(&["q4_0", "q8_0"]), [OVER_Q8_0, OVER_Q8_0, "Q8_0-like over a coarser lattice|few"]),
    origin("Q4_K → Q8_0", Ggml(&["q4_K", "q8_0"]), [OVER_Q8_0, OVER_Q8_0, "Q8_0-like over a coarser lattice|few"]),
    origin(
        "Q4_0 → Q6_K",
        Ggml(&["q4_0", "q6_K"]),
        [OVER_Q6_K, OVER_Q6_K, "Q6_K-like over a coarser lattice|INT6-like over a coarser lattice|few"],
    ),
    origin("Q8_0 → Q4_0", Ggml(&["q8_0", "q4_0"]), all("Q4_0-like & ? finer lattice")),
    origin("Q4_0, then merged", Merged("q4_0"), DESTROYED),
    origin("Q4_0, then scaled per column", ColumnScaled("q4_0"), DESTROYED),
    origin("INT4, 128-blocks, zero point, then scaled per column", ColumnScaledZeroPoint(4, 128), DESTROYED),
    // What one tensor shows; that other tensors of the file are BF16 is for the verdict on the file.
    origin("BF16, rescaled in F16", Rescaled, ["float F16", "? finer than F16", "? finer than BF16"]),
    // Of two blocks with nearly one step the mean is on half of it, as far as BF16 can tell.
    origin(
        "Q4_0, then averaged",
        Averaged("q4_0"),
        ["? destroyed lattice", "? destroyed lattice", "? destroyed lattice|Q5_1-like in part|INT5-like in part"],
    ),
];

const OVER_Q8_0: &str = "Q8_0-like over a coarser lattice";
const OVER_Q6_K: &str = "Q6_K-like over a coarser lattice|INT6-like over a coarser lattice";

/// Types that cannot be had without an importance matrix are given one that says nothing.
fn through(ty: &str, values: &[f32], n_per_row: usize) -> Vec<f32> {
    let flat = vec![1.0; n_per_row];
    let bytes =
        GgmlCodec.quantize(ty, values, n_per_row, Some(&flat).filter(|_| ty.starts_with("iq")).map(Vec::as_slice));
    let mut back = vec![0.0; values.len()];
    GgmlCodec
        .dequantize(ty, &bytes.expect("a type that can be quantized to"), &mut back)
        .expect("what was just quantized");
    back
}

fn faked(scheme: &str, values: &[f32], n_per_row: usize) -> Vec<f32> {
    let mut out = values.to_vec();
    let scheme: Scheme = scheme.parse().expect("a scheme of ours");
    let context = TensorContext { name: "synthetic", n_per_row };
    scheme.fake_quantize(&mut out, &context, &GgmlCodec).expect("a scheme that fits");
    out
}

fn transposed(values: &[f32], n_per_row: usize) -> Vec<f32> {
    let rows = values.len() / n_per_row;
    (0..values.len()).map(|i| values[i % rows * n_per_row + i / rows]).collect()
}

fn tabled(name: &str, size: usize, values: &[f32]) -> Vec<f32> {
    let table = CODEBOOKS.iter().find(|t| t.name == name).expect("a known table");
    let most = table.entries[table.entries.len() - 1];
    let block = |b: &[f32]| {
        let d = f64::from(b.iter().fold(0.0f32, |m, x| m.max(x.abs()))) / most;
        let nearest = |x: &f32| {
            let distance = |e: f64| (f64::from(*x) - e * d).abs();
            let entry = table.entries.iter().min_by(|a, b| distance(**a).total_cmp(&distance(**b)));
            (entry.copied().unwrap_or(0.0) * d) as f32
        };
        b.iter().map(nearest).collect::<Vec<f32>>()
    };
    values.chunks(size).flat_map(block).collect()
}

fn with_zero_point(bits: i32, size: usize, values: &[f32]) -> Vec<f32> {
    let levels = 2f32.powi(bits) - 1.0;
    let block = |b: &[f32]| {
        let (least, most) = b.iter().fold((0.0f32, 0.0f32), |(a, z), x| (a.min(*x), z.max(*x)));
        let d = (most - least) / levels;
        let z = (-least / d).round();
        b.iter().map(|x| (((x / d).round() + z).clamp(0.0, levels) - z) * d).collect::<Vec<f32>>()
    };
    values.chunks(size).flat_map(block).collect()
}

/// Each column times a factor of its own.
fn column_scaled(values: &[f32], n_per_row: usize) -> Vec<f32> {
    let mut rng = Rng::new(2);
    let factors: Vec<f64> = (0..n_per_row).map(|_| 1.0 + 0.2 * rng.gaussian()).collect();
    values.iter().zip(factors.iter().cycle()).map(|(x, f)| (f64::from(*x) * f) as f32).collect()
}

fn noisy(values: &[f32], share_of_rms: f64, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    let mean_square = values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / values.len() as f64;
    let sigma = share_of_rms * mean_square.sqrt();
    values.iter().map(|x| x + (sigma * rng.gaussian()) as f32).collect()
}

impl Made {
    pub(crate) fn from(&self, source: &Source) -> Vec<f32> {
        let (values, n_per_row) = (source.values.as_slice(), source.n_per_row);
        let rows = values.len() / n_per_row;
        match self {
            Native => values.to_vec(),
            Made::Scheme(scheme) => faked(scheme, values, n_per_row),
            Ggml(types) => types.iter().fold(values.to_vec(), |x, ty| through(ty, &x, n_per_row)),
            Table(name, size) => tabled(name, *size, values),
            Reordered(scheme) => {
                let mut rng = Rng::new(4);
                let mut order: Vec<(f64, usize)> = (0..n_per_row).map(|i| (rng.gaussian(), i)).collect();
                order.sort_by(|a, b| a.0.total_cmp(&b.0));
                let of_row = |row: &[f32]| order.iter().map(|(_, i)| row[*i]).collect::<Vec<f32>>();
                let reordered: Vec<f32> = values.chunks(n_per_row).flat_map(of_row).collect();
                let mut made = vec![0.0; values.len()];
                for (row, held) in
                    made.chunks_mut(n_per_row).zip(faked(scheme, &reordered, n_per_row).chunks(n_per_row))
                {
                    order.iter().zip(held).for_each(|((_, i), x)| row[*i] = *x);
                }
                made
            }
            HalfTheRows(ty) => {
                let held = through(ty, values, n_per_row);
                let rows = values.chunks(n_per_row).zip(held.chunks(n_per_row)).enumerate();
                rows.flat_map(|(i, (row, held))| if i % 2 == 0 { row } else { held }).copied().collect()
            }
            Transposed(scheme) => transposed(&faked(scheme, &transposed(values, n_per_row), rows), rows),
            TransposedTable(name, size) => transposed(&tabled(name, *size, &transposed(values, n_per_row)), rows),
            Outliers(ty) => {
                let mut made = through(ty, values, n_per_row);
                made.chunks_mut(32).zip(values.chunks(32)).for_each(|(block, before)| {
                    let most = before.iter().fold(0.0f32, |m, x| m.max(x.abs()));
                    block[11] = before[11] + 2.37 * most;
                });
                made
            }
            Merged(ty) => noisy(&through(ty, values, n_per_row), 0.05, 1),
            ColumnScaled(ty) => column_scaled(&through(ty, values, n_per_row), n_per_row),
            ZeroPoint(bits, size) => with_zero_point(*bits, if *size == 0 { n_per_row } else { *size }, values),
            ColumnScaledZeroPoint(bits, size) => column_scaled(&with_zero_point(*bits, *size, values), n_per_row),
            Rescaled => {
                let mut rng = Rng::new(5);
                let factor = |x: &f32| (f64::from(*x) * (1.0 + 0.2 * rng.gaussian())) as f32;
                faked("f16", &faked("bf16", values, n_per_row).iter().map(factor).collect::<Vec<f32>>(), n_per_row)
            }
            Averaged(ty) => {
                let one = through(ty, values, n_per_row);
                let other = through(ty, &noisy(values, 0.2, 3), n_per_row);
                one.iter().zip(other).map(|(a, b)| (a + b) / 2.0).collect()
            }
            Plus(constant) => faked("bf16", values, n_per_row).iter().map(|g| g + constant).collect(),
            NegExp => {
                let logs: Vec<f32> = values.iter().map(|x| 20.0 * x).collect();
                faked("bf16", &logs, n_per_row).iter().map(|g| -(f64::from(*g).exp() as f32)).collect()
            }
        }
    }
}
