//! A race: which `k` of many cells have the largest means, measured only for as long as that is open.
//!
//! All cells see the same chunks in one random order, and at fixed numbers of chunks (the *looks*) those that are settled
//! stop being measured. What is estimated is the mean over all chunks of the sweep, as the sweep run to its end would
//! print it, so uncertainty shrinks to nothing towards the last chunk.
//!
//! **Claims.** At each look, every pair of cells still in the race is compared on the chunks that both have seen:
//! D = x_i − (1 − ε)·x_j per chunk. With D̄ and s over the n of N chunks seen,
//! D̄ − t(level, df) · s · √(1/n − 1/N) is a lower bound on the mean of D over all N, exact where chunk differences are
//! normal. It is required at every look together, so the bounds of a pair form a confidence sequence over the looks. What
//! has been claimed stays claimed. s² and its df come from the chunks and from what lies within them: [`crate::moderated`].
//!
//! - **outside**: at least `k` others are claimed to lie above it (ε = 0);
//! - **inside**: all but fewer than `k` others are claimed to be no more than ε above it, or are outside;
//! - **null**: its own mean is claimed to be below a limit. Besides, and with no bound on the error: not one of its values so far,
//!   nor of their parts, is other than exactly 0, as of a scheme that changes no bit.
//!
//! **Error.** The cell of rank r ≤ k is wrongly outside only if k + 1 − r claims against it are false, of n − r that can
//! be; a cell that is not within ε of the k-th is wrongly inside only if a claim over one of the top k is false. Levels are
//! chosen so that the chance of anything wrong in the whole race, added up over cells, pairs and looks (Markov, Bonferroni),
//! is at most `alpha`.
//!
//! # Source
//! Elimination and ε-optimal sets: Even-Dar, Mannor and Mansour 2006; Kalyanakrishnan, Tewari, Auer and Stone 2012.
//! Confidence sequences: Howard, Ramdas, McAuliffe and Sekhon 2021; for draws without replacement: Waudby-Smith and Ramdas
//! 2020. The bound at one look is Student's prediction interval for the mean of a finite population, with the moderated
//! variance of Smyth 2004. Why none of the bounds for bounded values: docs/decisions/0020.

use crate::moderated::{Moderation, Spread};
use crate::{ChunkSample, StatsError, student_t::upper_quantile};
use std::collections::BTreeMap;

/// What a race is about, and when it is looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct RaceRule {
    /// Cells wanted.
    pub top: usize,
    /// A cell is good enough when its mean is at least 1 − ε times the `top`-th largest, 0 ≤ ε < 1.
    pub epsilon: f64,
    /// Chance of any wrong decision in the whole race.
    pub alpha: f64,
    /// Cells with a mean below this have no effect worth ranking.
    pub null_below: Option<f64>,
    /// Numbers of chunks, ascending, at which it is decided; the last is the whole sweep, where nothing is uncertain.
    pub looks: Vec<usize>,
}

/// Chunks before the first look: a deviation estimated from fewer says next to nothing.
const FIRST_LOOK: usize = 3;
/// Chunks between looks.
const LOOK_EVERY: usize = 2;

impl RaceRule {
    /// The ε-optimal `top` of a sweep of `n_chunks` with ε = 10 % and a 5 % chance of error.
    pub fn new(top: usize, n_chunks: usize) -> Self {
        let mut looks: Vec<usize> = (FIRST_LOOK..n_chunks).step_by(LOOK_EVERY).collect();
        looks.push(n_chunks);
        RaceRule { top, epsilon: 0.1, alpha: 0.05, null_below: None, looks }
    }

    /// Chunks of the whole sweep.
    fn n_chunks(&self) -> usize {
        self.looks.last().copied().unwrap_or(0)
    }
}

/// Why a cell is not measured any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It is measured on.
    Racing,
    /// Within ε of the top.
    Inside,
    /// Not one of the top.
    Outside,
    /// No effect above the limit, or none at all.
    Null,
}

impl Standing {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Racing => "racing",
            Standing::Inside => "inside",
            Standing::Outside => "outside",
            Standing::Null => "null",
        }
    }
}

/// Where a race stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Race {
    /// Per cell.
    pub standings: Vec<Standing>,
    /// Chunks that count, per cell: those up to the look at which it was settled.
    pub n_chunks: Vec<usize>,
    /// Chunks that the cells still racing must have before the next look; `None` when it is over.
    pub next: Option<usize>,
    /// The top cells, largest mean first: at most `top`, fewer where the others are null. An estimate until it is over.
    pub answer: Vec<usize>,
    /// Pairs of a cell in the answer and another that is not null, which chunks like these cannot tell apart: no bound on
    /// their difference excludes 0 at `alpha` over all such pairs, when the chunks are a sample of more to come.
    pub ties: Vec<(usize, usize)>,
}

/// Decides from what there is: `samples[cell]` are a cell's values in the race's order of chunks. Earlier looks are gone through again, so the answer is a function of rule and samples alone, and samples beyond
/// what a cell was measured for change nothing.
///
/// # Errors
/// When a value is not finite.
pub fn race(rule: &RaceRule, samples: &[impl AsRef<[ChunkSample]>]) -> Result<Race, StatsError> {
    let samples: Vec<&[ChunkSample]> = samples.iter().map(AsRef::as_ref).collect();
    for values in &samples {
        if let Some(chunk) = values.iter().position(|value| !value.is_finite()) {
            return Err(StatsError::NonFinite { chunk, index: 0 });
        }
    }
    let mut course = Course::new(rule, &samples);
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
    standings: Vec<Standing>,
    n_chunks: Vec<usize>,
    /// `[i][j]`: i is claimed to lie above j.
    above: Vec<Vec<bool>>,
    /// `[i][j]`: i is claimed to be at least 1 − ε times j.
    near: Vec<Vec<bool>>,
    level_outside: f64,
    level_inside: f64,
    level_null: f64,
}

impl<'a> Course<'a> {
    fn new(rule: &'a RaceRule, samples: &'a [&'a [ChunkSample]]) -> Self {
        let n = samples.len();
        // Nothing is uncertain at the last look, so it takes no share.
        let looks = rule.looks.len().saturating_sub(1).max(1) as f64;
        let share = rule.alpha / if rule.null_below.is_some() { 3.0 } else { 2.0 } / looks;
        let against_top: f64 = (1..=rule.top.min(n)).map(|rank| (n - rank) as f64 / (rule.top + 1 - rank) as f64).sum();
        let over_top = (rule.top * n.saturating_sub(rule.top)) as f64;
        Course {
            rule,
            samples,
            standings: vec![Standing::Racing; n],
            n_chunks: vec![0; n],
            above: vec![vec![false; n]; n],
            near: vec![vec![false; n]; n],
            level_outside: share / against_top.max(1.0),
            level_inside: share / over_top.max(1.0),
            level_null: share / (n as f64).max(1.0),
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
            if self.samples[cell][..n].iter().all(ChunkSample::is_zero) {
                self.standings[cell] = Standing::Null;
            }
        }
        let racing: Vec<usize> = self.racing().collect();
        if n == self.rule.n_chunks() {
            return self.finish();
        }
        let shrink = (1.0 / n as f64 - 1.0 / self.rule.n_chunks() as f64).sqrt();
        if let Some(limit) = self.rule.null_below {
            let spreads: Vec<Spread> =
                racing.iter().map(|&cell| Spread::of(self.samples[cell][..n].iter().copied())).collect();
            let moderation = Moderation::of(&spreads);
            let reach = upper_quantile(self.level_null, moderation.df()) * shrink;
            for (&cell, spread) in racing.iter().zip(&spreads) {
                if spread.mean + reach * moderation.deviation(spread) < limit {
                    self.standings[cell] = Standing::Null;
                }
            }
        }
        let racing: Vec<usize> = self.racing().collect();
        let moderation = self.moderation_of_pairs(&racing, n);
        let [outside, inside] =
            [self.level_outside, self.level_inside].map(|level| upper_quantile(level, moderation.df()) * shrink);
        for &i in &racing {
            for &j in racing.iter().filter(|&&j| j != i) {
                let claims = |epsilon: f64, reach: f64| {
                    let spread = self.spread_of(i, j, n, epsilon);
                    spread.mean > 0.0 && spread.mean > reach * moderation.deviation(&spread)
                };
                let above = self.above[i][j] || claims(0.0, outside);
                let near = self.near[i][j] || above || claims(self.rule.epsilon, inside);
                (self.above[i][j], self.near[i][j]) = (above, near);
            }
        }
        for &cell in &racing {
            let above = (0..self.standings.len()).filter(|&other| self.above[other][cell]).count();
            if above >= self.rule.top {
                self.standings[cell] = Standing::Outside;
            }
        }
        for &cell in &racing {
            if self.standings[cell] == Standing::Racing && self.open_above(cell) < self.rule.top {
                self.standings[cell] = Standing::Inside;
            }
        }
        let decided = self.with(Standing::Inside).count() >= self.rule.top;
        let candidates = self.racing().count() + self.with(Standing::Inside).count();
        if decided {
            self.settle_the_rest(Standing::Outside);
        } else if candidates <= self.rule.top {
            self.settle_the_rest(Standing::Inside);
        }
    }

    /// x_i − (1 − ε)·x_j over the first `n` chunks.
    fn spread_of(&self, i: usize, j: usize, n: usize, epsilon: f64) -> Spread {
        let pairs = self.samples[i][..n].iter().zip(self.samples[j]);
        Spread::of(pairs.map(|(x, y)| x.less(y, 1.0 - epsilon)))
    }

    /// What chunks do to a difference hardly depends on ε and not on its sign: each pair tells it once.
    fn moderation_of_pairs(&self, cells: &[usize], n: usize) -> Moderation {
        let pairs = cells.iter().enumerate().flat_map(|(place, &i)| cells[..place].iter().map(move |&j| (i, j)));
        let told: Vec<Spread> = pairs.map(|(i, j)| self.spread_of(i, j, n, 0.0)).collect();
        Moderation::of(&told)
    }

    /// Others that may still lie more than ε above the cell.
    fn open_above(&self, cell: usize) -> usize {
        let may_be = |other: usize| matches!(self.standings[other], Standing::Racing | Standing::Inside);
        (0..self.standings.len()).filter(|&other| other != cell && may_be(other) && !self.near[cell][other]).count()
    }

    fn settle_the_rest(&mut self, standing: Standing) {
        self.standings.iter_mut().filter(|now| **now == Standing::Racing).for_each(|now| *now = standing);
    }

    /// With all chunks there is nothing left to claim.
    fn finish(&mut self) {
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

    /// Inside first, then what is racing, each by mean.
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
        let level = self.rule.alpha / ((answer.len() * rivals.len()) as f64).max(1.0);
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
                let reach = upper_quantile(level, moderation.df()) / (n as f64).sqrt();
                if spread.mean <= reach * moderation.deviation(&spread) {
                    ties.push((i, j));
                }
            }
        }
        ties
    }
}
