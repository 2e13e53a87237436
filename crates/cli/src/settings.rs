//! The settings that every measurement shares: their defaults, and the options that change them.

use lab::ask::Conditions;
use record::EngineSettings;
use std::path::PathBuf;

/// The options of every subcommand that measures.
#[derive(Debug, clap::Args)]
pub struct SettingsArgs {
    /// Text to measure on; the built-in text if left out
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// Windows to measure, at most; a short text has fewer
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = lab::plan::DEFAULT_CHUNKS as u32, value_parser = clap::value_parser!(u32).range(1..))]
    pub chunks: u32,
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// Options of everything that runs a model: how much of a text it sees at once, and what it may use of the machine.
#[derive(Debug, clap::Args)]
pub struct MachineArgs {
    /// Context length in tokens: of a window, a task or a conversation
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = lab::plan::DEFAULT_N_CTX, value_parser = clap::value_parser!(u32).range(8..=1 << 20))]
    pub ctx: u32,
    /// Threads, 0 for one per core; results do not depend on it
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=4096))]
    pub threads: u32,
    /// Layers on a GPU, in builds with cuda, metal or vulkan; the CPU's results are the reference
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=4096))]
    pub gpu_layers: u32,
    /// Main memory to use at most, such as 8G or 800M; what is available if left out. Results do not depend on it
    #[arg(long, value_name = "SIZE", value_parser = words::parse_size)]
    pub max_memory: Option<u64>,
}

/// The main memory that is free to use, in bytes: `MemAvailable` of Linux, or what the control group leaves if that is less.
pub fn available_memory() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let available = line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.saturating_mul(1024);
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let limit = number("/sys/fs/cgroup/memory.max").zip(number("/sys/fs/cgroup/memory.current"));
    Some(limit.map_or(available, |(max, used)| available.min(max.saturating_sub(used))))
}

impl SettingsArgs {
    /// The engine's settings for this window length; everything else in them is pinned.
    pub fn engine(&self) -> EngineSettings {
        EngineSettings { n_gpu_layers: self.machine.gpu_layers, ..EngineSettings::pinned(self.machine.ctx) }
    }

    /// The memory that may be used, in bytes; `None` where neither the user nor the system says.
    pub fn max_memory_bytes(&self) -> Option<u64> {
        self.machine.max_memory.or_else(available_memory)
    }
}

impl MachineArgs {
    /// What a question is measured under. Where the user sets no limit to memory, the system does.
    pub fn conditions(&self) -> Conditions {
        Conditions {
            n_ctx: self.ctx,
            n_gpu_layers: self.gpu_layers,
            n_threads: self.threads as usize,
            max_memory_bytes: self.max_memory.or_else(available_memory),
        }
    }
}
