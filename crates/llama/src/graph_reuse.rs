//! Graphs must be built anew for every pass.
//!
//! llama.cpp keeps the graph of one pass for the next. Such a graph would keep views into weights that have been swapped
//! since. Of llama.cpp's settings only an environment variable turns that off, and each context reads it as it is made. A
//! process that already runs threads cannot set a variable safely, so whoever starts the process does; an engine refuses
//! to work without it.

use eval::EngineError;
use std::ffi::OsStr;
use words::Hint;

/// The name and the value of the variable with which an engine may be opened.
pub const GRAPHS_BUILT_ANEW: (&str, &str) = ("LLAMA_GRAPH_REUSE_DISABLE", "1");

/// Whether this process was started with [`GRAPHS_BUILT_ANEW`].
pub fn graphs_are_built_anew() -> bool {
    is_set(std::env::var_os(GRAPHS_BUILT_ANEW.0).as_deref())
}

fn is_set(value: Option<&OsStr>) -> bool {
    value.is_some_and(|value| value == GRAPHS_BUILT_ANEW.1)
}

/// Refuses a process in which weights that are swapped might not be the ones that a pass reads.
pub(crate) fn check() -> Result<(), EngineError> {
    if graphs_are_built_anew() {
        return Ok(());
    }
    let (name, value) = GRAPHS_BUILT_ANEW;
    Err(EngineError::Unsupported {
        what: format!(
            "this process was started without {name}={value}: a pass could read weights swapped out before it"
        ),
        hint: Hint::words(format!("start the process with {name}={value} in its environment")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_value_that_is_asked_for_counts() {
        assert!(is_set(Some("1".as_ref())));
        for other in ["", "0", "yes", "2"] {
            assert!(!is_set(Some(other.as_ref())), "{other:?}");
        }
        assert!(!is_set(None));
    }
}
