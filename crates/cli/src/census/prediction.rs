//! What schemes would change, before anything runs: per tensor, in all, and by what the values are.

use super::row::Row;
use lab::Selector;
use lab::record::Predicted as Counts;
use numerics::Scheme;
use serde::Serialize;
use words::{count, escape_terminal, of, plural};

/// Reasons for refusals that are written out.
const REASONS: usize = 4;

/// What becomes of one tensor under one scheme, or why nothing does.
pub(super) type Answer = Result<lineage::Prediction, String>;

/// One tensor under one scheme.
#[derive(Serialize)]
pub(super) struct Predicted {
    pub(super) scheme: String,
    pub(super) changed: u64,
    zero_sign: u64,
    overflowed: u64,
    zeroed: u64,
    saturated: Option<u64>,
    noop: bool,
}

/// What a scheme would change in the whole target.
#[derive(Serialize)]
pub(super) struct Prediction {
    pub(super) scheme: String,
    target: String,
    #[serde(flatten)]
    counts: Counts,
    noop: bool,
    n_tensors: usize,
    /// The same by what the values are.
    from: Vec<From>,
    /// Tensors that the scheme cannot be applied to.
    pub(super) refused: Vec<Refused>,
}

/// Of tensors whose values are of one kind.
#[derive(Serialize)]
struct From {
    /// Effective precision of float tensors, type of quantized ones.
    from: String,
    n_tensors: usize,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Serialize)]
pub(super) struct Refused {
    pub(super) name: String,
    pub(super) why: String,
    pub(super) hint: Option<String>,
}

impl Prediction {
    pub(super) fn none_yet(scheme: &Scheme, target: &Selector) -> Self {
        Prediction {
            scheme: scheme.to_string(),
            target: target.to_string(),
            counts: Counts::default(),
            noop: false,
            n_tensors: 0,
            from: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Takes what was found for a tensor into the sums, and into the tensor's row.
    pub(super) fn add(&mut self, row: &mut Row, answer: Answer) {
        let found = match answer {
            Ok(found) => found,
            Err(why) => {
                // What is to be done about it is in the last lines.
                let mut lines = why.lines();
                let why = lines.next().unwrap_or_default().to_owned();
                let hint = lines.next().and_then(|line| line.strip_prefix("hint: ")).map(str::to_owned);
                return self.refused.push(Refused { name: row.name.clone(), why, hint });
            }
        };
        row.predicted.push(Predicted {
            scheme: self.scheme.clone(),
            changed: found.changed,
            zero_sign: found.zero_sign,
            overflowed: found.overflowed,
            zeroed: found.zeroed,
            saturated: found.saturated,
            noop: found.noop,
        });
        let (of_tensor, from) = (lab::files::census::predicted(found), row.kind());
        match self.from.iter_mut().find(|one| one.from == from) {
            Some(one) => {
                one.n_tensors += 1;
                one.counts = Counts::sum([&one.counts, &of_tensor].into_iter());
            }
            None => self.from.push(From { from, n_tensors: 1, counts: of_tensor }),
        }
    }

    /// After the last tensor.
    pub(super) fn finish(&mut self) {
        self.counts = Counts::sum(self.from.iter().map(|one| &one.counts));
        self.n_tensors = self.from.iter().map(|one| one.n_tensors).sum();
        self.noop = self.counts.changed == 0 && self.refused.is_empty();
    }

    /// One line on all, one for each kind of values, and one on what was refused.
    pub(super) fn lines(&self) -> Vec<String> {
        let is = match (self.noop, self.counts.changed) {
            (true, _) => ": a no-op",
            (false, 0) => "",
            (false, _) => ": not a no-op",
        };
        let changed = of(self.counts.changed, self.counts.n);
        let mut lines = vec![format!("{} on {}: would change {changed} values{is}", self.scheme, self.target)];
        lines.extend(self.from.iter().map(|one| {
            let tensors = plural(one.n_tensors, "tensor");
            format!("  {} → {} ({tensors}): {}", one.from, self.scheme, words(&one.counts))
        }));
        // By reason, in the order of their first tensors.
        let mut reasons: Vec<(&str, usize)> = Vec::new();
        for refused in &self.refused {
            let of_all = refused.why.strip_prefix(&format!("tensor \"{}\": ", escape_terminal(&refused.name)));
            let why = of_all.unwrap_or(&refused.why);
            match reasons.iter_mut().find(|(known, _)| *known == why) {
                Some((_, n)) => *n += 1,
                None => reasons.push((why, 1)),
            }
        }
        lines.extend(reasons.iter().take(REASONS).map(|(why, n)| {
            let tensors = plural(*n, "tensor");
            format!("  {tensors} cannot be held in it ({})", escape_terminal(why))
        }));
        if let Some(more) = reasons.len().checked_sub(REASONS).filter(|more| *more > 0) {
            lines.push(format!("  and more for {}; --json lists all", plural(more, "other reason")));
        }
        lines
    }
}

fn words(counts: &Counts) -> String {
    let Counts { n, changed, overflowed, zeroed, saturated, .. } = counts;
    let held = saturated.map_or("ggml does not say how many are held at the largest value".into(), |saturated| {
        format!("{} held at the largest value", count(saturated))
    });
    format!(
        "{} change; {} overflow to infinity, {} flushed to zero, {held}",
        of(*changed, *n),
        count(*overflowed),
        count(*zeroed)
    )
}
