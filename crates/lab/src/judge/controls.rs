//! Whether the run's own checks held. Pure functions of cells and faults.

use crate::judge::evidence::floor;
use crate::judge::verdict::{Found, contradiction, effect, judge};
use record::Cell;
use record::store::{CellSamples, Fault};
use record::{Arm, Carrier};
use record::{CellRecord, ControlRecord, Measured, Role, Verdict};
use std::collections::BTreeMap;
use words::{count, first_line, nats};

/// A destructive change of the target must cost at least this much, nats. The smallest effects worth reporting are
/// a thousandth of it, so a target whose destruction costs less cannot be said to have been tested.
pub(crate) const POSITIVE_MIN_KLD_NATS: f64 = 0.01;
/// And at least this multiple of the largest jitter seed: five times what an effect needs.
pub(crate) const POSITIVE_MIN_FLOOR_RATIO: f64 = 10.0;

/// Checks that are made while measuring; each fails by a [`Fault`] of that name.
pub(crate) const WEIGHTS_RESTORED: (&str, &str) =
    ("weights restored", "every touched weight hashes the same before and after each measurement");
pub(crate) const REFERENCE_REPEATS: (&str, &str) =
    ("reference repeats", "the reference's logits hash the same whenever a window is measured");
pub(crate) const FILE_UNCHANGED: (&str, &str) =
    ("model file unchanged", "the model file hashes the same before and after the run");

/// What a control came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Held,
    Failed,
    NotMeasured,
}

impl Outcome {
    /// Of one that was measured.
    fn of(held: bool) -> Outcome {
        if held { Outcome::Held } else { Outcome::Failed }
    }
}

/// Why the results are withheld: the first control that failed, or else the first that was not measured.
pub(crate) fn withholding(controls: &[ControlRecord]) -> Option<&ControlRecord> {
    let failed = controls.iter().find(|control| control.has_failed());
    failed.or_else(|| controls.iter().find(|control| !control.ok))
}

/// Cells of one model with what is needed to check them.
pub(crate) struct Checked<'a> {
    /// Model.
    pub model: &'a str,
    /// Finished and failed cells, in the order of the method.
    pub cells: &'a [CellRecord],
    /// All cells of the plan, reached or not.
    pub planned: &'a [Cell],
    /// By key.
    pub samples: &'a BTreeMap<String, CellSamples>,
    /// Faults of this model.
    pub faults: &'a [Fault],
}

impl Checked<'_> {
    /// The controls that can be decided now. Those that compare numbers need the cells; cells that are not there yet
    /// (a gate in the middle of the run) are left out.
    pub(crate) fn controls(&self) -> Vec<ControlRecord> {
        let mut records: Vec<ControlRecord> = self.cells.iter().filter_map(|cell| self.of_cell(cell)).collect();
        records.extend(self.jitter());
        records.extend([WEIGHTS_RESTORED, REFERENCE_REPEATS, FILE_UNCHANGED].map(|control| self.of_faults(control)));
        records.push(self.chains());
        records
    }

    fn of_cell(&self, cell: &CellRecord) -> Option<ControlRecord> {
        let (name, expected) = match cell.role {
            Role::AA => ("A/A".to_string(), "logits bit-identical".to_string()),
            Role::Identity => {
                let carrier = match cell.edits.first().map(|edit| edit.carrier) {
                    Some(Carrier::Keep) => "stored type",
                    _ => "F32",
                };
                (format!("identity write-back ({carrier})"), "bytes and logits bit-identical".into())
            }
            Role::Positive => (
                format!("positive control ({})", cell.scheme),
                format!("KLD at least {POSITIVE_MIN_KLD_NATS} nats and {POSITIVE_MIN_FLOOR_RATIO} × the floor"),
            ),
            Role::CarrierControl => ("carrier control (F32)".into(), "measured, values unchanged".into()),
            Role::Variant | Role::Jitter { .. } => return None,
        };
        let (verdict, why) = judge(cell, None);
        let (outcome, found) = match (cell.role, &cell.measured) {
            (_, None) => (Outcome::NotMeasured, why),
            (Role::AA | Role::Identity, _) => {
                (Outcome::of(verdict == Verdict::NoOp && Found::of_cell(cell).zero_sign == 0), why)
            }
            (Role::Positive, Some(measured)) => self.positive(cell, measured, verdict, why),
            (_, Some(measured)) if verdict != Verdict::Broken => {
                let found = format!("the runtime's part: {}", effect(measured));
                (Outcome::of(Found::of_cell(cell).changed == 0), found)
            }
            _ => (Outcome::Failed, why),
        };
        Some(self.record(name, Some(cell.arm), outcome, expected, found, vec![cell.key.clone()]))
    }

    fn positive(&self, cell: &CellRecord, measured: &Measured, verdict: Verdict, why: String) -> (Outcome, String) {
        match verdict {
            Verdict::Dead => return (Outcome::Held, format!("nothing to be seen: {why}")),
            Verdict::Real => {}
            _ => return (Outcome::Failed, why),
        }
        let kld = measured.kld().mean;
        // At the first gate the jitter has its first windows only, which are the positive control's.
        let seeds: Vec<(u64, &CellSamples)> = self
            .planned
            .iter()
            .filter(|other| other.base == cell.base)
            .filter_map(|other| match other.role {
                Role::Jitter { seed } => Some((seed, self.samples.get(&other.key)?)),
                _ => None,
            })
            .collect();
        let Some(floor) = floor(&cell.chunks, kld, &seeds, &cell.target) else {
            return (Outcome::NotMeasured, "the floor it is held against was not measured".into());
        };
        let found = format!("{}, floor {}", effect(measured), nats(floor.kld_mean_max));
        let seen = kld >= POSITIVE_MIN_KLD_NATS && kld >= POSITIVE_MIN_FLOOR_RATIO * floor.kld_mean_max;
        (Outcome::of(seen), found)
    }

    /// One record per arm.
    fn jitter(&self) -> Vec<ControlRecord> {
        let mut arms: Vec<Arm> = self.cells.iter().map(|cell| cell.arm).collect();
        arms.sort_unstable();
        arms.dedup();
        let of_arm = |arm| {
            let cells: Vec<(u64, &CellRecord)> = self
                .cells
                .iter()
                .filter(|cell| cell.arm == arm)
                .filter_map(|cell| match cell.role {
                    Role::Jitter { seed } => Some((seed, cell)),
                    _ => None,
                })
                .collect();
            if cells.is_empty() {
                return None;
            }
            let found: Vec<String> = cells
                .iter()
                .map(|(seed, cell)| match (&cell.measured, &cell.failure) {
                    (Some(measured), _) => format!("seed {seed}: KLD {}", nats(measured.kld().mean)),
                    (None, Some(failure)) => format!("seed {seed}: not measured: {}", first_line(failure)),
                    (None, None) => format!("seed {seed}: not measured"),
                })
                .collect();
            let outcome = if cells.iter().any(|(_, cell)| cell.measured.is_some() && contradiction(cell).is_some()) {
                Outcome::Failed
            } else if cells.iter().any(|(_, cell)| cell.measured.is_none()) {
                Outcome::NotMeasured
            } else {
                Outcome::Held
            };
            let keys = cells.iter().map(|(_, cell)| cell.key.clone()).collect();
            let expected = "every seed measured, on the variant's own windows".to_string();
            Some(self.record("jitter floor".into(), Some(arm), outcome, expected, found.join("; "), keys))
        };
        arms.into_iter().filter_map(of_arm).collect()
    }

    fn of_faults(&self, (name, expected): (&str, &str)) -> ControlRecord {
        let faults: Vec<&str> =
            self.faults.iter().filter(|fault| fault.control == name).map(|fault| fault.found.as_str()).collect();
        let found = if faults.is_empty() { "as expected".to_string() } else { faults.join("; ") };
        self.record(name.into(), None, Outcome::of(faults.is_empty()), expected.into(), found, Vec::new())
    }

    /// A chain that contradicts itself means the apparatus is at fault, whichever cell it was.
    fn chains(&self) -> ControlRecord {
        let measured: Vec<&CellRecord> = self.cells.iter().filter(|cell| cell.measured.is_some()).collect();
        let broken: Vec<(&str, String)> =
            measured.iter().filter_map(|cell| Some((cell.key.as_str(), contradiction(cell)?))).collect();
        let found = match broken.first() {
            None => format!("{} of {} hold", count(measured.len() as u64), count(measured.len() as u64)),
            Some((_, why)) => {
                format!("{} of {} do not; the first: {why}", count(broken.len() as u64), count(measured.len() as u64))
            }
        };
        let keys = broken.iter().map(|(key, _)| (*key).to_string()).collect();
        let expected = "prediction, bytes, activations, logits and metrics agree in every cell".to_string();
        self.record("evidence chains".into(), None, Outcome::of(broken.is_empty()), expected, found, keys)
    }

    fn record(
        &self,
        name: String,
        arm: Option<Arm>,
        outcome: Outcome,
        expected: String,
        found: String,
        cells: Vec<String>,
    ) -> ControlRecord {
        let (ok, measured) = (outcome == Outcome::Held, outcome != Outcome::NotMeasured);
        ControlRecord { name, model: self.model.into(), arm, ok, measured, expected, found, cells }
    }
}
