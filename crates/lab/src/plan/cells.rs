//! From a plan and a model to the list of cells, in the order of the method.
//!
//! | stage | cells |
//! |---|---|
//! | controls, per arm | A/A, identity write-back, positive control, jitter × seeds; native arm: carrier control |
//! | one layer | the middle one, first arm of the plan |
//! | each layer | every one singly, first arm |
//! | each part | every part of the target that the plan names, every arm |
//! | all layers | the whole target, every arm |

use crate::plan::Plan;
use crate::plan::reference::reference;
use eval::EngineSettings;
use numerics::Scheme;
use record::{Base, Carrier, Edit, Place};
use record::{Cell, Role, Stage};
use select::LayerSet;
use select::Target;
use select::TensorId;
use select::selector::Selector;
use serde::Serialize;
use worker::CellSpec;

/// Version of the meaning of a key: raised when the same inputs would give other numbers.
const KEY_FORMAT: u32 = 1;

/// A cell as the worker is asked for it.
pub fn spec(cell: &Cell) -> CellSpec {
    spec_of(cell.key.clone(), cell.edits.clone())
}

/// A variant under a name of its own, as the worker is asked for it.
pub fn spec_of(key: impl Into<String>, edits: Vec<Edit>) -> CellSpec {
    CellSpec { key: key.into(), first_layer: select::first_layer(&edits), edits }
}

/// What determines a model's numbers beside the cell.
#[derive(Clone, Copy, Debug)]
pub struct ModelKey<'a> {
    /// blake3 of the file.
    pub file_blake3: &'a str,
    /// Engine build.
    pub engine_build: &'a str,
    /// Pinned settings.
    pub settings: &'a EngineSettings,
    /// Hash of each window's tokens.
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
    /// blake3 over the canonical JSON of everything that determines a cell's numbers. Threads are no part of it.
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
        // Plain structs of strings and integers: nothing in them that JSON cannot hold.
        blake3::hash(&serde_json::to_vec(&facts).unwrap_or_default()).to_hex().to_string()
    }

    /// Names the reference's samples. All windows share it, since each line names its own.
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
    /// What is chosen: tensors, single uses of one, graph nodes.
    pub chosen: &'a [Target],
    /// Parts that are measured singly too.
    pub parts: &'a [(Selector, Vec<Target>)],
}

impl PlanTarget<'_> {
    /// Layers of the target, ascending.
    pub fn layers(&self) -> Vec<u32> {
        let mut layers: Vec<u32> = self.chosen.iter().filter_map(|target| target.layer(self.tensors)).collect();
        layers.sort_unstable();
        layers.dedup();
        layers
    }

    fn of(&self, chosen: &[Target], keep: impl Fn(&Target) -> bool) -> Vec<(String, Place)> {
        let kept = chosen.iter().filter(|target| keep(target));
        kept.map(|target| (target.name(self.tensors).to_owned(), target.place())).collect()
    }
}

/// How much of the target a cell is about.
#[derive(Clone, Copy)]
enum What<'a> {
    All,
    Layer(u32),
    Part(&'a Selector),
}

/// All cells of `plan` on one model, measured on the first `chunks` windows.
///
/// The native arm is compared with a reference that holds in F32 whatever the cells hold in F32, so that the
/// change of kernels is not taken for an effect of the scheme; what that change does is the carrier control.
pub fn expand(plan: &Plan, target: PlanTarget<'_>, model: ModelKey<'_>, chunks: usize) -> Vec<Cell> {
    let layer_chunks = plan.layer_chunks.min(chunks);
    let layers = target.layers();
    let all = target.of(target.chosen, |_| true);
    let mut cells = Vec::new();
    let mut push =
        |stage, role, base: &Base, scheme: &Scheme, carrier, tensors: &[(String, Place)], what: What<'_>, n| {
            let scheme = scheme.to_string();
            let edits: Vec<Edit> = tensors
                .iter()
                .map(|(tensor, place)| Edit { place: *place, ..Edit::of_weight(tensor, &scheme, carrier) })
                .collect();
            let (selector, layers) = match what {
                What::All => (plan.target.clone(), layers.clone()),
                What::Layer(layer) => (plan.target.narrowed(&LayerSet::one(layer)), vec![layer]),
                What::Part(part) => (part.clone(), Vec::new()),
            };
            let chunks: Vec<usize> = (0..n).collect();
            cells.push(Cell {
                key: model.of_cell(base, &edits, &chunks),
                stage,
                role,
                target: selector.to_string(),
                scheme,
                layers,
                base: base.clone(),
                edits,
                chunks,
            });
        };

    let identity = Scheme::identity();
    for &arm in &plan.arms {
        let untouched = Base { arm, carried: Vec::new() };
        let base = reference(arm, target.tensors, all.iter().map(|(tensor, place)| (tensor.as_str(), *place)));
        let carried: Vec<(String, Place)> =
            base.carried.iter().map(|carried| (carried.tensor().to_owned(), carried.place())).collect();
        let control = Stage::Controls;
        if !base.carried.is_empty() {
            push(control, Role::CarrierControl, &untouched, &identity, Carrier::F32, &carried, What::All, chunks);
            push(control, Role::Identity, &untouched, &identity, Carrier::Keep, &all, What::All, layer_chunks);
        }
        push(control, Role::AA, &base, &identity, Carrier::F32, &[], What::All, layer_chunks);
        push(control, Role::Identity, &base, &identity, Carrier::F32, &all, What::All, layer_chunks);
        push(control, Role::Positive, &base, &plan.positive, Carrier::F32, &all, What::All, layer_chunks);
        for &seed in &plan.jitter_seeds {
            push(control, Role::Jitter { seed }, &base, &plan.jitter(seed), Carrier::F32, &all, What::All, chunks);
        }
        if arm == plan.arms[0] {
            let of_layer = |layer: u32| target.of(target.chosen, |chosen| chosen.layer(target.tensors) == Some(layer));
            let mut single = |stage, layer| {
                let tensors = of_layer(layer);
                push(
                    stage,
                    Role::Variant,
                    &base,
                    &plan.scheme,
                    Carrier::F32,
                    &tensors,
                    What::Layer(layer),
                    layer_chunks,
                );
            };
            if let Some(&middle) = layers.get(layers.len() / 2) {
                single(Stage::OneLayer, middle);
            }
            layers.iter().for_each(|&layer| single(Stage::EachLayer, layer));
        }
        for (part, chosen) in target.parts {
            let tensors = target.of(chosen, |_| true);
            push(Stage::EachPart, Role::Variant, &base, &plan.scheme, Carrier::F32, &tensors, What::Part(part), chunks);
        }
        push(Stage::AllLayers, Role::Variant, &base, &plan.scheme, Carrier::F32, &all, What::All, chunks);
    }
    // Arms are worked stage by stage, so that the controls of all come before the first result.
    cells.sort_by_key(|cell| cell.stage);
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Corpus;
    use record::Arm;
    use std::collections::BTreeSet;

    fn plan() -> Plan {
        let corpus = Corpus { name: "built-in".into(), text: "text".into() };
        Plan::preset("ffn-norm-bf16", vec!["m.gguf".into()], corpus).expect("preset")
    }

    fn cells_of(plan: &Plan, ty: &str, n_layer: u32, build: &str) -> Vec<Cell> {
        let tensors: Vec<TensorId> = (0..n_layer)
            .map(|layer| TensorId { name: format!("blk.{layer}.ffn_norm.weight"), ty: ty.into(), ne: vec![8] })
            .collect();
        let chosen: Vec<Target> = (0..tensors.len()).map(|index| Target::Weight(index, Place::Weight)).collect();
        let hashes: Vec<String> = (0..4).map(|chunk| format!("chunk {chunk}")).collect();
        let model =
            ModelKey { file_blake3: "file", engine_build: build, settings: &plan.settings, chunk_blake3: &hashes };
        expand(plan, PlanTarget { tensors: &tensors, chosen: &chosen, parts: &[] }, model, 4)
    }

    #[test]
    fn the_method_has_its_stages_in_order_and_every_control_in_each_arm() {
        let cells = cells_of(&plan(), "f32", 3, "engine");
        assert!(cells.is_sorted_by_key(|cell| cell.stage));
        for arm in [Arm::Exact, Arm::Native] {
            let roles: Vec<Role> = cells
                .iter()
                .filter(|cell| cell.base.arm == arm && cell.stage == Stage::Controls)
                .map(|cell| cell.role)
                .collect();
            let jitter = [1, 2, 3].map(|seed| Role::Jitter { seed });
            assert_eq!(roles, [&[Role::AA, Role::Identity, Role::Positive][..], &jitter].concat(), "{arm:?}");
        }
        let layers = |stage| -> Vec<u32> {
            cells.iter().filter(|cell| cell.stage == stage).flat_map(|cell| cell.layers.clone()).collect()
        };
        assert_eq!(layers(Stage::OneLayer), [1]);
        assert_eq!(layers(Stage::EachLayer), [0, 1, 2]);
        assert_eq!(layers(Stage::AllLayers), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn variant_and_jitter_are_paired_on_the_same_windows() {
        for ty in ["f32", "q4_K"] {
            let cells = cells_of(&plan(), ty, 3, "engine");
            for variant in cells.iter().filter(|cell| cell.stage == Stage::AllLayers) {
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
        // The middle layer is one cell in two stages; nothing else is shared.
        assert_eq!(base.len() + 1, cells_of(&plan(), "f32", 3, "engine").len());
    }

    #[test]
    fn a_target_outside_the_layers_has_no_layer_stages() {
        let plan = plan();
        let tensors = [TensorId { name: "output_norm.weight".into(), ty: "f32".into(), ne: vec![8] }];
        let model =
            ModelKey { file_blake3: "file", engine_build: "engine", settings: &plan.settings, chunk_blake3: &[] };
        let cells = expand(
            &plan,
            PlanTarget { tensors: &tensors, chosen: &[Target::Weight(0, Place::Weight)], parts: &[] },
            model,
            1,
        );
        assert!(cells.iter().all(|cell| matches!(cell.stage, Stage::Controls | Stage::AllLayers)));
    }

    #[test]
    fn parts_are_measured_singly_in_every_arm_on_the_windows_of_the_whole() {
        let corpus = Corpus { name: "built-in".into(), text: "text".into() };
        let plan = Plan::preset("embedding-4bit", vec!["m.gguf".into()], corpus).expect("preset");
        let tensors = [TensorId { name: "token_embd.weight".into(), ty: "q8_0".into(), ne: vec![8, 8] }];
        let model =
            ModelKey { file_blake3: "file", engine_build: "engine", settings: &plan.settings, chunk_blake3: &[] };
        let chosen = plan.target.targets(&tensors).expect("there").targets;
        let parts: Vec<_> =
            plan.parts.iter().map(|part| (part.clone(), part.targets(&tensors).expect("there").targets)).collect();
        let cells = expand(&plan, PlanTarget { tensors: &tensors, chosen: &chosen, parts: &parts }, model, 2);
        for arm in [Arm::Exact, Arm::Native] {
            let variants: Vec<(&str, Place, usize)> = cells
                .iter()
                .filter(|cell| cell.role == Role::Variant && cell.base.arm == arm)
                .map(|cell| (cell.target.as_str(), cell.edits[0].place, cell.chunks.len()))
                .collect();
            let expected = [
                ("token_embd[use=lookup]", Place::Lookup, 2),
                ("output[use=head]", Place::Head, 2),
                ("token_embd[use=lookup],output[use=head]", Place::Weight, 2),
            ];
            assert_eq!(variants, expected, "{arm:?}");
        }
        let native = cells.iter().find(|cell| cell.base.arm == Arm::Native).expect("a cell");
        assert!(native.base.carried.len() <= 1, "the shared matrix is carried once");
    }
}
