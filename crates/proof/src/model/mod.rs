//! Checks of a model as the user has it: read, loaded, swapped and measured, each against another way of doing the same.
//!
//! | module | contents |
//! |---|---|
//! | `values` | the file's tensors by three implementations |
//! | `engine` | weights in the engine, writes and their undoing, prefix reuse |
//! | `passes` | what happens inside a pass: hooks, single uses of a matrix, the trace |
//! | `scores` | windows, tokens, and their scores |
//! | `worker` | a measurement as a whole: identity, evidence, restoring, repetition, the written file |
//! | `memory` | the memory that is announced before a measurement |

mod engine;
mod memory;
mod passes;
mod scores;
mod values;
mod worker;

use crate::check::{Area, Check, Tally};
use crate::pipeline::Pipeline;
use crate::python::Python;
use eval::{Engine, EngineSettings, Token};
use files::{Model, OpenError};
use gguf::GgufFile;
use std::path::Path;

/// A model under test, with what it is measured on.
pub struct ModelUnderTest<'a> {
    /// The parts that the checks work with.
    pub pipeline: &'a dyn Pipeline,
    /// The open model file.
    pub file: GgufFile,
    /// The text that the model is measured on.
    pub text: &'a str,
    /// The pinned settings of the engine.
    pub settings: EngineSettings,
    /// The number of windows.
    pub chunks: usize,
    /// The index of the middle layer.
    pub middle: usize,
    /// The tensors that are edited: a matrix and a norm of the middle layer, where they are there.
    pub picks: Vec<Pick>,
}

/// A tensor to be edited.
#[derive(Clone, Debug)]
pub struct Pick {
    /// The tensor's name.
    pub name: String,
    /// The stored type.
    pub ty: String,
    /// A scheme that changes the tensor.
    pub scheme: &'static str,
}

impl<'a> ModelUnderTest<'a> {
    /// Opens `path` and picks what to edit.
    ///
    /// # Errors
    /// When the file is not a sound GGUF file.
    pub fn open(
        pipeline: &'a dyn Pipeline,
        path: &Path,
        text: &'a str,
        n_ctx: u32,
        chunks: usize,
    ) -> Result<Self, OpenError> {
        let file = Model::open_to_score(path)?.file;
        let layers = file.tensors().iter().filter_map(|tensor| layer_of(&tensor.name));
        let middle = layers.max().map_or(0, |last| last.div_ceil(2));
        let in_middle = |name: &str| layer_of(name) == Some(middle) && name.ends_with(".weight");
        let matrices = ["attn_q.", "attn_qkv.", "ffn_up.", "ffn_down.", "ssm_in."];
        let find = |stems: &[&str]| {
            let by_stem = |stem: &&str| file.tensors().iter().find(|t| in_middle(&t.name) && t.name.contains(*stem));
            stems.iter().find_map(by_stem).map(|t| (t.name.clone(), t.ty.name().to_owned()))
        };
        let pick = |found: Option<(String, String)>, scheme| found.map(|(name, ty)| Pick { name, ty, scheme });
        let picks = [pick(find(&matrices), "int4@block32"), pick(find(&["ffn_norm.", "attn_norm."]), "fp8_e4m3")];
        let picks = picks.into_iter().flatten().collect();
        Ok(ModelUnderTest { pipeline, file, text, settings: EngineSettings::pinned(n_ctx), chunks, middle, picks })
    }

    /// Opens a fresh engine with one context.
    fn engine(&self) -> Result<Box<dyn Engine>, String> {
        self.pipeline.open_engine(self.file.path(), &self.settings, 1).map_err(|error| error.to_string())
    }

    /// The windows of the text, cut by this module: whole ones, with BOS in place of their first token.
    fn windows(&self, engine: &dyn Engine) -> Result<Vec<Vec<Token>>, String> {
        let text = self.text.strip_suffix('\n').unwrap_or(self.text);
        let tokens = engine.tokenize(text, false).map_err(|error| error.to_string())?;
        let n_ctx = self.settings.n_ctx as usize;
        let mut windows = Vec::new();
        let mut at = 0;
        while at + n_ctx <= tokens.len() && windows.len() < self.chunks {
            let mut window = tokens[at..at + n_ctx].to_vec();
            if let Some(bos) = engine.info().bos {
                window[0] = bos;
            }
            windows.push(window);
            at += n_ctx;
        }
        match windows.len() == self.chunks {
            true => Ok(windows),
            false => Err(format!("the text has {} windows of {n_ctx} tokens, wanted {}", windows.len(), self.chunks)),
        }
    }

    /// The first scored position. The first half of a window is context.
    fn first_scored(&self) -> usize {
        self.settings.n_ctx as usize / 2
    }
}

/// The layer in a tensor's name.
fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

/// Makes a check. An error of `compare` counts as a disagreement, unless the system denied something.
fn check(name: &str, compared: &[&str], compare: impl FnOnce(&mut Tally) -> Result<(), String>) -> Check {
    let mut tally = Tally::default();
    if let Err(why) = compare(&mut tally) {
        tally.could_not(why);
    }
    tally.check(Area::Model, name, compared)
}

/// Makes all checks of a model, in a fixed order.
pub fn checks(subject: &ModelUnderTest<'_>, python: Option<&mut Python>, put: &mut dyn FnMut(Check)) {
    values::checks(subject, python, put);
    put(engine::weights_are_the_files(subject));
    put(engine::a_write_acts_and_is_undone(subject));
    put(engine::prefix_reuse_changes_nothing(subject));
    put(passes::a_hook_acts_on_its_node(subject));
    put(passes::a_use_is_changed_alone(subject));
    put(scores::tokens_spell_the_text(subject));
    put(scores::windows_are_cut_as_llama_perplexity_does(subject));
    put(scores::scores_equal_brute_force(subject));
    put(worker::identity_changes_nothing(subject));
    put(worker::evidence_is_the_files(subject));
    put(worker::weights_are_restored(subject));
    put(passes::embedded_tokens_are_rows_of_the_table(subject));
    put(passes::the_trace_is_what_hooks_see(subject));
    put(worker::measurements_repeat(subject));
    put(worker::cells_do_not_touch_each_other(subject));
    put(worker::swapped_equals_written(subject));
    put(memory::memory_is_planned_from_what_there_is(subject));
}
