//! What the tensors say together: a few sentences about the whole file, and the tensors that disagree.

use record::answer::{CensusTensor, RescaledNorms};
use std::collections::BTreeMap;
use words::{escape_terminal, evidence_bits, named, of, plural, whole};

/// The largest number of disagreeing tensors that are listed by name.
const NAMED: usize = 3;

/// Sentences about the file, the most telling first. The list is empty when there is nothing to add to the summary.
pub(super) fn verdict(rows: &[CensusTensor], rescaled: Option<&RescaledNorms>) -> Vec<String> {
    let norms = rescaled.map(two_precisions).into_iter().collect();
    [upcast(rows), partly(rows), requantized(rows), sources(rows), norms, finer_than_stored(rows)]
        .into_iter()
        .flatten()
        .collect()
}

/// Sentences such as `201 of 211 f16 tensors lie on Q4_1-like grids (about 4 bits): …`.
fn upcast(rows: &[CensusTensor]) -> Vec<String> {
    let floats = |row: &&CensusTensor| record::stores_floats(&row.ty) && row.blocks.could_tell;
    let mut by_type: BTreeMap<&str, Vec<&CensusTensor>> = BTreeMap::new();
    rows.iter().filter(floats).for_each(|row| by_type.entry(&row.ty).or_default().push(row));
    let mut lines = Vec::new();
    for (ty, of_type) in by_type {
        let mut grids: BTreeMap<&str, Vec<&CensusTensor>> = BTreeMap::new();
        for row in of_type.iter().filter(|row| row.blocks.bits.is_some()) {
            grids.entry(row.blocks.grid.as_str()).or_default().push(row);
        }
        for (grid, on) in &grids {
            let mean_bits = on.iter().filter_map(|row| row.blocks.bits).sum::<f64>() / on.len() as f64;
            let others = of_type.iter().filter(|row| row.blocks.grid != *grid).map(|row| row.name.as_str());
            // Where most tensors agree, the others are named.
            let but = if on.len() * 2 > of_type.len() { but(others) } else { String::new() };
            // Where the levels do not belong to a known table, the cost of storing that table is not known.
            let hold = match grid.starts_with(FEW_LEVELS) {
                true => String::new(),
                false => format!(": stored in {ty}, they hold about {} bits a value", whole(mean_bits)),
            };
            let (on, of, lie_on) = (on.len(), of_type.len(), lie_on(grid));
            lines.push(format!("{on} of {of} {ty} tensors that can tell {lie_on}{hold}{but}"));
        }
    }
    lines
}

/// The first words of the name of a grid of few levels.
const FEW_LEVELS: &str = "at most";

/// The verb and the grid, such as `lie on a Q4_0-like grid`, `lie on an INT8-like grid` or `have at most 3 levels in
/// 95 % of the blocks`.
fn lie_on(grid: &str) -> String {
    if grid.starts_with(FEW_LEVELS) {
        return format!("have {grid} in 95 % of the blocks");
    }
    let article = lineage::article(grid);
    match grid.strip_suffix(" over a coarser lattice") {
        Some(finer) => format!("lie on {article} {finer} grid over a coarser lattice"),
        None => format!("lie on {article} {grid} grid"),
    }
}

/// Sentences such as `2 of 30 f16 tensors that can tell lie on a Q4_0-like grid in part (blk.0.…)`, and one about
/// tensors with rows of few values.
fn partly(rows: &[CensusTensor]) -> Vec<String> {
    let can_tell = rows.iter().filter(|row| row.blocks.could_tell);
    let mut n_by_type: BTreeMap<&str, usize> = BTreeMap::new();
    let mut found: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for row in can_tell {
        *n_by_type.entry(&row.ty).or_default() += 1;
        if row.blocks.family.is_some() && row.blocks.bits.is_none() {
            found.entry((&row.ty, &row.blocks.grid)).or_default().push(&row.name);
        }
    }
    let line = |((ty, grid), names): ((&str, &str), Vec<&str>)| {
        let (on, of) = (names.len(), n_by_type.get(ty).copied().unwrap_or_default());
        let what = match grid.strip_suffix(IN_PART) {
            Some(grid) => format!("{} in part", lie_on(grid)),
            None => format!("have {grid}, far fewer values than chance gives"),
        };
        format!("{on} of {of} {ty} tensors that can tell {what} ({})", named(names, NAMED))
    };
    found.into_iter().map(line).collect()
}

/// The last words of the name of a grid on which only some blocks lie.
const IN_PART: &str = " in part";

fn requantized(rows: &[CensusTensor]) -> Vec<String> {
    let mut by_type: BTreeMap<&str, Vec<&CensusTensor>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.blocks.requantized && !record::stores_floats(&row.ty)) {
        by_type.entry(&row.ty).or_default().push(row);
    }
    by_type
        .into_iter()
        .map(|(ty, found)| {
            let of = rows.iter().filter(|row| row.ty == ty).count();
            let bits = found.iter().filter_map(|row| row.blocks.bits).fold(0.0, f64::max);
            let names = named(found.iter().map(|row| row.name.as_str()), NAMED);
            format!(
                "{} of {of} {ty} tensors look requantized: {ty} over a lattice of about {} bits ({names})",
                found.len(),
                whole(bits)
            )
        })
        .collect()
}

/// Sentences such as `210 of 210 q4_1 tensors: a BF16 source lies under them`.
fn sources(rows: &[CensusTensor]) -> Vec<String> {
    let mut by_type: BTreeMap<&str, (usize, Vec<&str>)> = BTreeMap::new();
    for row in rows {
        if let Some(bf16) = row.under_bf16 {
            let (yes, no) = by_type.entry(&row.ty).or_default();
            if bf16 { *yes += 1 } else { no.push(&row.name) }
        }
    }
    let told = by_type.into_iter().filter(|(_, (yes, _))| *yes > 0);
    told.map(|(ty, (yes, no))| {
        let of = yes + no.len();
        format!(
            "{yes} of {of} {ty} tensors: their scales are ones that BF16 weights give, a BF16 source lies under them{}",
            but(no.into_iter())
        )
    })
    .collect()
}

/// A sentence about norms that need F16 where the other floats are BF16. It says what shows, what chance would take, and
/// what else could leave it.
fn two_precisions(found: &RescaledNorms) -> String {
    format!(
        "{} need F16 ({} of their values are not BF16 values), while all {} that can tell are BF16, which would take \
         {} bits of luck if F16 were the source of all: the norms were computed or kept in another precision than the \
         rest; activation-aware scaling (AWQ) of a BF16 model leaves this, and what did it here the values do not say",
        plural(found.norms as usize, "norm"),
        of(found.off_bf16, found.values),
        plural(found.others as usize, "other float tensor"),
        evidence_bits(found.evidence_bits)
    )
}

/// Sentences about rows that are coarser than their tensor.
fn finer_than_stored(rows: &[CensusTensor]) -> Vec<String> {
    let notes = rows.iter().filter_map(|row| row.row_note.as_ref().map(|note| (row, note)));
    notes.map(|(row, note)| format!("{}: {note}", escape_terminal(&row.name))).collect()
}

/// A text such as `; not a, b, c and 4 more`. It is empty when there are no names.
fn but<'a>(names: impl Iterator<Item = &'a str>) -> String {
    match named(names, NAMED) {
        none if none.is_empty() => none,
        names => format!("; not {names}"),
    }
}
