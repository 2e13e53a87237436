//! Measures one model. What is outstanding of a step goes to a worker as one job per reference, window by window.
//!
//! A worker that dies twice over a cell costs that cell. Everything else continues in a fresh worker.

use crate::judge::controls::{Checked, REFERENCE_REPEATS, WEIGHTS_RESTORED};
use crate::judge::evidence::{CellFailure, EvidenceError, References, check_complete, check_sample, derive, failed};
use crate::plan::cells::{self, ModelKey};
use crate::plan::stage::Step;
use crate::run::RunError;
use crate::run::identity::{PreparedRun, open};
use crate::run::model_file::Census;
use crate::run::outstanding::{OutstandingWindow, Work, jobs, outstanding};
use record::answer::samples_file;
use record::store::lock::LockedEngine;
use record::store::{CellSamples, Store, StoreError, StoredFault};
use record::{
    Arm, Base, Cell, CellRecord, ControlRecord, Edit, EditPlace, FaultFound, Predicted, ReferenceSample, Role,
    RunEvent, Sample, StageName, TensorEvidence,
};
use std::collections::{BTreeMap, BTreeSet};
use words::{Advice, Hint};
use worker::{CellSpec, Event, InHand, Job, LinkFactory, Session, SessionError};

/// How often a worker may die over the same work.
const MAX_DEATHS: usize = 2;

/// Where events go: to the journal, and to whoever watches.
pub(crate) struct Outlet<'a> {
    pub(crate) store: Store,
    sink: &'a mut dyn FnMut(&RunEvent),
    done: usize,
    total: usize,
    /// The number of passes of the models after this one.
    pub(crate) later: usize,
}

impl<'a> Outlet<'a> {
    pub(crate) fn new(store: Store, sink: &'a mut dyn FnMut(&RunEvent)) -> Self {
        Outlet { store, sink, done: 0, total: 0, later: 0 }
    }

    pub(crate) fn say(&mut self, event: RunEvent) -> Result<(), RunError> {
        if event.is_kept() {
            self.store.journal(&event)?;
        }
        (self.sink)(&event);
        Ok(())
    }

    fn progress(&mut self, model: &str, stage: &StageName) -> Result<(), RunError> {
        self.done += 1;
        let (done, total) = (self.done, self.total.max(self.done));
        self.say(RunEvent::Progress { done, total, model: model.into(), stage: stage.clone() })
    }
}

/// One model that is being measured: its cells, and what the store has of them.
pub(crate) struct Bench<'a> {
    index: usize,
    prepared: &'a PreparedRun,
    engine: &'a LockedEngine,
    key: ModelKey<'a>,
    census: &'a Census,
    steps: Vec<Step>,
    cells: Vec<Cell>,
    samples: BTreeMap<String, CellSamples>,
    references: BTreeMap<String, References>,
    failures: BTreeMap<String, CellFailure>,
    faults: Vec<StoredFault>,
    has_measured: bool,
}

impl<'a> Bench<'a> {
    /// Loads what the store has of a model's cells.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        index: usize,
        prepared: &'a PreparedRun,
        engine: &'a LockedEngine,
        key: ModelKey<'a>,
        census: &'a Census,
        steps: Vec<Step>,
        cells: Vec<Cell>,
        store: &Store,
        faults: &[StoredFault],
    ) -> Result<Self, RunError> {
        let mut samples = BTreeMap::new();
        let mut references = BTreeMap::new();
        for cell in &cells {
            if !samples.contains_key(&cell.key) {
                samples.insert(cell.key.clone(), store.samples(&cell.key)?);
            }
            let reference = key.of_reference(&cell.base);
            if !references.contains_key(&reference) {
                references.insert(reference.clone(), store.reference(&reference)?);
            }
        }
        for cell in &cells {
            let reference = key.of_reference(&cell.base);
            let there = &references[&reference];
            let Some(samples) = samples.get_mut(&cell.key) else { continue };
            // A sample is useless without its reference, so both are measured again.
            samples.by_chunk.retain(|chunk, _| there.contains_key(chunk));
            let is_strange = |s: &&Sample| there[&s.chunk].logits_blake3 != s.reference_blake3;
            if let Some(sample) = samples.by_chunk.values().find(is_strange) {
                let why =
                    format!("window {}: not the reference that cell {} was compared with", sample.chunk, cell.key);
                return Err(StoreError::Corrupt { path: store.samples_path(&reference), why }.into());
            }
        }
        let bench = Bench {
            index,
            prepared,
            engine,
            key,
            census,
            steps,
            samples,
            references,
            failures: BTreeMap::new(),
            faults: faults.iter().filter(|fault| fault.model == index).cloned().collect(),
            has_measured: false,
            cells,
        };
        // A kill between the last sample and the cell's file leaves the file unwritten; this writes it. Otherwise this
        // checks it.
        for cell in bench.first_cells().filter(|cell| bench.is_complete(cell)) {
            bench.write_cell(cell, store)?;
        }
        Ok(bench)
    }

    pub(crate) fn model(&self) -> &str {
        self.prepared.name(self.index)
    }

    /// The number of cells. A cell in two stages counts once.
    pub(crate) fn n_cells(&self) -> usize {
        self.first_cells().count()
    }

    /// The keys of the cells.
    pub(crate) fn keys(&self) -> impl Iterator<Item = String> {
        self.first_cells().map(|cell| cell.key.clone())
    }

    /// Names the cells whose samples are complete but do not give a cell, so that no run ends without the reason.
    pub(crate) fn name_unusable(&mut self, outlet: &mut Outlet<'_>) -> Result<(), RunError> {
        let complete = self.first_cells().filter(|cell| self.is_complete(cell));
        let failed = complete.filter_map(|cell| Some((cell.key.clone(), self.derived(cell).err()?.to_string())));
        for (key, why) in failed.collect::<Vec<_>>() {
            let hint = Hint::words(format!("remove {} to measure it again", samples_file(&key)));
            self.fail(&key, &why, Some(hint), outlet)?;
        }
        Ok(())
    }

    pub(crate) fn samples(&self) -> &BTreeMap<String, CellSamples> {
        &self.samples
    }

    /// Whether a worker has measured anything in this process.
    pub(crate) fn has_measured(&self) -> bool {
        self.has_measured
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether a stage of the step has cells on this model.
    pub(crate) fn has_cells_in(&self, step: &Step) -> bool {
        self.cells.iter().any(|cell| step.stages.contains(&cell.stage))
    }

    pub(crate) fn n_finished(&self) -> usize {
        self.first_cells().filter(|cell| self.is_complete(cell)).count()
    }

    /// The cells that are finished or have failed, in the order of the method.
    pub(crate) fn records(&self) -> Vec<CellRecord> {
        self.cells.iter().filter_map(|cell| self.record(cell)).collect()
    }

    pub(crate) fn controls(&self) -> Vec<ControlRecord> {
        let cells = self.records();
        Checked {
            model: self.model(),
            cells: &cells,
            planned: &self.cells,
            samples: &self.samples,
            faults: &self.faults,
        }
        .controls()
    }

    fn outstanding(&self) -> Vec<OutstandingWindow> {
        outstanding(&self.steps, &self.cells, &self.samples, &self.failures)
    }

    /// The outstanding work of one step, one item for each reference.
    fn works(&self, step: usize) -> Vec<Work<'_>> {
        let units: Vec<OutstandingWindow> = self.outstanding().into_iter().filter(|unit| unit.step == step).collect();
        jobs(&units, &self.cells)
    }

    fn work_on(&self, step: usize, base: &Base) -> Option<Work<'_>> {
        self.works(step).into_iter().find(|work| work.base == base)
    }

    /// The number of passes through the model that are left if every gate opens.
    pub(crate) fn passes_left(&self) -> usize {
        jobs(&self.outstanding(), &self.cells).iter().map(Work::passes).sum()
    }

    pub(crate) fn add_fault(&mut self, fault: StoredFault, outlet: &mut Outlet<'_>) -> Result<(), RunError> {
        if !self.faults.contains(&fault) {
            outlet.store.append_fault(&fault)?;
            let (control, found) = (fault.control.clone(), fault.found.clone());
            outlet.say(RunEvent::Fault { model: self.model().into(), control, found })?;
            self.faults.push(fault);
        }
        Ok(())
    }

    /// Measures the outstanding work of a step.
    pub(crate) fn measure(
        &mut self,
        step: usize,
        workers: &dyn LinkFactory,
        session: &mut Option<Session>,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), RunError> {
        let works = self.works(step);
        let cells = works.iter().map(|work| work.cells.len()).sum();
        let bases: Vec<Base> = works.into_iter().map(|work| work.base.clone()).collect();
        let (model, stage) = (self.model().into(), self.steps[step].name.clone());
        outlet.say(RunEvent::StageStarted { model, stage, cells })?;
        for base in bases {
            self.measure_base(step, &base, workers, session, outlet)?;
        }
        Ok(())
    }

    fn measure_base(
        &mut self,
        step: usize,
        base: &Base,
        workers: &dyn LinkFactory,
        session: &mut Option<Session>,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), RunError> {
        let stage = self.steps[step].name.clone();
        let mut deaths: BTreeMap<Option<String>, usize> = BTreeMap::new();
        loop {
            let Some(Work { cells, windows, .. }) = self.work_on(step, base) else { return Ok(()) };
            let keys: Vec<String> = cells.iter().map(|cell| cell.key.clone()).collect();
            let cells: Vec<CellSpec> = cells.into_iter().map(cells::spec).collect();
            outlet.total = outlet.done + self.passes_left() + outlet.later;
            let model = self.model().to_string();
            outlet.say(RunEvent::Measuring { model, arm: base.arm, cells: cells.len(), chunks: windows.len() })?;

            let mut at_hand = match self.session(workers, session.take(), outlet) {
                Ok(at_hand) => at_hand,
                Err(RunError::Session(error)) => {
                    return self.fail_all(&keys, &error.to_string(), error.hint(), outlet);
                }
                Err(error) => return Err(error),
            };
            self.has_measured = true;
            let job = Job::Measure { base: base.clone(), cells, chunks: windows, trace: false };
            let reference = self.key.of_reference(base);
            let heard = at_hand.hear(&job, &mut |event| self.take(&stage, base.arm, &reference, event, outlet));
            match heard {
                Err(RunError::Session(SessionError::Died { died, in_hand, .. })) => {
                    let culprit = match in_hand {
                        InHand::Cell(key, _) => Some(key),
                        InHand::Reference(_) | InHand::Nothing => None,
                    };
                    let deaths = deaths.entry(culprit.clone()).or_insert(0);
                    *deaths += 1;
                    let again = *deaths < MAX_DEATHS;
                    let during = match &culprit {
                        Some(key) => format!("cell {key}"),
                        None => "the reference".into(),
                    };
                    let (model, last_words) = (self.model().to_string(), died.to_string());
                    outlet.say(RunEvent::WorkerDied { model, during, last_words, again })?;
                    match culprit {
                        _ if again => continue,
                        Some(key) => self.fail(&key, &died.to_string(), died.hint(), outlet)?,
                        None => {
                            let why = format!("at the reference: {died}");
                            return self.fail_all(&keys, &why, died.hint(), outlet);
                        }
                    }
                    continue;
                }
                Err(RunError::Session(SessionError::NotRestored { before, after, .. })) => {
                    let (control, found) = (WEIGHTS_RESTORED.into(), FaultFound::WeightsChanged { before, after });
                    self.add_fault(StoredFault { model: self.index, control, found }, outlet)?;
                }
                Err(RunError::Session(SessionError::Refused { why, hint, .. })) => {
                    self.fail_all(&keys, &why, hint, outlet)?;
                }
                Err(error) => return Err(error),
                Ok(()) => {}
            }
            *session = Some(at_hand);
            let forgotten = self.work_on(step, base).map_or(Vec::new(), |work| work.cells);
            let forgotten: Vec<String> = forgotten.into_iter().map(|cell| cell.key.clone()).collect();
            return self.fail_all(&forgotten, "the worker ended the measurement without it", Some(Hint::Bug), outlet);
        }
    }

    /// The current session, or a fresh one that has the model and exactly the tokens of the lock.
    fn session(
        &self,
        workers: &dyn LinkFactory,
        at_hand: Option<Session>,
        outlet: &Outlet<'_>,
    ) -> Result<Session, RunError> {
        if let Some(there) = at_hand {
            return Ok(there);
        }
        let (mut fresh, engine) = open(self.prepared, self.index, workers)?;
        fresh.log_to(&outlet.store.worker_log(self.index));
        let locked = &self.engine.chunk_blake3;
        if engine.chunk_blake3.get(..locked.len()) != Some(locked) {
            return Err(RunError::OtherEngine {
                model: self.model().into(),
                found: "other tokens".into(),
                wanted: "the tokens of plan.lock.json".into(),
            });
        }
        Ok(fresh)
    }

    /// Stores what one event of a job brings.
    fn take(
        &mut self,
        stage: &StageName,
        arm: Arm,
        reference: &str,
        event: Event,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), RunError> {
        match event {
            Event::Memory(plan) => outlet.say(RunEvent::Memory { model: self.model().into(), arm, plan }),
            Event::Note { note } => outlet.say(RunEvent::Note { model: self.model().into(), note }),
            Event::Reference(sample) => {
                self.take_reference(reference, sample, outlet)?;
                outlet.progress(self.model(), stage)
            }
            Event::Applied { cell, tensors } => self.take_applied(&cell, tensors, outlet),
            Event::Sample(sample) => {
                self.take_sample(reference, sample, outlet)?;
                outlet.progress(self.model(), stage)
            }
            Event::CellFailed { cell, why, hint, nonfinite: false } => self.fail(&cell, &why, hint, outlet),
            Event::CellFailed { cell, why, hint, nonfinite: true } => {
                self.fail_as(&cell, CellFailure { why, nonfinite: true }, hint, outlet)
            }
            // The session passes on no other event of this job.
            _ => Ok(()),
        }
    }

    fn take_reference(
        &mut self,
        reference: &str,
        sample: ReferenceSample,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), RunError> {
        let there = self.references.entry(reference.into()).or_default();
        match there.get(&sample.chunk) {
            None => {
                outlet.store.append_reference(reference, &sample)?;
                there.insert(sample.chunk, sample);
                Ok(())
            }
            Some(before) if *before == sample => Ok(()),
            Some(before) => {
                let (before, after) = (before.logits_blake3.clone(), sample.logits_blake3);
                let found = FaultFound::ReferenceChanged { window: sample.chunk, before, after };
                self.add_fault(StoredFault { model: self.index, control: REFERENCE_REPEATS.into(), found }, outlet)
            }
        }
    }

    fn take_applied(
        &mut self,
        key: &str,
        tensors: Vec<TensorEvidence>,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), RunError> {
        let edits = self.first_cells().find(|cell| cell.key == key).map_or(&[][..], |cell| &cell.edits);
        // The effect of an edit on activations depends on the window, and a later job begins with another one.
        let repeats = |before: &[TensorEvidence]| {
            let same = |((edit, a), b): ((&Edit, &TensorEvidence), &TensorEvidence)| {
                a == b || (edit.place == EditPlace::Activation && a.tensor == b.tensor)
            };
            before.len() == tensors.len() && edits.iter().zip(before).zip(&tensors).all(same)
        };
        let is_same = self.samples.get(key).and_then(|there| there.applied.as_deref()).is_none_or(repeats);
        let there = self.samples.entry(key.into()).or_default();
        match &there.applied {
            None => {
                outlet.store.append_applied(key, &tensors)?;
                there.applied = Some(tensors);
                Ok(())
            }
            Some(_) if is_same => Ok(()),
            Some(_) => self.fail(key, "the edits did something else than the first time", None, outlet),
        }
    }

    fn take_sample(&mut self, reference: &str, sample: Sample, outlet: &mut Outlet<'_>) -> Result<(), RunError> {
        let key = sample.cell.clone();
        if self.failures.contains_key(&key) {
            return Ok(());
        }
        let its_reference = self.references.get(reference).and_then(|there| there.get(&sample.chunk));
        let checked = match its_reference {
            None => Err(EvidenceError::NoReference(sample.chunk)),
            Some(its_reference) => check_sample(&sample, its_reference).and_then(|()| check_complete(&sample)),
        };
        if let Err(error) = checked {
            return self.fail(&key, &error.to_string(), None, outlet);
        }
        outlet.store.append_sample(&sample)?;
        self.samples.entry(key.clone()).or_default().by_chunk.entry(sample.chunk).or_insert(sample);
        let Some(cell) = self.first_cells().find(|cell| cell.key == key) else { return Ok(()) };
        if !self.is_complete(cell) {
            return Ok(());
        }
        match self.derived(cell) {
            Ok(record) => {
                outlet.store.write_cell(&record)?;
                let (kld_mean, same_top) = record.measured.map_or((0.0, 0.0), |m| (m.kld().mean, m.same_top()));
                outlet.say(RunEvent::CellDone {
                    model: self.model().into(),
                    key,
                    stage: cell.stage.clone(),
                    role: cell.role,
                    arm: cell.base.arm,
                    target: cell.target.clone(),
                    scheme: cell.scheme.clone(),
                    kld_mean,
                    same_top,
                })
            }
            Err(error) => self.fail(&key, &error.to_string(), None, outlet),
        }
    }

    fn fail(&mut self, key: &str, why: &str, hint: Option<Hint>, outlet: &mut Outlet<'_>) -> Result<(), RunError> {
        self.fail_as(key, CellFailure { why: why.into(), nonfinite: false }, hint, outlet)
    }

    fn fail_as(
        &mut self,
        key: &str,
        failure: CellFailure,
        hint: Option<Hint>,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), RunError> {
        let CellFailure { why, nonfinite } = failure.clone();
        if self.failures.insert(key.into(), failure).is_some() {
            return Ok(());
        }
        let cell = self.first_cells().find(|cell| cell.key == key);
        if nonfinite && cell.is_some_and(|cell| cell.role == Role::Positive) {
            // That is what the control is for.
            return Ok(());
        }
        let target = cell.map_or(String::new(), |cell| cell.target.clone());
        let model = self.model().to_string();
        outlet.say(RunEvent::CellFailed { model, key: key.into(), target, why, hint })
    }

    fn fail_all(
        &mut self,
        keys: &[String],
        why: &str,
        hint: Option<Hint>,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), RunError> {
        keys.iter().try_for_each(|key| self.fail(key, why, hint.clone(), outlet))
    }

    /// The cells without those whose key came before. The file of a key names its first stage.
    fn first_cells(&self) -> impl Iterator<Item = &Cell> {
        let mut seen = BTreeSet::new();
        self.cells.iter().filter(move |cell| seen.insert(&cell.key))
    }

    fn is_complete(&self, cell: &Cell) -> bool {
        let there = self.samples.get(&cell.key);
        there.is_some_and(|there| cell.chunks.iter().all(|chunk| there.by_chunk.contains_key(chunk)))
    }

    /// What the file says that the cell changes in the tensors that the graph uses.
    fn predicted(&self, cell: &Cell) -> Option<Predicted> {
        let applied = self.samples.get(&cell.key).and_then(|samples| samples.applied.as_ref());
        let is_unused = |edit: &&Edit| {
            let found = applied.and_then(|applied| applied.iter().find(|found| found.tensor == edit.tensor));
            found.is_some_and(TensorEvidence::is_unused)
        };
        self.census.predicted_of(&cell.scheme, cell.edits.iter().filter(|edit| !is_unused(edit)))
    }

    fn record(&self, cell: &Cell) -> Option<CellRecord> {
        let (samples, predicted) = (self.samples.get(&cell.key)?, self.predicted(cell));
        if let Some(why) = self.failures.get(&cell.key) {
            return Some(failed(cell, samples, predicted.as_ref(), why));
        }
        if !self.is_complete(cell) {
            return None;
        }
        let derived = self.derived(cell);
        let underivable = |error: EvidenceError| CellFailure { why: error.to_string(), nonfinite: false };
        Some(derived.unwrap_or_else(|error| failed(cell, samples, predicted.as_ref(), &underivable(error))))
    }

    /// The record of a complete cell from its samples and those of its reference.
    fn derived(&self, cell: &Cell) -> Result<CellRecord, EvidenceError> {
        let reference = &self.references[&self.key.of_reference(&cell.base)];
        derive(cell, &self.samples[&cell.key], reference, self.predicted(cell).as_ref())
    }

    fn write_cell(&self, cell: &Cell, store: &Store) -> Result<(), RunError> {
        // A cell that cannot be derived has no file; `record` says why.
        self.derived(cell).map_or(Ok(()), |record| Ok(store.write_cell(&record)?))
    }
}
