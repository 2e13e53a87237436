//! What is left to measure: a pure function of the steps of the plan, the cells of a model, and what the store has.
//!
//! ```text
//! steps × cells − samples − failures ── outstanding ──▶ units ── jobs ──▶ one job per step and reference
//! ```

use crate::judge::evidence::CellFailure;
use crate::plan::stage::Step;
use record::store::CellSamples;
use record::{Base, Cell};
use std::collections::{BTreeMap, BTreeSet};
use worker::ChunkWork;

/// One window of a cell that is still to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutstandingWindow {
    /// The index of the step that measures it: the first that includes the cell and the window.
    pub step: usize,
    /// The index of the cell among the cells of the model.
    pub cell: usize,
    /// The number of the window.
    pub window: usize,
}

/// What every step still has to measure if every gate opens, sorted by step, reference, cell and window. Each is in the
/// order of the method.
///
/// A step measures its own cells and those of the steps before it, as far as their windows lie within its own. Cells
/// that share a key are one measurement, and the first of them stands for all. A cell that failed is not measured
/// again.
pub fn outstanding(
    steps: &[Step],
    cells: &[Cell],
    samples: &BTreeMap<String, CellSamples>,
    failures: &BTreeMap<String, CellFailure>,
) -> Vec<OutstandingWindow> {
    let step_of = |cell: &Cell| steps.iter().position(|step| step.stages.contains(&cell.stage));
    let reached: Vec<Option<usize>> = cells.iter().map(step_of).collect();
    let is_there = |key: &str, window| samples.get(key).is_some_and(|there| there.by_chunk.contains_key(&window));
    let mut seen = BTreeSet::new();
    let mut units = Vec::new();
    for (step, Step { n_windows, .. }) in steps.iter().enumerate() {
        let begin = units.len();
        for (index, cell) in cells.iter().enumerate() {
            if reached[index].is_none_or(|first| first > step) || failures.contains_key(&cell.key) {
                continue;
            }
            for &window in cell.chunks.iter().filter(|window| *window < n_windows) {
                if !is_there(&cell.key, window) && seen.insert((cell.key.as_str(), window)) {
                    units.push(OutstandingWindow { step, cell: index, window });
                }
            }
        }
        units[begin..].sort_by_key(|unit| reference_of(cells, unit));
    }
    units
}

/// The index of a unit's reference, which is the index of the first cell that is compared with it.
fn reference_of(cells: &[Cell], unit: &OutstandingWindow) -> Option<usize> {
    let base = &cells.get(unit.cell)?.base;
    cells.iter().position(|cell| cell.base == *base)
}

/// The units of one step on one reference, grouped by window: all cells of a window share the reference's pass.
#[derive(Debug)]
pub struct Work<'a> {
    /// The reference of the cells.
    pub base: &'a Base,
    /// The cells to measure, each once.
    pub cells: Vec<&'a Cell>,
    /// The windows to measure, ascending, each with the indices of its cells in `cells`.
    pub windows: Vec<ChunkWork>,
}

impl Work<'_> {
    /// The number of passes through the model: one for the reference on each window, and one for each cell.
    pub fn passes(&self) -> usize {
        self.windows.iter().map(|window| 1 + window.cells.len()).sum()
    }
}

/// The jobs that measure these units, in their order.
pub fn jobs<'a>(units: &[OutstandingWindow], cells: &'a [Cell]) -> Vec<Work<'a>> {
    let together = |a: &OutstandingWindow, b: &OutstandingWindow| {
        a.step == b.step && reference_of(cells, a) == reference_of(cells, b)
    };
    units.chunk_by(together).filter_map(|units| job(units, cells)).collect()
}

fn job<'a>(units: &[OutstandingWindow], cells: &'a [Cell]) -> Option<Work<'a>> {
    let mut chosen: Vec<usize> = Vec::new();
    let mut windows: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for unit in units {
        if chosen.last() != Some(&unit.cell) {
            chosen.push(unit.cell);
        }
        windows.entry(unit.window).or_default().push(chosen.len() - 1);
    }
    let cells: Vec<&Cell> = chosen.into_iter().filter_map(|index| cells.get(index)).collect();
    let windows = windows.into_iter().map(|(chunk, cells)| ChunkWork { chunk, cells }).collect();
    Some(Work { base: &cells.first()?.base, cells, windows })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::cells::{ModelKey, PlanTarget, expand};
    use crate::plan::gate::Gate;
    use crate::plan::stage::{Stage, steps};
    use crate::plan::{Corpus, Plan};
    use proptest::prelude::*;
    use record::plan::{ArmSet, CellSet, StageArms, StageWindows};
    use record::{Arm, CellExtent, Role, Sample, StageName};
    use select::{Selector, Target, TensorId};

    fn sample(cell: &str, chunk: usize) -> Sample {
        Sample {
            cell: cell.into(),
            chunk,
            reference_blake3: "reference".into(),
            columns: record::Columns::default(),
            activations: None,
            nodes: Vec::new(),
            residual: Vec::new(),
            routers: Vec::new(),
        }
    }

    /// What a store has of cells and windows.
    fn samples(there: &BTreeSet<(String, usize)>) -> BTreeMap<String, CellSamples> {
        let mut samples: BTreeMap<String, CellSamples> = BTreeMap::new();
        for (key, window) in there {
            samples.entry(key.clone()).or_default().by_chunk.insert(*window, sample(key, *window));
        }
        samples
    }

    fn failures(keys: &BTreeSet<String>) -> BTreeMap<String, CellFailure> {
        keys.iter().map(|key| (key.clone(), CellFailure { why: "it failed".into(), nonfinite: false })).collect()
    }

    /// The decision table: for a key on a window, the step that has to measure it, if any.
    type Decisions = BTreeMap<(String, usize), usize>;

    fn decided(units: &[OutstandingWindow], cells: &[Cell]) -> Decisions {
        let mut rows = Decisions::new();
        for unit in units {
            let row = (cells[unit.cell].key.clone(), unit.window);
            assert_eq!(rows.insert(row, unit.step), None, "{unit:?} stands twice");
        }
        rows
    }

    /// The table, filled cell by cell and window by window from what the words of a plan say.
    fn table(
        stages: &[Stage],
        (layer_chunks, chunks): (usize, usize),
        cells: &[Cell],
        there: &BTreeSet<(String, usize)>,
        failed: &BTreeSet<String>,
    ) -> Decisions {
        let has = |stage: &Stage| match stage.windows {
            StageWindows::First(n) => n.min(chunks),
            StageWindows::Named(record::plan::WindowSet::Whole) => chunks,
            StageWindows::Named(record::plan::WindowSet::Layer) => layer_chunks.min(chunks),
        };
        // A step ends at a gate.
        let step_of = |at: usize| stages[..at].iter().filter(|stage| stage.gate.is_some()).count();
        let mut rows = Decisions::new();
        for cell in cells {
            let Some(own) = stages.iter().position(|stage| stage.name == cell.stage) else { continue };
            for window in 0..chunks {
                let row = (cell.key.clone(), window);
                if !cell.chunks.contains(&window) || there.contains(&row) || failed.contains(&cell.key) {
                    continue;
                }
                // Any stage of the cell's step or of a later one can measure the window, if it has that many windows.
                let steps = (0..stages.len()).filter(|&at| step_of(at) >= step_of(own) && window < has(&stages[at]));
                if let Some(step) = steps.map(step_of).min() {
                    let first = rows.get(&row).copied().unwrap_or(step);
                    rows.insert(row, first.min(step));
                }
            }
        }
        rows
    }

    fn check(
        stages: &[Stage],
        n: (usize, usize),
        cells: &[Cell],
        there: &BTreeSet<(String, usize)>,
        failed: &BTreeSet<String>,
    ) {
        let steps = steps(stages, n.0, n.1);
        let units = outstanding(&steps, cells, &samples(there), &failures(failed));
        assert_eq!(decided(&units, cells), table(stages, n, cells, there, failed));

        // The jobs do each unit once, on its own reference, and count their passes.
        let works = jobs(&units, cells);
        let mut done = Vec::new();
        for work in &works {
            assert!(work.windows.is_sorted_by_key(|window| window.chunk));
            assert!(work.windows.windows(2).all(|pair| pair[0].chunk != pair[1].chunk), "a window stands twice");
            for window in &work.windows {
                for &cell in &window.cells {
                    assert_eq!(work.cells[cell].base, *work.base);
                    done.push((work.cells[cell].key.clone(), window.chunk));
                }
            }
        }
        let mut wanted: Vec<(String, usize)> =
            units.iter().map(|unit| (cells[unit.cell].key.clone(), unit.window)).collect();
        let passes: usize = works.iter().map(Work::passes).sum();
        let windows: usize = works.iter().map(|work| work.windows.len()).sum();
        assert_eq!(passes, units.len() + windows);
        done.sort();
        wanted.sort();
        assert_eq!(done, wanted);

        // Steps come in their order, and no reference comes twice in one of them.
        let order: Vec<(usize, Option<usize>)> =
            units.iter().map(|unit| (unit.step, reference_of(cells, unit))).collect();
        assert!(order.is_sorted());

        // Once its units are measured, a step has nothing left.
        let mut after = there.clone();
        for step in 0..steps.len() {
            after.extend(
                units.iter().filter(|unit| unit.step == step).map(|unit| (cells[unit.cell].key.clone(), unit.window)),
            );
            let left = outstanding(&steps, cells, &samples(&after), &failures(failed));
            assert!(left.iter().all(|unit| unit.step > step));
            assert_eq!(left, units.iter().copied().filter(|unit| unit.step > step).collect::<Vec<_>>());
        }
    }

    const NAMES: [&str; 4] = ["a", "b", "c", "d"];

    fn a_stage(name: &'static str) -> impl Strategy<Value = Stage> {
        let windows = prop_oneof![
            Just(StageWindows::Named(record::plan::WindowSet::Layer)),
            Just(StageWindows::Named(record::plan::WindowSet::Whole)),
            (0..6usize).prop_map(StageWindows::First),
        ];
        (windows, any::<bool>()).prop_map(move |(windows, gate)| Stage {
            name: StageName::of(name),
            cells: CellSet::All,
            windows,
            arms: StageArms::Named(ArmSet::All),
            gate: gate.then_some(Gate::ControlsHold),
        })
    }

    /// Cells with few keys, so that some share one. Cells of a key have the same windows and the same reference.
    fn cells() -> impl Strategy<Value = Vec<Cell>> {
        let kinds = prop::collection::vec((0..3usize, 0..6usize), 6);
        let places = prop::collection::vec((0..6usize, 0..5usize), 0..10);
        (kinds, places).prop_map(|(kinds, places)| {
            let cell = |(key, stage): (usize, usize)| {
                let (base, n) = kinds[key];
                let arm = if base == 0 { Arm::Exact } else { Arm::Native };
                let places = (base == 2).then_some(("t", record::EditPlace::Weight));
                Cell {
                    key: format!("key {key}"),
                    // One name does not belong to any stage.
                    stage: StageName::of(NAMES.get(stage).copied().unwrap_or("elsewhere")),
                    extent: CellExtent::Whole,
                    role: Role::Variant,
                    target: "t".into(),
                    scheme: "bf16".into(),
                    layers: Vec::new(),
                    base: Base { arm, ..Base::native(places) },
                    edits: Vec::new(),
                    chunks: (0..n).collect(),
                }
            };
            places.into_iter().map(cell).collect()
        })
    }

    proptest! {
        #[test]
        fn the_outstanding_work_is_that_of_the_decision_table(
            stages in NAMES.map(a_stage),
            n_stages in 0..=NAMES.len(),
            n in (0..6usize, 0..6usize),
            cells in cells(),
            there in prop::collection::btree_set((0..6usize, 0..6usize), 0..20),
            failed in prop::collection::btree_set(0..6usize, 0..2),
        ) {
            let there = there.into_iter().map(|(key, window)| (format!("key {key}"), window)).collect();
            let failed = failed.into_iter().map(|key| format!("key {key}")).collect();
            check(&stages[..n_stages], n, &cells, &there, &failed);
        }

        #[test]
        fn a_preset_resumed_anywhere_measures_what_its_table_says(
            quantized in any::<bool>(),
            (layer_chunks, chunks) in (1..4usize, 1..6usize),
            lost in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
            failed in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let (plan, cells) = embedding_and_norms(quantized, layer_chunks, chunks);
            let steps = steps(&plan.stages, layer_chunks, chunks);
            prop_assert_eq!(steps.len(), 4);
            let whole: Vec<(String, usize)> =
                cells.iter().flat_map(|cell| cell.chunks.iter().map(|window| (cell.key.clone(), *window))).collect();
            let lost: BTreeSet<&(String, usize)> = lost.iter().map(|at| at.get(&whole)).collect();
            let there: BTreeSet<(String, usize)> = whole.iter().filter(|row| !lost.contains(row)).cloned().collect();
            let failed: BTreeSet<String> = failed.iter().map(|at| at.get(&whole).0.clone()).collect();
            let units = outstanding(&steps, &cells, &samples(&there), &failures(&failed));

            // The rows are written by hand, as the stages of the first release have them.
            let mut rows = Decisions::new();
            for cell in cells.iter().filter(|cell| !failed.contains(&cell.key)) {
                for &window in &cell.chunks {
                    let step = match cell.stage.as_str() {
                        "controls" if window < layer_chunks => 0,
                        "one_layer" => 1,
                        "each_layer" => 2,
                        "controls" | "each_part" | "all_layers" => 3,
                        other => panic!("{other} is no stage of a preset"),
                    };
                    let row = (cell.key.clone(), window);
                    if !there.contains(&row) {
                        rows.entry(row).and_modify(|first| *first = step.min(*first)).or_insert(step);
                    }
                }
            }
            prop_assert_eq!(decided(&units, &cells), rows);
            check(&plan.stages, (layer_chunks, chunks), &cells, &there, &failed);
        }
    }

    /// A plan with layers and parts, on a small model.
    fn embedding_and_norms(quantized: bool, layer_chunks: usize, chunks: usize) -> (Plan, Vec<Cell>) {
        let corpus = Corpus::new("built-in", "text");
        let mut plan = Plan::preset("embedding-4bit", vec!["m.gguf".into()], corpus).expect("a preset");
        (plan.layer_chunks, plan.chunks) = (layer_chunks, chunks);
        plan.target = "token_embd[use=lookup],output[use=head],ffn_norm".parse().expect("a selector");
        let ty = if quantized { "q8_0" } else { "f32" };
        let mut tensors = vec![TensorId { name: "token_embd.weight".into(), ty: ty.into(), ne: vec![8, 8] }];
        let norm = |layer| TensorId { name: format!("blk.{layer}.ffn_norm.weight"), ty: "f32".into(), ne: vec![8] };
        tensors.extend((0..3).map(norm));
        let targets = |selector: &Selector| selector.targets(&tensors).expect("there").targets;
        let chosen: Vec<Target> = targets(&plan.target);
        let parts: Vec<(Selector, Vec<Target>)> = plan.parts.iter().map(|part| (part.clone(), targets(part))).collect();
        let hashes: Vec<String> = (0..chunks).map(|window| format!("window {window}")).collect();
        let model =
            ModelKey { file_blake3: "file", engine_build: "engine", settings: &plan.settings, chunk_blake3: &hashes };
        let cells = expand(&plan, PlanTarget { tensors: &tensors, chosen: &chosen, parts: &parts }, model, chunks);
        (plan, cells)
    }
}
