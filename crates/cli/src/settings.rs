//! What measurements have in common, whatever is asked: text, window, machine and seed, each with one meaning in every
//! command.

use crate::corpus;
use crate::failure::Failure;
use lab::Corpus;
use lab::ask::Conditions;
use std::path::{Path, PathBuf};

/// The options that say which text a model is measured on.
#[derive(Debug, clap::Args)]
pub struct TextArgs {
    /// Text file to measure on [default: a text that comes with assay]
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Measure the first N windows of the text, or all of them if it has fewer
    #[arg(long, value_name = "N", default_value_t = lab::plan::DEFAULT_CHUNKS as u32, value_parser = clap::value_parser!(u32).range(1..))]
    chunks: u32,
}

/// The option that says how a text is read.
#[derive(Debug, clap::Args)]
pub struct SpecialArgs {
    /// Read special tokens spelled in the text, such as <|im_start|>, as those tokens instead of as plain text
    #[arg(long)]
    special: bool,
}

impl SpecialArgs {
    /// The text, read in this way.
    pub fn corpus(&self, text: &TextArgs) -> Result<Corpus, Failure> {
        Ok(Corpus { special: self.special, ..text.corpus()? })
    }
}

/// The option that says how much a model sees at once.
#[derive(Debug, clap::Args)]
pub struct ContextArgs {
    /// Context length in tokens: of a window, a task or a conversation
    #[arg(long, value_name = "N", default_value_t = lab::plan::DEFAULT_N_CTX, value_parser = clap::value_parser!(u32).range(8..=1 << 20))]
    pub ctx: u32,
}

/// The options of everything that runs a model: how much it sees at once, and what it may use of the machine.
#[derive(Debug, clap::Args)]
pub struct MachineArgs {
    #[command(flatten)]
    context: ContextArgs,
    /// Number of threads, 0 for one per core; results do not depend on it
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=4096))]
    threads: u32,
    /// Number of layers to run on a GPU, in builds with cuda, metal or vulkan
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=4096))]
    gpu_layers: u32,
    /// Main memory to use at most, such as 8G or 800M; results do not depend on it [default: what is available]
    #[arg(long, value_name = "SIZE", value_parser = words::parse_size)]
    max_memory: Option<u64>,
}

/// The option that says where chance begins.
#[derive(Debug, clap::Args)]
pub struct SeedArgs {
    /// Seed for random choices: the order of windows (sweep), the tokens (chat), the jitter (run)
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

impl TextArgs {
    /// The text, read.
    pub fn corpus(&self) -> Result<Corpus, Failure> {
        corpus::read(self.text())
    }

    /// The file of the text; `None` means the built-in one.
    pub fn text(&self) -> Option<&Path> {
        self.text.as_deref()
    }

    /// The number of windows to measure, at most.
    pub fn windows(&self) -> usize {
        self.chunks as usize
    }
}

impl MachineArgs {
    /// What a question is measured under. Where the user sets no limit to memory, the system does.
    pub fn conditions(&self) -> Conditions {
        Conditions {
            n_ctx: self.context.ctx,
            n_gpu_layers: self.gpu_layers,
            n_threads: self.threads as usize,
            max_memory_bytes: self.max_memory.or_else(|| ::worker::available_memory().map(|available| available.bytes)),
        }
    }
}
