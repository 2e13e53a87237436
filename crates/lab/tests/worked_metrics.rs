//! The worked values of docs/metrics.md, computed by the code that a run uses.

use eval::ReferenceWindow;
use lab::cell::Cell;
use lab::evidence::{derive, floor};
use lab::protocol::{Arm, Base, Sample};
use lab::record::{Measured, Predicted, Role, Stage};
use lab::store::CellSamples;
use std::collections::BTreeMap;

/// The page, whose lines `Worked: … `name` = value, …` are the claims.
const PAGE: &str = include_str!("../../../docs/metrics.md");

/// Half a unit of the sixth digit, which is what the page prints, and F32 logits: 1e-7.
const RELATIVE_TOLERANCE: f64 = 5e-6;

const N_CHUNKS: usize = 8;

/// Logits of the reference and of the variant over two tokens; only differences between logits matter.
fn position(kind: char) -> ([f32; 2], [f32; 2]) {
    let three = 3.0f32.ln();
    match kind {
        'A' => ([three, 0.0], [0.0, 0.0]),
        'B' => ([0.0, 0.0], [0.0, 0.0]),
        'C' => ([three, 0.0], [0.0, three]),
        _ => unreachable!("the example has three kinds"),
    }
}

fn kinds(chunk: usize) -> [char; 2] {
    match chunk {
        7 => ['C', 'A'],
        c if c % 2 == 0 => ['A', 'B'],
        _ => ['A', 'A'],
    }
}

fn scored(chunk: usize, kinds: &[char]) -> Sample {
    let rows: Vec<_> = kinds.iter().map(|&kind| position(kind)).collect();
    let reference: Vec<f32> = rows.iter().flat_map(|row| row.0).collect();
    let variant: Vec<f32> = rows.iter().flat_map(|row| row.1).collect();
    let mut window = ReferenceWindow::default();
    window.set(&reference, 2, &vec![0; kinds.len()]).expect("finite logits");
    let scores = window.compare(&variant).expect("finite logits");
    Sample {
        cell: "example".into(),
        chunk,
        nll: scores.nll,
        nll_ref: window.nll(),
        kld: scores.kld,
        same_top: scores.same_top,
        logits_changed: scores.logits_changed,
        activations: None,
    }
}

fn measured() -> Measured {
    let chunks: Vec<usize> = (0..N_CHUNKS).collect();
    let cell = Cell {
        key: "example".into(),
        stage: Stage::AllLayers,
        role: Role::Variant,
        target: "ffn_norm".into(),
        scheme: "bf16".into(),
        layers: Vec::new(),
        base: Base { arm: Arm::Exact, carried: Vec::new() },
        edits: Vec::new(),
        chunks: chunks.clone(),
    };
    let by_chunk = chunks.iter().map(|&chunk| (chunk, scored(chunk, &kinds(chunk)))).collect();
    let samples = CellSamples { applied: None, by_chunk };
    let predicted = Predicted { n: 0, changed: 0, zero_sign: 0 };
    derive(&cell, &samples, &predicted).expect("all windows are there").measured.expect("measured")
}

/// A seed whose KLD is the same everywhere.
fn jitter(kld: f64) -> CellSamples {
    let sample = |chunk| (chunk, Sample { kld: vec![kld; 2], ..scored(chunk, &['A', 'A']) });
    CellSamples { applied: None, by_chunk: (0..N_CHUNKS).map(sample).collect() }
}

fn computed() -> BTreeMap<&'static str, f64> {
    let m = measured();
    let chunks: Vec<usize> = (0..N_CHUNKS).collect();
    let floor = floor(&chunks, m.kld.mean, &[(1, &jitter(0.01)), (2, &jitter(0.02))], "ffn_norm").expect("all windows");
    let difference = numerics::difference(&[3.0, 4.0], &[3.0, 3.5]);
    let census = lineage::census(&[1.5, -0.75, 3.0], lineage::StoredPrecision::F32);
    assert_eq!(census.effective, lineage::Effective::Bf16);
    assert_eq!(m.n_tokens, 2 * N_CHUNKS);
    BTreeMap::from([
        ("nll_mean", m.ppl.ln()),
        ("ppl", m.ppl),
        ("ppl_ref", m.ppl_ref),
        ("dlnppl", m.dlnppl.mean),
        ("dlnppl_se", m.dlnppl.se.expect("eight chunks")),
        ("dlnppl_se_iid", m.dlnppl.se_iid),
        ("ppl_ratio", m.dlnppl.mean.exp()),
        ("kld_at_a", scored(0, &['A']).kld[0]),
        ("kld_at_c", scored(0, &['C']).kld[0]),
        ("kld_mean", m.kld.mean),
        ("kld_se", m.kld.se.expect("eight chunks")),
        ("kld_se_iid", m.kld.se_iid),
        ("kld_median", m.kld_median),
        ("kld_p99", m.kld_p99),
        ("kld_max", m.kld_max),
        ("same_top", m.same_top),
        ("logits_changed", m.logits_changed as f64),
        ("floor_kld_mean_max", floor.kld_mean_max),
        ("floor_ratio", floor.ratio.expect("a floor above zero")),
        ("changed", difference.changed as f64),
        ("rmse", difference.rmse),
        ("rel_rmse", difference.rel_rmse),
        ("sqnr_db", difference.sqnr_db),
        ("cosine", difference.cosine),
        ("evidence_bits", census.evidence_bits),
    ])
}

/// Every `` `name` = value `` of the page's `Worked:` lines.
fn claimed() -> BTreeMap<String, f64> {
    let mut claims = BTreeMap::new();
    for line in PAGE.lines().filter_map(|line| line.strip_prefix("Worked: ")) {
        let mut parts = line.split('`').skip(1);
        while let (Some(name), Some(rest)) = (parts.next(), parts.next()) {
            let value = rest.trim_start_matches(" = ").split([',', ';', ' ']).next().unwrap_or_default();
            let value = value.parse().unwrap_or_else(|_| panic!("{name}: {rest:?} is no number"));
            assert!(claims.insert(name.to_string(), value).is_none(), "{name} is claimed twice");
        }
    }
    claims
}

#[test]
fn every_worked_value_of_the_page_is_what_the_code_computes() {
    let (computed, claimed) = (computed(), claimed());
    let names: Vec<&str> = claimed.keys().map(String::as_str).collect();
    assert_eq!(names, computed.keys().copied().collect::<Vec<_>>(), "the page and this test name the same values");
    for (name, claim) in &claimed {
        let value = computed[name.as_str()];
        assert!(
            (value - claim).abs() <= RELATIVE_TOLERANCE * claim.abs(),
            "{name}: the page says {claim}, the code {value}"
        );
    }
}

#[test]
fn a_position_without_any_changed_bit_diverges_by_exactly_zero() {
    let sample = scored(0, &['B']);
    assert_eq!((sample.kld[0], sample.logits_changed), (0.0, 0));
}
