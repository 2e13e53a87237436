//! A tensor that is quantized piece by piece comes out as it would in the whole, whatever the scheme and wherever it is
//! cut.

use numerics::{
    BlockCodec, CodebookTable, FakeQuantError, FileContents, Holder, PlainCodec, Scheme, TensorContext, TensorShape,
    Together,
};
use proptest::prelude::*;
use std::sync::Arc;

const NAME: &str = "blk.0.ffn_up.weight";

/// Every format with a scale or a rounding, with every granularity, rounding, scale and clip that it has.
fn schemes() -> Vec<Scheme> {
    let formats = [
        "bf16",
        "f16",
        "tf32",
        "fp8_e4m3",
        "fp8_e5m2",
        "fp4_e2m1",
        "e3m0",
        "int4",
        "int8",
        "int4:asym",
        "int8:zeropoint",
        "int3:fullrange",
        "nf4",
        "fp4",
        "iq4_nl",
        "mxfp4",
        "mxfp8_e5m2",
        "mxint8",
        "nvfp4",
        "ggml:f16",
        "identity",
        "zero",
        "jitter",
        "jitter:seed=7",
        "noise(20)",
        "noise(3):seed=5",
        "shuffle",
        "shuffle:seed=9",
        "codebook:table=f",
    ];
    let granularities = ["", "@tensor", "@col", "@row", "@block8", "@block40", "@3x5", "@2x1000"];
    let roundings = ["", ":trunc", ":away", ":stochastic", ":stochastic(8)"];
    let ranges = ["", ":clip=mse", ":clip=p99.9", ":clip=p50", ":scale=f16", ":scale=e8m0", ":scale=f16hier"];
    let table = CodebookTable::parse("-3 -1 -0.25 0 0.25 1 2").expect("a table");
    let mut schemes = Vec::new();
    for format in formats {
        let (format, option) =
            format.split_at(format.find(':').filter(|_| format != "ggml:f16").unwrap_or(format.len()));
        for granularity in granularities {
            for rounding in roundings {
                for range in ranges {
                    // The grammar refuses some combinations.
                    let Ok(scheme) = format!("{format}{granularity}{option}{rounding}{range}").parse::<Scheme>() else {
                        continue;
                    };
                    schemes.push(scheme.with_contents("00", FileContents::Table(Arc::new(table.clone()))));
                }
            }
        }
    }
    schemes
}

/// A source of random numbers.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn value(&mut self) -> f32 {
        let unit = self.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0;
        unit * 2f32.powi(self.below(12) as i32 - 6)
    }
}

/// The number of values that come next, after `start` of them: what the scheme can quantize alone, or some of that.
fn next_piece(together: Together, start: usize, shape: TensorShape, draw: &mut Draw) -> usize {
    let (n_per_row, left) = (shape.n_per_row, shape.n() - start);
    let of_rows = |rows: usize, draw: &mut Draw| ((1 + draw.below(3)) * rows * n_per_row).min(left);
    match together {
        Together::Tensor => left,
        Together::Rows(rows) => of_rows(rows as usize, draw),
        Together::Values(_) if start.is_multiple_of(n_per_row) && draw.below(3) == 0 => of_rows(1, draw),
        Together::Values(values) => {
            let of_row = n_per_row - start % n_per_row;
            ((1 + draw.below(of_row)) * values as usize).min(of_row)
        }
    }
}

fn look<'a>(
    scheme: &'a Scheme,
    values: &[f32],
    shape: TensorShape,
    draw: &mut Draw,
) -> Result<Holder<'a>, FakeQuantError> {
    let mut observer = scheme.observer(NAME, shape)?;
    for _ in 0..scheme.passes(shape) {
        let mut start = 0;
        while start < values.len() {
            let n = next_piece(Together::Values(1), start, shape, draw);
            observer.see(&values[start..start + n])?;
            start += n;
        }
    }
    observer.holder()
}

fn in_pieces(scheme: &Scheme, values: &[f32], n_per_row: usize, draw: &mut Draw) -> Result<Vec<f32>, FakeQuantError> {
    let shape = TensorShape::matrix(n_per_row, values.len() / n_per_row);
    let holder = look(scheme, values, shape, draw)?;
    let mut pieces = Vec::new();
    let mut start = 0;
    while start < values.len() {
        let n = next_piece(scheme.together(), start, shape, draw);
        pieces.push((start, values[start..start + n].to_vec()));
        start += n;
    }
    // In any order. Of several errors, the first by position is the one that the whole tensor reports.
    let held: Vec<_> = pieces.iter_mut().rev().map(|(start, piece)| holder.hold(*start, piece, &PlainCodec)).collect();
    held.into_iter().rev().collect::<Result<(), _>>()?;
    Ok(pieces.into_iter().flat_map(|(_, piece)| piece).collect())
}

fn at_once(scheme: &Scheme, values: &[f32], n_per_row: usize) -> Result<Vec<f32>, FakeQuantError> {
    let mut out = values.to_vec();
    scheme.fake_quantize(&mut out, &TensorContext { name: NAME, n_per_row }, &PlainCodec).map(|()| out)
}

/// Checks that both ways give the same bits, or the same error.
fn alike(scheme: &Scheme, values: &[f32], n_per_row: usize, draw: &mut Draw) -> Result<(), String> {
    let whole = at_once(scheme, values, n_per_row);
    match (&whole, in_pieces(scheme, values, n_per_row, draw)) {
        (Ok(whole), Ok(pieces)) => match whole.iter().zip(&pieces).position(|(a, b)| a.to_bits() != b.to_bits()) {
            None if whole.len() == pieces.len() => Ok(()),
            None => Err(format!("{scheme}: {} values became {}", whole.len(), pieces.len())),
            Some(i) => Err(format!(
                "{scheme}, rows of {n_per_row}: value {i} of {}, {:e}, became {:e}, in pieces {:e}",
                values.len(),
                values[i],
                whole[i],
                pieces[i]
            )),
        },
        (Err(whole), Err(pieces)) if *whole == pieces => Ok(()),
        (whole, pieces) => Err(format!("{scheme}: {whole:?}, in pieces {pieces:?}")),
    }
}

#[test]
fn every_scheme_gives_the_same_bits_in_pieces_as_at_once() {
    let (schemes, mut draw) = (schemes(), Draw(1));
    let weights = |n: usize, draw: &mut Draw| -> Vec<f32> { (0..n).map(|_| draw.value()).collect() };
    let tensors = [
        (weights(7 * 96, &mut draw), 96),
        (weights(11 * 43, &mut draw), 43),
        (weights(50, &mut draw), 50),
        (weights(50, &mut draw), 1),
        (vec![0.3; 6 * 20], 20),
        (vec![-0.0; 4 * 9], 9),
        (Vec::new(), 5),
    ];
    let mut kinds = [0; 3];
    for scheme in &schemes {
        kinds[match scheme.together() {
            Together::Values(_) => 0,
            Together::Rows(_) => 1,
            Together::Tensor => 2,
        }] += 1;
        for (values, n_per_row) in &tensors {
            alike(scheme, values, *n_per_row, &mut draw).unwrap_or_else(|why| panic!("{why}"));
        }
    }
    // Few schemes need the whole tensor: shuffle of all values or of columns, and noise on columns.
    assert!(kinds[0] > 300 && kinds[1] > 300 && kinds[2] == 8, "{kinds:?}");
}

#[test]
fn values_that_are_kept_or_refused_are_so_in_pieces() {
    let mut draw = Draw(2);
    let mut values: Vec<f32> = (0..8 * 30).map(|_| draw.value()).collect();
    let nothing_finite = [f32::NAN; 60];
    (values[77], values[78], values[200]) = (f32::NEG_INFINITY, f32::from_bits(0x7fc1_2345), f32::INFINITY);
    for scheme in schemes() {
        let keeping = scheme.clone().with_nonfinite(numerics::Nonfinite::Keep);
        alike(&keeping, &values, 30, &mut draw).unwrap_or_else(|why| panic!("{why}"));
        alike(&keeping, &nothing_finite, 30, &mut draw).unwrap_or_else(|why| panic!("{why}"));
        if scheme != Scheme::identity() {
            let shape = TensorShape::matrix(30, 8);
            let refused = look(&scheme, &values, shape, &mut draw)
                .and_then(|holder| holder.hold(0, &mut values.clone(), &PlainCodec));
            assert!(matches!(refused, Err(FakeQuantError::Nonfinite { index: 77, .. })), "{scheme}: {refused:?}");
        }
    }
}

/// Tensors larger than the chunks that draws come in, than the batches of threads, and than what is tried at once for a
/// column.
#[test]
fn large_tensors_give_the_same_bits_in_pieces_as_at_once() {
    let mut draw = Draw(3);
    let values: Vec<f32> = (0..600 * 500).map(|_| draw.value()).collect();
    for text in [
        "jitter",
        "noise(30)",
        "noise(30)@row",
        "noise(30)@3x100",
        "bf16:stochastic",
        "int8@tensor",
        "int4@tensor:clip=mse",
        "int4@tensor:clip=p99.9",
        "int4@col:clip=p90",
        "int4@col:asym:stochastic",
        "nvfp4:stochastic",
    ] {
        let scheme: Scheme = text.parse().expect(text);
        for n_per_row in [600, 300_000] {
            alike(&scheme, &values, n_per_row, &mut draw).unwrap_or_else(|why| panic!("{why}"));
        }
    }
    // With this many columns one pass tries only some candidates, and finds only a few bits of a rank.
    let columns = 1 << 18;
    let values = &values[..columns];
    for (text, passes) in [("int4@col:clip=mse", 14), ("int4@col:clip=p50", 16)] {
        let scheme: Scheme = text.parse().expect(text);
        assert_eq!(scheme.passes(TensorShape::matrix(columns, 1)), passes, "{text}");
        alike(&scheme, values, columns, &mut draw).unwrap_or_else(|why| panic!("{why}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn any_bit_patterns_give_the_same_bits_in_pieces_as_at_once(
        seed in any::<u64>(), n_per_row in 1usize..60, rows in 1usize..9, pick in any::<prop::sample::Index>(),
        patterns in prop::collection::vec(any::<u32>(), 60 * 9),
    ) {
        let schemes = schemes();
        let values: Vec<f32> = patterns[..n_per_row * rows].iter().map(|&bits| f32::from_bits(bits)).collect();
        let finite: Vec<f32> = values.iter().map(|x| if x.is_finite() { *x } else { 1.0 }).collect();
        let scheme = pick.get(&schemes);
        let mut draw = Draw(seed);
        prop_assert_eq!(alike(scheme, &finite, n_per_row, &mut draw), Ok(()));
        let keeping = scheme.clone().with_nonfinite(numerics::Nonfinite::Keep);
        prop_assert_eq!(alike(&keeping, &values, n_per_row, &mut draw), Ok(()));
    }
}

#[test]
fn values_that_are_not_a_piece_or_were_not_seen_are_refused() {
    let shape = TensorShape::matrix(32, 6);
    let codec: &dyn BlockCodec = &PlainCodec;
    let held = |text: &str, start: usize, n: usize| {
        let scheme: Scheme = text.parse().expect(text);
        look(&scheme, &[0.5; 32 * 6], shape, &mut Draw(4))?.hold(start, &mut vec![0.5; n], codec)
    };
    for (text, start, n) in [
        ("int8@row", 16, 16),
        ("int8@2x8", 32, 64),
        ("mxfp4", 0, 16),
        ("nvfp4", 8, 8),
        ("bf16", 16, 32),
        ("bf16", 160, 64),
        ("shuffle", 0, 96),
        ("noise(20)@col", 96, 96),
        ("bf16", usize::MAX, 32),
    ] {
        let error = held(text, start, n).expect_err(text);
        assert!(matches!(error, FakeQuantError::Part { .. }), "{text}: {error}");
        let values = format!("cannot be applied to values {start}..{} alone", start.saturating_add(n));
        assert!(error.to_string().contains(&values), "{error}");
    }
    for (text, start, n) in [("int8@2x8", 64, 128), ("nvfp4", 16, 16), ("int8@col", 40, 3), ("shuffle@block8", 8, 24)] {
        held(text, start, n).expect(text);
    }
    let scheme: Scheme = "int8@tensor:clip=mse".parse().expect("a scheme");
    let mut observer = scheme.observer(NAME, shape).expect("memory");
    assert!(matches!(observer.see(&[0.5; 200]), Err(FakeQuantError::Part { .. })));
    observer.see(&[0.5; 32 * 6]).expect("finite values");
    assert!(matches!(observer.holder(), Err(FakeQuantError::NotSeen { .. })));
}

#[test]
fn of_several_spans_without_a_scale_the_first_is_named_in_pieces_too() {
    let mut values = vec![0.5; 10 * 8];
    for (row, greatest) in [(2, 3e38), (7, 2e38)] {
        (values[row * 8], values[row * 8 + 5]) = (greatest, -3e38);
    }
    for text in ["int8@2x1000:zeropoint", "int4@row:asym", "int4@block8:zeropoint"] {
        let scheme: Scheme = text.parse().expect(text);
        let wanted = FakeQuantError::RangeOverflow { tensor: NAME.into(), min: -3e38, max: 3e38 };
        assert_eq!(at_once(&scheme, &values, 8), Err(wanted), "{text}");
        alike(&scheme, &values, 8, &mut Draw(6)).unwrap_or_else(|why| panic!("{why}"));
    }
}

#[test]
fn a_span_without_a_scale_is_found_before_anything_is_quantized() {
    let mut values = vec![0.5; 40 * 8];
    (values[3], values[35 * 8 + 3]) = (f32::MAX, f32::MIN);
    for text in ["int8@tensor:asym", "int8@col:zeropoint"] {
        let scheme: Scheme = text.parse().expect(text);
        let error = look(&scheme, &values, TensorShape::matrix(8, 40), &mut Draw(5)).err();
        let wanted = FakeQuantError::RangeOverflow { tensor: NAME.into(), min: f32::MIN, max: f32::MAX };
        assert_eq!(error, Some(wanted), "{text}");
    }
}
