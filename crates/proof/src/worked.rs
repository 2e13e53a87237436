//! The worked values of docs/metrics.md, computed with the code that a run uses.

use crate::check::{Area, Check, Tally};
use crate::scorer::Scorer;
use eval::{RoutedLayer, routing};
use lab::judge::evidence::{References, floor};
use record::Cell;
use record::metric::{TOKEN_BYTES, sums};
use record::store::CellSamples;
use record::{Arm, Base, Column, ReferenceSample, Sample};
use record::{CellExtent, Measured, Role, StageName};
use std::collections::BTreeMap;

/// The page. Its lines ``Worked: … `name` = value, …`` are the claims.
const PAGE: &str = include_str!("../../../docs/metrics.md");

/// Half a unit of the sixth digit. The page prints six digits, and the rounding of F32 logits is 1e-7.
const RELATIVE_TOLERANCE: f64 = 5e-6;

const N_CHUNKS: usize = 8;

/// The logits of the reference and of the variant over two tokens. Only differences between logits matter.
fn position(kind: Kind) -> ([f32; 2], [f32; 2]) {
    // ln 3, nearest in F32.
    let three = 1.098_612_3;
    match kind {
        Kind::A => ([three, 0.0], [0.0, 0.0]),
        Kind::B => ([0.0, 0.0], [0.0, 0.0]),
        Kind::C => ([three, 0.0], [0.0, three]),
    }
}

/// The two of four experts that a router of the page's mixture chooses.
fn experts(kind: Kind, layer: usize, is_variant: bool) -> [i32; 2] {
    match (kind, layer) {
        (Kind::A, 0) if is_variant => [1, 0],
        (Kind::A, _) if is_variant => [0, 2],
        (Kind::C, 0) if is_variant => [2, 3],
        (Kind::C, _) if is_variant => [1, 2],
        _ => [0, 1],
    }
}

/// The choices of both routers at positions of these kinds.
fn routed(kinds: &[Kind], is_variant: bool) -> Vec<RoutedLayer> {
    let chosen = |layer| kinds.iter().flat_map(move |&kind| experts(kind, layer, is_variant));
    (0..2).map(|layer| RoutedLayer { layer, n_used: 2, experts: chosen(layer).collect() }).collect()
}

/// The three kinds of position on the page.
#[derive(Clone, Copy)]
enum Kind {
    A,
    B,
    C,
}

/// The kinds of the two positions of a window.
fn kinds(chunk: usize) -> [Kind; 2] {
    match chunk {
        7 => [Kind::C, Kind::A],
        c if c % 2 == 0 => [Kind::A, Kind::B],
        _ => [Kind::A, Kind::A],
    }
}

/// The reference and the sample of a window with positions of these kinds.
fn scored(scorer: &dyn Scorer, chunk: usize, kinds: &[Kind]) -> Result<(ReferenceSample, Sample), String> {
    let rows: Vec<_> = kinds.iter().map(|&kind| position(kind)).collect();
    let reference: Vec<f32> = rows.iter().flat_map(|row| row.0).collect();
    let variant: Vec<f32> = rows.iter().flat_map(|row| row.1).collect();
    let scored = scorer.compare(2, &vec![0; kinds.len()], &reference, &variant);
    let (mut of_reference, columns) = scored.map_err(|error| error.to_string())?;
    let (chosen, by_variant) = (routed(kinds, false), routed(kinds, true));
    let routers = routing::compare(&chosen, &by_variant, kinds.len(), 0).map_err(|error| error.to_string())?;
    // The first token of a window stands for two bytes of text, the second for three.
    of_reference.set(TOKEN_BYTES, Column::Counts((2..).take(kinds.len()).collect()));
    let logits_blake3 = format!("window {chunk}");
    let reference_blake3 = logits_blake3.clone();
    let reference = ReferenceSample { chunk, tokens: vec![0; 4], logits_blake3, columns: of_reference };
    let cell = "example".into();
    let (nodes, residual) = (Vec::new(), Vec::new());
    Ok((reference, Sample { cell, chunk, reference_blake3, columns, activations: None, nodes, residual, routers }))
}

/// The numbers of a cell measured on the page's eight windows.
fn measured(scorer: &dyn Scorer) -> Result<Measured, String> {
    let chunks: Vec<usize> = (0..N_CHUNKS).collect();
    let cell = Cell {
        key: "example".into(),
        stage: StageName::of("all_layers"),
        extent: CellExtent::Whole,
        role: Role::Variant,
        target: "ffn_norm".into(),
        scheme: "bf16".into(),
        layers: Vec::new(),
        base: Base { arm: Arm::Exact, carried: Vec::new() },
        edits: Vec::new(),
        chunks: chunks.clone(),
    };
    let (mut references, mut samples) = (References::new(), CellSamples::default());
    for chunk in chunks {
        let (reference, sample) = scored(scorer, chunk, &kinds(chunk))?;
        references.insert(chunk, reference);
        samples.by_chunk.insert(chunk, sample);
    }
    let record = scorer.derive(&cell, &samples, &references, None).map_err(|error| error.to_string())?;
    record.measured.ok_or_else(|| "nothing was measured".to_owned())
}

/// The samples of a jitter seed whose KLD is the same at every position.
fn jitter(scorer: &dyn Scorer, kld: f64) -> Result<CellSamples, String> {
    let sample = |chunk| {
        let (_, mut sample) = scored(scorer, chunk, &[Kind::A, Kind::A])?;
        sample.columns.set("kld", Column::F64(vec![kld; 2]));
        Ok((chunk, sample))
    };
    Ok(CellSamples { applied: None, by_chunk: (0..N_CHUNKS).map(sample).collect::<Result<_, String>>()? })
}

/// The values that the code computes for the page's example, by the names of the page.
///
/// # Errors
/// In words, when it cannot compute one.
pub fn computed(scorer: &dyn Scorer) -> Result<BTreeMap<&'static str, f64>, String> {
    let m = measured(scorer)?;
    let chunks: Vec<usize> = (0..N_CHUNKS).collect();
    let seeds = [(1, &jitter(scorer, 0.01)?), (2, &jitter(scorer, 0.02)?)];
    let floor = floor(&chunks, m.kld().mean, &seeds, "ffn_norm").ok_or("no floor")?;
    let difference = numerics::difference(&[3.0, 4.0], &[3.0, 3.5]);
    let census = lineage::census(&[1.5, -0.75, 3.0], lineage::StoredPrecision::F32);
    let ctx = numerics::TensorContext { name: "t", n_per_row: 4 };
    let scheme: numerics::Scheme = "fp8_e4m3".parse().map_err(|error: numerics::SchemeError| error.to_string())?;
    let predicted = lineage::predict(&scheme, &[448.0, 460.0, 470.0, 1e-9], &ctx, &numerics::PlainCodec);
    let predicted = predicted.map_err(|error| error.to_string())?;
    let first = |kind| scored(scorer, 0, &[kind]).map(|(_, sample)| sample.kld().first().copied().unwrap_or(f64::NAN));
    // Every number of the table of metrics; the page must have each of them.
    let metrics = sums().map(|(_, sum)| (sum.key, m.values().get(sum.key).unwrap_or(f64::NAN)));
    let others = [
        ("kld_at_a", first(Kind::A)?),
        ("kld_at_c", first(Kind::C)?),
        ("floor_kld_mean_max", floor.kld_mean_max),
        ("floor_ratio", floor.ratio.unwrap_or(f64::NAN)),
        ("changed", difference.changed as f64),
        ("rmse", difference.rmse),
        ("rel_rmse", difference.rel_rmse),
        ("sqnr_db", difference.sqnr_db),
        ("cosine", difference.cosine),
        ("saturated", predicted.saturated.map_or(f64::NAN, |n| n as f64)),
        ("zeroed", predicted.zeroed as f64),
        ("overflowed", predicted.overflowed as f64),
        ("evidence_bits", census.evidence_bits),
    ];
    Ok(metrics.chain(others).collect())
}

/// Every `` `name` = value `` of the page's `Worked:` lines.
///
/// # Errors
/// When a value is not a number or a name stands there twice; it names the first.
pub fn claimed() -> Result<BTreeMap<String, f64>, String> {
    let mut claims = BTreeMap::new();
    for line in PAGE.lines().filter_map(|line| line.strip_prefix("Worked: ")) {
        let mut parts = line.split('`').skip(1);
        while let (Some(name), Some(rest)) = (parts.next(), parts.next()) {
            let value = rest.trim_start_matches(" = ").split([',', ';', ' ']).next().unwrap_or_default();
            let value = value.parse().map_err(|_| format!("{name}: {rest:?} is not a number"))?;
            if claims.insert(name.to_string(), value).is_some() {
                return Err(format!("{name} is claimed twice"));
            }
        }
    }
    Ok(claims)
}

/// The number of checks that [`checks`] makes.
pub(crate) const N_CHECKS: usize = 2;

/// Makes the checks of the numbers that results consist of.
pub fn checks(scorer: &dyn Scorer, put: &mut dyn FnMut(Check)) {
    put(check(scorer));
    put(nonfinite_is_refused(scorer));
}

/// Checks that a logit that is not finite has no score and that its row is named, whichever side it is on.
fn nonfinite_is_refused(scorer: &dyn Scorer) -> Check {
    let mut tally = Tally::default();
    let whole = [0.5f32; 12];
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut broken = whole;
        broken[7] = bad;
        for (reference, variant) in [(&broken, &whole), (&whole, &broken)] {
            let scored = scorer.compare(4, &[0, 1, 2], reference, variant);
            let named = scored.as_ref().is_err_and(|error| error.row == 1);
            tally.hold(named, || format!("a logit of row 1 is {bad}, but the answer was {scored:?}"));
        }
    }
    tally.check(Area::Metrics, "non-finite logits are refused", &["what a run uses", "its contract"])
}

/// Checks the page's values against the code's.
pub fn check(scorer: &dyn Scorer) -> Check {
    let mut tally = Tally::default();
    match (computed(scorer), claimed()) {
        (Ok(computed), Ok(claimed)) => {
            for name in claimed.keys().filter(|name| !computed.contains_key(name.as_str())) {
                tally.hold(false, || format!("the page has a worked {name}, which the code does not compute"));
            }
            for (name, value) in computed {
                let claim = claimed.get(name).copied().unwrap_or(f64::NAN);
                let near = (value - claim).abs() <= RELATIVE_TOLERANCE * claim.abs();
                tally.hold(near, || format!("{name}: the page says {claim}, the code {value}"));
            }
        }
        (Err(why), _) | (_, Err(why)) => tally.could_not(why),
    }
    let bit_equal = scored(scorer, 0, &[Kind::B]);
    tally.hold(matches!(&bit_equal, Ok((_, sample)) if sample.kld() == [0.0] && sample.n_changed() == 0), || {
        format!("a position without any changed bit: {bit_equal:?}")
    });
    tally.check(Area::Metrics, "worked values of docs/metrics.md", &["what a run uses", "worked by hand"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Status;
    use crate::scorer::Scores;

    #[test]
    fn every_worked_value_of_the_page_is_what_the_code_computes() {
        let check = check(&Scores);
        assert_eq!(check.status, Status::Passed, "{}", check.detail);
        let (computed, claimed) = (computed(&Scores).expect("computes"), claimed().expect("numbers"));
        let names: Vec<&str> = claimed.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            computed.keys().copied().collect::<Vec<_>>(),
            "the page and this module name the same values"
        );
    }
}
