//! Multiple-choice tasks: the likelihood of every ending under the reference, then under each cell.

use crate::job_error::JobError;
use crate::loaded::Loaded;
use crate::protocol::{CellSpec, ChoiceSample, Event};
use crate::serve::{CellError, Worker};
use eval::choices::{ChoiceTokens, log_likelihood, tokens_of};
use eval::{Ask, EngineError, Sequence};
use record::{Base, EditPlace};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use words::Hint;

/// The number of tasks scored before events are sent. A worker that dies loses at most these.
const TASKS_AT_ONCE: usize = 8;

/// Why the tasks of a cell, or of the reference, were not all scored.
pub(crate) enum Unscored {
    Cell(CellError),
    Gone(io::Error),
}

impl<E: Into<CellError>> From<E> for Unscored {
    fn from(error: E) -> Self {
        Unscored::Cell(error.into())
    }
}

impl<W: Write> Worker<'_, W> {
    pub(crate) fn choose(
        &mut self,
        loaded: &mut Loaded,
        base: &Base,
        cells: &[CellSpec],
        tasks: &[Vec<String>],
    ) -> Result<(), JobError> {
        if cells.iter().flat_map(|cell| &cell.edits).any(|edit| edit.place == EditPlace::Activation) {
            let why = "tasks are scored with weights changed, not activations";
            return Err(JobError::input(why, Hint::words("select weights")));
        }
        let n_ctx = loaded.settings.n_ctx as usize;
        let tokens = tasks
            .iter()
            .enumerate()
            .map(|(task, choices)| {
                let choices = choices
                    .iter()
                    .map(|text| loaded.engine.tokenize(text, false))
                    .collect::<Result<Vec<_>, EngineError>>()?;
                tokens_of(task, choices, n_ctx).map_err(|error| JobError::refused(&error))
            })
            .collect::<Result<Vec<_>, JobError>>()?;
        self.on_base(loaded, base, cells, |worker, loaded, memory| {
            let n_parallel = memory.n_contexts;
            match worker.score_tasks(loaded, n_parallel, None, &tokens) {
                Ok(()) => {}
                Err(Unscored::Gone(error)) => return Err(JobError::Gone(error)),
                Err(Unscored::Cell(error)) => {
                    return Err(JobError::Engine(EngineError::Failed(format!("the untouched model: {error}"))));
                }
            }
            for cell in cells {
                let depth = loaded.depth();
                let scored = worker.tasks_of_cell(loaded, n_parallel, base, cell, &tokens);
                loaded.unwind(depth)?;
                match scored {
                    Ok(()) => {}
                    Err(Unscored::Gone(error)) => return Err(JobError::Gone(error)),
                    Err(Unscored::Cell(error)) => {
                        worker.say(&error.of_cell(&cell.key))?;
                    }
                }
            }
            Ok(())
        })
    }

    fn tasks_of_cell(
        &mut self,
        loaded: &mut Loaded,
        n_parallel: usize,
        base: &Base,
        cell: &CellSpec,
        tokens: &[ChoiceTokens],
    ) -> Result<(), Unscored> {
        let mut evidence = Vec::new();
        for edit in &cell.edits {
            evidence.push(self.swap_in(loaded, base, edit, true)?);
        }
        self.say(&Event::Applied { cell: cell.key.clone(), tensors: evidence }).map_err(Unscored::Gone)?;
        self.score_tasks(loaded, n_parallel, Some(&cell.key), tokens)
    }

    /// Scores every task with the weights that are now in place.
    fn score_tasks(
        &mut self,
        loaded: &mut Loaded,
        n_parallel: usize,
        cell: Option<&str>,
        tokens: &[ChoiceTokens],
    ) -> Result<(), Unscored> {
        let n_vocab = loaded.engine.info().n_vocab;
        for (part, tasks) in tokens.chunks(TASKS_AT_ONCE).enumerate() {
            let first = part * TASKS_AT_ONCE;
            self.say(&Event::Started { cell: cell.map(str::to_string), chunk: first }).map_err(Unscored::Gone)?;
            // The prediction after the last token of a choice is not needed.
            let sequences: Vec<Sequence<'_>> = tasks
                .iter()
                .flat_map(|task| task.choices.iter().map(|tokens| (task.n_shared, tokens)))
                .map(|(n_shared, tokens)| Sequence { tokens: &tokens[..tokens.len() - 1], first_output: n_shared - 1 })
                .collect();
            let endings: Vec<&[i32]> =
                tasks.iter().flat_map(|task| task.choices.iter().map(|tokens| &tokens[task.n_shared..])).collect();
            let scores: Mutex<BTreeMap<usize, Option<f64>>> = Mutex::default();
            loaded.engine.pass(&Ask { n_parallel, ..Ask::of(&sequences) }, &|index, logits| {
                let found = log_likelihood(logits, n_vocab, endings[index]);
                scores.lock().unwrap_or_else(PoisonError::into_inner).insert(index, found);
            })?;
            let scores = scores.into_inner().unwrap_or_else(PoisonError::into_inner);
            let mut index = 0;
            for (offset, task) in tasks.iter().enumerate() {
                let mine = index..index + task.choices.len();
                index = mine.end;
                let ln_p =
                    mine.clone().map(|index| scores.get(&index).copied().flatten()).collect::<Option<Vec<f64>>>();
                let task = first + offset;
                let ln_p = ln_p.ok_or(CellError::NonFiniteTask { task })?;
                let n_tokens = mine.map(|index| endings[index].len()).collect();
                let sample = ChoiceSample { cell: cell.map(str::to_string), task, ln_p, n_tokens };
                self.say(&Event::Choice(sample)).map_err(Unscored::Gone)?;
            }
        }
        Ok(())
    }
}
