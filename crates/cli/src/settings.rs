//! What `eval` and `run` are measured with: the defaults, and the options that change them.

use ::eval::EngineSettings;
use std::path::PathBuf;

/// Options of everything that measures.
#[derive(Debug, clap::Args)]
pub struct SettingsArgs {
    /// Text to measure on; the built-in text if left out
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// Window length in tokens
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = lab::plan::DEFAULT_N_CTX, value_parser = clap::value_parser!(u32).range(8..=1 << 20))]
    pub ctx: u32,
    /// Windows to measure, at most; a short text has fewer
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = lab::plan::DEFAULT_CHUNKS as u32, value_parser = clap::value_parser!(u32).range(1..))]
    pub chunks: u32,
    /// Threads, 0 for one per core; results do not depend on it
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=4096))]
    pub threads: u32,
}

impl SettingsArgs {
    /// Everything that is pinned, for this window length.
    pub fn engine(&self) -> EngineSettings {
        EngineSettings::pinned(self.ctx)
    }
}
