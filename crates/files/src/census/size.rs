//! Remarks on tensors whose values have an implausible size.

use record::answer::CensusTensor;
use std::collections::BTreeMap;
use words::{escape_terminal, number, times};

/// By how much the standard deviation of a matrix may differ from the median of its role.
const PLAUSIBLE_RATIO: f64 = 30.0;
/// The number of matrices from which a role has a median.
const FEWEST_IN_ROLE: usize = 4;
/// The largest values of the 8-bit floats, by the name of the grid on which their codes lie: OCP's formats and the
/// variant of E4M3 without infinities and without −0.
const LARGEST_CODES: [(&str, f32); 3] = [("E4M3", 448.0), ("E4M3", 240.0), ("E5M2", 57344.0)];

/// Sentences about matrices that are far larger or smaller than others of their role, and about codes that were stored
/// without their scales. Each row comes with the name of its role, if it has one.
pub(super) fn remarks(rows: &[(Option<&str>, &CensusTensor)]) -> Vec<String> {
    let mut by_role: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (role, row) in rows {
        if let (Some(role), Some(std)) = (role, deviation(row)) {
            by_role.entry(role).or_default().push(std);
        }
    }
    by_role.retain(|_, of_role| of_role.len() >= FEWEST_IN_ROLE);
    let median = |mut of_role: Vec<f64>| {
        of_role.sort_by(f64::total_cmp);
        of_role[of_role.len() / 2]
    };
    let medians: BTreeMap<&str, f64> = by_role.into_iter().map(|(role, of_role)| (role, median(of_role))).collect();
    let sizes = rows.iter().filter_map(|(role, row)| {
        let role = (*role)?;
        out_of_proportion(role, *medians.get(role)?, row)
    });
    rows.iter().filter_map(|(_, row)| codes_without_scales(row)).chain(sizes).collect()
}

fn codes_without_scales(row: &CensusTensor) -> Option<String> {
    let absmax = row.distribution.as_ref()?.absmax;
    let (format, largest) = LARGEST_CODES
        .into_iter()
        .find(|(format, largest)| row.blocks.grid.starts_with(format) && absmax == *largest)?;
    Some(format!(
        "{} lies on an {format} grid, and its largest value is the largest of FP8 {format}, {largest}: these look like codes that were stored without their scales",
        escape_terminal(&row.name)
    ))
}

/// The standard deviation of a matrix. `None` for vectors, and where all values are equal.
fn deviation(row: &CensusTensor) -> Option<f64> {
    let found = row.distribution.as_ref().filter(|found| found.rows > 1 && !found.constant)?;
    (found.std.is_finite() && found.std > 0.0).then_some(found.std)
}

fn out_of_proportion(role: &str, median: f64, row: &CensusTensor) -> Option<String> {
    let (what, ratio) = match deviation(row)? / median {
        ratio if ratio > PLAUSIBLE_RATIO => ("large", ratio),
        ratio if ratio < 1.0 / PLAUSIBLE_RATIO => ("small", 1.0 / ratio),
        _ => return None,
    };
    let relation = if what == "large" {
        format!("{} the median", times(ratio))
    } else {
        format!("1/{} of the median", number(ratio, 3))
    };
    Some(format!(
        "{} is implausibly {what}: its standard deviation is {relation} of {role}",
        escape_terminal(&row.name)
    ))
}
