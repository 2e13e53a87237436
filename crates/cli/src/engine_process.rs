//! The environment of a process that opens an engine.

use crate::failure::{Exit, Failure};
use anyhow::anyhow;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes sure that this process was started with the environment that the engine needs. If it was not, the process begins
/// again with it, under the same id and with the same arguments and pipes. Called before anything else is done.
pub fn prepare() -> Result<(), Failure> {
    if llama::graphs_are_built_anew() && std::env::var_os(llama::NO_DEBUGGER.0).is_some() {
        return Ok(());
    }
    let wanted = [llama::GRAPHS_BUILT_ANEW, llama::NO_DEBUGGER];
    // Returns only when the program cannot be executed.
    let error = Command::new(std::env::current_exe()?).args(std::env::args_os().skip(1)).envs(wanted).exec();
    Err(Failure { exit: Exit::Engine, error: anyhow!("the engine's process cannot be started: {error}"), hint: None })
}
