//! One scheme on every layer singly, ranked by KL divergence: all of it, or as a race for the layers that lose most.
//!
//! ```text
//! order of windows (seeded) ─▶ job up to the next look ─▶ samples ─▶ stats::race ─▶ cells still racing ─▶ next job …
//! ```
//!
//! Without a race there is one job over all windows. Nothing is stored: a sweep is a question to one model, answered at once. A worker
//! that dies is replaced and the rest measured; a cell on which it dies twice fails, and the others go on.

use crate::cell::Cell;
use crate::evidence::{EvidenceError, check_sample, derive};
use crate::link::{WorkerDied, WorkerLink};
use crate::memory::MemoryPlan;
use crate::protocol::{Base, ChunkWork, Event, Job};
use crate::record::Measured;
use crate::store::CellSamples;
use stats::{ChunkSample, RaceRule, Standing, StatsError};
use std::ops::Range;

/// Why a sweep ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The worker is gone.
    #[error(transparent)]
    Worker(#[from] WorkerDied),
    /// The worker could not do it at all.
    #[error("{why}{}", if .hint.is_empty() { String::new() } else { format!("\nhint: {}", .hint) })]
    Failed {
        /// Why.
        why: String,
        /// Advice; may be empty.
        hint: String,
        /// The request is at fault, not the engine.
        input: bool,
    },
    /// After a job the weights were not as before.
    #[error(
        "the weights are not as they were before, results are withheld\nhint: this is a fault of assay; please report it"
    )]
    NotRestored,
    /// Scores that are no scores.
    #[error("{cell}: {source}")]
    Evidence {
        /// Cell.
        cell: String,
        /// Why.
        source: EvidenceError,
    },
    /// The race cannot be decided.
    #[error(transparent)]
    Race(#[from] StatsError),
}

/// What is heard while a sweep is on.
#[derive(Debug)]
pub enum SweepEvent<'a> {
    /// What the measurement takes.
    Memory(&'a MemoryPlan),
    /// So many cell-windows are done, of so many at most.
    Progress {
        /// Done.
        done: usize,
        /// At most.
        at_most: usize,
    },
    /// The worker is gone, and another one goes on with what is left.
    Died(&'a WorkerDied),
}

/// A finished sweep, one entry per cell asked for.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    /// Per cell.
    pub cells: Vec<SweptCell>,
    /// Indices of the cells with the largest mean KL divergence: of a race its answer, otherwise all, largest first. Failed
    /// cells are not among them.
    pub ranking: Vec<usize>,
    /// Of a race: pairs (in the answer, not in it) that the text cannot tell apart.
    pub ties: Vec<(usize, usize)>,
    /// Windows of the reference.
    pub reference_chunks: usize,
}

/// One cell of a sweep.
#[derive(Clone, Debug, Default)]
pub struct SweptCell {
    /// Numbers over the windows it was measured on; `None` when it failed.
    pub measured: Option<Measured>,
    /// Why it failed.
    pub failure: Option<String>,
    /// Where the race left it; `None` without a race, and for a failed cell.
    pub standing: Option<Standing>,
    /// What its edits did.
    pub samples: CellSamples,
}

/// A worker that has loaded the model and cut the text.
pub type OpenWorker<'a> = dyn FnMut() -> Result<Box<dyn WorkerLink>, WorkerDied> + 'a;

/// Measures `cells` (whose keys differ) on the windows of `order` through an open worker that has cut its text; `again` gives
/// another one where that dies.
///
/// # Errors
/// When no worker can be had, or one answers wrongly. A cell that fails is part of the result.
pub fn sweep(
    link: &mut Box<dyn WorkerLink>,
    again: &mut OpenWorker<'_>,
    base: &Base,
    cells: &[Cell],
    order: &[usize],
    rule: Option<&RaceRule>,
    hear: &mut dyn FnMut(SweepEvent<'_>),
) -> Result<Sweep, SweepError> {
    let mut course = Course {
        base,
        cells,
        order,
        swept: vec![SweptCell::default(); cells.len()],
        measured_to: 0,
        done: 0,
        // Until a look says otherwise.
        at_most: cells.len() * order.len(),
    };
    let all: Vec<usize> = (0..cells.len()).collect();
    let Some(rule) = rule else {
        course.measure(link, again, &all, order.len(), hear)?;
        return course.finished(None);
    };
    loop {
        let alive: Vec<usize> = all.iter().copied().filter(|&index| course.swept[index].failure.is_none()).collect();
        let race = stats::race(rule, &course.chunk_samples(&alive))?;
        let Some(next) = race.next else { return course.finished(Some((alive, race))) };
        let racing: Vec<usize> = alive
            .iter()
            .zip(&race.standings)
            .filter(|(_, s)| **s == Standing::Racing)
            .map(|(&index, _)| index)
            .collect();
        course.at_most = course.done + racing.len() * (order.len() - course.measured_to);
        course.measure(link, again, &racing, next, hear)?;
    }
}

struct Course<'a> {
    base: &'a Base,
    cells: &'a [Cell],
    order: &'a [usize],
    swept: Vec<SweptCell>,
    /// Windows of `order` that the cells still racing have.
    measured_to: usize,
    done: usize,
    at_most: usize,
}

impl Course<'_> {
    /// KL divergences of each window, in the race's order.
    fn chunk_samples(&self, alive: &[usize]) -> Vec<Vec<ChunkSample>> {
        let of_window =
            |index: usize, window: &usize| Some(ChunkSample::of(&self.swept[index].samples.by_chunk.get(window)?.kld));
        alive.iter().map(|&index| self.order.iter().map_while(|window| of_window(index, window)).collect()).collect()
    }

    /// The windows from where the race is up to `to`, with these cells, by as many workers as it takes.
    fn measure(
        &mut self,
        link: &mut Box<dyn WorkerLink>,
        again: &mut OpenWorker<'_>,
        racing: &[usize],
        to: usize,
        hear: &mut dyn FnMut(SweepEvent<'_>),
    ) -> Result<(), SweepError> {
        let from = std::mem::replace(&mut self.measured_to, to);
        let mut in_vain = 0;
        loop {
            let work = self.left(racing, from..to);
            if work.is_empty() {
                return Ok(());
            }
            let before = self.done;
            let mut in_hand = None;
            let Err(died) = self.job(link.as_mut(), racing, work, &mut in_hand, hear)? else { return Ok(()) };
            in_vain = if self.done > before { 1 } else { in_vain + 1 };
            if in_vain >= 2 {
                // Of the reference nothing can be spared.
                let Some((suspect, chunk)) = in_hand else { return Err(died.into()) };
                let why = format!("the worker died on it twice, the last time at window {chunk}: {}", died.last_words);
                self.swept[suspect].failure = Some(why);
                in_vain = 0;
            }
            hear(SweepEvent::Died(&died));
            *link = again()?;
        }
    }

    /// Windows of these that lack a sample of a cell of `racing` that has not failed, with the places of such cells.
    fn left(&self, racing: &[usize], windows: Range<usize>) -> Vec<ChunkWork> {
        let lacking = |chunk: usize| {
            let lacks = |cell: &SweptCell| cell.failure.is_none() && !cell.samples.by_chunk.contains_key(&chunk);
            (0..racing.len()).filter(|&place| lacks(&self.swept[racing[place]])).collect()
        };
        let work = self.order[windows].iter().map(|&chunk| ChunkWork { chunk, cells: lacking(chunk) });
        work.filter(|work| !work.cells.is_empty()).collect()
    }

    /// One job; the inner error is the worker's death, what it has said until then is kept. `in_hand` is the cell that it has begun
    /// and the window.
    fn job(
        &mut self,
        link: &mut dyn WorkerLink,
        racing: &[usize],
        chunks: Vec<ChunkWork>,
        in_hand: &mut Option<(usize, usize)>,
        hear: &mut dyn FnMut(SweepEvent<'_>),
    ) -> Result<Result<(), WorkerDied>, SweepError> {
        let cells = racing.iter().map(|&index| self.cells[index].spec()).collect();
        if let Err(died) = link.send(&Job::Measure { base: self.base.clone(), cells, chunks, trace: false }) {
            return Ok(Err(died));
        }
        let index_of = |key: &str| racing.iter().copied().find(|&index| self.cells[index].key == key);
        loop {
            let event = match link.recv() {
                Ok(event) => event,
                Err(died) => return Ok(Err(died)),
            };
            match event {
                Event::Started { cell, chunk } => *in_hand = cell.and_then(|key| Some((index_of(&key)?, chunk))),
                Event::Reference(_) | Event::Note { .. } => {}
                Event::Memory(plan) => hear(SweepEvent::Memory(&plan)),
                Event::Applied { cell, tensors } => {
                    if let Some(index) = index_of(&cell) {
                        self.swept[index].samples.applied.get_or_insert(tensors);
                    }
                }
                Event::Sample(sample) => {
                    let Some(index) = index_of(&sample.cell) else { continue };
                    match check_sample(&sample) {
                        Ok(()) => {
                            self.swept[index].samples.by_chunk.insert(sample.chunk, sample);
                        }
                        Err(error) => self.swept[index].failure = Some(error.to_string()),
                    }
                    self.done += 1;
                    hear(SweepEvent::Progress { done: self.done, at_most: self.at_most });
                }
                Event::CellFailed { cell, why } => {
                    if let Some(index) = index_of(&cell) {
                        self.swept[index].failure = Some(why);
                    }
                }
                Event::Measured { weights_before, weights_after } if weights_before == weights_after => {
                    return Ok(Ok(()));
                }
                Event::Measured { .. } => return Err(SweepError::NotRestored),
                Event::Failed { why, hint, input } => return Err(SweepError::Failed { why, hint, input }),
                other => {
                    let start: String = format!("{other:?}").chars().take(200).collect();
                    let last_words = format!("it said something that was not asked for: {start}");
                    return Err(WorkerDied { last_words }.into());
                }
            }
        }
    }

    fn finished(mut self, race: Option<(Vec<usize>, stats::Race)>) -> Result<Sweep, SweepError> {
        for (cell, swept) in self.cells.iter().zip(&mut self.swept) {
            if swept.failure.is_none() {
                let cell = Cell { chunks: swept.samples.by_chunk.keys().copied().collect(), ..cell.clone() };
                let record = derive(&cell, &swept.samples, None)
                    .map_err(|source| SweepError::Evidence { cell: cell.target.clone(), source })?;
                swept.measured = record.measured;
            }
        }
        let (ranking, ties) = match race {
            Some((alive, race)) => {
                for (&index, &standing) in alive.iter().zip(&race.standings) {
                    self.swept[index].standing = Some(standing);
                }
                let ties = race.ties.iter().map(|&(i, j)| (alive[i], alive[j])).collect();
                (race.answer.iter().map(|&cell| alive[cell]).collect(), ties)
            }
            None => {
                let kld = |index: usize| self.swept[index].measured.as_ref().map(|measured| measured.kld.mean);
                let mut ranking: Vec<usize> = (0..self.swept.len()).filter(|&index| kld(index).is_some()).collect();
                ranking.sort_by(|&a, &b| {
                    let (a_mean, b_mean) = (kld(a).unwrap_or_default(), kld(b).unwrap_or_default());
                    b_mean.total_cmp(&a_mean).then(a.cmp(&b))
                });
                (ranking, Vec::new())
            }
        };
        Ok(Sweep { cells: self.swept, ranking, ties, reference_chunks: self.measured_to })
    }
}
