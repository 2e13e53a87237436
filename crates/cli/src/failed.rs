//! Cells that were not measured, as `assay run` and `assay status` print them.

use record::answer::FailedCell;
use words::{Lines, escape_terminal, first_line};

/// One line for each cell: what it is, the file of its samples, and the reason. The file is named once.
pub fn failed_cells(cells: &[FailedCell]) -> String {
    let mut out = Lines::new();
    for cell in cells {
        let what = match (&cell.target, &cell.model) {
            (Some(target), Some(model)) => format!("{} of {}", escape_terminal(target), escape_terminal(model)),
            _ => "a cell".to_owned(),
        };
        let why = escape_terminal(first_line(&cell.why));
        // Many reasons begin with the path of the file.
        let file =
            if cell.why.contains(&cell.file) { String::new() } else { format!(" ({})", escape_terminal(&cell.file)) };
        out.line(format_args!("failed: {what}{file}: {why}"));
    }
    out.into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_cell_is_named_once() {
        let cell = |why: &str| FailedCell {
            key: "k".into(),
            model: None,
            target: None,
            file: "samples/k.jsonl".into(),
            why: why.into(),
        };
        let said = failed_cells(&[cell("run/samples/k.jsonl: line 3 is damaged"), cell("they are gone")]);
        assert_eq!(
            said,
            "failed: a cell: run/samples/k.jsonl: line 3 is damaged\nfailed: a cell (samples/k.jsonl): they are gone\n"
        );
    }
}
