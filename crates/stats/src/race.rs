//! A race finds which `k` of many cells have the largest means, and measures each cell only while that is open.
//!
//! All cells see the same windows in one random order. At fixed numbers of windows (the *looks*) the cells that are
//! settled stop being measured. What is estimated is the mean over all windows of the sweep, as the complete sweep
//! would print it. So the uncertainty shrinks to nothing towards the last window.
//!
//! **What is known.** At each look, a pair of cells is compared on the windows that both have seen: D = x_i − (1 −
//! ε)·x_j for each window. D̄ and s are the mean and the deviation of D over the n of N windows seen. The mean of D
//! over all N then lies around D̄ as Student's t with the scale s · √(1/n − 1/N). Given what was seen, the chance that
//! it is below 0 is the tail of t at D̄ / (s · √(1/n − 1/N)). s² and its degrees of freedom come from
//! [`crate::moderated`].
//!
//! A cell can be settled in three ways:
//!
//! - **outside**: at least `k` others lie above it (ε = 0). For the chance that fewer do, take the m others that are
//!   most surely above it. More than m − k of them would have to be below, and the expected number of those is the sum
//!   of their chances (Markov's inequality; the least over m).
//! - **inside**: fewer than `k` others lie more than ε above it. For the chance that `k` or more do, leave out the m
//!   others that are most likely to. Then k − m of the rest would have to (Markov's inequality; the least over m).
//! - **null**: its own mean over all windows is below a limit, or is 0. A cell whose scheme changes no bit is null at no
//!   chance of error; the caller knows of it. Any other cell may still have its effect in a later window, even if all its
//!   values so far are exactly 0.
//!
//! Null comes before inside: the top are the largest of the cells that are not null. So a cell that may be null is not
//! settled inside, and the chance that it is null counts as a chance of error. Outside and null exclude nothing that is
//! asked for. At the last look nothing is uncertain, and null is exact.
//!
//! **Error.** A cell is settled when the chance that this is wrong is at most its share of what is left of `alpha`:
//! what has not been spent, over the cells that are still racing. So the chances of all decisions add up to at most
//! `alpha`. They are chances given what was seen, at every look, for windows that are alike: a few windows say nothing of a
//! kind of window that is not among them. How often answers are wrong is measured, on recorded sweeps in other orders and
//! on simulated ones (`make replay-race`, docs/decisions/0031 and 0040).
//!
//! # Source
//! Elimination and ε-optimal sets: Even-Dar, Mannor and Mansour 2006; Kalyanakrishnan, Tewari, Auer and Stone 2012.
//! Selection by the posterior chance of being right: Chick, "Subjective probability and Bayesian methodology",
//! *Handbooks in Operations Research and Management Science* 13 (2006). The finite population: Student's prediction
//! interval for its mean, which is also the posterior one under a flat prior (Gelman et al., *Bayesian Data Analysis*,
//! section 8.3), with the moderated variance of Smyth 2004. Why none of the bounds for bounded values:
//! docs/decisions/0020.

use crate::moderated::{Moderation, Spread};
use crate::student_t::{upper_quantile, upper_tail};
use crate::{ChunkSample, StatsError};
use std::collections::{BTreeMap, BTreeSet};

/// The terms on which a race decides, and when it decides.
#[derive(Clone, Debug, PartialEq)]
pub struct RaceRule {
    /// The number of cells to find.
    pub top: usize,
    /// The tolerance ε, 0 ≤ ε < 1. A cell is good enough when its mean is at least 1 − ε times the `top`-th largest.
    pub epsilon: f64,
    /// The largest sum of the probabilities of wrong decisions in the whole race, where windows are alike.
    pub alpha: f64,
    /// The mean below which a cell has no effect worth ranking, in the unit of the values; `None` ranks all cells.
    pub null_below: Option<f64>,
    /// The numbers of windows at which the race decides, ascending. The last is the whole sweep, where nothing is
    /// uncertain.
    pub looks: Vec<usize>,
}

/// The number of windows before the first look. A deviation estimated from fewer says almost nothing.
const FIRST_LOOK: usize = 4;
/// The number of windows between looks.
const LOOK_EVERY: usize = 2;

impl RaceRule {
    /// The rule for the ε-optimal `top` of a sweep of `n_chunks` windows, with ε = 10 % and a 5 % chance of error.
    pub fn new(top: usize, n_chunks: usize) -> Self {
        let mut looks: Vec<usize> = (FIRST_LOOK..n_chunks).step_by(LOOK_EVERY).collect();
        looks.push(n_chunks);
        RaceRule { top, epsilon: 0.1, alpha: 0.05, null_below: None, looks }
    }

    /// The number of windows in the whole sweep.
    fn n_chunks(&self) -> usize {
        self.looks.last().copied().unwrap_or(0)
    }
}

/// The state in which a race has left a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// The cell is still being measured.
    Racing,
    /// The cell is one of the top, within ε.
    Inside,
    /// The cell is not one of the top.
    Outside,
    /// The cell has no effect above the limit, or no effect at all.
    Null,
}

impl Standing {
    /// The standing as one word.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Racing => "racing",
            Standing::Inside => "inside",
            Standing::Outside => "outside",
            Standing::Null => "null",
        }
    }
}

/// The state of a race.
#[derive(Clone, Debug, PartialEq)]
pub struct Race {
    /// The standing of each cell, in the order of the samples.
    pub standings: Vec<Standing>,
    /// The number of windows that count for each cell: those up to the look at which it was settled.
    pub n_chunks: Vec<usize>,
    /// The number of windows that the racing cells must have before the next look; `None` when the race is over.
    pub next: Option<usize>,
    /// The top cells, the largest mean first. There are at most `top`, and fewer where the others are null. It is an
    /// estimate until the race is over.
    pub answer: Vec<usize>,
    /// The pairs of a cell in the answer and a cell outside it that the windows do not tell apart; the second cell is
    /// not null. These windows are a sample of all windows of their kind. In a tie, the probability that the second
    /// cell is not below the first on all of those is more than `alpha`.
    pub ties: Vec<(usize, usize)>,
}

/// Decides a race from the samples so far; `samples[cell]` are a cell's windows in the order of the race. `inert` are the
/// cells whose schemes change no bit, so that no window can show an effect.
///
/// It repeats the earlier looks, so the answer is a function of rule and samples alone. Samples beyond those for which
/// a cell was measured change nothing.
///
/// # Errors
/// When a value is not finite.
pub fn race(
    rule: &RaceRule,
    samples: &[impl AsRef<[ChunkSample]>],
    inert: &BTreeSet<usize>,
) -> Result<Race, StatsError> {
    let samples: Vec<&[ChunkSample]> = samples.iter().map(AsRef::as_ref).collect();
    for values in &samples {
        if let Some(chunk) = values.iter().position(|value| !value.is_finite()) {
            return Err(StatsError::NonFinite { chunk, index: 0 });
        }
    }
    let mut course = Course::new(rule, &samples, inert);
    let mut next = None;
    for &look in &rule.looks {
        if course.is_over() {
            break;
        }
        if course.racing().any(|cell| samples[cell].len() < look) {
            next = Some(look);
            break;
        }
        course.look(look);
    }
    Ok(course.result(next))
}

struct Course<'a> {
    rule: &'a RaceRule,
    samples: &'a [&'a [ChunkSample]],
    inert: &'a BTreeSet<usize>,
    standings: Vec<Standing>,
    n_chunks: Vec<usize>,
    /// The moderation at each look so far, by its number of windows.
    moderations: BTreeMap<usize, Moderation>,
    /// The sum of the chances of error of all decisions so far.
    spent: f64,
}

impl<'a> Course<'a> {
    fn new(rule: &'a RaceRule, samples: &'a [&'a [ChunkSample]], inert: &'a BTreeSet<usize>) -> Self {
        let n = samples.len();
        Course {
            rule,
            samples,
            inert,
            standings: vec![Standing::Racing; n],
            n_chunks: vec![0; n],
            moderations: BTreeMap::new(),
            spent: 0.0,
        }
    }

    fn with(&self, standing: Standing) -> impl Iterator<Item = usize> + '_ {
        (0..self.standings.len()).filter(move |&cell| self.standings[cell] == standing)
    }

    fn racing(&self) -> impl Iterator<Item = usize> + '_ {
        self.with(Standing::Racing)
    }

    fn is_over(&self) -> bool {
        self.racing().next().is_none()
    }

    fn look(&mut self, n: usize) {
        let racing: Vec<usize> = self.racing().collect();
        racing.iter().for_each(|&cell| self.n_chunks[cell] = n);
        for &cell in &racing {
            if self.inert.contains(&cell) && self.is_zero_so_far(cell) {
                self.standings[cell] = Standing::Null;
            }
        }
        if n == self.rule.n_chunks() {
            return self.finish();
        }
        let racing: Vec<usize> = self.racing().collect();
        let moderation = self.moderation_of_pairs(&racing, n);
        self.moderations.insert(n, moderation);
        let of_cells: Vec<Spread> =
            racing.iter().map(|&cell| Spread::of(self.samples[cell][..n].iter().copied())).collect();
        let own = Moderation::of(&of_cells);
        let mut chances: Vec<(f64, usize, Standing)> = Vec::new();
        for (&cell, spread) in racing.iter().zip(&of_cells) {
            let (null, not_null) = self.chances_of_null(cell, spread, &own);
            let decisions = [
                (not_null, Standing::Null),
                (self.chance_not_outside(cell), Standing::Outside),
                ((self.chance_not_inside(cell) + null).min(1.0), Standing::Inside),
            ];
            let least = decisions.into_iter().reduce(|a, b| if b.0 < a.0 { b } else { a });
            chances.extend(least.map(|(chance, standing)| (chance, cell, standing)));
        }
        // The surest cells come first, so that the others get what they leave of their shares.
        chances.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut left = chances.len();
        for (chance, cell, standing) in chances {
            if chance > (self.rule.alpha - self.spent) / left as f64 {
                break;
            }
            self.standings[cell] = standing;
            self.spent += chance;
            left -= 1;
        }
        let inside = self.with(Standing::Inside).count();
        let racing: Vec<usize> = self.racing().collect();
        if inside >= self.rule.top {
            self.settle_the_rest(Standing::Outside);
        } else if inside + racing.len() <= self.rule.top {
            // The places suffice for all of them, but not one that may be null is among the top.
            let may_be_null = |cell: &usize| self.rule.null_below.is_some() || self.is_zero_so_far(*cell);
            let sure: Vec<usize> = racing.into_iter().filter(|cell| !may_be_null(cell)).collect();
            sure.into_iter().for_each(|cell| self.standings[cell] = Standing::Inside);
        }
    }

    /// Whether all values of a cell so far, and of their stretches, are exactly 0.
    fn is_zero_so_far(&self, cell: usize) -> bool {
        self.samples[cell][..self.n_chunks[cell]].iter().all(ChunkSample::is_zero)
    }

    /// The chance that a cell is null, and that it is not. A cell without any value so far may be either, and nothing seen
    /// says how likely that is, so both are 1.
    fn chances_of_null(&self, cell: usize, spread: &Spread, own: &Moderation) -> (f64, f64) {
        if self.is_zero_so_far(cell) {
            return (1.0, 1.0);
        }
        let Some(limit) = self.rule.null_below else { return (0.0, 1.0) };
        let n = self.n_chunks[cell];
        let above = Spread { mean: spread.mean - limit, ..*spread };
        let below = Spread { mean: limit - spread.mean, ..*spread };
        (self.chance_below(&above, own, n), self.chance_below(&below, own, n))
    }

    /// The cells other than `cell` that may be among the top.
    fn rivals(&self, cell: usize) -> impl Iterator<Item = usize> + '_ {
        let may_be = |other: usize| matches!(self.standings[other], Standing::Racing | Standing::Inside);
        (0..self.standings.len()).filter(move |&other| other != cell && may_be(other))
    }

    /// The chance, after the first `n` windows, that the mean over all windows is below 0.
    fn chance_below(&self, spread: &Spread, moderation: &Moderation, n: usize) -> f64 {
        let shrink = (1.0 / n as f64 - 1.0 / self.rule.n_chunks() as f64).sqrt();
        let scale = moderation.deviation(spread) * shrink;
        match scale > 0.0 {
            true => upper_tail(spread.mean / scale, moderation.df()),
            false => f64::from(u8::from(spread.mean < 0.0)),
        }
    }

    /// The chance that x_i is below (1 − ε)·x_j, from the windows that both have seen.
    fn chance_of_pair(&self, i: usize, j: usize, epsilon: f64) -> f64 {
        let n = self.n_chunks[i].min(self.n_chunks[j]);
        let Some(moderation) = self.moderations.get(&n) else { return 1.0 };
        self.chance_below(&self.spread_of(i, j, n, epsilon), moderation, n)
    }

    /// The chance that fewer than `top` others lie above the cell.
    fn chance_not_outside(&self, cell: usize) -> f64 {
        let mut not_above: Vec<f64> = self
            .rivals(cell)
            .map(|other| {
                let below = self.chance_of_pair(other, cell, 0.0);
                // Two cells that have been equal so far have no order.
                if below == 0.0 && self.mean(other) <= self.mean(cell) { 1.0 } else { below }
            })
            .collect();
        not_above.sort_by(f64::total_cmp);
        let mut sum = 0.0;
        let bounds = not_above.iter().enumerate().map(|(place, chance)| {
            sum += chance;
            let m = place + 1;
            if m < self.rule.top { 1.0 } else { sum / (m + 1 - self.rule.top) as f64 }
        });
        bounds.fold(1.0, f64::min)
    }

    /// The chance that `top` or more others lie more than ε above the cell.
    fn chance_not_inside(&self, cell: usize) -> f64 {
        let mut above: Vec<f64> =
            self.rivals(cell).map(|other| self.chance_of_pair(cell, other, self.rule.epsilon)).collect();
        above.sort_by(|a, b| b.total_cmp(a));
        let left_out = 0..self.rule.top.min(above.len() + 1);
        let bounds = left_out.map(|m| above[m..].iter().sum::<f64>() / (self.rule.top - m) as f64);
        bounds.fold(1.0, f64::min)
    }

    /// The spread of x_i − (1 − ε)·x_j over the first `n` windows.
    fn spread_of(&self, i: usize, j: usize, n: usize, epsilon: f64) -> Spread {
        let pairs = self.samples[i][..n].iter().zip(self.samples[j]);
        Spread::of(pairs.map(|(x, y)| x.less(y, 1.0 - epsilon)))
    }

    /// The moderation learned from all pairs of these cells. The effect of windows on a difference hardly depends on ε
    /// and does not depend on its sign, so each pair counts once.
    fn moderation_of_pairs(&self, cells: &[usize], n: usize) -> Moderation {
        let pairs = cells.iter().enumerate().flat_map(|(place, &i)| cells[..place].iter().map(move |&j| (i, j)));
        let told: Vec<Spread> = pairs.map(|(i, j)| self.spread_of(i, j, n, 0.0)).collect();
        Moderation::of(&told)
    }

    fn settle_the_rest(&mut self, standing: Standing) {
        self.standings.iter_mut().filter(|now| **now == Standing::Racing).for_each(|now| *now = standing);
    }

    /// Ends the race after all windows, when nothing is uncertain.
    fn finish(&mut self) {
        let is_null = |cell: &usize| {
            let mean = self.mean(*cell);
            self.is_zero_so_far(*cell) || self.rule.null_below.is_some_and(|limit| mean < limit)
        };
        let null: Vec<usize> = self.racing().filter(is_null).collect();
        null.into_iter().for_each(|cell| self.standings[cell] = Standing::Null);
        let answer = self.answer();
        answer.iter().for_each(|&cell| self.standings[cell] = Standing::Inside);
        self.settle_the_rest(Standing::Outside);
    }

    fn mean(&self, cell: usize) -> f64 {
        let n = match self.n_chunks[cell] {
            0 => self.samples[cell].len(),
            n => n,
        };
        if n == 0 { 0.0 } else { Spread::of(self.samples[cell][..n].iter().copied()).mean }
    }

    /// The answer: first the cells inside, then those still racing, each by mean.
    fn answer(&self) -> Vec<usize> {
        let by_mean = |standing| {
            let mut cells: Vec<usize> = self.with(standing).collect();
            cells.sort_by(|&a, &b| self.mean(b).total_cmp(&self.mean(a)).then(a.cmp(&b)));
            cells
        };
        let mut answer = [by_mean(Standing::Inside), by_mean(Standing::Racing)].concat();
        answer.truncate(self.rule.top);
        answer.sort_by(|&a, &b| self.mean(b).total_cmp(&self.mean(a)).then(a.cmp(&b)));
        answer
    }

    fn result(self, next: Option<usize>) -> Race {
        let answer = self.answer();
        let ties = self.ties(&answer);
        Race { answer, ties, next, standings: self.standings, n_chunks: self.n_chunks }
    }

    fn ties(&self, answer: &[usize]) -> Vec<(usize, usize)> {
        let n_cells = self.standings.len();
        let rivals: Vec<usize> =
            (0..n_cells).filter(|cell| !answer.contains(cell) && self.standings[*cell] != Standing::Null).collect();
        let mut ties = Vec::new();
        let mut of_look: BTreeMap<usize, Moderation> = BTreeMap::new();
        for &i in answer {
            for &j in &rivals {
                let n = self.n_chunks[i].min(self.n_chunks[j]);
                if n < 2 {
                    continue;
                }
                let moderation = *of_look.entry(n).or_insert_with(|| {
                    let seen: Vec<usize> = (0..n_cells).filter(|&cell| self.n_chunks[cell] >= n).collect();
                    self.moderation_of_pairs(&seen, n)
                });
                let spread = self.spread_of(i, j, n, 0.0);
                let reach = upper_quantile(self.rule.alpha, moderation.df()) / (n as f64).sqrt();
                if spread.mean <= reach * moderation.deviation(&spread) {
                    ties.push((i, j));
                }
            }
        }
        ties
    }
}
