//! From a plan and a model to the list of cells in the order of the method: by stage, and within a stage by arm.
//!
//! | cells of a stage | what they are |
//! |---|---|
//! | controls | in each arm: A/A, identity write-back, positive control, one jitter a seed; in the native arm the carrier control |
//! | one-layer | the middle layer of the target |
//! | each-layer | every layer of the target, one at a time |
//! | each-part | every part of the target that the plan names |
//! | all | the whole target |

use crate::plan::reference::reference;
use crate::plan::{Plan, Stage};
use eval::EngineSettings;
use numerics::Scheme;
use record::plan::CellSet;
use record::{Arm, Base, Carrier, Cell, Edit, EditPlace, Role};
use select::{LayerSet, Selector, Target, TensorId};
use serde::Serialize;
use worker::CellSpec;

/// The version of the meaning of a key. It grows when the same inputs would give other numbers.
const KEY_FORMAT: u32 = 1;

/// The cell in the form that a worker takes.
pub fn spec(cell: &Cell) -> CellSpec {
    spec_of(cell.key.clone(), cell.edits.clone())
}

/// A variant with its own name, in the form that a worker takes.
pub fn spec_of(key: impl Into<String>, edits: Vec<Edit>) -> CellSpec {
    CellSpec { key: key.into(), first_layer: select::first_layer(&edits), edits }
}

/// What determines a model's numbers besides the cell.
#[derive(Clone, Copy, Debug)]
pub struct ModelKey<'a> {
    /// The blake3 hash of the file.
    pub file_blake3: &'a str,
    /// The build of the engine.
    pub engine_build: &'a str,
    /// The pinned engine settings.
    pub settings: &'a EngineSettings,
    /// The hash of each window's tokens.
    pub chunk_blake3: &'a [String],
}

#[derive(Serialize)]
struct KeyFacts<'a> {
    format: u32,
    model: &'a str,
    engine: &'a str,
    settings: &'a EngineSettings,
    base: &'a Base,
    edits: &'a [Edit],
    chunks: Vec<(usize, &'a str)>,
}

impl ModelKey<'_> {
    /// The blake3 hash of the canonical JSON of everything that determines a cell's numbers. The number of threads is
    /// not part of it.
    pub fn of_cell(&self, base: &Base, edits: &[Edit], chunks: &[usize]) -> String {
        let facts = KeyFacts {
            format: KEY_FORMAT,
            model: self.file_blake3,
            engine: self.engine_build,
            settings: self.settings,
            base,
            edits,
            chunks: chunks.iter().map(|&c| (c, self.chunk_blake3.get(c).map_or("", String::as_str))).collect(),
        };
        // Plain structs of strings and integers always convert to JSON.
        blake3::hash(&serde_json::to_vec(&facts).unwrap_or_default()).to_hex().to_string()
    }

    /// The key under which the samples of a reference are stored. All windows share it, because each line names its
    /// own.
    pub fn of_reference(&self, base: &Base) -> String {
        let all: Vec<usize> = (0..self.chunk_blake3.len()).collect();
        format!("reference-{}", self.of_cell(base, &[], &all))
    }
}

/// The target of a plan in one model.
#[derive(Clone, Copy, Debug)]
pub struct PlanTarget<'a> {
    /// All tensors of the model, in file order.
    pub tensors: &'a [TensorId],
    /// The targets that the plan's selector chooses: tensors, single uses of a tensor, or graph nodes.
    pub chosen: &'a [Target],
    /// The parts that are also measured one at a time, with the targets of each.
    pub parts: &'a [(Selector, Vec<Target>)],
}

impl PlanTarget<'_> {
    /// The layers of the target, ascending.
    pub fn layers(&self) -> Vec<u32> {
        let mut layers: Vec<u32> = self.chosen.iter().filter_map(|target| target.layer(self.tensors)).collect();
        layers.sort_unstable();
        layers.dedup();
        layers
    }

    fn of(&self, chosen: &[Target], keep: impl Fn(&Target) -> bool) -> Vec<(String, EditPlace)> {
        let kept = chosen.iter().filter(|target| keep(target));
        kept.map(|target| (target.name(self.tensors).to_owned(), target.place())).collect()
    }
}

/// The part of the target that a cell covers.
#[derive(Clone, Copy)]
enum Covers<'a> {
    All,
    Layer(u32),
    Part(&'a Selector),
}

/// A cell to be made, with what distinguishes it from the others of its stage.
struct Draft<'a> {
    role: Role,
    base: Base,
    scheme: Scheme,
    carrier: Carrier,
    edited: Vec<(String, EditPlace)>,
    covers: Covers<'a>,
    n_windows: usize,
}

/// All cells of `plan` on one model, whose text has `chunks` windows.
///
/// The native arm is compared with a reference that stores the same weights in F32 as the cells do. The change of
/// kernels is then not mistaken for an effect of the scheme. The carrier control measures that change.
pub fn expand(plan: &Plan, target: PlanTarget<'_>, model: ModelKey<'_>, chunks: usize) -> Vec<Cell> {
    let expansion = Expansion::new(plan, target, model, chunks);
    let mut cells = Vec::new();
    // Arms are worked stage by stage, so that the controls of all arms come before the first result.
    for stage in &plan.stages {
        for arm in stage.arms_of(&plan.arms) {
            cells.extend(expansion.drafts(stage, arm).into_iter().map(|draft| expansion.cell(stage, draft)));
        }
    }
    cells
}

/// A plan applied to one model.
struct Expansion<'a> {
    plan: &'a Plan,
    target: PlanTarget<'a>,
    model: ModelKey<'a>,
    chunks: usize,
    /// The layers of the target, ascending.
    layers: Vec<u32>,
    /// The number of windows of the jitter and the carrier control, which are paired with every variant.
    n_paired: usize,
}

impl<'a> Expansion<'a> {
    fn new(plan: &'a Plan, target: PlanTarget<'a>, model: ModelKey<'a>, chunks: usize) -> Self {
        let mut expansion = Expansion { plan, target, model, chunks, layers: target.layers(), n_paired: 0 };
        let stages = plan.stages.iter().filter(|stage| expansion.has_cells(stage.cells));
        expansion.n_paired = stages.map(|stage| expansion.n_windows(stage)).max().unwrap_or(0);
        expansion
    }

    fn n_windows(&self, stage: &Stage) -> usize {
        stage.n_windows(self.plan.layer_chunks, self.chunks)
    }

    fn has_cells(&self, set: CellSet) -> bool {
        match set {
            CellSet::Controls | CellSet::All => true,
            CellSet::OneLayer | CellSet::EachLayer => !self.layers.is_empty(),
            CellSet::EachPart => !self.target.parts.is_empty(),
        }
    }

    /// The cells of a stage in one arm.
    fn drafts(&self, stage: &Stage, arm: Arm) -> Vec<Draft<'a>> {
        let (plan, target) = (self.plan, self.target);
        let all = || target.of(target.chosen, |_| true);
        let untouched = Base { arm, carried: Vec::new() };
        let base = reference(arm, target.tensors, all().iter().map(|(tensor, place)| (tensor.as_str(), *place)));
        let carried: Vec<(String, EditPlace)> =
            base.carried.iter().map(|carried| (carried.tensor().to_owned(), carried.place())).collect();
        let n_windows = self.n_windows(stage);
        let draft = |role, scheme: &Scheme, edited, covers| {
            let (base, scheme) = (base.clone(), scheme.clone());
            Draft { role, base, scheme, carrier: Carrier::F32, edited, covers, n_windows }
        };
        let variant = |edited, covers| draft(Role::Variant, &plan.scheme, edited, covers);
        let layer = |layer: &u32| {
            let edited = target.of(target.chosen, |chosen| chosen.layer(target.tensors) == Some(*layer));
            variant(edited, Covers::Layer(*layer))
        };
        match stage.cells {
            CellSet::Controls => {
                let identity = Scheme::identity();
                let control = |role, scheme: &Scheme, edited| draft(role, scheme, edited, Covers::All);
                let paired =
                    |role, scheme: &Scheme, edited| Draft { n_windows: self.n_paired, ..control(role, scheme, edited) };
                let mut drafts = Vec::new();
                if !base.carried.is_empty() {
                    let carrier = paired(Role::CarrierControl, &identity, carried);
                    drafts.push(Draft { base: untouched.clone(), ..carrier });
                    let stored = control(Role::Identity, &identity, all());
                    drafts.push(Draft { base: untouched, carrier: Carrier::Keep, ..stored });
                }
                drafts.push(control(Role::AA, &identity, Vec::new()));
                drafts.push(control(Role::Identity, &identity, all()));
                drafts.push(control(Role::Positive, &plan.positive, all()));
                let jitter = |&seed: &u64| paired(Role::Jitter { seed }, &plan.jitter(seed), all());
                drafts.extend(plan.jitter_seeds.iter().map(jitter));
                drafts
            }
            CellSet::OneLayer => self.layers.get(self.layers.len() / 2).into_iter().map(layer).collect(),
            CellSet::EachLayer => self.layers.iter().map(layer).collect(),
            CellSet::EachPart => {
                let parts = target.parts.iter();
                parts.map(|(part, chosen)| variant(target.of(chosen, |_| true), Covers::Part(part))).collect()
            }
            CellSet::All => vec![variant(all(), Covers::All)],
        }
    }

    /// The scheme that really quantizes a tensor. The row length of a graph node is not known yet.
    fn realised(&self, scheme: &Scheme, tensor: &str, place: EditPlace) -> Scheme {
        let is_it = |id: &&TensorId| place != EditPlace::Activation && id.name == tensor;
        let n_per_row = self.target.tensors.iter().find(is_it).and_then(|id| id.ne.first());
        n_per_row.map_or_else(|| scheme.clone(), |&n| self.plan.realised(scheme, n))
    }

    fn cell(&self, stage: &Stage, draft: Draft<'_>) -> Cell {
        let Draft { role, base, scheme, carrier, edited, covers, n_windows } = draft;
        let edit = |(tensor, place): (String, EditPlace)| {
            let scheme = self.realised(&scheme, &tensor, place).to_string();
            Edit { place, ..Edit::of_weight(tensor, scheme, carrier) }
        };
        let edits: Vec<Edit> = edited.into_iter().map(edit).collect();
        let (selector, layers) = match covers {
            Covers::All => (self.plan.target.clone(), self.layers.clone()),
            Covers::Layer(layer) => (self.plan.target.narrowed(&LayerSet::one(layer)), vec![layer]),
            Covers::Part(part) => (part.clone(), Vec::new()),
        };
        let chunks: Vec<usize> = (0..n_windows).collect();
        Cell {
            key: self.model.of_cell(&base, &edits, &chunks),
            stage: stage.name.clone(),
            extent: stage.cells.extent(),
            role,
            target: selector.to_string(),
            scheme: scheme.to_string(),
            layers,
            base,
            edits,
            chunks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Corpus;
    use record::plan::{StageArms, StageWindows};
    use record::{CellExtent, StageName};
    use std::collections::BTreeSet;

    fn plan() -> Plan {
        let corpus = Corpus::new("built-in", "text");
        Plan::preset("ffn-norm-bf16", vec!["m.gguf".into()], corpus).expect("preset")
    }

    fn cells_of(plan: &Plan, ty: &str, n_layer: u32, build: &str) -> Vec<Cell> {
        let tensors: Vec<TensorId> = (0..n_layer)
            .map(|layer| TensorId { name: format!("blk.{layer}.ffn_norm.weight"), ty: ty.into(), ne: vec![8] })
            .collect();
        let chosen: Vec<Target> = (0..tensors.len()).map(|index| Target::Weight(index, EditPlace::Weight)).collect();
        let hashes: Vec<String> = (0..4).map(|chunk| format!("chunk {chunk}")).collect();
        let model =
            ModelKey { file_blake3: "file", engine_build: build, settings: &plan.settings, chunk_blake3: &hashes };
        expand(plan, PlanTarget { tensors: &tensors, chosen: &chosen, parts: &[] }, model, 4)
    }

    #[test]
    fn the_method_has_its_stages_in_order_and_every_control_in_each_arm() {
        let cells = cells_of(&plan(), "f32", 3, "engine");
        let names: Vec<StageName> = plan().stages.into_iter().map(|stage| stage.name).collect();
        assert!(cells.is_sorted_by_key(|cell| names.iter().position(|name| *name == cell.stage)));
        for arm in [Arm::Exact, Arm::Native] {
            let roles: Vec<Role> = cells
                .iter()
                .filter(|cell| cell.base.arm == arm && cell.stage.as_str() == "controls")
                .map(|cell| cell.role)
                .collect();
            let jitter = [1, 2, 3].map(|seed| Role::Jitter { seed });
            assert_eq!(roles, [&[Role::AA, Role::Identity, Role::Positive][..], &jitter].concat(), "{arm:?}");
        }
        let layers = |stage: &str| -> Vec<u32> {
            cells.iter().filter(|cell| cell.stage.as_str() == stage).flat_map(|cell| cell.layers.clone()).collect()
        };
        assert_eq!(layers("one_layer"), [1]);
        assert_eq!(layers("each_layer"), [0, 1, 2]);
        assert_eq!(layers("all_layers"), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn variant_and_jitter_are_paired_on_the_same_windows() {
        for ty in ["f32", "q4_K"] {
            let cells = cells_of(&plan(), ty, 3, "engine");
            for variant in cells.iter().filter(|cell| cell.stage.as_str() == "all_layers") {
                for jitter in cells.iter().filter(|cell| matches!(cell.role, Role::Jitter { .. })) {
                    if jitter.base.arm == variant.base.arm {
                        assert_eq!((&jitter.base, &jitter.chunks), (&variant.base, &variant.chunks));
                        assert_eq!(jitter.edits.len(), variant.edits.len());
                    }
                }
            }
        }
    }

    #[test]
    fn a_quantized_target_gets_a_carried_reference_and_a_carrier_control_in_the_native_arm_only() {
        let cells = cells_of(&plan(), "q4_K", 2, "engine");
        let carriers: Vec<&Cell> = cells.iter().filter(|cell| cell.role == Role::CarrierControl).collect();
        assert_eq!(carriers.len(), 1);
        assert_eq!((carriers[0].base.arm, carriers[0].base.carried.len()), (Arm::Native, 0));
        assert_eq!(carriers[0].edits.len(), 2);
        for cell in cells.iter().filter(|cell| cell.role == Role::Variant) {
            let carried = if cell.base.arm == Arm::Native { 2 } else { 0 };
            assert_eq!(cell.base.carried.len(), carried);
        }
        assert!(cells_of(&plan(), "f32", 2, "engine").iter().all(|cell| cell.base.carried.is_empty()));
    }

    #[test]
    fn a_key_follows_everything_that_determines_the_number_and_nothing_else() {
        let keys = |plan: &Plan, ty: &str, build: &str| -> BTreeSet<String> {
            cells_of(plan, ty, 3, build).into_iter().map(|cell| cell.key).collect()
        };
        let base = keys(&plan(), "f32", "engine");
        assert!(base.is_disjoint(&keys(&plan(), "f32", "other engine")));
        let mut other = plan();
        other.settings.flash_attn = false;
        assert!(base.is_disjoint(&keys(&other, "f32", "engine")));
        let mut threads = plan();
        threads.n_threads = 7;
        assert_eq!(base, keys(&threads, "f32", "engine"));
        // The middle layer is one cell in two stages; no other cell is shared.
        assert_eq!(base.len() + 1, cells_of(&plan(), "f32", 3, "engine").len());
    }

    #[test]
    fn a_scheme_that_stands_in_for_another_is_part_of_the_key() {
        let mut plan = plan();
        plan.scheme = "q4_k".parse().expect("a scheme");
        let schemes = |plan: &Plan| -> BTreeSet<(String, String)> {
            let cells = cells_of(plan, "f32", 1, "engine").into_iter().filter(|cell| cell.role == Role::Variant);
            cells.map(|cell| (cell.scheme, cell.edits[0].scheme.clone())).collect()
        };
        let keys = |plan: &Plan| -> BTreeSet<String> {
            let cells = cells_of(plan, "f32", 1, "engine").into_iter().filter(|cell| cell.role == Role::Variant);
            cells.map(|cell| cell.key).collect()
        };
        let (asked, before) = (schemes(&plan), keys(&plan));
        assert_eq!(asked, [("q4_k".into(), "q4_k".into())].into());
        plan.allow_fallback = true;
        // Rows of eight values are whole blocks only of the plain floats.
        assert_eq!(schemes(&plan), [("q4_k".into(), "ggml:f16".into())].into());
        assert!(keys(&plan).is_disjoint(&before));
    }

    #[test]
    fn a_target_outside_the_layers_has_no_layer_stages() {
        let plan = plan();
        let tensors = [TensorId { name: "output_norm.weight".into(), ty: "f32".into(), ne: vec![8] }];
        let model =
            ModelKey { file_blake3: "file", engine_build: "engine", settings: &plan.settings, chunk_blake3: &[] };
        let cells = expand(
            &plan,
            PlanTarget { tensors: &tensors, chosen: &[Target::Weight(0, EditPlace::Weight)], parts: &[] },
            model,
            1,
        );
        assert!(cells.iter().all(|cell| matches!(cell.stage.as_str(), "controls" | "all_layers")));
    }

    #[test]
    fn parts_are_measured_singly_in_every_arm_on_the_windows_of_the_whole() {
        let corpus = Corpus::new("built-in", "text");
        let plan = Plan::preset("embedding-4bit", vec!["m.gguf".into()], corpus).expect("preset");
        let tensors = [TensorId { name: "token_embd.weight".into(), ty: "q8_0".into(), ne: vec![8, 8] }];
        let model =
            ModelKey { file_blake3: "file", engine_build: "engine", settings: &plan.settings, chunk_blake3: &[] };
        let chosen = plan.target.targets(&tensors).expect("there").targets;
        let parts: Vec<_> =
            plan.parts.iter().map(|part| (part.clone(), part.targets(&tensors).expect("there").targets)).collect();
        let cells = expand(&plan, PlanTarget { tensors: &tensors, chosen: &chosen, parts: &parts }, model, 2);
        for arm in [Arm::Exact, Arm::Native] {
            let variants: Vec<(&str, EditPlace, usize)> = cells
                .iter()
                .filter(|cell| cell.role == Role::Variant && cell.base.arm == arm)
                .map(|cell| (cell.target.as_str(), cell.edits[0].place, cell.chunks.len()))
                .collect();
            let expected = [
                ("token_embd[use=lookup]", EditPlace::Lookup, 2),
                ("output[use=head]", EditPlace::Head, 2),
                ("token_embd[use=lookup],output[use=head]", EditPlace::Weight, 2),
            ];
            assert_eq!(variants, expected, "{arm:?}");
        }
        let native = cells.iter().find(|cell| cell.base.arm == Arm::Native).expect("a cell");
        assert!(native.base.carried.len() <= 1, "the shared matrix is carried once");
    }
    #[test]
    fn stages_of_ones_own_have_their_own_arms_windows_and_extents() {
        let mut plan = plan();
        plan.stages.remove(1);
        plan.stages[1].name = StageName::of("deep");
        plan.stages[1].arms = StageArms::Listed(vec![Arm::Native]);
        plan.stages[1].windows = StageWindows::First(4);
        plan.stages[3].windows = StageWindows::First(3);
        let cells = cells_of(&plan, "f32", 3, "engine");
        let deep: Vec<&Cell> = cells.iter().filter(|cell| cell.stage.as_str() == "deep").collect();
        assert_eq!(deep.len(), 3);
        for cell in deep {
            assert_eq!((cell.base.arm, cell.extent, cell.chunks.len()), (Arm::Native, CellExtent::Layer, 4));
        }
        let whole: Vec<usize> =
            cells.iter().filter(|cell| cell.stage.as_str() == "all_layers").map(|cell| cell.chunks.len()).collect();
        assert_eq!(whole, [3, 3]);
        // The floor is measured on every window of any variant, the other controls on those of their stage.
        for cell in cells.iter().filter(|cell| cell.stage.as_str() == "controls") {
            let n = if matches!(cell.role, Role::Jitter { .. }) { 4 } else { 2 };
            assert_eq!(cell.chunks.len(), n, "{:?}", cell.role);
        }
    }
}
