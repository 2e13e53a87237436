//! Faults in scores and in the numbers of a cell.

use crate::{Fault, FaultPlace, Parts};
use eval::{NonFinite, Token};
use lab::judge::evidence::{EvidenceError, References};
use proof::oracle::scores::brute_force;
use proof::{Scorer, Scores};
use record::Cell;
use record::store::CellSamples;
use record::{CellRecord, Column, Columns, Measured, Predicted};
use std::sync::Arc;

type Compared = Result<(Columns, Columns), NonFinite>;

/// A scorer that changes the scores before it hands them on.
struct Faulty {
    /// Scores a window.
    compare: fn(usize, &[Token], &[f32], &[f32]) -> Compared,
    /// Changes the numbers of a cell.
    measured: fn(&mut Measured),
}

const WHOLE: Faulty = Faulty {
    compare: |n_vocab, targets, reference, variant| Scores.compare(n_vocab, targets, reference, variant),
    measured: |_| {},
};

impl Scorer for Faulty {
    fn compare(&self, n_vocab: usize, targets: &[Token], reference: &[f32], variant: &[f32]) -> Compared {
        (self.compare)(n_vocab, targets, reference, variant)
    }

    fn derive(
        &self,
        cell: &Cell,
        samples: &CellSamples,
        references: &References,
        predicted: Option<&Predicted>,
    ) -> Result<CellRecord, EvidenceError> {
        let mut record = Scores.derive(cell, samples, references, predicted)?;
        record.measured.iter_mut().for_each(self.measured);
        Ok(record)
    }
}

const fn fault(name: &'static str, plant: fn(&mut Parts)) -> Fault {
    Fault { name, place: FaultPlace::Scorer, plant }
}

fn compare(parts: &mut Parts, compare: fn(usize, &[Token], &[f32], &[f32]) -> Compared) {
    parts.scorer = Arc::new(Faulty { compare, ..WHOLE });
}

fn measured(parts: &mut Parts, measured: fn(&mut Measured)) {
    parts.scorer = Arc::new(Faulty { measured, ..WHOLE });
}

pub(super) const FAULTS: &[Fault] = &[
    fault("KL divergence of the reference from the variant", |parts| {
        compare(parts, |n_vocab, targets, reference, variant| {
            let (of_reference, mut columns) = Scores.compare(n_vocab, targets, reference, variant)?;
            let (_, wrong) = brute_force(variant, reference, n_vocab, targets);
            columns.set("kld", Column::F64(wrong.numbers("kld").to_vec()));
            Ok((of_reference, columns))
        })
    }),
    fault("bits for nats", |parts| {
        compare(parts, |n_vocab, targets, reference, variant| {
            let (of_reference, mut columns) = Scores.compare(n_vocab, targets, reference, variant)?;
            for id in ["nll", "kld"] {
                let bits = columns.numbers(id).iter().map(|nats| nats / std::f64::consts::LN_2).collect();
                columns.set(id, Column::F64(bits));
            }
            Ok((of_reference, columns))
        })
    }),
    fault("reference and variant exchanged", |parts| {
        compare(parts, |n_vocab, targets, reference, variant| Scores.compare(n_vocab, targets, variant, reference))
    }),
    fault("NaN logits taken for zero", |parts| {
        compare(parts, |n_vocab, targets, reference, variant| {
            let finite = |row: &[f32]| row.iter().map(|x| if x.is_finite() { *x } else { 0.0 }).collect::<Vec<_>>();
            Scores.compare(n_vocab, targets, &finite(reference), &finite(variant))
        })
    }),
    fault("the wrong token scored", |parts| {
        compare(parts, |n_vocab, targets, reference, variant| {
            let wrong: Vec<Token> = targets.iter().map(|token| (token + 1) % n_vocab as Token).collect();
            Scores.compare(n_vocab, &wrong, reference, variant)
        })
    }),
    fault("mean over the wrong count", |parts| {
        measured(parts, |m| {
            let wrong = m.n_tokens as f64 / (m.n_tokens - 1) as f64;
            m.set("kld_mean", m.kld().mean * wrong);
            m.set("dlnppl", m.dlnppl().mean * wrong);
        })
    }),
    fault("error of the mean as if tokens were independent", |parts| {
        measured(parts, |m| m.set("kld_se", m.kld().se_iid))
    }),
    fault("sign of the difference turned round", |parts| measured(parts, |m| m.set("dlnppl", -m.dlnppl().mean))),
    fault("mean of exponentials for exponential of the mean", |parts| {
        measured(parts, |m| m.set("ppl", m.ppl() * 1.001))
    }),
    fault("99th percentile is the largest", |parts| measured(parts, |m| m.set("kld_p99", m.kld_max()))),
];
