//! Planted faults, in builds that have them.

use crate::advice;
use crate::failure::Failure;
use crate::table::{self, Align};
use proof::Check;
pub use proof_mutate::{Mutant, n_steps};
use record::answer::VerifyMutant;
use words::{Lines, escape_terminal};
use worker::link::{OpenModel, SharedCodec};

/// Refuses nothing: this build has planted faults.
pub fn check_here() -> Result<(), Failure> {
    Ok(())
}

/// Plants every fault and says of each what caught it, then whether all were caught.
pub fn plant(open: OpenModel, codec: SharedCodec, said: &mut dyn FnMut(&Mutant)) -> Result<Check, Failure> {
    proof_mutate::mutate(open, codec, said)
        .map_err(|error| Failure { hint: advice::of(&error), ..Failure::from(anyhow::Error::new(error)) })
}

/// The fault's name.
pub fn name(mutant: &Mutant) -> &str {
    &mutant.name
}

/// The fault and what caught it, as plain data.
pub fn recorded(mutant: &Mutant) -> VerifyMutant {
    VerifyMutant {
        name: mutant.name.clone(),
        place: mutant.place.name().replace(' ', "_"),
        caught_by: mutant.caught_by.clone(),
        evidence: mutant.evidence.clone(),
    }
}

/// The catch table as text.
pub fn text(mutants: &[Mutant], verbose: bool) -> String {
    if mutants.is_empty() {
        return String::new();
    }
    let columns = [("", Align::Left), ("fault", Align::Left), ("place", Align::Left), ("caught by", Align::Left)];
    let rows = mutants.iter().map(|mutant| {
        let caught = match mutant.caught_by.as_slice() {
            [] => "nothing".to_owned(),
            [only] => only.clone(),
            [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
        };
        let state = if mutant.caught_by.is_empty() { "MISS" } else { "ok" };
        vec![state.to_owned(), mutant.name.clone(), mutant.place.name().to_owned(), caught]
    });
    let mut out = Lines::new();
    out.text(&table::render(&columns, rows));
    if verbose {
        for mutant in mutants {
            out.line(format_args!("{}: {}", mutant.name, escape_terminal(&mutant.evidence)));
        }
    }
    out.into_string()
}
