//! What a check is, and what comes of it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a check looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// Number formats of our own.
    Formats,
    /// ggml's types.
    Ggml,
    /// What this machine's arithmetic does where standards leave it open.
    Machine,
    /// The numbers that results consist of.
    Metrics,
    /// A model in the engine, measured through the worker.
    Model,
    /// A run with its controls and its folder.
    Run,
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Area::Formats => "formats",
            Area::Ggml => "ggml",
            Area::Machine => "machine",
            Area::Metrics => "metrics",
            Area::Model => "model",
            Area::Run => "run",
        })
    }
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything that was compared agrees.
    Passed,
    /// Something does not.
    Failed,
    /// Nothing could be compared; the detail says why.
    Skipped,
}

/// One named check and what it found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What is claimed, in few words; the same in every run.
    pub name: String,
    /// What it looks at.
    pub area: Area,
    /// What it came to.
    pub status: Status,
    /// Implementations that were held against each other.
    pub compared: Vec<String>,
    /// Implementations that could not be, each with the reason.
    pub not_compared: Vec<String>,
    /// Comparisons made.
    pub n: u64,
    /// The first disagreement, or what was found.
    pub detail: String,
}

impl Check {
    /// A check that could not be made.
    pub fn skipped(area: Area, name: impl Into<String>, why: impl Into<String>) -> Check {
        Check {
            name: name.into(),
            area,
            status: Status::Skipped,
            compared: Vec::new(),
            not_compared: Vec::new(),
            n: 0,
            detail: why.into(),
        }
    }
}

/// Comparisons on their way to a [`Check`].
#[derive(Clone, Debug, Default)]
pub struct Tally {
    n: u64,
    wrong: u64,
    first: Option<String>,
}

impl Tally {
    /// Counts a comparison. `found` describes a disagreement and is called for the first one only.
    #[inline]
    pub fn hold(&mut self, agrees: bool, found: impl FnOnce() -> String) {
        self.n += 1;
        if !agrees {
            self.wrong += 1;
            if self.first.is_none() {
                self.first = Some(found());
            }
        }
    }

    /// Counts comparisons that agree.
    pub fn agree(&mut self, n: u64) {
        self.n += n;
    }

    /// Counts two lists of values that must have the same bits; `what` names them, `from` is what both were made of.
    pub fn same_bits(&mut self, what: &str, from: &[f32], ours: &[f32], theirs: &[f32]) {
        self.hold(ours.len() == theirs.len(), || format!("{what}: {} values against {}", ours.len(), theirs.len()));
        for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
            self.hold(a.to_bits() == b.to_bits(), || {
                let from = from.get(i).map_or(String::new(), |x| format!(" {x:e} ({:#010x})", x.to_bits()));
                format!(
                    "{what}: value {i}{from} became {a:e} ({:#010x}), wanted {b:e} ({:#010x})",
                    a.to_bits(),
                    b.to_bits()
                )
            });
        }
    }

    /// Takes in the comparisons of another.
    pub fn add(&mut self, other: Tally) {
        self.n += other.n;
        self.wrong += other.wrong;
        self.first = self.first.take().or(other.first);
    }

    /// Whether nothing has disagreed so far.
    pub fn holds(&self) -> bool {
        self.wrong == 0
    }

    /// The check. `compared` names the implementations; no comparison at all is a failure of the check itself.
    pub fn check(self, area: Area, name: impl Into<String>, compared: &[&str]) -> Check {
        let (status, detail) = match self.first {
            Some(first) => (Status::Failed, format!("{} of {} disagree; {first}", self.wrong, self.n)),
            None if self.n == 0 => (Status::Failed, "nothing was compared".into()),
            None => (Status::Passed, String::new()),
        };
        Check {
            name: name.into(),
            area,
            status,
            compared: compared.iter().map(|name| (*name).to_owned()).collect(),
            not_compared: Vec::new(),
            n: self.n,
            detail,
        }
    }
}

/// Checks in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Checks that hold.
    pub passed: usize,
    /// Checks that do not.
    pub failed: usize,
    /// Checks that could not be made.
    pub skipped: usize,
    /// All of them.
    pub checks: Vec<Check>,
}

impl Report {
    /// Takes in a check.
    pub fn add(&mut self, check: Check) {
        match check.status {
            Status::Passed => self.passed += 1,
            Status::Failed => self.failed += 1,
            Status::Skipped => self.skipped += 1,
        }
        self.checks.push(check);
    }

    /// Names of the checks that do not hold, in order.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.status == Status::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_compared_nothing_does_not_pass() {
        assert_eq!(Tally::default().check(Area::Formats, "empty", &[]).status, Status::Failed);
    }

    #[test]
    fn the_first_disagreement_is_told_with_its_bits_and_all_are_counted() {
        let mut tally = Tally::default();
        tally.same_bits("cast", &[0.5, 1.0, 2.0], &[0.0, -0.0, 2.0], &[0.0, 0.0, 3.0]);
        let check = tally.check(Area::Formats, "cast", &["a", "b"]);
        assert_eq!((check.status, check.n), (Status::Failed, 4));
        assert_eq!(
            check.detail,
            "2 of 4 disagree; cast: value 1 1e0 (0x3f800000) became -0e0 (0x80000000), wanted 0e0 (0x00000000)"
        );
    }
}
