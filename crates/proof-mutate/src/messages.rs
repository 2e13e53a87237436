//! Faults in jobs and events between a run and its worker.

use crate::parts::EventFilter;
use crate::{Fault, FaultPlace, Parts};
use proof::oracle::scores::brute_force;
use proof::tap::{Pass, Tap};
use record::{Bits, Carrier, Column, Edit, EditPlace, ReferenceSample, Sample};
use std::collections::BTreeMap;
use std::sync::Arc;
use worker::protocol::{Event, Job};

/// Plants a change of the edits of every cell.
fn jobs(parts: &mut Parts, change: fn(&mut Vec<Edit>)) {
    parts.jobs = Arc::new(move |mut job| {
        if let Job::Measure { cells, .. } = &mut job {
            cells.iter_mut().for_each(|cell| change(&mut cell.edits));
        }
        job
    });
}

/// Plants a change of events.
fn events(parts: &mut Parts, change: fn(Event) -> Vec<Event>) {
    parts.events = Arc::new(move || Box::new(change));
}

/// Plants another way to score: samples are scored again from the logits themselves.
fn scored(parts: &mut Parts, score: fn(&mut Sample, &Logits<'_>)) {
    // Not the tap of the checks, which listens only when one of them wants to hear.
    let tap = Tap::default();
    parts.open = tap.on(parts.open.clone());
    parts.events = Arc::new(move || rescoring(tap.clone(), score));
}

/// The logits of both sides of a window.
struct Logits<'a> {
    reference: &'a [f32],
    variant: &'a [f32],
    n_vocab: usize,
    tokens: &'a [i32],
}

impl Logits<'_> {
    /// The tokens that are predicted.
    fn targets(&self) -> &[i32] {
        &self.tokens[self.tokens.len() / 2 + 1..]
    }
}

/// A filter that scores each sample again.
fn rescoring(tap: Tap, score: fn(&mut Sample, &Logits<'_>)) -> EventFilter {
    let mut references: BTreeMap<usize, Vec<f32>> = BTreeMap::new();
    let mut last: Option<Pass> = None;
    tap.listen();
    Box::new(move |mut event| {
        // One context: the last pass is the one that an event is about.
        last = tap.take().pop().or(last.take());
        tap.listen();
        match &mut event {
            Event::Reference(reference) => {
                references.extend(last.iter().map(|pass| (reference.chunk, pass.logits.clone())));
            }
            Event::Sample(sample) => {
                if let (Some(pass), Some(reference)) = (&last, references.get(&sample.chunk)) {
                    let n_vocab = pass.logits.len() / (pass.tokens.len() - pass.first_output).max(1);
                    let logits = Logits { reference, variant: &pass.logits, n_vocab, tokens: &pass.tokens };
                    score(sample, &logits);
                }
            }
            _ => {}
        }
        vec![event]
    })
}

const fn on_jobs(name: &'static str, plant: fn(&mut Parts)) -> Fault {
    Fault { name, place: FaultPlace::Jobs, plant }
}

const fn on_events(name: &'static str, plant: fn(&mut Parts)) -> Fault {
    Fault { name, place: FaultPlace::Events, plant }
}

pub(super) const FAULTS: &[Fault] = &[
    on_jobs("norm target silently excluded", |parts| {
        jobs(parts, |edits| edits.retain(|edit| !edit.tensor.contains("norm")))
    }),
    on_jobs("edits of another layer", |parts| {
        jobs(parts, |edits| {
            edits.iter_mut().for_each(|edit| edit.tensor = edit.tensor.replace("blk.1.", "blk.2."));
        })
    }),
    on_jobs("scheme replaced by another", |parts| {
        jobs(parts, |edits| {
            edits.iter_mut().filter(|edit| edit.scheme.starts_with("int")).for_each(|edit| edit.scheme = "q8_0".into());
        })
    }),
    on_jobs("carrier kept where F32 was asked for", |parts| {
        jobs(parts, |edits| {
            edits.iter_mut().for_each(|edit| edit.carrier = Carrier::Keep);
        })
    }),
    on_jobs("control left out: jitter is identity", |parts| {
        jobs(parts, |edits| {
            edits
                .iter_mut()
                .filter(|edit| edit.scheme.starts_with("jitter"))
                .for_each(|edit| edit.scheme = "identity".into());
        })
    }),
    on_jobs("destructive control left out", |parts| {
        jobs(parts, |edits| {
            edits.iter_mut().filter(|edit| edit.scheme == "zero").for_each(|edit| edit.scheme = "identity".into());
        })
    }),
    on_jobs("activations left out", |parts| {
        jobs(parts, |edits| edits.retain(|edit| edit.place != EditPlace::Activation))
    }),
    on_jobs("a use taken for the whole weight", |parts| {
        jobs(parts, |edits| {
            edits
                .iter_mut()
                .filter(|edit| edit.place == EditPlace::Lookup)
                .for_each(|edit| edit.place = EditPlace::Weight);
        })
    }),
    on_events("KL divergence the wrong way round", |parts| {
        scored(parts, |sample, logits| {
            let (_, wrong) = brute_force(logits.variant, logits.reference, logits.n_vocab, logits.targets());
            sample.columns.set("kld", Column::F64(wrong.numbers("kld").to_vec()));
        })
    }),
    on_events("logarithms to base 2", |parts| {
        events(parts, |mut event| {
            if let Event::Sample(sample) = &mut event {
                let bits = sample.kld().iter().map(|kld| kld / std::f64::consts::LN_2).collect();
                sample.columns.set("kld", Column::F64(bits));
            }
            vec![event]
        })
    }),
    on_events("the first half scored", |parts| {
        scored(parts, |sample, logits| {
            let first = &logits.tokens[1..];
            let first = &first[..sample.nll().len()];
            let (_, wrong) = brute_force(logits.reference, logits.variant, logits.n_vocab, first);
            sample.columns.set("nll", Column::F64(wrong.numbers("nll").to_vec()));
        })
    }),
    on_events("the token itself predicted for the next", |parts| {
        scored(parts, |sample, logits| {
            let shifted = &logits.tokens[logits.tokens.len() / 2..];
            let (_, wrong) = brute_force(logits.reference, logits.variant, logits.n_vocab, shifted);
            let wrong = &wrong.numbers("nll")[..sample.kld().len()];
            sample.columns.set("nll", Column::F64(wrong.to_vec()));
        })
    }),
    on_events("last scored token lost", |parts| {
        events(parts, |mut event| {
            match &mut event {
                Event::Sample(Sample { columns, .. }) | Event::Reference(ReferenceSample { columns, .. }) => {
                    columns.0.values_mut().for_each(Column::pop);
                }
                _ => {}
            }
            vec![event]
        })
    }),
    on_events("NaN swallowed: scores of zero for it", |parts| {
        scored(parts, |sample, logits| {
            // The largest loss is left out, as if it were not a number.
            let mut nll = sample.nll().to_vec();
            let worst = (0..nll.len()).max_by(|&a, &b| nll[a].total_cmp(&nll[b]));
            if let Some(worst) = worst.filter(|_| logits.n_vocab > 0) {
                nll[worst] = 0.0;
            }
            sample.columns.set("nll", Column::F64(nll));
        })
    }),
    on_events("windows exchanged", |parts| {
        events(parts, |mut event| {
            if let Event::Sample(sample) = &mut event {
                sample.chunk ^= 1;
            }
            vec![event]
        })
    }),
    on_events("compared with the reference of another window", |parts| {
        parts.events = Arc::new(|| {
            let mut before: Option<String> = None;
            Box::new(move |mut event| {
                if let Event::Sample(sample) = &mut event {
                    let own = sample.reference_blake3.clone();
                    if let Some(stale) = before.replace(own) {
                        sample.reference_blake3 = stale;
                    }
                }
                vec![event]
            })
        });
    }),
    on_events("every top token taken for equal", |parts| {
        events(parts, |mut event| {
            if let Event::Sample(sample) = &mut event {
                let all = vec![true; sample.kld().len()];
                sample.columns.set("same_top", Column::Bits(Bits(all)));
            }
            vec![event]
        })
    }),
    on_events("changed logits not counted", |parts| {
        events(parts, |mut event| {
            if let Event::Sample(sample) = &mut event {
                let none = vec![false; sample.kld().len()];
                sample.columns.set("logits_changed", Column::Bits(Bits(none)));
            }
            vec![event]
        })
    }),
    on_events("changed values not counted", |parts| {
        events(parts, |mut event| {
            if let Event::Applied { tensors, .. } = &mut event {
                tensors.iter_mut().for_each(|tensor| tensor.changed = 0);
            }
            vec![event]
        })
    }),
    on_events("a window's sample lost", |parts| {
        events(parts, |event| match event {
            Event::Sample(sample) if sample.chunk == 1 => vec![],
            other => vec![other],
        })
    }),
    on_events("peak memory under-reported", |parts| {
        events(parts, |mut event| {
            if let Event::Memory(plan) = &mut event {
                plan.total_bytes /= 2;
            }
            vec![event]
        })
    }),
    on_events("weights in F32 left out of the memory budget", |parts| {
        events(parts, |mut event| {
            if let Event::Memory(plan) = &mut event {
                plan.total_bytes -= plan.needs.held_in_f32_bytes;
                plan.needs.held_in_f32_bytes = 0;
            }
            vec![event]
        })
    }),
    on_events("windows named without their text", |parts| {
        events(parts, |mut event| {
            if let Event::Tokenized { chunk_blake3, .. } = &mut event {
                chunk_blake3.iter_mut().enumerate().for_each(|(i, hash)| *hash = format!("window {i}"));
            }
            vec![event]
        })
    }),
];
