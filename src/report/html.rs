//! Tables and inline text as HTML.

use super::markup::{Level, runs};
use super::mathml;
use crate::stats::{Cell, Column, Kind, Table, Tone};
use maud::{Markup, PreEscaped, html};

/// Text with its sub- and superscripts.
pub fn inline(text: &str) -> Markup {
    html! {
        @for run in runs(text) {
            @match run.level {
                Level::Base => (run.text),
                Level::Sub => sub { (run.text) },
                Level::Super => sup { (run.text) },
            }
        }
    }
}

/// A LaTeX formula as MathML, or its source where it is not understood.
pub fn formula(latex: &str) -> Markup {
    match mathml::display(latex) {
        Ok(math) => html! { div.formula { (PreEscaped(math)) } },
        Err(_) => html! { pre.formula { code { (latex) } } },
    }
}

/// A verdict word whose frame and colour say the same.
pub fn badge(tone: Tone, word: &str) -> Markup {
    html! { span class={ "badge " (tone_class(tone)) } { (word) } }
}

/// The table with its caption and notes.
pub fn table(table: &Table) -> Markup {
    html! {
        figure.table id={ "table-" (table.name) } {
            figcaption { b { (inline(&table.title)) @if !table.caption.is_empty() && !table.title.is_empty() { "." } } @if !table.caption.is_empty() { " " (inline(&table.caption)) } }
            div.scroll {
                table {
                    thead { tr { @for column in &table.columns { th scope="col" class=(class(column)) { (inline(&column.header)) } } } }
                    tbody {
                        @for row in &table.rows {
                            tr { @for (cell, column) in row.iter().zip(&table.columns) { td class=(class(column)) { (content(cell)) } } }
                        }
                    }
                }
            }
            @for note in &table.notes { p.note { (inline(note)) } }
        }
    }
}

fn class(column: &Column) -> &'static str {
    match column.kind {
        Kind::Text => "text",
        Kind::Number => "number",
        Kind::Exact => "exact",
        Kind::Verdict => "verdict",
    }
}

fn content(cell: &Cell) -> Markup {
    match cell {
        Cell::Verdict { tone, text } => badge(*tone, text),
        Cell::Exact { text } => html! { code { (text) } },
        Cell::Text { text } => inline(text),
        other => html! { (other.text()) },
    }
}

fn tone_class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Qualified => "qualified",
        Tone::Bad => "bad",
        Tone::Open => "open",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_escaped_and_scripts_are_set() {
        let mut data = Table::new("t", "s", [("M_d", Kind::Number), ("<b>", Kind::Text)]);
        data.push([Cell::number(0.5, 2), Cell::from("a < b & λ_max")]);
        let text = table(&data).into_string();
        assert!(text.contains("<th scope=\"col\" class=\"number\">M<sub>d</sub></th>"), "{text}");
        assert!(text.contains("&lt;b&gt;") && text.contains("a &lt; b &amp; λ<sub>max</sub>"), "{text}");
    }

    #[test]
    fn a_formula_that_is_not_understood_is_shown_as_its_source() {
        assert!(formula(r"\strange{x} < 1").into_string().contains(r"\strange{x} &lt; 1"));
    }
}
