//! Planted faults, in builds that were made without them: the same functions as `mutants`, for a list that stays empty.

use crate::failure::Failure;
use proof::Check;
use record::answer::VerifyMutant;
use serde::{Deserialize, Serialize};
use worker::link::{OpenModel, SharedCodec};

/// A planted fault and what became of it; this build has none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Mutant {}

/// Refuses `--mutate`.
pub fn check_here() -> Result<(), Failure> {
    let hint = "build it with the feature `mutate`, which is on by default";
    Err(Failure::input("--mutate: this build of assay has no planted faults", hint))
}

/// The number of steps of [`plant`].
pub fn n_steps() -> usize {
    0
}

/// Refuses to plant anything.
pub fn plant(_open: OpenModel, _codec: SharedCodec, _said: &mut dyn FnMut(&Mutant)) -> Result<Check, Failure> {
    Err(Failure::input("this build of assay has no planted faults", "build it with the feature `mutate`"))
}

/// The fault's name.
pub fn name(mutant: &Mutant) -> &str {
    match *mutant {}
}

/// The fault and what caught it, as plain data.
pub fn recorded(mutant: &Mutant) -> VerifyMutant {
    match *mutant {}
}

/// The catch table as text: nothing.
pub fn text(_mutants: &[Mutant], _verbose: bool) -> String {
    String::new()
}
