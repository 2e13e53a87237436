//! One scheme on every layer singly, ranked by KL divergence: all of it, or as a race for the layers that lose most.
//!
//! ```text
//! order of windows (seeded) ─▶ job up to the next look ─▶ samples ─▶ stats::race ─▶ cells still racing ─▶ next job …
//! ```
//!
//! Without a race there is one job over all windows. Nothing is stored: a sweep is a question to one model, answered at once. A worker
//! that dies is replaced and the rest measured; a cell on which it dies twice fails, and the others go on.

use crate::judge::evidence::{EvidenceError, References, check_complete, check_sample, derive};
use crate::plan::cells::spec;
use record::store::CellSamples;
use record::{Base, Cell, Measured, MemoryPlan};
use stats::{ChunkSample, RaceRule, Standing, StatsError};
use std::ops::Range;
use words::{Advice, Hint};
use worker::{ChunkWork, Event, InHand, Job, Session, SessionError, WorkerDied};

/// Why a sweep ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The worker died, refused the job, or left the weights in another state.
    #[error(transparent)]
    Session(#[from] SessionError),
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
    /// What can be done about that.
    pub advice: Option<Hint>,
    /// Where the race left it; `None` without a race, and for a failed cell.
    pub standing: Option<Standing>,
    /// What its edits did.
    pub samples: CellSamples,
}

/// Opens a session whose worker has loaded the model and cut the text.
pub type OpenSession<'a> = dyn FnMut() -> Result<Session, SessionError> + 'a;

/// Measures `cells` (whose keys differ) on the windows of `order` through an open worker that has cut its text; `again` gives
/// another one where that dies.
///
/// # Errors
/// When no worker can be had, or one answers wrongly. A cell that fails is part of the result.
pub fn sweep(
    session: &mut Session,
    again: &mut OpenSession<'_>,
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
        references: References::new(),
        measured_to: 0,
        done: 0,
        // Until a look says otherwise.
        at_most: cells.len() * order.len(),
    };
    let all: Vec<usize> = (0..cells.len()).collect();
    let Some(rule) = rule else {
        course.measure(session, again, &all, order.len(), hear)?;
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
        course.measure(session, again, &racing, next, hear)?;
    }
}

struct Course<'a> {
    base: &'a Base,
    cells: &'a [Cell],
    order: &'a [usize],
    swept: Vec<SweptCell>,
    references: References,
    /// Windows of `order` that the cells still racing have.
    measured_to: usize,
    done: usize,
    at_most: usize,
}

impl Course<'_> {
    /// KL divergences of each window, in the race's order.
    fn chunk_samples(&self, alive: &[usize]) -> Vec<Vec<ChunkSample>> {
        let of_window =
            |index: usize, window: &usize| Some(ChunkSample::of(self.swept[index].samples.by_chunk.get(window)?.kld()));
        alive.iter().map(|&index| self.order.iter().map_while(|window| of_window(index, window)).collect()).collect()
    }

    /// The windows from where the race is up to `to`, with these cells, by as many workers as it takes.
    fn measure(
        &mut self,
        session: &mut Session,
        again: &mut OpenSession<'_>,
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
            let (died, in_hand) = match self.job(session, racing, work, hear) {
                Err(SweepError::Session(SessionError::Died { died, in_hand, .. })) => (died, in_hand),
                ended => return ended,
            };
            in_vain = if self.done > before { 1 } else { in_vain + 1 };
            if in_vain >= 2 {
                let suspect = match &in_hand {
                    InHand::Cell(key, window) => self.index_of(racing, key).map(|index| (index, *window)),
                    InHand::Reference(_) | InHand::Nothing => None,
                };
                let Some((suspect, window)) = suspect else {
                    let name = session.name().to_owned();
                    return Err(SessionError::Died { name, died, in_hand }.into());
                };
                let why = format!("the worker crashed twice while measuring this layer (window {window}): {died}");
                self.swept[suspect].failure = Some(why);
                self.swept[suspect].advice = died.hint();
                in_vain = 0;
            }
            hear(SweepEvent::Died(&died));
            *session = again()?;
        }
    }

    /// The cell of that key among `racing`.
    fn index_of(&self, racing: &[usize], key: &str) -> Option<usize> {
        racing.iter().copied().find(|&index| self.cells[index].key == key)
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

    /// One job; what was measured before an error is kept.
    fn job(
        &mut self,
        session: &mut Session,
        racing: &[usize],
        chunks: Vec<ChunkWork>,
        hear: &mut dyn FnMut(SweepEvent<'_>),
    ) -> Result<(), SweepError> {
        let cells = racing.iter().map(|&index| spec(&self.cells[index])).collect();
        let job = Job::Measure { base: self.base.clone(), cells, chunks, trace: false };
        session.hear(&job, &mut |event| {
            match event {
                Event::Memory(plan) => hear(SweepEvent::Memory(&plan)),
                Event::Reference(sample) => {
                    self.references.entry(sample.chunk).or_insert(sample);
                }
                Event::Applied { cell, tensors } => {
                    if let Some(index) = self.index_of(racing, &cell) {
                        self.swept[index].samples.applied.get_or_insert(tensors);
                    }
                }
                Event::Sample(sample) => {
                    let Some(index) = self.index_of(racing, &sample.cell) else { return Ok(()) };
                    let checked = match self.references.get(&sample.chunk) {
                        None => Err(EvidenceError::NoReference(sample.chunk)),
                        Some(reference) => check_sample(&sample, reference).and_then(|()| check_complete(&sample)),
                    };
                    match checked {
                        Ok(()) => {
                            self.swept[index].samples.by_chunk.insert(sample.chunk, sample);
                        }
                        Err(error) => self.swept[index].failure = Some(error.to_string()),
                    }
                    self.done += 1;
                    hear(SweepEvent::Progress { done: self.done, at_most: self.at_most });
                }
                Event::CellFailed { cell, why, hint } => {
                    if let Some(index) = self.index_of(racing, &cell) {
                        self.swept[index].failure = Some(why);
                        self.swept[index].advice = hint;
                    }
                }
                // Notes are not told.
                _ => {}
            }
            Ok(())
        })
    }

    fn finished(mut self, race: Option<(Vec<usize>, stats::Race)>) -> Result<Sweep, SweepError> {
        for (cell, swept) in self.cells.iter().zip(&mut self.swept) {
            if swept.failure.is_none() {
                let cell = Cell { chunks: swept.samples.by_chunk.keys().copied().collect(), ..cell.clone() };
                let record = derive(&cell, &swept.samples, &self.references, None)
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
                let kld = |index: usize| self.swept[index].measured.as_ref().map(|measured| measured.kld().mean);
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
