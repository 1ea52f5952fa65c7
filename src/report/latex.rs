//! Tables as LaTeX with booktabs.

use super::markup::{Level, is_combining, runs};
use super::symbols;
use crate::stats::{Cell, Kind, Table};
use std::fmt::Write;

/// The table as a `table` environment with a caption and a label; needs the packages booktabs and amssymb.
pub fn table(table: &Table) -> String {
    let layout: String = table.columns.iter().map(|c| if c.kind == Kind::Number { 'r' } else { 'l' }).collect();
    let mut text = format!(
        "% needs \\usepackage{{booktabs,amssymb}}\n\\begin{{table}}\n\\centering\n\\begin{{tabular}}{{{layout}}}\n\\toprule\n"
    );
    let line = |cells: Vec<String>| format!("{} \\\\\n", cells.join(" & "));
    text += &line(table.columns.iter().map(|c| inline(&c.header)).collect());
    text += "\\midrule\n";
    for row in &table.rows {
        text += &line(row.iter().map(cell).collect());
    }
    text += "\\bottomrule\n\\end{tabular}\n";
    for note in &table.notes {
        let _ = writeln!(text, "\\par\\smallskip{{\\footnotesize {}}}", inline(note));
    }
    let caption =
        [&table.title, &table.caption].into_iter().filter(|s| !s.is_empty()).map(|s| inline(s)).collect::<Vec<_>>();
    let _ = writeln!(text, "\\caption{{{}}}\n\\label{{tab:{}}}\n\\end{{table}}", caption.join(". "), table.name);
    text
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
            "\\caption{Prevalence. 100 \\% of $\\tilde{L}$}",
            "{\\footnotesize a\\textsubscript{b}}",
        ] {
            assert!(text.contains(part), "{part} not in\n{text}");
        }
    }
}
