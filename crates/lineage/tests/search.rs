//! The search for grids on tensors whose origin is known because the test made them.

mod made;

use half::bf16;
use lineage::{
    Axis, BlockExtent, BlockGrid, CODEBOOKS, Lattice, Search, StoredPrecision, Undecided, census, search, undecided,
};
use made::{N_PER_ROW, ROWS, SHAPES, Shape, gaussian, half, store, weights};
use rand_pcg::Pcg64;

fn per_block(values: &[f32], size: usize, f: impl Fn(&[f32]) -> Vec<f32>) -> Vec<f32> {
    values.chunks(size).flat_map(f).collect()
}

/// The signed value of the largest magnitude.
fn extreme(block: &[f32]) -> f32 {
    block.iter().copied().fold(0.0, |m: f32, x| if x.abs() > m.abs() { x } else { m })
}

fn q4_0(values: &[f32]) -> Vec<f32> {
    per_block(values, 32, |b| {
        let d = extreme(b) / -8.0;
        b.iter().map(|x| half(d) * (x / d).round().clamp(-8.0, 7.0)).collect()
    })
}

fn q4_1(values: &[f32]) -> Vec<f32> {
    per_block(values, 32, |b| {
        let (least, most) = b.iter().fold((f32::MAX, f32::MIN), |(a, z), x| (a.min(*x), z.max(*x)));
        let d = (most - least) / 15.0;
        b.iter().map(|x| half(d) * ((x - least) / d).round().clamp(0.0, 15.0) + half(least)).collect()
    })
}

fn symmetric(values: &[f32], size: usize, top: f32, scale: fn(f32) -> f32) -> Vec<f32> {
    per_block(values, size, |b| {
        let d = extreme(b).abs() / top;
        b.iter().map(|x| scale(d) * (x / d).round()).collect()
    })
}

fn q8_0(values: &[f32]) -> Vec<f32> {
    symmetric(values, 32, 127.0, half)
}

fn codebook(values: &[f32], size: usize, name: &str, scale: fn(f32) -> f32) -> Vec<f32> {
    let table = CODEBOOKS.iter().find(|t| t.name == name).unwrap();
    let most = table.entries[table.entries.len() - 1] as f32;
    per_block(values, size, |b| {
        let d = scale(extreme(b).abs() / most);
        let nearest = |x: f32| {
            let entries = table.entries.iter().map(|e| *e as f32);
            entries.min_by(|a, b| (x - a * d).abs().total_cmp(&(x - b * d).abs())).unwrap()
        };
        b.iter().map(|&x| nearest(x) * d).collect()
    })
}

use StoredPrecision::{Bf16, F16, F32};

fn look(values: &[f32], stored: StoredPrecision) -> Search {
    let held = store(values, stored);
    search(&held, N_PER_ROW, &census(&held, stored))
}

fn lattice(found: &Search) -> Lattice {
    match &found.grid {
        BlockGrid::Lattice(l) => *l,
        other => panic!("{other:?}"),
    }
}

#[test]
fn upcast_block_formats_are_named_in_every_storage() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let w = weights(shape, seed as u64);
        for stored in [F32, F16, Bf16] {
            let names = [q4_0(&w), q4_1(&w), q8_0(&w)].map(|made| look(&made, stored).name());
            assert_eq!(names, ["Q4_0-like", "Q4_1-like", "Q8_0-like"], "{shape:?} in {stored}");
        }
    }
}

#[test]
fn the_note_names_block_symmetry_bits_sample_and_surrogate() {
    let found = look(&q4_1(&weights(Shape::Gaussian, 1)), F16);
    let note = found.note();
    assert!(note.starts_with("lies on a Q4_1-like grid: 32-blocks, asymmetric, 4 bits"), "{note}");
    assert!(note.ends_with("(192 of 192 sampled blocks, surrogate 0)"), "{note}");
    assert!(found.evidence_bits() > 1000.0 && found.bits() == Some(4.0));
}

#[test]
fn steps_per_row_and_per_tensor_are_told_from_blocks() {
    let w = weights(Shape::Gaussian, 3);
    for stored in [F32, F16, Bf16] {
        let l = lattice(&look(&symmetric(&w, N_PER_ROW, 127.0, |d| d), stored));
        assert_eq!((l.extent, l.bits, l.symmetric), (BlockExtent::Whole, 8, true), "{stored}");
    }
    let l = lattice(&look(&symmetric(&w, w.len(), 127.0, |d| d), F32));
    assert_eq!((l.extent, l.bits), (BlockExtent::Tensor, 8));
    let l = lattice(&look(&symmetric(&w, 64, 7.0, |d| d), F16));
    assert_eq!((l.extent, l.bits), (BlockExtent::Block(64), 4));
}

#[test]
fn a_grid_made_on_the_transposed_tensor_is_found_down_the_columns() {
    let w = weights(Shape::Gaussian, 4);
    let transposed: Vec<f32> = (0..w.len()).map(|i| w[i % ROWS * N_PER_ROW + i / ROWS]).collect();
    let made = symmetric(&transposed, 32, 7.0, half);
    let back: Vec<f32> = (0..w.len()).map(|i| made[i % N_PER_ROW * ROWS + i / N_PER_ROW]).collect();
    let l = lattice(&look(&back, F16));
    assert_eq!((l.axis, l.extent, l.bits), (Axis::Column, BlockExtent::Block(32), 4));
}

#[test]
fn one_value_in_a_block_kept_out_of_the_grid_does_not_hide_it() {
    let mut made = q4_0(&weights(Shape::Gaussian, 5));
    made.iter_mut().enumerate().filter(|(i, _)| i % 32 == 11).for_each(|(i, x)| *x = 0.31 + i as f32 * 1.7e-5);
    assert_eq!(look(&made, F32).name(), "Q4_0-like");
    assert_eq!(look(&made, F16).name(), "Q4_0-like");
}

#[test]
fn codebooks_are_told_by_their_tables() {
    let w = weights(Shape::Gaussian, 6);
    for stored in [F32, F16, Bf16] {
        let of = |made: Vec<f32>| look(&made, stored).name();
        assert_eq!(of(codebook(&w, 64, "NF4", |d| d)), "NF4 codebook", "{stored}");
        assert_eq!(of(codebook(&w, 64, "FP4", |d| d)), "FP4 codebook", "{stored}");
        assert_eq!(of(codebook(&w, 32, "IQ4_NL", half)), "IQ4_NL codebook", "{stored}");
        let e4m3 = |d: f32| f32::from_bits((d.to_bits() + 0x0008_0000) & 0xfff0_0000);
        assert_eq!(of(codebook(&w, 16, "E2M1", e4m3)), "E2M1 codebook", "{stored}");
        let power_of_two = |d: f32| f32::from_bits(d.to_bits() & 0x7f80_0000);
        assert_eq!(of(codebook(&w, 32, "E2M1", power_of_two)), "E2M1-like", "{stored}");
    }
}

#[test]
fn a_coarser_lattice_inside_a_finer_one_is_requantized_and_a_fine_one_alone_is_not() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let w = weights(shape, 10 + seed as u64);
        for stored in [F32, F16] {
            let l = lattice(&look(&q8_0(&q4_0(&w)), stored));
            let inner = l.requantized.unwrap_or_else(|| panic!("{shape:?} in {stored}: {l:?}"));
            assert_eq!((l.like().as_str(), inner.about_bits), ("Q8_0", Some(4)), "{shape:?} in {stored}: {l:?}");
            assert!(inner.expected > 1.12 * inner.levels);
            assert_eq!(lattice(&look(&q8_0(&w), stored)).requantized, None, "{shape:?} in {stored}");
        }
    }
    let note = look(&q8_0(&q4_0(&weights(Shape::Gaussian, 10))), F16).note();
    assert!(note.contains("expected levels: looks requantized from about 4 bits"), "{note}");
}

#[test]
fn native_weights_of_any_shape_and_storage_lie_on_no_grid() {
    for seed in 0..12 {
        for shape in SHAPES {
            let w = weights(shape, 1000 + seed);
            // As they are, rounded to each precision, and one of them stored in another.
            let natives =
                [(w.clone(), F32), (w.clone(), F16), (w.clone(), Bf16), (store(&w, Bf16), F32), (store(&w, Bf16), F16)];
            for (values, stored) in natives {
                let found = look(&values, stored);
                assert_eq!(found.grid, BlockGrid::NoneFound, "{shape:?} in {stored}, seed {seed}: {}", found.note());
            }
        }
    }
}

/// Values of eight bits are BF16 values as well, and any number is a multiple of the step that they share.
#[test]
fn native_weights_among_the_subnormals_of_f16_lie_on_no_grid() {
    for (seed, size) in [1e-7f32, 3e-7, 1e-6, 3e-6, 1e-5, 3e-5].into_iter().enumerate() {
        let mut w = weights(Shape::Gaussian, seed as u64);
        w.iter_mut().for_each(|x| *x *= size / 0.02);
        let subnormal = store(&w, F16);
        for (values, stored) in [(&w, F16), (&subnormal, F32), (&subnormal, Bf16)] {
            let found = look(values, stored);
            assert!(!found.is_found(), "{size} in {stored}: {}", found.note());
        }
    }
}

#[test]
fn a_lattice_of_few_bits_in_blocks_of_another_size_is_not_said_to_be_requantized() {
    for (top, shape) in [(7.0, Shape::Gaussian), (3.0, Shape::Gaussian), (7.0, Shape::StudentT)] {
        let made = per_block(&weights(shape, 5), N_PER_ROW, |row| symmetric(row, 48, top, |d| d));
        for stored in [F32, F16, Bf16] {
            let found = look(&made, stored);
            let requantized = matches!(&found.grid, BlockGrid::Lattice(l) if l.requantized.is_some());
            assert!(!requantized, "±{top} in {stored}: {}", found.note());
        }
    }
}

#[test]
fn norms_sparse_tensors_and_repeated_rows_lie_on_no_grid() {
    let mut rng = Pcg64::new(77, 1);
    for n in [192, 576, 640, 1024, 4096] {
        for (mean, sigma) in [(1.0, 0.1), (0.0, 0.3), (3.0, 1.0), (0.1, 0.02)] {
            let norm: Vec<f32> = (0..n).map(|_| (mean + sigma * gaussian(&mut rng)) as f32).collect();
            for stored in [F32, F16, Bf16] {
                let held = store(&norm, stored);
                let found = search(&held, n, &census(&held, stored));
                assert!(!found.is_found(), "{n} around {mean} in {stored}: {}", found.note());
            }
        }
    }
    let sparse: Vec<f32> =
        weights(Shape::Gaussian, 20).iter().enumerate().map(|(i, x)| if i * 7 % 10 < 9 { 0.0 } else { *x }).collect();
    let repeated: Vec<f32> = weights(Shape::Gaussian, 21)[..N_PER_ROW].repeat(ROWS);
    for stored in [F32, F16, Bf16] {
        for made in [&sparse, &repeated] {
            let found = look(made, stored);
            assert!(!found.is_found(), "{stored}: {}", found.note());
        }
    }
}

#[test]
fn what_cannot_be_told_is_not_decidable_with_the_reason() {
    let why = |values: &[f32]| search(values, values.len().max(1), &census(values, F32)).note();
    assert_eq!(why(&[0.5; 20]), "not decidable: too few values for a grid of blocks to show");
    assert_eq!(why(&[0.0; 2000]), "not decidable: every value is zero");
    assert_eq!(why(&[0.5; 2000]), "not decidable: all values are equal (0.5)");
    assert_eq!(why(&[]), "not decidable: too few values for a grid of blocks to show");
    assert!(why(&[f32::NAN; 2000]).starts_with("not decidable: "));
    let gemma: Vec<f32> =
        weights(Shape::Gaussian, 9)[..640].iter().map(|g| bf16::from_f32(*g).to_f32() + 1.0).collect();
    assert!(why(&gemma).starts_with("not decidable: the converter's constant"));
}

#[test]
fn ternary_weights_have_few_levels() {
    let w = weights(Shape::Gaussian, 30);
    let ternary = per_block(&w, 256, |b| {
        let d = half(b.iter().map(|x| x.abs()).sum::<f32>() / 256.0);
        b.iter().map(|x| d * (x / d).round().clamp(-1.0, 1.0)).collect()
    });
    for stored in [F32, F16, Bf16] {
        let found = look(&ternary, stored);
        assert!(matches!(&found.grid, BlockGrid::FewLevels(f) if f.levels == 3), "{stored}: {}", found.note());
    }
}

/// Floats of this many significant bits over a scale for each row.
fn scaled_floats(values: &[f32], significant_bits: u32) -> Vec<f32> {
    let drop = 24 - significant_bits;
    per_block(values, N_PER_ROW, |row| {
        let d = extreme(row).abs() / 448.0;
        let float = |x: f32| f32::from_bits((x.to_bits() + (1 << (drop - 1))) >> drop << drop);
        row.iter().map(|x| float(x / d) * d).collect()
    })
}

#[test]
fn floats_of_few_bits_with_a_scale_of_any_value_for_each_row_are_told_from_lattices() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let w = weights(shape, 40 + seed as u64);
        for stored in [F32, F16, Bf16] {
            for bits in [3, 4] {
                let found = look(&scaled_floats(&w, bits), stored);
                let is_it = matches!(&found.grid, BlockGrid::ScaledFloat(s) if s.significant_bits == bits && s.extent == BlockExtent::Whole);
                assert!(is_it, "{bits} bits, {shape:?} in {stored}: {}", found.note());
            }
        }
    }
}

#[test]
fn a_table_down_the_columns_is_found_there() {
    let w = weights(Shape::Gaussian, 44);
    let transposed: Vec<f32> = (0..w.len()).map(|i| w[i % ROWS * N_PER_ROW + i / ROWS]).collect();
    let made = codebook(&transposed, 64, "NF4", |d| d);
    let back: Vec<f32> = (0..w.len()).map(|i| made[i % N_PER_ROW * ROWS + i / N_PER_ROW]).collect();
    let found = look(&back, F16);
    assert!(
        matches!(&found.grid, BlockGrid::Codebook(t) if t.name == "NF4" && t.axis == Axis::Column),
        "{}",
        found.note()
    );
}

#[test]
fn the_tables_of_iq_types_are_told_from_integer_lattices() {
    let w = weights(Shape::StudentT, 45);
    for stored in [F32, F16, Bf16] {
        for (name, size) in [("IQ2", 16), ("IQ3_XXS", 32), ("IQ3_S", 32)] {
            assert_eq!(look(&codebook(&w, size, name, half), stored).name(), format!("{name} codebook"), "{stored}");
        }
    }
}

#[test]
fn weights_around_one_that_storage_leaves_few_levels_lie_on_no_grid() {
    for (seed, sigma) in [(50, 1.0), (51, 3.0), (52, 8.0)] {
        let ones: Vec<f32> = weights(Shape::Gaussian, seed).iter().map(|x| 1.0 + sigma * x).collect();
        let found = look(&ones, Bf16);
        assert!(!found.is_found(), "{}", found.note());
    }
}

#[test]
fn what_storage_and_arithmetic_erase_stays_open_and_is_said() {
    let w = weights(Shape::Gaussian, 60);
    let open = |values: &[f32], stored| {
        let held = store(values, stored);
        let census = census(&held, stored);
        undecided(&census, &search(&held, N_PER_ROW, &census))
    };
    assert_eq!(open(&w, F32), [Undecided::DestroyedLattice]);
    assert_eq!(open(&w, F16), [Undecided::FinerThanF16, Undecided::DestroyedLattice]);
    assert_eq!(open(&w, Bf16), [Undecided::FinerThanBf16, Undecided::DestroyedLattice]);
    assert_eq!(open(&q4_0(&w), F16), [Undecided::FinerLattice]);
    assert_eq!(open(&q8_0(&w), F16), [], "eight bits leave no room for a finer grid");
    assert_eq!(open(&q8_0(&q4_0(&w)), F16), [], "it shows");
}

#[test]
fn a_grid_in_some_of_the_rows_is_found_with_their_share() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let w = weights(shape, 70 + seed as u64);
        let held = q4_0(&w);
        let every = |n: usize| -> Vec<f32> {
            (0..w.len()).map(|i| if (i / N_PER_ROW).is_multiple_of(n) { held[i] } else { w[i] }).collect()
        };
        for stored in [F32, F16, Bf16] {
            let found = look(&every(2), stored);
            let BlockGrid::InPart(part) = &found.grid else { panic!("{shape:?} in {stored}: {}", found.note()) };
            assert_eq!((part.like().as_str(), part.extent), ("Q4_0", BlockExtent::Block(32)), "{shape:?} in {stored}");
            let share = part.blocks.hits as f64 / part.blocks.n as f64;
            assert!((share - 0.5).abs() < 0.2, "{shape:?} in {stored}: {share}");
            assert_eq!(found.bits(), None);
            let few = look(&every(16), stored);
            assert!(!few.is_found(), "{shape:?} in {stored}: {}", few.note());
        }
    }
}

#[test]
fn rows_of_few_values_in_no_blocks_are_of_low_cardinality() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let w = weights(shape, 80 + seed as u64);
        // Groups of 128 columns with a step each, spread over the row.
        let column = |i: usize| i * 173 % N_PER_ROW;
        let strewn = per_block(&w, N_PER_ROW, |row| {
            let gathered: Vec<f32> = (0..N_PER_ROW).map(|i| row[column(i)]).collect();
            let held = symmetric(&gathered, 128, 7.0, |d| d);
            let mut back = vec![0.0; N_PER_ROW];
            (0..N_PER_ROW).for_each(|i| back[column(i)] = held[i]);
            back
        });
        for stored in [F32, F16, Bf16] {
            let found = look(&strewn, stored);
            assert!(matches!(&found.grid, BlockGrid::LowCardinality(_)), "{shape:?} in {stored}: {}", found.note());
            assert_eq!(found.bits(), None);
        }
    }
}

#[test]
fn a_filter_bank_is_not_said_to_be_requantized() {
    // Triangles of growing width over 201 frequencies, as speech models keep them: most values are zero.
    let corner = |k: usize| if k < 26 { k as f64 * 3.0 } else { 78.0 * libm::pow(1.0125, (k - 26) as f64) };
    let bank: Vec<f32> = (0..80)
        .flat_map(|k| {
            let (low, middle, high) = (corner(k), corner(k + 1), corner(k + 2));
            (0..201).map(move |i| {
                let f = f64::from(i as u32);
                let rise = ((f - low) / (middle - low)).min((high - f) / (high - middle)).max(0.0);
                (rise * 2.0 / (high - low)) as f32
            })
        })
        .collect();
    for stored in [F32, F16] {
        let values = store(&bank, stored);
        let found = search(&values, 201, &census(&values, stored));
        assert!(!found.note().contains("requantized"), "{stored}: {}", found.note());
    }
}

#[test]
fn a_mask_of_zeros_and_ones_has_at_most_two_levels() {
    let mask: Vec<f32> = (0..256 * 256).map(|i| f32::from(u8::from(i % 256 <= i / 256))).collect();
    let found = search(&mask, 256, &census(&mask, F32));
    let name = found.name();
    assert!(["at most 2 levels", "none found", "not decidable"].contains(&name.as_str()), "{}", found.note());
}

#[test]
fn powers_of_two_have_one_significant_bit_and_as_many_bits_as_name_them() {
    let powers: Vec<f32> = (0..64 * 128usize).map(|i| 2f32.powi(-1 - (i * 37 % 61 % 8) as i32)).collect();
    let found = search(&powers, 128, &census(&powers, F32));
    assert_eq!((found.name().as_str(), found.bits()), ("power-of-two-like", Some(3.0)), "{}", found.note());
    let signed: Vec<f32> = powers.iter().enumerate().map(|(i, x)| if i % 3 == 0 { -x } else { *x }).collect();
    let found = search(&signed, 128, &census(&signed, F32));
    assert_eq!((found.name().as_str(), found.bits()), ("power-of-two-like", Some(4.0)), "{}", found.note());
}

#[test]
fn what_a_float_format_needs_is_open_where_values_are_too_alike() {
    let open = |values: &[f32]| census(values, F32).open();
    assert_eq!(open(&[0.0; 300]).as_deref(), Some("every value is zero"));
    assert_eq!(open(&[f32::NAN; 300]).as_deref(), Some("no value is finite"));
    assert_eq!(open(&[0.1; 300]).as_deref(), Some("all values are equal (0.1)"));
    assert_eq!(open(&[1.0; 300]).as_deref(), Some("all values are equal (1)"));
    assert_eq!(open(&[1.0, 0.5]).as_deref(), Some("they are too few or too alike"));
    assert_eq!(open(&weights(Shape::Gaussian, 90)), None);
    assert_eq!(open(&store(&weights(Shape::Gaussian, 91), Bf16)), None);
    assert_eq!(open(&[]), None);
}
