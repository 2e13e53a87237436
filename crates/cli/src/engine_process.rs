//! The environment of a process that opens an engine.

use crate::failure::{Exit, Failure};
use anyhow::anyhow;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes sure that this process was started with the environment that the engine needs. If it was not, the process begins
/// again with it, under the same id and with the same arguments and pipes. Called before anything else is done.
pub fn prepare() -> Result<(), Failure> {
    if llama::ENVIRONMENT.iter().all(|(name, value)| std::env::var_os(name).is_some_and(|set| set == *value)) {
        return Ok(());
    }
    // Returns only when the program cannot be executed.
    let arguments = std::env::args_os().skip(1);
    let error = Command::new(std::env::current_exe()?).args(arguments).envs(llama::ENVIRONMENT).exec();
    Err(Failure { exit: Exit::Engine, error: anyhow!("the engine's process cannot be started: {error}"), hint: None })
}
