//! The way from a file to a record, part by part, as the checks of a model use it.
//!
//! ```text
//! file ──read_tensor──▶ codec, quantizer ──write_file──▶ written file
//!   │
//!   └──open_engine──▶ engine ──▶ [tap: tokens and logits as the engine itself has them]
//!   └──workers──▶ a worker with such an engine ──run──▶ run folder, record
//! ```
//!
//! [`OwnPipeline`] has the parts that the program uses. Another implementation may replace any of them: a check compares
//! what the parts give and never asks which ones it was given.

use crate::quantizer::{Fast, Quantizer};
use crate::tap::Tap;
use eval::{Engine, EngineError, EngineSettings};
use files::rewrite::Rewrite;
use gguf::{GgufError, GgufFile, TensorInfo};
use lab::plan::cells::ModelKey;
use lab::{Plan, RunError};
use numerics::BlockCodec;
use record::RunRecord;
use record::{Base, Edit};
use std::path::Path;
use worker::link::{OpenModel, SharedCodec};
use worker::{LinkFactory, ThreadWorkers};

/// The parts of a measurement. Those with a body are the program's own.
pub trait Pipeline {
    /// Opens a model in an engine of this process, with `n_threads` threads. The [`tap`](Pipeline::tap) listens to it.
    ///
    /// # Errors
    /// When the engine refuses the model.
    fn open_engine(
        &self,
        model: &Path,
        settings: &EngineSettings,
        n_threads: usize,
    ) -> Result<Box<dyn Engine>, EngineError>;

    /// Starts workers. The [`tap`](Pipeline::tap) listens to their engines.
    fn workers(&self) -> &dyn LinkFactory;

    /// What the engines themselves are given and give.
    fn tap(&self) -> &Tap;

    /// The conversions of ggml's types.
    fn codec(&self) -> &dyn BlockCodec;

    /// The implementation of the schemes.
    fn quantizer(&self) -> &dyn Quantizer {
        &Fast
    }

    /// The stored bytes of a tensor.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn read_tensor(&self, file: &GgufFile, tensor: &TensorInfo) -> Result<Vec<u8>, GgufError> {
        file.read_tensor(tensor)
    }

    /// Writes a new file as `assay quantize` does.
    ///
    /// # Errors
    /// In words, as [`Rewrite::write`].
    fn write_file(&self, rewrite: &Rewrite<'_>, path: &Path) -> Result<(), String> {
        let written = rewrite.write(path, false, self.codec(), &mut |_, _| {});
        written.map(drop).map_err(|error| error.to_string())
    }

    /// Carries a plan out into a run folder, or reads the run again that is finished there. `engine_build` names the engine.
    ///
    /// # Errors
    /// As [`lab::prepare`] and [`lab::run()`].
    fn run(&self, plan: &Plan, engine_build: &str, folder: &Path) -> Result<RunRecord, RunError> {
        let prepared = lab::prepare(plan.clone(), engine_build)?;
        lab::run(&prepared, folder, self.workers(), self.codec(), &|plan, _, _| plan.name.clone(), &mut |_| {})
    }

    /// The name of a cell by everything that determines its numbers.
    fn cell_key(&self, model: &ModelKey<'_>, base: &Base, edits: &[Edit], windows: &[usize]) -> String {
        model.of_cell(base, edits, windows)
    }
}

/// The parts that the program itself uses, with workers in threads of this process and a tap on every engine.
pub struct OwnPipeline {
    open: OpenModel,
    codec: SharedCodec,
    workers: ThreadWorkers,
    tap: Tap,
}

impl OwnPipeline {
    /// The pipeline around an engine and its conversions.
    pub fn new(open: OpenModel, codec: SharedCodec) -> Self {
        let tap = Tap::default();
        let open = tap.on(open);
        OwnPipeline { workers: ThreadWorkers::new(open.clone(), codec.clone()), open, codec, tap }
    }
}

impl Pipeline for OwnPipeline {
    fn open_engine(
        &self,
        model: &Path,
        settings: &EngineSettings,
        n_threads: usize,
    ) -> Result<Box<dyn Engine>, EngineError> {
        (self.open)(model, settings, n_threads)
    }

    fn workers(&self) -> &dyn LinkFactory {
        &self.workers
    }

    fn tap(&self) -> &Tap {
        &self.tap
    }

    fn codec(&self) -> &dyn BlockCodec {
        &*self.codec
    }
}
