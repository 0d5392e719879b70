//! Tables for people: aligned columns, no frames, as wide as the terminal at most.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width};

/// However narrow the terminal, the last column has so many characters.
const LAST: u16 = 16;

/// How a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Lays out rows under a header. On a narrow terminal the last column gives way, by wrapping.
pub fn lay_out<const N: usize>(
    header: [(&str, Align); N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if let Some(width) = terminal_width() {
        table.set_width(width);
    }
    table.set_header(header.map(|(title, _)| Cell::new(title)));
    for row in rows {
        table.add_row(row);
    }
    for (column, (_, align)) in table.column_iter_mut().zip(header) {
        if align == Align::Right {
            column.set_cell_alignment(CellAlignment::Right);
        }
        column.set_padding((0, 2));
        let is_last = column.index + 1 == N;
        column.set_constraint(match is_last {
            true => ColumnConstraint::LowerBoundary(Width::Fixed(LAST)),
            false => ColumnConstraint::ContentWidth,
        });
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The width of the terminal on stdout; what does not go to one is not cut.
fn terminal_width() -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col)
}
