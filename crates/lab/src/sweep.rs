//! One scheme on each layer alone, ranked by KL divergence: a whole sweep, or a race for the layers that lose most.
//!
//! ```text
//! order of windows (seeded) ─▶ job up to the next look ─▶ samples ─▶ stats::race ─▶ cells still racing ─▶ next job …
//! ```
//!
//! Without a race there is one job over all windows. A sweep stores nothing: it is a question to one model, answered at
//! once. A worker that dies is replaced, and the rest is measured. A cell on which workers die twice fails, and the
//! others go on.

use crate::judge::evidence::{EvidenceError, References, check_complete, check_sample, derive};
use crate::plan::cells::spec;
use record::store::CellSamples;
use record::{Base, Cell, EditPlace, Measured, MemoryPlan, Note, TensorEvidence};
use stats::{ChunkSample, RaceRule, Standing, StatsError};
use std::ops::Range;
use words::{Advice, Hint};
use worker::{ChunkWork, Event, InHand, Job, Session, SessionError, WorkerDied};

/// Why a sweep ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The worker died, refused the job, or left the weights changed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A cell's samples cannot be scores.
    #[error("{cell}: {source}")]
    Evidence {
        /// The key of the cell.
        cell: String,
        /// What is wrong with the samples.
        source: EvidenceError,
    },
    /// The race cannot be decided.
    #[error(transparent)]
    Race(#[from] StatsError),
}

/// An event during a sweep.
#[derive(Debug)]
pub enum SweepEvent<'a> {
    /// The main memory that the measurement needs.
    Memory(&'a MemoryPlan),
    /// The progress in cell-windows, each one window of one cell.
    Progress {
        /// The number of cell-windows that are done.
        done: usize,
        /// The largest number that may be needed.
        at_most: usize,
    },
    /// The worker died, and another one continues with what is left.
    Died(&'a WorkerDied),
    /// The user should know this.
    Note(&'a Note),
}

/// A finished sweep, with one entry for each cell that was asked for.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    /// The results of the cells, in the order asked for.
    pub cells: Vec<SweptCell>,
    /// The indices of the cells with the largest mean KL divergence, largest first. A race has only its answer;
    /// otherwise all cells are listed. Failed cells are left out.
    pub ranking: Vec<usize>,
    /// The pairs of a cell in a race's answer and one outside it that the text cannot tell apart; empty without a race.
    pub ties: Vec<(usize, usize)>,
    /// The number of windows on which the reference was measured.
    pub reference_chunks: usize,
}

/// One cell of a sweep.
#[derive(Clone, Debug, Default)]
pub struct SweptCell {
    /// The numbers over the windows that the cell was measured on; `None` when it failed.
    pub measured: Option<Measured>,
    /// Why the cell failed; `None` when it was measured.
    pub failure: Option<String>,
    /// What the user can do about the failure; `None` where nothing helps.
    pub advice: Option<Hint>,
    /// The standing of the cell in the race; `None` without a race, and for a failed cell.
    pub standing: Option<Standing>,
    /// The samples of the cell, and what its edits did.
    pub samples: CellSamples,
}

/// A function that opens a session whose worker has loaded the model and cut the text.
pub type OpenSession<'a> = dyn FnMut() -> Result<Session, SessionError> + 'a;

/// Measures `cells`, whose keys differ, on the windows of `order`. The worker is open and has cut its text; `again`
/// opens another one if it dies.
///
/// # Errors
/// When no worker can be started, or one answers wrongly. A cell that fails is part of the result.
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
        // This is the limit until a look decides otherwise.
        at_most: cells.len() * order.len(),
    };
    let all: Vec<usize> = (0..cells.len()).collect();
    let Some(rule) = rule else {
        course.measure(session, again, &all, order.len(), hear)?;
        return course.finished(None);
    };
    loop {
        let alive: Vec<usize> = all.iter().copied().filter(|&index| course.swept[index].failure.is_none()).collect();
        let inert = (0..alive.len()).filter(|&place| course.is_inert(alive[place])).collect();
        let race = stats::race(rule, &course.chunk_samples(&alive), &inert)?;
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
    /// The number of windows of `order` that every racing cell has been measured on.
    measured_to: usize,
    done: usize,
    at_most: usize,
}

impl Course<'_> {
    /// The KL divergences of each window, in the order of the race.
    fn chunk_samples(&self, alive: &[usize]) -> Vec<Vec<ChunkSample>> {
        let of_window =
            |index: usize, window: &usize| Some(ChunkSample::of(self.swept[index].samples.by_chunk.get(window)?.kld()));
        alive.iter().map(|&index| self.order.iter().map_while(|window| of_window(index, window)).collect()).collect()
    }

    /// Whether a cell changes no bit of any weight that the graph uses, so that no window can show an effect. Of activations,
    /// only the windows seen so far are known.
    fn is_inert(&self, index: usize) -> bool {
        let is_untouched = |tensor: &TensorEvidence| {
            let is_same_type = tensor.type_base == tensor.type_variant;
            tensor.is_unused() || (tensor.changed_bytes == 0 && tensor.carrier_rounded == 0 && is_same_type)
        };
        let edits_weights = self.cells[index].edits.iter().all(|edit| edit.place != EditPlace::Activation);
        edits_weights
            && self.swept[index].samples.applied.as_ref().is_some_and(|tensors| tensors.iter().all(is_untouched))
    }

    /// Measures these cells on the windows from where the race is up to `to`. Workers that die are replaced.
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

    /// The index of the cell with that key among `racing`.
    fn index_of(&self, racing: &[usize], key: &str) -> Option<usize> {
        racing.iter().copied().find(|&index| self.cells[index].key == key)
    }

    /// The windows that lack a sample of a cell in `racing`, with the indices of those cells. Failed cells are left
    /// out.
    fn left(&self, racing: &[usize], windows: Range<usize>) -> Vec<ChunkWork> {
        let lacking = |chunk: usize| {
            let lacks = |cell: &SweptCell| cell.failure.is_none() && !cell.samples.by_chunk.contains_key(&chunk);
            (0..racing.len()).filter(|&place| lacks(&self.swept[racing[place]])).collect()
        };
        let work = self.order[windows].iter().map(|&chunk| ChunkWork { chunk, cells: lacking(chunk) });
        work.filter(|work| !work.cells.is_empty()).collect()
    }

    /// Runs one job. What was measured before an error stays.
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
                Event::CellFailed { cell, why, hint, .. } => {
                    if let Some(index) = self.index_of(racing, &cell) {
                        self.swept[index].failure = Some(why);
                        self.swept[index].advice = hint;
                    }
                }
                Event::Note { note } => hear(SweepEvent::Note(&note)),
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
                swept.samples.applied = Some(record.evidence.tensors);
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
