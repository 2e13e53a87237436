//! Tables of text, whose columns are aligned by display width.

use comfy_table::{CellAlignment, ContentArrangement, Table};

/// The side on which a column is flush.
#[derive(Clone, Copy)]
pub enum Align {
    /// The cells are set flush left, as text is.
    Left,
    /// The cells are set flush right, as numbers are.
    Right,
}

/// A table as text: rows under a header, two spaces between columns, no rules, no wrapping and no blanks at a line's end.
/// Cells are single lines, since the caller has escaped what comes from files.
pub fn render(columns: &[(&str, Align)], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|(name, _)| *name));
    for row in rows {
        table.add_row(row);
    }
    for (column, (_, align)) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, 2));
        column.set_cell_alignment(match align {
            Align::Left => CellAlignment::Left,
            Align::Right => CellAlignment::Right,
        });
    }
    let mut out = String::new();
    for line in table.lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_have_no_trailing_blanks() {
        let rows = [vec!["a".into(), "1".into()], vec!["long name".into(), "1000".into()]];
        let text = render(&[("name", Align::Left), ("n", Align::Right)], rows);
        assert_eq!(text, "name          n\na             1\nlong name  1000\n");
    }
}
