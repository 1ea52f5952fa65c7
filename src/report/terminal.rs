//! Tables as text for a terminal.

use crate::stats::{Cell, Kind, Table, Tone};
use comfy_table::{Attribute, CellAlignment, Color, ContentArrangement, LineStyle, TableStyle};

/// The table with its title and notes as aligned text; `color` emphasises headings and verdicts. `width` breaks long cells.
pub fn table(table: &Table, color: bool, width: Option<u16>) -> String {
    let mut grid = comfy_table::Table::new();
    let rule = LineStyle::none().fill('─').junction('─');
    grid.load_style(TableStyle::new().header_separator(rule)).set_content_arrangement(ContentArrangement::Dynamic);
    if color {
        grid.enforce_styling();
    } else {
        grid.force_no_tty();
    }
    grid.set_width(width.unwrap_or(u16::MAX));
    let header = table.columns.iter().map(|column| {
        let cell = comfy_table::Cell::new(&column.header).set_alignment(alignment(column.kind));
        if color { cell.add_attribute(Attribute::Bold) } else { cell }
    });
    grid.set_header(header);
    for row in &table.rows {
        grid.add_row(row.iter().zip(&table.columns).map(|(cell, column)| {
            let shown = comfy_table::Cell::new(cell.text()).set_alignment(alignment(column.kind));
            match cell {
                Cell::Verdict { tone, .. } if color => shown.fg(tone_color(*tone)),
                _ => shown,
            }
        }));
    }
    let lines: Vec<String> = grid.lines().map(|line| line.trim_end().to_owned()).collect();
    let mut text = String::new();
    if !table.title.is_empty() {
        text.push_str(&table.title);
        text.push_str("\n\n");
    }
    text.push_str(&lines.join("\n"));
    text.push('\n');
    for note in &table.notes {
        text.push_str(note);
        text.push('\n');
    }
    text
}

/// Columns of the terminal that shows standard output (or standard error); none where none does.
pub fn width(standard_error: bool) -> Option<u16> {
    let mut grid = comfy_table::Table::new();
    if standard_error {
        grid.use_stderr();
    }
    grid.width()
}

fn alignment(kind: Kind) -> CellAlignment {
    if kind == Kind::Number { CellAlignment::Right } else { CellAlignment::Left }
}

fn tone_color(tone: Tone) -> Color {
    match tone {
        Tone::Good => Color::Green,
        Tone::Qualified => Color::Cyan,
        Tone::Bad => Color::Red,
        Tone::Open => Color::Yellow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts() -> Table {
        let mut table = Table::new(
            "verdicts",
            "test",
            [("claim", Kind::Text), ("trials", Kind::Number), ("verdict", Kind::Verdict)],
        );
        table.push([Cell::from("thm-3.7"), Cell::from(200usize), Cell::verdict(Tone::Bad, "refuted")]);
        table.push([Cell::from("ex-3.5"), Cell::from(3usize), Cell::verdict(Tone::Good, "holds")]);
        table.title("Verdicts").note("of 2 claims")
    }

    #[test]
    fn plain_text_is_aligned_and_without_escapes() {
        assert_eq!(
            table(&verdicts(), false, None),
            "Verdicts\n\n claim     trials   verdict\n────────────────────────────\n thm-3.7      200   refuted\n ex-3.5         3   holds\nof 2 claims\n"
        );
    }

    #[test]
    fn colour_only_adds_escapes() {
        let text = table(&verdicts(), true, None);
        assert!(text.contains("\u{1b}[") && text.contains("refuted"));
    }

    #[test]
    fn a_narrow_terminal_breaks_long_cells() {
        let mut data = Table::new("long", "test", [("text", Kind::Text)]);
        data.push([Cell::from("one two three four five six seven eight nine ten")]);
        assert!(table(&data, false, Some(20)).lines().all(|line| line.chars().count() <= 20));
    }
}
