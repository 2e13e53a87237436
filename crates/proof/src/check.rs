//! What a check is and what comes of it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The subject of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// The number formats that assay computes itself.
    Formats,
    /// The types that ggml computes.
    Ggml,
    /// The machine's arithmetic where standards leave it open.
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

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything that was compared agrees.
    Passed,
    /// Something that was compared disagrees.
    Failed,
    /// Nothing could be compared; the detail says why.
    Skipped,
}

/// One named check and what it found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The claim in few words; the same in every run.
    pub name: String,
    /// The subject of the claim.
    pub area: Area,
    /// The outcome.
    pub status: Status,
    /// The implementations that were compared with each other.
    pub compared: Vec<String>,
    /// The implementations that could not be compared, each with the reason.
    pub not_compared: Vec<String>,
    /// The number of comparisons that were made.
    pub n: u64,
    /// The first disagreement, or what was found where there is none.
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

/// A count of comparisons from which a [`Check`] is made.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    n: u64,
    wrong: u64,
    first: Option<String>,
}

impl Tally {
    /// Counts a comparison. `found` describes the disagreement; only the first one is described.
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

    /// Counts `n` comparisons that agree.
    pub fn agree(&mut self, n: u64) {
        self.n += n;
    }

    /// Compares two lists of values bit by bit. `what` names them; both were made from the values `from`.
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

    /// Adds the comparisons of another tally.
    pub fn add(&mut self, other: Tally) {
        self.n += other.n;
        self.wrong += other.wrong;
        self.first = self.first.take().or(other.first);
    }

    /// Whether nothing has disagreed so far.
    pub fn holds(&self) -> bool {
        self.wrong == 0
    }

    /// Makes the check. `compared` names the implementations. A check without any comparison has failed.
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

/// All checks, in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The number of checks that passed.
    pub passed: usize,
    /// The number of checks that failed.
    pub failed: usize,
    /// The number of checks that could not be made.
    pub skipped: usize,
    /// The checks themselves.
    pub checks: Vec<Check>,
}

impl Report {
    /// Adds a check and counts it.
    pub fn add(&mut self, check: Check) {
        match check.status {
            Status::Passed => self.passed += 1,
            Status::Failed => self.failed += 1,
            Status::Skipped => self.skipped += 1,
        }
        self.checks.push(check);
    }

    /// The checks that failed, in order.
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
