//! Tables for people: aligned columns, no frames, as wide as the terminal at most.
//!
//! Not `comfy-table`, which makes room by wrapping in any column: names stay whole here, to be copied,
//! and a table is cut down to what fits.

use std::iter::{once, repeat_n};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::paint::Mark;

/// However narrow the terminal, the last column has so many characters.
const LAST: usize = 16;

/// Between two columns.
const GAP: usize = 2;

/// How a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A field of a table.
#[derive(Debug)]
pub struct Cell {
    text: String,
    mark: Mark,
}

impl Cell {
    /// A field that stands out.
    pub fn marked(text: String, mark: Mark) -> Cell {
        Cell { text, mark }
    }

    /// What it is wide where nothing of it is wrapped.
    fn width(&self) -> usize {
        self.text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell { text, mark: Mark::Plain }
    }
}

/// Lays out rows under a header. On a narrow terminal the last column gives way, by wrapping; on a
/// very narrow one those in the middle are left out, which is said.
pub fn lay_out<const N: usize, C: Into<Cell>>(
    header: [(&str, Align); N],
    rows: impl IntoIterator<Item = [C; N]>,
) -> String {
    lay_out_within(terminal_width(), header, rows)
}

fn lay_out_within<const N: usize, C: Into<Cell>>(
    width: Option<usize>,
    header: [(&str, Align); N],
    rows: impl IntoIterator<Item = [C; N]>,
) -> String {
    let titles = header.map(|(title, _)| Cell::from(title.to_owned()));
    let rows = rows.into_iter().map(|row| row.map(Into::into));
    let rows: Vec<[Cell; N]> = once(titles).chain(rows).collect();
    let mut columns: Vec<Column> = header
        .into_iter()
        .enumerate()
        .map(|(index, (title, align))| {
            let width = rows.iter().map(|row| row[index].width()).max().unwrap_or(0);
            Column { index, title, align, width }
        })
        .collect();
    let width = width.unwrap_or(usize::MAX);
    let left_out = fit(&mut columns, width);
    let mut text = String::new();
    for row in &rows {
        lay_out_row(&mut text, row, &columns);
    }
    if !left_out.is_empty() {
        let remark = format!("({} left out: the terminal is narrow)", left_out.join(", "));
        text.extend(wrap(&remark, width).into_iter().flat_map(|line| [line, "\n"]));
    }
    text
}

/// A column, and what it takes.
struct Column<'a> {
    index: usize,
    title: &'a str,
    align: Align,
    width: usize,
}

/// Makes columns fit a terminal, and says which of them are left out.
fn fit<'a>(columns: &mut Vec<Column<'a>>, width: usize) -> Vec<&'a str> {
    let mut left_out = Vec::new();
    loop {
        let Some((last, others)) = columns.split_last_mut() else { return left_out };
        let taken: usize = others.iter().map(|column| column.width + GAP).sum();
        let room = width.saturating_sub(taken);
        if room >= last.width.min(LAST) || others.len() < 2 {
            last.width = last.width.min(room.max(LAST));
            return left_out;
        }
        left_out.insert(0, columns.remove(columns.len() - 2).title);
    }
}

/// Adds a row, of as many lines as its highest field has.
fn lay_out_row(text: &mut String, row: &[Cell], columns: &[Column<'_>]) {
    let wrapped = columns.iter().map(|column| wrap(&row[column.index].text, column.width));
    let fields: Vec<_> = wrapped.collect();
    let height = fields.iter().map(Vec::len).max().unwrap_or(0).max(1);
    for number in 0..height {
        for (column, field) in columns.iter().zip(&fields) {
            let part = field.get(number).copied().unwrap_or_default();
            let free = column.width.saturating_sub(part.width());
            let (before, after) = match column.align {
                Align::Left => (0, free),
                Align::Right => (free, 0),
            };
            text.extend(repeat_n(' ', before));
            row[column.index].mark.paint(text, part);
            text.extend(repeat_n(' ', after + GAP));
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
}

/// A text's lines, each at most `width` wide: broken between words, and within those that are
/// wider.
fn wrap(text: &str, width: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    for mut line in text.lines() {
        while line.width() > width {
            let (head, rest) = line.split_at(breaking_point(line, width));
            lines.push(head.trim_end());
            line = rest.trim_start();
        }
        lines.push(line);
    }
    lines
}

/// Where a line that is wider than this is broken: never before its first character.
fn breaking_point(line: &str, width: usize) -> usize {
    let mut used = 0;
    let too_many = |&(_, c): &(usize, char)| {
        used += c.width().unwrap_or(0);
        used > width
    };
    let end = line.char_indices().find(too_many).map_or(line.len(), |(at, _)| at);
    let first = line.chars().next().map_or(0, char::len_utf8);
    let words = match line[end..].starts_with(' ') {
        true => Some(end),
        false => line[..end].rfind(' '),
    };
    words.filter(|&at| at > 0).unwrap_or(end).max(first)
}

/// The width of the terminal on stdout; what does not go to one is not cut.
fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [(&str, Align); 3] =
        [("NAME", Align::Left), ("OWN", Align::Right), ("NOTES", Align::Left)];

    fn table(width: Option<usize>, rows: &[[&str; 3]]) -> Vec<String> {
        let rows = rows.iter().map(|row| row.map(str::to_owned));
        lay_out_within(width, HEADER, rows).lines().map(str::to_owned).collect()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_field_and_lines_end_with_none() {
        let lines = table(None, &[["web", "8 KiB", ""], ["database", "1 GiB", "a note"]]);
        assert_eq!(lines[0], "NAME        OWN  NOTES");
        assert_eq!(lines[1], "web       8 KiB");
        assert_eq!(lines[2], "database  1 GiB  a note");
    }

    #[test]
    fn on_a_narrow_terminal_the_last_column_is_wrapped_between_words() {
        let lines = table(Some(32), &[["web", "1", "the one that must not be removed"]]);
        assert_eq!(lines[1], "web     1  the one that must not");
        assert_eq!(lines[2], "           be removed");
        assert!(lines.iter().all(|line| line.len() <= 32), "{lines:#?}");
    }

    #[test]
    fn words_wider_than_the_column_are_cut_and_wide_characters_count_twice() {
        let lines = table(Some(27), &[["web", "1", &"x".repeat(40)], ["b", "2", &"漢".repeat(12)]]);
        assert_eq!(lines[1], format!("web     1  {}", "x".repeat(16)));
        assert_eq!(lines[3].trim(), "x".repeat(8));
        assert_eq!(lines[4], format!("b       2  {}", "漢".repeat(8)));
        assert_eq!(lines[5].trim(), "漢".repeat(4));
    }

    #[test]
    fn on_a_very_narrow_terminal_columns_in_the_middle_are_left_out() {
        let lines = table(Some(20), &[["web", "1.50 GiB", "a note that is long"]]);
        assert_eq!(
            lines[1..],
            ["web   a note that is", "      long", "(OWN left out: the", "terminal is narrow)"]
        );
        let lines = table(Some(21), &[["web", "1.50 GiB", ""]]);
        assert_eq!(lines, ["NAME       OWN  NOTES", "web   1.50 GiB"], "a title is all it needs");
    }

    #[test]
    fn lines_of_a_note_stay_lines() {
        let lines = table(None, &[["web", "1", "first\nsecond"]]);
        assert_eq!(lines[1..], ["web     1  first", "           second"]);
    }
}
