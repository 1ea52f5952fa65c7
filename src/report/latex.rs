//! Tables as LaTeX with booktabs.

use super::markup::{Level, is_combining, runs};
use super::symbols;
use crate::stats::{Cell, Kind, Table};
use std::fmt::Write;

/// The table as a `table` environment with a caption and a label, or `table*` where it is wider than a column; needs the packages
/// array, booktabs and amssymb. Wide columns are broken into lines so that it fits the text width of 6.75 inches.
pub fn table(table: &Table) -> String {
    let setting = Setting::of(table);
    let environment = if setting.page_wide { "table*" } else { "table" };
    let mut text = format!(
        "% needs \\usepackage{{array,booktabs,amssymb}}\n\\begin{{{environment}}}\n\\centering{}\n\\begin{{tabular}}{{{}}}\n\\toprule\n",
        setting.size, setting.columns
    );
    let line = |cells: Vec<String>| format!("{} \\\\\n", cells.join(" & "));
    text += &line(table.columns.iter().map(|c| inline(&c.header)).collect());
    text += "\\midrule\n";
    for row in &table.rows {
        text += &line(row.iter().map(cell).collect());
    }
    text += "\\bottomrule\n\\end{tabular}\n";
    let texts = [&table.title, &table.caption].into_iter().chain(&table.notes).filter(|s| !s.is_empty());
    let caption = texts.map(|s| inline(s.trim_end_matches('.'))).collect::<Vec<_>>().join(". ");
    let _ = writeln!(text, "\\caption{{{caption}}}\n\\label{{tab:{}}}\n\\end{{{environment}}}", table.name);
    text
}

/// How a table is set so that it fits.
struct Setting {
    page_wide: bool,
    /// Commands for smaller type and narrower gaps.
    size: &'static str,
    /// The argument of `tabular`.
    columns: String,
}

/// Width of a column and of the text in ems of 10-point type.
const COLUMN_WIDTH: f64 = 3.25 * 7.2;
const TEXT_WIDTH: f64 = 6.75 * 7.2;
/// The sizes tried: the commands, how wide letters are, the gap beside a column on each side, and an em, which does not shrink as letters do; all in
/// ems of 10-point type.
const SIZES: [(&str, f64, f64, f64); 3] = [
    ("", 1.0, 0.6, 1.0),
    ("\\small\\setlength{\\tabcolsep}{4pt}", 0.9, 0.4, 0.925),
    ("\\footnotesize\\setlength{\\tabcolsep}{3pt}", 0.8, 0.3, 0.85),
];
/// Widths of the embedded typeface against Computer Modern, with room to spare.
const AGAINST_ROMAN: f64 = 0.9;
/// Width of a letter of the typewriter face, in which exact numbers are set, in ems.
const TYPEWRITER: f64 = 0.53;

impl Setting {
    fn of(table: &Table) -> Self {
        let natural: Vec<f64> = (0..table.columns.len()).map(|k| widest(table, k, false)).collect();
        let word: Vec<f64> = (0..table.columns.len()).map(|k| widest(table, k, true)).collect();
        let fits = |widths: &[f64], letters: f64, gap: f64, room: f64| {
            widths.iter().map(|w| w * letters + 2.0 * gap).sum::<f64>() <= room
        };
        for (page_wide, room, sizes) in [(false, COLUMN_WIDTH, 2), (true, TEXT_WIDTH, SIZES.len())] {
            if let Some((size, ..)) =
                SIZES.iter().take(sizes).find(|(_, letters, gap, _)| fits(&natural, *letters, *gap, room))
            {
                let columns = table.columns.iter().map(|c| if c.kind == Kind::Number { "r" } else { "l" }).collect();
                return Self { page_wide, size, columns };
            }
        }
        let last = SIZES[SIZES.len() - 1];
        let fit = SIZES.iter().find(|(_, letters, gap, _)| fits(&word, *letters, *gap, TEXT_WIDTH));
        let (size, _, gap, em) = *fit.unwrap_or(&last);
        let room = (TEXT_WIDTH - 2.0 * gap * natural.len() as f64) / em;
        let cap = cap(&natural, &word, room);
        let column = |(k, column): (usize, &crate::stats::Column)| {
            if natural[k] <= cap {
                return if column.kind == Kind::Number { "r" } else { "l" }.to_owned();
            }
            let side = if column.kind == Kind::Number { "left" } else { "right" };
            format!(">{{\\ragged{side}\\arraybackslash}}p{{{:.2}em}}", cap.max(word[k]))
        };
        Self { page_wide: true, size, columns: table.columns.iter().enumerate().map(column).collect() }
    }
}

/// The width above which columns are broken, so that all of them fill the room: found by halving.
fn cap(natural: &[f64], word: &[f64], room: f64) -> f64 {
    let total = |cap: f64| natural.iter().zip(word).map(|(n, w)| n.min(cap.max(*w))).sum::<f64>();
    let (mut low, mut high) = (1.0, room.max(1.0));
    for _ in 0..30 {
        let middle = (low + high) / 2.0;
        if total(middle) <= room { low = middle } else { high = middle }
    }
    low
}

/// The greatest width of header and cells of a column, or of their words.
fn widest(table: &Table, k: usize, words: bool) -> f64 {
    let measure = |text: &str, width: &dyn Fn(&str) -> f64| {
        if words { text.split_whitespace().map(width).fold(0.0, f64::max) } else { width(text) }
    };
    let roman = |text: &str| AGAINST_ROMAN * super::typeface::width(text, false);
    let cell = |cell: &Cell| match cell {
        Cell::Exact { text } if rational_parts(text).is_none() => {
            measure(text, &|text: &str| TYPEWRITER * text.chars().count() as f64)
        }
        // A power of ten is longer than its `e`.
        Cell::Number { .. } | Cell::Interval { .. } => {
            measure(&cell.text(), &roman) + if cell.text().contains('e') { 1.2 } else { 0.0 }
        }
        other => measure(&other.text(), &roman),
    };
    let header = measure(&table.columns[k].header, &roman);
    table.rows.iter().filter_map(|row| row.get(k)).map(cell).fold(header, f64::max)
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Exact { text } if rational_parts(text).is_some() => format!("${text}$"),
        Cell::Exact { text } => format!("\\texttt{{{}}}", escaped(text)),
        Cell::Verdict { text, .. } => format!("\\emph{{{}}}", inline(text)),
        Cell::Missing => "--".to_owned(),
        other => number_in_maths(&other.text()).unwrap_or_else(|| inline(&other.text())),
    }
}

/// A value in a sentence or in maths.
pub(super) fn value(cell: &Cell) -> String {
    match cell {
        Cell::Exact { text } if rational_parts(text).is_some() => format!("\\ensuremath{{{text}}}"),
        Cell::Integer { .. } | Cell::Number { .. } => match number_in_maths(&cell.text()) {
            Some(number) => format!("\\ensuremath{{{}}}", number.trim_matches('$')),
            None => inline(&cell.text()),
        },
        Cell::Missing => "--".to_owned(),
        other => inline(&other.text()),
    }
}

/// A rational such as `-6/5`, so that its minus sign is set as one.
fn rational_parts(text: &str) -> Option<()> {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let (numerator, denominator) = text.split_once('/').unwrap_or((text, "1"));
    (digits(numerator.strip_prefix('-').unwrap_or(numerator)) && digits(denominator)).then_some(())
}

/// `1.2e-7` as `$1.2\times10^{-7}$`, `-3` as `$-3$`.
fn number_in_maths(text: &str) -> Option<String> {
    text.parse::<f64>().ok().filter(|v| v.is_finite())?;
    Some(match text.split_once('e') {
        Some((mantissa, exponent)) => format!("${mantissa}\\times10^{{{exponent}}}$"),
        None => format!("${text}$"),
    })
}

/// Text with its scripts and symbols.
pub(super) fn inline(text: &str) -> String {
    runs(text)
        .iter()
        .map(|run| match run.level {
            Level::Base => escaped(&run.text),
            Level::Sub => format!("\\textsubscript{{{}}}", escaped(&run.text)),
            Level::Super => format!("\\textsuperscript{{{}}}", escaped(&run.text)),
        })
        .collect()
}

/// Text with LaTeX's special characters escaped and mathematical symbols as commands.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    let chars: Vec<char> = text.chars().collect();
    for (k, c) in chars.iter().enumerate() {
        if chars.get(k + 1) == Some(&'\u{303}') {
            let _ = write!(out, "$\\tilde{{{c}}}$");
        } else if *c == '\u{303}' || is_combining(*c) {
            // Set with the letter before it.
        } else if let Some(command) = symbols::command(*c) {
            let _ = write!(out, "${command}$");
        } else {
            match c {
                '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                    out.push('\\');
                    out.push(*c);
                }
                '\\' => out.push_str("\\textbackslash{}"),
                '~' => out.push_str("\\textasciitilde{}"),
                '^' => out.push_str("\\textasciicircum{}"),
                '<' | '>' | '|' => {
                    let _ = write!(out, "${c}$");
                }
                '–' => out.push_str("--"),
                '\u{a0}' => out.push('~'),
                '“' => out.push_str("``"),
                '”' => out.push_str("''"),
                '‘' => out.push('`'),
                '’' => out.push('\''),
                c => out.push(*c),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Tone;

    #[test]
    fn a_table_is_set_with_booktabs_and_everything_escaped() {
        let mut data = Table::new(
            "prevalence",
            "thm-3.7",
            [("size |F|", Kind::Number), ("λ_max & more", Kind::Text), ("μ", Kind::Exact)],
        )
        .title("Prevalence")
        .caption("100 % of L̃")
        .note("a_b");
        data.push([Cell::from(3usize), Cell::verdict(Tone::Bad, "refuted"), Cell::exact("-6/5")]);
        data.push([Cell::number(1.5e-9, 2), Cell::Missing, Cell::exact("thm_3.json")]);
        let text = super::table(&data);
        for part in [
            "\\begin{tabular}{rll}",
            "size $|$F$|$ & $\\lambda$\\textsubscript{max} \\& more & $\\mu$ \\\\",
            "$3$ & \\emph{refuted} & $-6/5$ \\\\",
            "$1.5\\times10^{-9}$ & -- & \\texttt{thm\\_3.json} \\\\",
            "\\caption{Prevalence. 100 \\% of $\\tilde{L}$. a\\textsubscript{b}}",
        ] {
            assert!(text.contains(part), "{part} not in\n{text}");
        }
    }

    #[test]
    fn a_wide_table_is_broken_into_lines_that_fit_the_text() {
        let long = "a statement of many words that would run far beyond the edge of any page ".repeat(3);
        let mut data =
            Table::new("wide", "test", [("claim", Kind::Text), ("statement", Kind::Text), ("n", Kind::Number)]);
        data.push([Cell::from("thm-3.7"), Cell::from(long.as_str()), Cell::from(12usize)]);
        let text = super::table(&data);
        assert!(text.contains("\\begin{table*}") && text.contains("\\raggedright"), "{text}");
        let widths: f64 = text.split("p{").skip(1).map(|w| w.split("em").next().unwrap().parse::<f64>().unwrap()).sum();
        // The text width in ems, of which gaps and narrow columns take some.
        assert!(widths > 30.0 && widths < TEXT_WIDTH, "{widths}");
        let mut narrow = Table::new("narrow", "test", [("n", Kind::Number)]);
        narrow.push([Cell::from(1usize)]);
        assert!(super::table(&narrow).contains("\\begin{table}\n\\centering\n\\begin{tabular}{r}"));
    }
}
