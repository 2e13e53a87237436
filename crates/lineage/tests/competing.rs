//! The search where several grids explain the values: the one that explains all blocks with the fewest levels is
//! claimed.

mod made;

use lineage::{BlockExtent, BlockGrid, Lattice, Search, StoredPrecision, census, search};
use made::{N_PER_ROW, SHAPES, Shape, half, outlier_channel, store, weights};
use numerics::{PlainCodec, Scheme, TensorContext};

const STORED: [StoredPrecision; 3] = [StoredPrecision::F32, StoredPrecision::F16, StoredPrecision::Bf16];

/// Integers of this many bits with a zero point, as GPTQ, AWQ and dynamic INT8 have them: (q − z) · d with a whole z.
fn with_zero_point(values: &[f32], bits: i32, size: usize) -> Vec<f32> {
    let levels = 2f32.powi(bits) - 1.0;
    let of_block = |block: &[f32]| {
        let (least, most) = block.iter().fold((0.0f32, 0.0f32), |(a, z), x| (a.min(*x), z.max(*x)));
        let d = half((most - least) / levels);
        let z = (-least / d).round();
        block.iter().map(|x| (((x / d).round() + z).clamp(0.0, levels) - z) * d).collect::<Vec<f32>>()
    };
    values.chunks(size).flat_map(of_block).collect()
}

/// Heavy tails, and with them columns that are twenty times as large.
fn heavy_tails_and_outliers(seed: u64) -> Vec<f32> {
    let tails = weights(Shape::StudentT, seed);
    tails.iter().enumerate().map(|(i, x)| (f64::from(*x) * outlier_channel(i)) as f32).collect()
}

/// All shapes of weights, each with its name.
fn all_shapes(seed: u64) -> Vec<(String, Vec<f32>)> {
    let mut made: Vec<(String, Vec<f32>)> =
        SHAPES.iter().map(|shape| (format!("{shape:?} {seed}"), weights(*shape, seed))).collect();
    made.push((format!("StudentT with outlier channels {seed}"), heavy_tails_and_outliers(seed)));
    made
}

fn look(values: &[f32], stored: StoredPrecision) -> Search {
    let held = store(values, stored);
    search(&held, N_PER_ROW, &census(&held, stored))
}

/// Makes each shape, and expects a lattice of these bits in blocks of at least this size in every storage.
fn expect_lattice(bits: u32, extent: BlockExtent, made_from: impl Fn(&[f32]) -> Vec<f32>) {
    for (name, values) in (0..3).flat_map(|seed| all_shapes(100 + seed)) {
        let made = made_from(&values);
        for stored in STORED {
            let found = look(&made, stored);
            let is_it = matches!(&found.grid, BlockGrid::Lattice(Lattice { bits: b, extent: e, .. }) if (*b, *e) == (bits, extent));
            assert!(is_it, "{name} in {stored}: {}", found.note());
        }
    }
}

#[test]
fn few_levels_beside_an_outlier_are_a_lattice_and_not_a_table_that_has_them_among_others() {
    expect_lattice(3, BlockExtent::Block(128), |values| with_zero_point(values, 3, 128));
    expect_lattice(3, BlockExtent::Block(64), |values| with_zero_point(values, 3, 64));
    expect_lattice(4, BlockExtent::Block(128), |values| with_zero_point(values, 4, 128));
}

#[test]
fn a_block_of_a_lattice_says_that_all_blocks_lie_on_it() {
    let found = look(&with_zero_point(&heavy_tails_and_outliers(110), 3, 128), StoredPrecision::F16);
    let BlockGrid::Lattice(lattice) = &found.grid else { panic!("{}", found.note()) };
    assert_eq!(lattice.blocks.hits, lattice.blocks.n, "{}", found.note());
}

#[test]
fn rows_of_eight_bits_with_a_zero_point_have_eight_bits() {
    for (name, values) in (0..3).flat_map(|seed| all_shapes(120 + seed)) {
        for stored in STORED {
            let found = look(&with_zero_point(&values, 8, N_PER_ROW), stored);
            let is_it = matches!(&found.grid, BlockGrid::Lattice(l) if (l.bits, l.symmetric) == (8, false));
            assert!(is_it, "{name} in {stored}: {}", found.note());
        }
    }
    let found = look(&with_zero_point(&weights(Shape::OutlierChannels, 120), 8, N_PER_ROW), StoredPrecision::F16);
    assert!(
        found.note().starts_with("lies on an INT8-like grid: one step per row, asymmetric, 8 bits"),
        "{}",
        found.note()
    );
}

#[test]
fn steps_that_nest_do_not_make_a_format_of_more_than_eight_bits() {
    let scheme: Scheme = "mxint8".parse().unwrap();
    for (name, values) in (0..3).flat_map(|seed| all_shapes(130 + seed)) {
        for shift in [0.0, 0.03] {
            let mut made: Vec<f32> = values.iter().map(|x| x + shift).collect();
            let context = TensorContext { name: "made", n_per_row: N_PER_ROW };
            scheme.fake_quantize(&mut made, &context, &PlainCodec).unwrap();
            let found = look(&made, StoredPrecision::F16);
            assert!(matches!(&found.grid, BlockGrid::Lattice(l) if l.bits == 8), "{name}: {}", found.note());
        }
    }
}

#[test]
fn mxfp4_in_f16_is_bf16_as_a_float_however_few_its_values() {
    let scheme: Scheme = "mxfp4".parse().unwrap();
    for (name, values) in (0..3).flat_map(|seed| all_shapes(140 + seed)) {
        for rows in [1, 4, 128] {
            let mut made = values[..rows * N_PER_ROW].to_vec();
            let context = TensorContext { name: "made", n_per_row: N_PER_ROW };
            scheme.fake_quantize(&mut made, &context, &PlainCodec).unwrap();
            let found = census(&made, StoredPrecision::F16);
            assert_eq!(
                (found.effective.to_string().as_str(), found.open()),
                ("BF16", None),
                "{name}: {}",
                found.note()
            );
            assert_eq!(search(&made, N_PER_ROW, &found).name(), "E2M1-like", "{name}");
        }
    }
}
