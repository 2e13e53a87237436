//! How fine the values of the whole model are, tensor by tensor: a figure, and what they add up to.

use crate::document::{Block, Table, Text};
use crate::figure::{Figure, Form, Precision, PrecisionRow, Square};
use record::{ModelRecord, TensorPrecision};
use std::collections::BTreeMap;
use words::{count, effective_bits, plural};

/// The most roles that are drawn; the table counts all.
const ROLES: usize = 40;

pub(super) fn blocks(model: &ModelRecord, nth: usize) -> Vec<Block> {
    if model.precision.is_empty() {
        return Vec::new();
    }
    let values: u64 = model.precision.iter().map(|one| one.n).sum();
    let bits: f64 = model.precision.iter().map(|one| one.bits * one.n as f64).sum();
    let mean = effective_bits(bits / values.max(1) as f64);
    let all = plural(model.precision.len(), "tensor");
    let (rows, left_out) = rows(&model.precision);
    let summary = format!(
        "Effective bits by layer and role: {all} with {} values, {mean} bits a value on average",
        count(values)
    );
    let mut caption = format!(
        "{summary}, from the file. Of quantized storage these are the bits it takes, scales included; of float storage \
         those of the coarsest grid that the values are shown to lie on, scales left out."
    );
    if left_out > 0 {
        caption.push_str(&format!(" {} not drawn.", plural(left_out, "role")));
    }
    let form = Form::Precision(Precision { rows });
    let figure = Figure { alt: format!("{summary}."), form };
    vec![
        Block::Figure { figure, slug: format!("precision-{nth}"), caption: caption.into() },
        Block::Table(table(&model.precision).folded_if_long()),
    ]
}

/// The roles in the order in which they are met, those of the layers first, and how many are left out.
fn rows(tensors: &[TensorPrecision]) -> (Vec<PrecisionRow>, usize) {
    let mut rows: Vec<(bool, PrecisionRow)> = Vec::new();
    for tensor in tensors {
        let tip = format!("{}: {} bits a value, {}", tensor.name, effective_bits(tensor.bits), tensor.what);
        let square = Square { layer: tensor.layer, bits: tensor.bits, tip };
        let global = tensor.layer.is_none();
        match rows.iter_mut().find(|(other, row)| (*other, &row.label) == (global, &tensor.role)) {
            Some((_, row)) => row.squares.push(square),
            None => rows.push((global, PrecisionRow { label: tensor.role.clone(), squares: vec![square] })),
        }
    }
    rows.sort_by_key(|(global, _)| *global);
    let left_out = rows.len().saturating_sub(ROLES);
    (rows.into_iter().take(ROLES).map(|(_, row)| row).collect(), left_out)
}

/// One row per kind of values; the kind with the most values comes first.
fn table(tensors: &[TensorPrecision]) -> Table {
    let mut kinds: BTreeMap<&str, (usize, u64, f64)> = BTreeMap::new();
    for tensor in tensors {
        let (n_tensors, n, bits) = kinds.entry(&tensor.what).or_default();
        *n_tensors += 1;
        *n += tensor.n;
        *bits += tensor.bits * tensor.n as f64;
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, (_, n, _))| std::cmp::Reverse(*n));
    let mut table = Table::new(
        "What the values of the whole model are, from the file",
        &["Values", "Bits a value>", "Tensors>", "n values>"],
    );
    for (what, (n_tensors, n, bits)) in kinds {
        let mean = effective_bits(bits / n.max(1) as f64);
        table.push(vec![Text::new().plain(what), mean.into(), count(n_tensors as u64).into(), count(n).into()]);
    }
    table
}
