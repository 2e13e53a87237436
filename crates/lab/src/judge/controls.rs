//! Whether the run's controls hold. These are pure functions of cells and faults.

use crate::judge::evidence::floor;
use crate::judge::verdict::{Sums, contradiction, effect, judge};
use record::Cell;
use record::store::{CellSamples, StoredFault};
use record::{Arm, Carrier, FaultFound};
use record::{
    BrokenLink, CellRecord, ControlOutcome as Outcome, ControlRecord, Found, Measured, Reason, Role, SeedFound,
    Verdict, Wanted,
};
use std::collections::BTreeMap;

/// The smallest KL divergence in nats that a destructive change of the target must cause. The smallest effects worth
/// reporting are a thousandth of it. A target whose destruction costs less cannot be called tested.
pub(crate) const POSITIVE_MIN_KLD_NATS: f64 = 0.01;
/// The smallest multiple of the largest jitter seed that this divergence must reach: five times what an effect needs.
pub(crate) const POSITIVE_MIN_FLOOR_RATIO: f64 = 10.0;

/// The names of the checks that are made during a measurement. A check fails by a [`StoredFault`] of its name.
pub(crate) const WEIGHTS_RESTORED: &str = "weights restored";
pub(crate) const REFERENCE_REPEATS: &str = "reference repeats";
pub(crate) const FILE_UNCHANGED: &str = "model file unchanged";

/// The outcome of a control that was measured.
fn outcome_of(holds: bool) -> Outcome {
    if holds { Outcome::Held } else { Outcome::Failed }
}

/// Whether a scheme makes every value zero, whatever it does with values that are not finite.
fn is_zero(scheme: &str) -> bool {
    scheme.split(':').next() == Some("zero")
}

/// The cells of one model, with what their controls need.
pub(crate) struct Checked<'a> {
    /// The name of the model.
    pub model: &'a str,
    /// The finished and failed cells, in the order of the method.
    pub cells: &'a [CellRecord],
    /// All cells of the plan, measured or not.
    pub planned: &'a [Cell],
    /// The samples by key of the cell.
    pub samples: &'a BTreeMap<String, CellSamples>,
    /// The faults of this model.
    pub faults: &'a [StoredFault],
}

impl Checked<'_> {
    /// The controls that can be decided now. A control that compares numbers needs its cells. At a gate in the middle
    /// of the run, cells that are not there yet are left out.
    pub(crate) fn controls(&self) -> Vec<ControlRecord> {
        let mut records: Vec<ControlRecord> = self.cells.iter().filter_map(|cell| self.of_cell(cell)).collect();
        records.extend(self.jitter());
        records.push(self.of_faults(WEIGHTS_RESTORED, Wanted::WeightsRestored));
        records.push(self.of_faults(REFERENCE_REPEATS, Wanted::ReferenceRepeats));
        records.push(self.of_faults(FILE_UNCHANGED, Wanted::FileUnchanged));
        records.push(self.chains());
        records
    }

    fn of_cell(&self, cell: &CellRecord) -> Option<ControlRecord> {
        let (name, expected) = match cell.role {
            Role::AA => ("A/A".to_string(), Wanted::SameLogits),
            Role::Identity => {
                let carrier = match cell.edits.first().map(|edit| edit.carrier) {
                    Some(Carrier::Keep) => "stored type",
                    _ => "F32",
                };
                (format!("identity write-back ({carrier})"), Wanted::SameBytesAndLogits)
            }
            Role::Positive => (
                format!("positive control ({})", cell.scheme),
                Wanted::Effect { kld_mean: POSITIVE_MIN_KLD_NATS, floor_ratio: POSITIVE_MIN_FLOOR_RATIO },
            ),
            Role::CarrierControl => ("carrier control (F32)".into(), Wanted::SameValues),
            Role::Variant | Role::Jitter { .. } => return None,
        };
        let (verdict, reason) = judge(cell, None);
        let (outcome, found) = match (cell.role, &cell.measured) {
            (Role::Positive, None) if cell.nonfinite => {
                let place = cell.failure.clone().unwrap_or_default();
                (Outcome::Held, Found::NonFiniteLogits { place })
            }
            (_, None) => (Outcome::NotMeasured, Found::Cell { reason }),
            (Role::Identity | Role::CarrierControl, _) if verdict == Verdict::Dead => {
                (Outcome::Held, Found::NothingToSee { reason })
            }
            (Role::AA | Role::Identity, _) => {
                let is_same = verdict == Verdict::NoOp && {
                    let sums = Sums::of_cell(cell);
                    sums.zero_sign + sums.minus_zero == 0
                };
                (outcome_of(is_same), Found::Cell { reason })
            }
            (Role::Positive, Some(measured)) => self.positive(cell, measured, verdict, reason),
            (_, Some(measured)) if verdict != Verdict::Broken => {
                (outcome_of(Sums::of_cell(cell).changed == 0), Found::RuntimePart { effect: effect(measured) })
            }
            _ => (Outcome::Failed, Found::Cell { reason }),
        };
        Some(self.record(name, Some(cell.arm), outcome, expected, found, vec![cell.key.clone()]))
    }

    fn positive(&self, cell: &CellRecord, measured: &Measured, verdict: Verdict, reason: Reason) -> (Outcome, Found) {
        match verdict {
            Verdict::Dead => return (Outcome::Held, Found::NothingToSee { reason }),
            // Zeros are all that there is, and no scheme makes another value of a zero that this control could show.
            Verdict::NoOp if is_zero(&cell.scheme) => {
                return (Outcome::Held, Found::NothingToSee { reason });
            }
            Verdict::Real => {}
            _ => return (Outcome::Failed, Found::Cell { reason }),
        }
        let kld = measured.kld().mean;
        // At the first gate, the jitter has only its first windows, which are also the positive control's.
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
            return (Outcome::NotMeasured, Found::NoFloor);
        };
        let found = Found::Effect { effect: effect(measured), floor_kld_mean_max: floor.kld_mean_max };
        let seen = kld >= POSITIVE_MIN_KLD_NATS && kld >= POSITIVE_MIN_FLOOR_RATIO * floor.kld_mean_max;
        (outcome_of(seen), found)
    }

    /// One jitter control for each arm.
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
            let seeds = cells
                .iter()
                .map(|(seed, cell)| SeedFound {
                    seed: *seed,
                    kld_mean: cell.measured.as_ref().map(|measured| measured.kld().mean),
                    failure: cell.failure.clone(),
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
            let found = Found::Seeds { seeds };
            Some(self.record("jitter floor".into(), Some(arm), outcome, Wanted::EverySeed, found, keys))
        };
        arms.into_iter().filter_map(of_arm).collect()
    }

    /// Whether any cell was measured, so that there was something to check.
    fn was_measured(&self) -> bool {
        self.cells.iter().any(|cell| cell.measured.is_some())
    }

    fn of_faults(&self, name: &str, wanted: Wanted) -> ControlRecord {
        let faults: Vec<FaultFound> =
            self.faults.iter().filter(|fault| fault.control == name).map(|fault| fault.found.clone()).collect();
        let (outcome, found) = match faults.is_empty() {
            false => (Outcome::Failed, Found::Faults { faults }),
            true if self.was_measured() => (Outcome::Held, Found::AsWanted),
            true => (Outcome::NotMeasured, Found::NothingMeasured),
        };
        self.record(name.into(), None, outcome, wanted, found, Vec::new())
    }

    /// The control that no chain contradicts itself. If one does, the apparatus is at fault, whichever cell it was.
    fn chains(&self) -> ControlRecord {
        let measured: Vec<&CellRecord> = self.cells.iter().filter(|cell| cell.measured.is_some()).collect();
        let broken: Vec<(&str, BrokenLink)> =
            measured.iter().filter_map(|cell| Some((cell.key.as_str(), contradiction(cell)?))).collect();
        let first = broken.first().map(|(_, link)| link.clone());
        let found = Found::Chains { broken: broken.len() as u64, n: measured.len() as u64, first };
        let keys = broken.iter().map(|(key, _)| (*key).to_string()).collect();
        let outcome = if measured.is_empty() { Outcome::NotMeasured } else { outcome_of(broken.is_empty()) };
        self.record("evidence chains".into(), None, outcome, Wanted::ChainsHold, found, keys)
    }

    fn record(
        &self,
        name: String,
        arm: Option<Arm>,
        outcome: Outcome,
        expected: Wanted,
        found: Found,
        cells: Vec<String>,
    ) -> ControlRecord {
        let (ok, measured) = (outcome == Outcome::Held, outcome != Outcome::NotMeasured);
        ControlRecord { name, model: self.model.into(), arm, ok, measured, expected, found, cells }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_of_a_model_of_which_nothing_was_measured_were_not_measured() {
        let checked = Checked { model: "m", cells: &[], planned: &[], samples: &BTreeMap::new(), faults: &[] };
        let controls = checked.controls();
        assert_eq!(controls.len(), 4);
        assert!(controls.iter().all(|control| !control.ok && !control.measured), "{controls:?}");
        let fault = StoredFault {
            model: 0,
            control: FILE_UNCHANGED.into(),
            found: FaultFound::FileChanged { before: "a".into(), after: "b".into() },
        };
        let changed = Checked { faults: &[fault], ..checked };
        let failed: Vec<String> =
            changed.controls().into_iter().filter(ControlRecord::has_failed).map(|control| control.name).collect();
        assert_eq!(failed, [FILE_UNCHANGED]);
    }
}
