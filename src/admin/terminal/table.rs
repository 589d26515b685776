//! Columns that stand under each other, and colours that do not count as width.

use std::fmt::Write as _;

use crate::admin::terminal::{Style, visible};

/// Between two columns.
const GAP: &str = "  ";

/// What a word means to its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    Plain,
    Heading,
    Good,
    Bad,
    Note,
}

impl Paint {
    pub fn over(self, text: &str, style: Style) -> String {
        let code = match self {
            Self::Heading => "1",
            Self::Good => "32",
            Self::Bad => "31",
            Self::Note => "2",
            Self::Plain => return text.to_owned(),
        };
        if style.colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// One place of a table: its text, made visible, and how it is painted.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    pub fn plain(text: &str) -> Self {
        Self::painted(text, Paint::Plain)
    }

    pub fn painted(text: &str, paint: Paint) -> Self {
        Self { text: visible(text), paint }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Rows under their headings.
pub fn table(headings: &[&str], rows: impl Iterator<Item = Vec<Cell>>, style: Style) -> String {
    let heading = headings.iter().map(|heading| Cell::painted(heading, Paint::Heading)).collect();
    aligned(&std::iter::once(heading).chain(rows).collect::<Vec<_>>(), style)
}

/// One line a field, its name before it.
pub fn fields(rows: &[(&str, Cell)], style: Style) -> String {
    let rows: Vec<Vec<Cell>> = rows.iter().map(|(name, value)| vec![Cell::painted(name, Paint::Heading), value.clone()]).collect();
    aligned(&rows, style)
}

fn aligned(rows: &[Vec<Cell>], style: Style) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(|at| rows.iter().filter_map(|row| row.get(at)).map(Cell::width).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = if at == 0 { "" } else { GAP };
            // Nothing follows the last column, so no white space does.
            let padding = if at + 1 == row.len() { 0 } else { width - cell.width() };
            let _ = write!(text, "{gap}{}{:padding$}", cell.paint.over(&cell.text, style), "");
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}
