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
    /// The system denied something that the check needs, such as memory; the detail says what.
    #[serde(rename = "not_checked")]
    NotChecked,
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
    /// What the system denied, in the words of the first error that says so.
    denied: Option<String>,
}

/// Words of the system, of C++ and of ggml for memory, threads, processes and files that are denied.
const DENIALS: [&str; 17] = [
    "os error 11)",
    "os error 12)",
    "os error 23)",
    "os error 24)",
    "os error 28)",
    "Cannot allocate memory",
    "Resource temporarily unavailable",
    "Too many open files",
    "not enough memory",
    "out of memory",
    "memory allocation",
    "bad_alloc",
    "insufficient memory",
    "attempted to allocate",
    "failed to allocate",
    "unable to allocate",
    "main memory is free",
];

/// Whether an error says that the system denied something, so that nothing was computed that could be wrong.
fn tells_of_denial(why: &str) -> bool {
    DENIALS.iter().any(|words| why.contains(words))
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

    /// Counts an error in the place of a comparison. It is a disagreement, unless the system denied something: then the
    /// check could not be made.
    pub fn could_not(&mut self, why: impl fmt::Display) {
        let why = why.to_string();
        match tells_of_denial(&why) {
            true => self.denied = self.denied.take().or(Some(why)),
            false => self.hold(false, || why),
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
        self.denied = self.denied.take().or(other.denied);
    }

    /// Whether nothing has disagreed so far.
    pub fn holds(&self) -> bool {
        self.wrong == 0
    }

    /// Makes the check. `compared` names the implementations. A check without any comparison has failed, unless the system
    /// denied what it needs.
    pub fn check(self, area: Area, name: impl Into<String>, compared: &[&str]) -> Check {
        let (status, detail) = match (self.first, self.denied) {
            (Some(first), _) => (Status::Failed, format!("{} of {} disagree; {first}", self.wrong, self.n)),
            (None, Some(denied)) => (Status::NotChecked, denied),
            (None, None) if self.n == 0 => (Status::Failed, "nothing was compared".into()),
            (None, None) => (Status::Passed, String::new()),
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
    /// The number of checks in which nothing could be compared.
    pub skipped: usize,
    /// The number of checks for which the system denied what they need.
    pub not_checked: usize,
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
            Status::NotChecked => self.not_checked += 1,
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
    fn what_the_system_denies_is_not_checked_and_a_wrong_answer_stays_wrong() {
        let mut tally = Tally::default();
        tally.agree(3);
        tally.could_not(std::io::Error::from_raw_os_error(12));
        let check = tally.clone().check(Area::Model, "short of memory", &[]);
        assert_eq!((check.status, check.detail.as_str()), (Status::NotChecked, "Cannot allocate memory (os error 12)"));
        tally.hold(false, || "1 against 2".into());
        assert_eq!(tally.check(Area::Model, "wrong too", &[]).status, Status::Failed);
        let mut tally = Tally::default();
        tally.could_not("the engine's graph has no weight named \"x\"");
        assert_eq!(tally.check(Area::Model, "another error", &[]).status, Status::Failed);
        for error in [11, 23, 24, 28] {
            let mut tally = Tally::default();
            tally.could_not(std::io::Error::from_raw_os_error(error));
            assert_eq!(tally.check(Area::Run, "denied", &[]).status, Status::NotChecked, "{error}");
        }
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
