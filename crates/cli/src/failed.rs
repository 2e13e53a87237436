//! Cells that were not measured, as `assay run` and `assay status` print them.

use record::answer::FailedCell;
use words::{Lines, escape_terminal, first_line};

/// One line for each cell: what it is, the file of its samples, and the reason.
pub fn failed_cells(cells: &[FailedCell]) -> String {
    let mut out = Lines::new();
    for cell in cells {
        let what = match (&cell.target, &cell.model) {
            (Some(target), Some(model)) => format!("{} of {}", escape_terminal(target), escape_terminal(model)),
            _ => "a cell".to_owned(),
        };
        let (file, why) = (escape_terminal(&cell.file), escape_terminal(first_line(&cell.why)));
        out.line(format_args!("failed: {what} ({file}): {why}"));
    }
    out.into_string()
}
